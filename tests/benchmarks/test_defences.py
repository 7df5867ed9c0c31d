"""What the comparison of a protected server with an open one compares."""

from __future__ import annotations

from pathlib import Path

import pytest

from anacrusis.settings import load_settings
from benchmarks.defences import TOKENS, _compared, _defended
from grpc_service.exposure import Protection, check_protection
from grpc_service.options import ServerOptions
from grpc_service.tokens import find, read_tokens


def turn(per_s: float, failed: dict[str, int] | None = None) -> dict[str, object]:
    return {"per_s": per_s, "p50_ms": 1.0, "server_us": 1e6 / per_s, "failed": failed or {}}


def test_the_protected_server_has_all_of_it(tmp_path: Path) -> None:
    config, _, token = _defended(tmp_path)
    found = load_settings(config)
    check_protection(ServerOptions(host="0.0.0.0"), Protection(found.tls, found.access, found.limits))
    assert found.access.tokens is not None
    known = read_tokens(found.access.tokens)
    assert len(known) == TOKENS
    assert find(known, token) is not None
    assert all((found.limits.calls_per_s, found.limits.queries_per_s, found.limits.bytes_per_s))
    assert found.limits.calls_at_once
    assert found.metrics.port is not None


def test_the_share_is_the_middle_one_of_the_turns() -> None:
    found = _compared({"without": [turn(100), turn(50), turn(10)], "with": [turn(90), turn(25), turn(30)]})
    assert found["share"] == pytest.approx(0.9)
    assert (found["per_s_without"], found["per_s_with"]) == (50, 30)


def test_a_comparison_in_which_calls_failed_is_none() -> None:
    with pytest.raises(RuntimeError, match="UNAVAILABLE"):
        _compared({"without": [turn(1)], "with": [turn(1, {"UNAVAILABLE": 1})]})
