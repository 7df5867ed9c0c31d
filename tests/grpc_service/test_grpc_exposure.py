"""Beyond the loopback a server needs TLS and to know its callers, or to be told twice that it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_engine import FakeEngine
from grpc_harness import running

from grpc_service.access_options import AccessOptions, LimitOptions, TlsOptions
from grpc_service.exposure import Protection, is_loopback, require_protection
from grpc_service.options import InvalidServerOptionError, ServerOptions

TLS = TlsOptions(Path("c.pem"), Path("k.pem"))
MUTUAL = TlsOptions(Path("c.pem"), Path("k.pem"), Path("ca.pem"))
TOKENS = AccessOptions(tokens=Path("tokens.json"))
NAMES = AccessOptions(certificates={"*": "read"})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("[::]", False),
        ("10.0.0.1", False),
        ("server.example", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
    ],
)
def test_what_the_loopback_is(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("protection", [Protection(), Protection(tls=TLS), Protection(access=TOKENS)])
def test_half_of_it_is_refused_on_all_addresses_and_taken_on_the_loopback(protection: Protection) -> None:
    with pytest.raises(InvalidServerOptionError) as caught:
        require_protection(ServerOptions(host="0.0.0.0"), protection)
    assert caught.value.field == "host"
    assert ("TLS" in str(caught.value)) == (not protection.tls.on)
    assert ("callers" in str(caught.value)) == (not protection.access.on)
    assert require_protection(ServerOptions(), protection) == ""


@pytest.mark.parametrize("protection", [Protection(tls=TLS, access=TOKENS), Protection(tls=MUTUAL, access=NAMES)])
def test_all_of_it_is_taken_everywhere(protection: Protection) -> None:
    assert require_protection(ServerOptions(host="0.0.0.0"), protection) == ""


def test_it_takes_two_to_do_without() -> None:
    for setting, flag in ((True, False), (False, True)):
        with pytest.raises(InvalidServerOptionError, match="one is missing"):
            require_protection(ServerOptions(host="0.0.0.0", insecure=setting), Protection(insecure=flag))
    warning = require_protection(ServerOptions(host="0.0.0.0", insecure=True), Protection(insecure=True))
    assert "told twice" in warning


def test_certificates_without_roles_and_roles_without_certificates() -> None:
    for protection, field in (
        (Protection(tls=MUTUAL), "client_ca"),
        (Protection(tls=TLS, access=NAMES), "certificates"),
    ):
        with pytest.raises(InvalidServerOptionError) as caught:
            require_protection(ServerOptions(), protection)
        assert caught.value.field == field


def test_a_server_checks_by_itself(engine: FakeEngine) -> None:
    with pytest.raises(InvalidServerOptionError), running(engine, host="0.0.0.0"):
        pass
    with running(engine, host="0.0.0.0", insecure=True, protection=Protection(insecure=True)) as server:
        assert server.address.startswith("0.0.0.0:")


@pytest.mark.parametrize("certificates", [{"": "read"}, {"a": "root"}, {str(one): "read" for one in range(2000)}])
def test_names_and_roles_are_checked(certificates: dict[str, str]) -> None:
    with pytest.raises(InvalidServerOptionError) as caught:
        AccessOptions(certificates=certificates)
    assert caught.value.field == "certificates"


@pytest.mark.parametrize(
    ("name", "value"),
    [("calls_per_s", -1.0), ("queries_per_s", float("nan")), ("bytes_per_s", "1"), ("burst_s", 0.0), ("burst_s", True)],
)
def test_a_wrong_limit_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidServerOptionError) as caught:
        LimitOptions(**{name: value})  # type: ignore[arg-type]
    assert caught.value.field == name
