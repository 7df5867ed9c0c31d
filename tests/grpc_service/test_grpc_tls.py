"""An encrypted port, through real handshakes: whom it is for, what it shows, and a certificate that changes."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fake_engine import FakeEngine
from grpc_harness import Running, running

from benchmarks.made_certificates import Authority
from grpc_service.access_options import AccessOptions, LimitOptions, TlsOptions
from grpc_service.client import Client, ClientError, PermissionDeniedError, UnauthenticatedError, UnavailableError
from grpc_service.exposure import Protection
from grpc_service.options import InvalidServerOptionError
from grpc_service.private_files import PrivateFileError
from grpc_service.probe import main as probe
from grpc_service.roles import Role
from grpc_service.tls import ServerCertificate
from grpc_service.tokens import add_token


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority) -> TlsOptions:
    return TlsOptions(*authority.vouch("server", "server", local=True))


def shown(server: Running) -> str:
    """The certificate that a new connection is shown."""
    host, port = server.address.rsplit(":", 1)
    return ssl.get_server_certificate((host, int(port)), timeout=20)


def fails(**options: object) -> Callable[[str], type[ClientError]]:
    def reason(address: str) -> type[ClientError]:
        with Client(address, retries=0, timeout_s=5.0, **options) as client:  # type: ignore[arg-type]
            with pytest.raises(ClientError) as caught:
                client.status()
            return type(caught.value)

    return reason


def test_a_port_is_encrypted_and_speaks_no_plain_text(
    engine: FakeEngine, tls: TlsOptions, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "another")
    with running(engine, protection=Protection(tls=tls)) as server:
        with Client(server.address, retries=0, ca=authority.path) as client:
            assert client.neighbors_of_track("warm-0")
            client.wait_until_ready()
        with Client(server.address, retries=0, ca=authority.path, server_name="localhost") as client:
            client.status()
        assert fails()(server.address) is UnavailableError
        assert fails(ca=other.path)(server.address) is UnavailableError
        assert fails(ca=authority.path, server_name="elsewhere.example")(server.address) is UnavailableError


def test_the_probe_sees_through_tls(
    engine: FakeEngine, tls: TlsOptions, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(engine, protection=Protection(tls=tls)) as server:
        assert probe([server.address, "--ca", str(authority.path)]) == 0
        assert probe([server.address, "--ca", str(authority.path), "--name", "localhost"]) == 0
        assert probe([server.address, "--timeout-s", "1"]) == 1
        with pytest.raises(SystemExit):
            probe([server.address, "--key", "x"])
        with pytest.raises(SystemExit):
            probe([server.address, "--ca", "/nowhere/ca.pem"])
    assert "/nowhere/ca.pem cannot be read" in capsys.readouterr().err


def test_a_new_certificate_is_shown_without_a_restart(
    engine: FakeEngine, tls: TlsOptions, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    assert tls.certificate is not None
    assert tls.key is not None
    with running(engine, protection=Protection(tls=tls)) as server:
        with Client(server.address, retries=0, ca=authority.path) as client:
            first = shown(server)
            assert first.split() == tls.certificate.read_text().split()
            certificate, key = (path.read_bytes() for path in authority.vouch("newer", "newer", local=True))
            # Half of the change: the certificate has come, its key has not.
            tls.certificate.write_bytes(certificate)
            for _ in range(3):
                assert shown(server) == first
            errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
            assert len(errors) == 1
            assert "the one before is served on" in errors[0]
            tls.key.write_bytes(key)
            assert shown(server).split() == certificate.decode().split()
            expired, _ = authority.vouch("expired", "newer", key=load_pem_private_key(key, None), days_ago=3)
            for junk in (
                expired.read_bytes(),
                b"",
                certificate[:100],
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            ):
                tls.certificate.write_bytes(junk)
                assert shown(server).split() == certificate.decode().split()
            tls.certificate.unlink()
            assert shown(server).split() == certificate.decode().split()
            client.status()  # on the connection that stood all the while
        with Client(server.address, retries=0, ca=authority.path) as client:
            client.status()


def test_files_that_cannot_be_used_are_named_at_the_start(
    engine: FakeEngine, tls: TlsOptions, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = tls.certificate, tls.key
    assert certificate is not None
    assert key is not None
    _, other = authority.vouch("other", "other")
    junk, protected = tmp_path / "junk.pem", tmp_path / "protected.key"
    junk.write_text("no certificate")
    expired, early, odd = (
        authority.vouch("expired", "server", days_ago=3),
        authority.vouch("early", "server", days_ago=-3),
        authority.vouch("odd", "server", key=ed25519.Ed25519PrivateKey.generate()),
    )
    protected.touch(0o600)
    protected.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n")
    for wrong, sentence in (
        (TlsOptions(certificate, other), "cannot be used together"),
        (TlsOptions(certificate, protected), "cannot be used together"),
        (TlsOptions(junk, key), "cannot be used together"),
        (TlsOptions(*expired), "certificate has expired"),
        (TlsOptions(*early), "not yet valid"),
        (TlsOptions(*odd), "of RSA, P-256 or P-384"),
        (TlsOptions(tmp_path / "none.pem", key), "cannot be read"),
        (TlsOptions(certificate, tmp_path / "none.key"), "cannot be read"),
        (TlsOptions(tmp_path, key), "no regular file"),
        (TlsOptions(certificate, key, junk), "authorities"),
    ):
        with pytest.raises(PrivateFileError, match=sentence):
            ServerCertificate(wrong)
    key.chmod(0o644)
    protection = Protection(tls=tls)
    with pytest.raises(PrivateFileError, match="chmod 600"), running(engine, protection=protection):
        pass
    assert engine.closed is False  # whoever opened it closes it


def test_a_certificate_that_has_expired_meanwhile_is_named_in_the_log(
    tls: TlsOptions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served = ServerCertificate(tls)
    assert served.newer() is None
    assert caplog.text == ""
    later = time.time() + 2 * 86_400
    monkeypatch.setattr("grpc_service.tls.time.time", lambda: later)
    for _ in range(3):
        assert served.newer() is None
    assert [record.getMessage() for record in caplog.records] == [
        f"the certificate {tls.certificate} has expired, so that no client connects; renew it"
    ]


@pytest.mark.parametrize(("given", "field"), [
    ({"certificate": Path("c.pem")}, "key"),
    ({"key": Path("k.pem")}, "certificate"),
    ({"client_ca": Path("ca.pem")}, "client_ca"),
])  # fmt: skip
def test_options_that_lack_their_other_half(given: dict[str, Path], field: str) -> None:
    with pytest.raises(InvalidServerOptionError) as caught:
        TlsOptions(**given)
    assert caught.value.field == field


def test_a_client_certificate_is_asked_for_and_its_name_has_a_role(
    engine: FakeEngine, tls: TlsOptions, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "strangers").vouch("stranger", "pipeline")
    pipeline, expired = authority.vouch("pipeline", "pipeline"), authority.vouch("expired", "pipeline", days_ago=3)
    named = authority.vouch("named", "pipeline", names=("radio.example", "nobody.example"))
    unknown = authority.vouch("unknown", "unknown")
    tokens = tmp_path / "tokens.json"
    secret, _ = add_token(tokens, "admin", Role.ADMIN)
    access = AccessOptions(tokens=tokens, certificates={"pipeline": "ingest", "radio.example": "read"})
    encrypted = TlsOptions(tls.certificate, tls.key, authority.path)
    protection = Protection(tls=encrypted, access=access, limits=LimitOptions(0, 0, 0))
    with running(engine, protection=protection) as server:
        address = server.address

        def connected(pair: tuple[Path, Path], token: str | None = None) -> Client:
            certificate, key = pair
            return Client(address, retries=0, ca=authority.path, certificate=certificate, key=key, token=token)

        assert fails(ca=authority.path)(address) is UnavailableError
        for certificate, key in (stranger, expired):
            assert fails(ca=authority.path, certificate=certificate, key=key)(address) is UnavailableError
        with connected(pipeline) as client:
            assert client.ingest("new", artist_ids=["x"], audio=b"music").state == "created"
            with pytest.raises(PermissionDeniedError, match="certificate:pipeline"):
                client.withdraw(["new"])
        with connected(named) as client:  # its other names count, and the common one beside them does not
            client.status()
            with pytest.raises(PermissionDeniedError, match=r"certificate:radio\.example"):
                client.ingest("new", artist_ids=["x"], audio=b"music")
        with connected(unknown) as client, pytest.raises(UnauthenticatedError) as missing:
            client.status()
        assert missing.value.reason == "TOKEN_MISSING"
        with connected(unknown, secret) as client:  # a token goes before the certificate
            assert client.withdraw(["new"]) == ["new"]
        with connected(pipeline, "anacrusis_wrong") as client, pytest.raises(UnauthenticatedError):
            client.status()


def test_every_certificate_may_have_a_role(engine: FakeEngine, tls: TlsOptions, authority: Authority) -> None:
    anybody = authority.vouch("anybody", "anybody")
    protection = Protection(
        tls=TlsOptions(tls.certificate, tls.key, authority.path), access=AccessOptions(certificates={"*": "read"})
    )
    with (
        running(engine, protection=protection) as server,
        Client(server.address, retries=0, ca=authority.path, certificate=anybody[0], key=anybody[1]) as client,
    ):
        client.status()
        with pytest.raises(PermissionDeniedError, match="certificate:anybody"):
            client.withdraw(["warm-0"])


@pytest.mark.parametrize("address", ["10.0.0.1:1", "ipv4:127.0.0.1:1,10.0.0.1:2", "dns:///replicas:1", "[fe80::1]:1"])
def test_a_token_is_not_sent_to_another_machine_in_plain_text(address: str) -> None:
    with pytest.raises(ValueError, match="plain text"):
        Client(address, token="anacrusis_secret")
    Client(address, token="anacrusis_secret", tls=True).close()


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "ipv6:[::1]:1", "unix:/run/a", "dns:///localhost:1"]
)
def test_on_this_machine_it_may_be(address: str) -> None:
    Client(address, token="anacrusis_secret").close()


def test_what_cannot_be_a_token_or_a_pair_is_refused() -> None:
    for token in ("two words", "line\n", "\u00e4"):
        with pytest.raises(ValueError, match="token"):
            Client("127.0.0.1:1", token=token)
    with pytest.raises(ValueError, match="go together"):
        Client("127.0.0.1:1", certificate="c.pem")
