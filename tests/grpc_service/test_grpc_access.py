"""Who is let in: tokens and roles on every method, through a real server."""

from __future__ import annotations

import datetime as dt
import hmac
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from fake_engine import FakeEngine
from google.rpc import error_details_pb2, status_pb2
from grpc_harness import Running, running, until
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from grpc_service import tokens
from grpc_service.access import Access
from grpc_service.access_options import AccessOptions, LimitOptions
from grpc_service.allowances import Allowance, Allowances
from grpc_service.callers import CALLER_KEY
from grpc_service.client import Client, PermissionDeniedError, ResourceExhaustedError, UnauthenticatedError
from grpc_service.errors import TransportError
from grpc_service.exposure import Protection
from grpc_service.pb.anacrusis.v1 import (
    admin_service_pb2,
    embedding_service_pb2,
    feedback_service_pb2,
    neighbor_service_pb2,
    release_service_pb2,
)
from grpc_service.private_files import PrivateFileError
from grpc_service.roles import AUDITED, NEEDED, Role
from grpc_service.tokens import add_token, find, read_tokens, revoke_token

PROTOS = (
    admin_service_pb2,
    embedding_service_pb2,
    feedback_service_pb2,
    neighbor_service_pb2,
    release_service_pb2,
    health_pb2,
    reflection_pb2,
)
METHODS = {
    f"/{service.full_name}/{method.name}": (method.client_streaming, method.server_streaming)
    for proto in PROTOS
    for service in proto.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
ROLES = ("read", "ingest", "admin")
WITHOUT_LIMITS = LimitOptions(0, 0, 0, 0)


class Doors:
    """A server that knows three callers."""

    def __init__(self, server: Running, path: Path, secrets: dict[str, str]) -> None:
        self.server = server
        self.path = path
        self.secrets = secrets

    def client(self, name: str) -> Client:
        return Client(self.server.address, retries=0, token=self.secrets[name])

    @property
    def access(self) -> Access:
        access = self.server.server._access
        assert access is not None
        return access

    def reload(self) -> None:
        """What the server does each second."""
        self.access.reload()


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def secrets(tokens_file: Path) -> dict[str, str]:
    return {role: add_token(tokens_file, role, Role.of(role))[0] for role in ROLES}


@pytest.fixture
def doors(engine: FakeEngine, tokens_file: Path, secrets: dict[str, str]) -> Iterator[Doors]:
    protection = Protection(access=AccessOptions(tokens=tokens_file), limits=WITHOUT_LIMITS)
    with running(engine, protection=protection) as server:
        yield Doors(server, tokens_file, secrets)


def outcome(channel: grpc.Channel, method: str, *metadata: tuple[str, str]) -> tuple[str, str]:
    """Code and reason of a call whose message is empty; most methods refuse that, once the caller is let in."""
    from_stream, to_stream = METHODS[method]
    kind = f"{'stream' if from_stream else 'unary'}_{'stream' if to_stream else 'unary'}"
    try:
        reply = getattr(channel, kind)(method)(iter([b""]) if from_stream else b"", timeout=20, metadata=metadata)
        if to_stream:
            next(reply, None)
            reply.cancel()
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        info = error_details_pb2.ErrorInfo()
        for detail in status_pb2.Status.FromString(details).details:
            detail.Unpack(info)
        return error.code().name, info.reason
    return "OK", ""


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def test_every_method_there_is_has_a_role() -> None:
    assert METHODS.keys() == NEEDED.keys()
    assert {name for name, role in NEEDED.items() if role is None} == {
        name for name in METHODS if name.startswith("/grpc.health.")
    }
    assert len(METHODS) >= 14
    assert {"WithdrawTracks", "RefreshArtists"} == {name.rpartition("/")[2] for name in AUDITED}


@pytest.mark.parametrize("method", METHODS)
def test_no_token_of_a_lower_role_reaches_a_method_above_it(method: str, doors: Doors, engine: FakeEngine) -> None:
    needed = NEEDED[method]
    with grpc.insecure_channel(doors.server.address) as channel:
        for name in ROLES:
            engine.calls.clear()
            code, reason = outcome(channel, method, bearer(doors.secrets[name]))
            if needed is None or Role.of(name) >= needed:
                assert (code, reason) not in {("PERMISSION_DENIED", "ROLE_TOO_LOW")}
                assert code != "UNAUTHENTICATED"
            else:
                assert (code, reason) == ("PERMISSION_DENIED", "ROLE_TOO_LOW")
                assert engine.calls == []
        without = outcome(channel, method)
        wrong = outcome(channel, method, bearer("anacrusis_" + "A" * 51))
        if needed is None:
            assert without[0] == wrong[0] == "OK" or method.endswith("/Check")
        else:
            assert without == ("UNAUTHENTICATED", "TOKEN_MISSING")
            assert wrong == ("UNAUTHENTICATED", "TOKEN_INVALID")


def test_a_client_with_a_token_does_its_work(doors: Doors, engine: FakeEngine) -> None:
    with doors.client("read") as client:
        assert client.neighbors_of_track("warm-0").track_ids[0] == "warm-1"
        assert len(list(client.stream_neighbors([("a", "warm-0")]))) == 1
        with pytest.raises(PermissionDeniedError) as denied:
            client.ingest("new", artist_ids=["x"], audio=b"music")
        assert denied.value.reason == "ROLE_TOO_LOW"
        assert "read of token:read" in str(denied.value)
    with doors.client("ingest") as client:
        assert client.ingest("new", artist_ids=["x"], audio=b"music").state == "created"
        with pytest.raises(PermissionDeniedError):
            client.withdraw(["new"])
        with pytest.raises(PermissionDeniedError):
            list(client.refresh())
    with doors.client("admin") as client:
        assert client.withdraw(["new"]) == ["new"]
        assert list(client.refresh())[-1].stage == "done"
    with Client(doors.server.address, retries=0) as client:
        client.wait_until_ready()  # health is for everybody
        with pytest.raises(UnauthenticatedError) as missing:
            client.status()
        assert missing.value.reason == "TOKEN_MISSING"


@settings(max_examples=60)
@given(st.data())
def test_whatever_is_sent_for_a_token_lets_nobody_in(data: st.DataObject) -> None:
    secret = "anacrusis_" + "x" * 51
    access = _access([_entry("one", secret)])
    words = st.one_of(
        st.text(max_size=200),
        st.text(min_size=61, max_size=61),
        st.text(min_size=43, max_size=43).map("anacrusis_xxxxxxxx".__add__),
        st.sampled_from([secret[:-1], secret + "x", secret[:-1] + "y", secret.upper(), "", "Bearer"]),
    )
    sent = data.draw(words.filter(lambda word: word != secret))
    scheme = data.draw(st.sampled_from(["Bearer ", "bearer ", "Basic ", "", "Bearer  "]))
    call = _Call("/anacrusis.v1.AdminService/GetStatus", (("authorization", scheme + sent),))
    with pytest.raises(TransportError) as refused:
        access.let_in(call)  # type: ignore[arg-type]
    assert refused.value.reason in {"TOKEN_INVALID", "TOKEN_MISSING"}
    assert call.caller is None


def test_a_revoked_token_is_refused_and_a_new_one_taken(doors: Doors) -> None:
    with doors.client("read") as client:
        client.status()
        revoke_token(doors.path, "read")
        doors.reload()
        with pytest.raises(UnauthenticatedError) as refused:
            client.status()
        assert refused.value.reason == "TOKEN_INVALID"
    doors.secrets["read"], _ = add_token(doors.path, "read", Role.READ)
    doors.reload()
    with doors.client("read") as client:
        client.status()


def test_the_server_itself_looks_for_new_tokens(doors: Doors) -> None:
    revoke_token(doors.path, "read")

    def refused() -> bool:
        try:
            client.status()
        except UnauthenticatedError:
            return True
        return False

    with doors.client("read") as client:
        until(refused)


def test_an_expired_token_is_refused_also_where_it_was_known(tokens_file: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    secret, _ = add_token(tokens_file, "brief", Role.READ, expires=now + dt.timedelta(hours=1))
    clock = [now.timestamp()]
    access = Access(AccessOptions(tokens=tokens_file), WITHOUT_LIMITS, clock=lambda: clock[0])
    let_in(access, secret)
    clock[0] += 3601
    with pytest.raises(TransportError, match="expired") as refused:
        let_in(access, secret)
    assert refused.value.reason == "TOKEN_INVALID"


@pytest.mark.parametrize("text", ["", "{", '{"format": "anacrusis-tokens", "version": 2, "tokens": []}', "[]"])
def test_a_file_that_is_no_tokens_changes_nothing(doors: Doors, text: str, caplog: pytest.LogCaptureFixture) -> None:
    doors.path.write_text(text)
    for _ in range(3):
        doors.reload()
    assert [record.getMessage()[:29] for record in caplog.records if record.levelname == "ERROR"] == [
        "the new tokens are not used, "
    ]
    with doors.client("admin") as client:
        client.status()


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o606])
def test_a_file_that_is_open_to_others_is_refused(tokens_file: Path, secrets: dict[str, str], mode: int) -> None:
    assert tokens_file.stat().st_mode & 0o777 == 0o600
    tokens_file.chmod(mode)
    with pytest.raises(PrivateFileError, match="chmod 600"):
        Access(AccessOptions(tokens=tokens_file), WITHOUT_LIMITS)


def test_a_file_that_a_group_may_read_is_taken(tokens_file: Path, secrets: dict[str, str]) -> None:
    """As orchestrators hand secrets to a user that is not root."""
    tokens_file.chmod(0o440)
    assert len(read_tokens(tokens_file)) == 3


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PrivateFileError, match="no regular file"):
        read_tokens(tmp_path / "pipe")
    with pytest.raises(PrivateFileError, match="no regular file"):
        read_tokens(tmp_path)


def test_the_file_holds_no_token_and_no_two_salts_alike(tokens_file: Path) -> None:
    secret, _ = add_token(tokens_file, "a", Role.READ)
    add_token(tokens_file, "b", Role.READ)
    text = tokens_file.read_text()
    assert secret not in text
    assert secret[18:] not in text
    assert len({entry["salt"] for entry in json.loads(text)["tokens"]}) == 2
    assert [one.name for one in read_tokens(tokens_file).values()] == ["a", "b"]
    assert list(tokens_file.parent.iterdir()) == [tokens_file]


def test_one_comparison_is_made_whatever_is_sent(tokens_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it takes as long for each: of digests, and by the function that takes as long whatever it compares."""
    made = [add_token(tokens_file, f"caller-{number}", Role.READ)[0] for number in range(5)]
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(tokens.hmac, "compare_digest", counted)
    known = read_tokens(tokens_file)
    public, other = made[0][:18], made[1][18:]
    for token, name in (
        (made[0], "caller-0"),
        (made[4], "caller-4"),
        (public + other, None),
        (public + "A" * 43, None),
        ("anacrusis_" + "A" * 51, None),
        ("Anacrusis_" + made[0][10:], None),
    ):
        compared.clear()
        found = find(known, token)
        assert (found and found.name) == name
        assert compared == [(32, 32)]


def test_a_thousand_callers_are_told_apart(tokens_file: Path) -> None:
    entries = [_entry(f"caller-{number}", f"anacrusis_{number:08}{'s' * 43}") for number in range(1000)]
    access = _access(entries)
    for number in (0, 499, 999):
        call = _Call("/anacrusis.v1.AdminService/GetStatus", (bearer(f"anacrusis_{number:08}{'s' * 43}"),))
        access.let_in(call)  # type: ignore[arg-type]
        assert call.caller.name == f"token:caller-{number}"  # type: ignore[attr-defined]


def test_nobody_names_himself(doors: Doors) -> None:
    """What the workers of one server say to each other is believed of no one else."""
    with grpc.insecure_channel(doors.server.address) as channel:
        forged = (CALLER_KEY, "admin token:admin")
        method = "/anacrusis.v1.ReleaseService/WithdrawTracks"
        assert outcome(channel, method, forged) == ("UNAUTHENTICATED", "TOKEN_MISSING")
        assert outcome(channel, method, forged, bearer(doors.secrets["ingest"])) == (
            "PERMISSION_DENIED",
            "ROLE_TOO_LOW",
        )


def test_whoever_sends_wrong_tokens_keeps_nobody_out(doors: Doors) -> None:
    """Callers behind one balancer have one address: it is not what anybody is refused by."""
    with grpc.insecure_channel(doors.server.address) as channel:
        method = "/anacrusis.v1.AdminService/GetStatus"
        found = [outcome(channel, method, bearer(f"anacrusis_{number:051}")) for number in range(100)]
        assert set(found) == {("UNAUTHENTICATED", "TOKEN_INVALID")}
    with doors.client("read") as client:
        client.status()


def test_nothing_of_a_token_is_said_or_shown(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    wrong = "anacrusis_a-token-of-somebody"
    with Client(doors.server.address, retries=0, token=wrong) as client:
        assert wrong not in repr(client)
        assert wrong not in repr(client._policy)
        with pytest.raises(UnauthenticatedError) as refused:
            client.status()
    assert wrong not in str(refused.value)
    assert wrong not in caplog.text


def test_more_than_a_share_is_refused_for_a_while(engine: FakeEngine, tokens_file: Path) -> None:
    secrets = {name: add_token(tokens_file, name, Role.READ)[0] for name in ("greedy", "modest")}
    limits = LimitOptions(calls_per_s=0.001, queries_per_s=0, bytes_per_s=0, burst_s=3600.0)  # 3.6 calls at once
    protection = Protection(access=AccessOptions(tokens=tokens_file), limits=limits)
    with running(engine, protection=protection) as server:
        with Client(server.address, retries=0, token=secrets["greedy"]) as greedy:
            for _ in range(3):
                greedy.status()
            with pytest.raises(ResourceExhaustedError) as refused:
                greedy.status()
            assert refused.value.reason == "RATE_LIMITED"
            assert refused.value.retry_after_s is not None
            assert 100 < refused.value.retry_after_s < 1000
            greedy.wait_until_ready()
        with Client(server.address, retries=0, token=secrets["modest"]) as modest:
            modest.status()


@pytest.mark.parametrize("limits", [LimitOptions(0, 1.0, 0, burst_s=10.0), LimitOptions(0, 0, 10.0, burst_s=10.0)])
def test_what_a_batch_asks_is_owed_by_the_next_call(
    engine: FakeEngine, tokens_file: Path, limits: LimitOptions
) -> None:
    secret, _ = add_token(tokens_file, "one", Role.READ)
    protection = Protection(access=AccessOptions(tokens=tokens_file), limits=limits)
    with running(engine, protection=protection) as server, Client(server.address, retries=0, token=secret) as client:
        assert len(client.neighbors_of_tracks(["warm-0"] * 200)) == 200
        with pytest.raises(ResourceExhaustedError) as refused:
            client.neighbors_of_track("warm-0")
        assert refused.value.reason == "RATE_LIMITED"


def test_what_is_left_grows_with_time_and_no_further_than_the_burst() -> None:
    now = [0.0]
    allowance = Allowance(LimitOptions(2.0, 0.0, 100.0, burst_s=2.0), clock=lambda: now[0])

    def begin() -> float:
        return allowance.begin(object())  # type: ignore[arg-type]

    assert [begin() for _ in range(4)] == [0.0] * 4
    assert begin() == pytest.approx(0.5)
    now[0] += 0.5
    assert begin() == 0.0
    now[0] += 1000.0
    assert [begin() for _ in range(5)][-1] == pytest.approx(0.5)
    now[0] += 10.0
    assert allowance.charge(size=1200) == pytest.approx(10.0)  # 200 were there
    assert begin() == pytest.approx(10.0)
    now[0] += 10.0
    assert begin() == 0.0


def test_nobody_holds_more_calls_open_than_its_share(engine: FakeEngine, tokens_file: Path) -> None:
    """Streams that say nothing take places, too: one caller must not have them all."""
    secrets = {name: add_token(tokens_file, name, Role.READ)[0] for name in ("greedy", "modest")}
    limits = LimitOptions(0, 0, 0, calls_at_once=2)
    protection = Protection(access=AccessOptions(tokens=tokens_file), limits=limits)
    with running(engine, protection=protection) as server, grpc.insecure_channel(server.address) as channel:
        over = threading.Event()
        begin = channel.stream_unary("/anacrusis.v1.AdminService/GetStatus")
        held = [begin.future(iter(over.wait, True), metadata=(bearer(secrets["greedy"]),)) for _ in range(2)]
        until(lambda: server.in_progress == 2)
        method = "/anacrusis.v1.AdminService/GetStatus"
        assert outcome(channel, method, bearer(secrets["greedy"])) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
        assert outcome(channel, method, bearer(secrets["modest"])) == ("OK", "")
        for one in held:
            one.cancel()
        until(lambda: outcome(channel, method, bearer(secrets["greedy"])) == ("OK", ""))
        over.set()


def test_memory_is_bounded_however_many_come() -> None:
    allowances = Allowances(LimitOptions(), at_most=100)
    first = allowances.of("first")
    for number in range(1000):
        allowances.of(str(number))
        assert allowances.of("first") is first  # who comes again stays
    assert len(allowances) == 100


def test_a_file_takes_no_more_than_its_share_of_tokens(tokens_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_TOKENS", 2)
    for name in "ab":
        add_token(tokens_file, name, Role.READ)
    with pytest.raises(PrivateFileError, match="as many as may be"):
        add_token(tokens_file, "c", Role.READ)
    for name in ("a", "", "a b", "\u00e4", "x" * 65):
        with pytest.raises(tokens.TokenNameError):
            add_token(tokens_file, name, Role.READ)
    with pytest.raises(tokens.TokenNameError):
        revoke_token(tokens_file, "c")


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_what_is_in_progress_is_cut_off_with_its_token(doors: Doors, how: str) -> None:
    if how == "expired":
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        doors.secrets["read"], _ = add_token(doors.path, "brief", Role.READ, expires=expires)
        doors.reload()
    over = threading.Event()
    with grpc.insecure_channel(doors.server.address) as channel:
        begin = channel.stream_stream("/anacrusis.v1.NeighborService/StreamNeighbors")
        cut, kept = (begin(iter(over.wait, True), metadata=(bearer(doors.secrets[name]),)) for name in ROLES[:2])
        until(lambda: doors.server.in_progress == 2)
        if how == "revoked":
            revoke_token(doors.path, "read")
            add_token(doors.path, "read", Role.READ)
        else:
            doors.access._clock = lambda: time.time() + 3601
        doors.reload()
        with pytest.raises(grpc.RpcError) as caught:
            next(cut)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "not taken any more" in (caught.value.details() or "")
        until(lambda: doors.server.in_progress == 1)
        doors.reload()
        assert kept.is_active()
        kept.cancel()
        over.set()


def test_a_share_outlives_a_reload(tokens_file: Path) -> None:
    secret, _ = add_token(tokens_file, "one", Role.READ)
    access = Access(AccessOptions(tokens=tokens_file), LimitOptions(0, 0, 0, calls_at_once=1))
    let_in(access, secret)
    add_token(tokens_file, "other", Role.READ)
    access.reload()
    with pytest.raises(TransportError) as refused:
        let_in(access, secret)
    assert refused.value.reason == "RATE_LIMITED"


class _Call:
    """What `Access` looks at."""

    def __init__(self, method: str, metadata: tuple[tuple[str, str], ...]) -> None:
        self.method = method
        self.metadata = metadata
        self.caller: object = None
        self.peer: Callable[[], str] = lambda: "ipv4:10.0.0.1:4711"
        self.identities: Callable[[], tuple[str, ...]] = lambda: ()


def let_in(access: Access, secret: str) -> _Call:
    call = _Call("/anacrusis.v1.AdminService/GetStatus", (bearer(secret),))
    access.let_in(call)  # type: ignore[arg-type]
    return call


def _entry(name: str, token: str) -> tokens.Token:
    salt = bytes(16)
    digest = tokens.hashlib.sha256(salt + token.encode()).digest()
    return tokens.Token(name, Role.ADMIN, token[10:18], salt, digest, dt.datetime.now(dt.UTC))


def _access(entries: list[tokens.Token]) -> Access:
    access = Access(AccessOptions(certificates={"nobody": "read"}), WITHOUT_LIMITS)
    access._known = access._with_callers({one.public: one for one in entries})
    access._path = Path("/nowhere")
    return access


def test_the_health_of_a_protected_server_is_told_to_anybody(doors: Doors) -> None:
    with grpc.insecure_channel(doors.server.address) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
