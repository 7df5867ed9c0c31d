"""A few of the messages of ``make fuzz``, to a real server with an engine in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_harness import running
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import AudioEmptyError
from tests.fuzz import message_cases
from tests.fuzz.engine import ForgetfulEngine
from tests.fuzz.findings import FoundError
from tests.fuzz.message_cases import Caller
from tests.fuzz.messages import METHODS, Served
from tests.fuzz.servers import described, fill

REGRESSIONS = Path(__file__).parents[1] / "fuzz" / "regressions"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    fill(tmp_path)
    with running(ForgetfulEngine(), allowed_roots=(tmp_path,)) as server:
        yield described(server.address, tmp_path)


def test_some_mutated_messages(served: Served, tmp_path: Path) -> None:
    findings = message_cases.fuzz_messages(served, 1, 360, tmp_path / "found")
    assert findings.sentences == []
    assert len(findings.kinds) == len(METHODS)
    assert findings.outcomes["OK"] > 30
    assert findings.outcomes["REQUEST_INVALID"] > 30
    assert len(findings.outcomes) > 6, "the mutations have become too mild or too wild"


def test_some_messages_of_any_fields(served: Served, tmp_path: Path) -> None:
    findings = message_cases.fuzz_structured(served, 1, 180, tmp_path / "found")
    assert findings.sentences == []
    assert len(findings.kinds) == len(METHODS)


def test_a_failure_of_ours_is_found(tmp_path: Path) -> None:
    engine = ForgetfulEngine()

    def fail(method: str) -> None:
        raise RuntimeError("a bug")

    engine.before = fail
    with running(engine) as server:
        findings = message_cases.fuzz_messages(described(server.address, tmp_path), 1, 40, tmp_path / "found")
    assert findings.outcomes["found"] > 5
    assert all("INTERNAL" in sentence for sentence in findings.sentences)
    assert list((tmp_path / "found").iterdir())


def test_a_call_that_hangs_is_found_when_it_does_so_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, goes_on = ForgetfulEngine(), threading.Event()
    engine.before = lambda method: goes_on.wait()
    monkeypatch.setattr(message_cases, "CALL_S", 0.2)
    with running(engine) as server:
        name = "/anacrusis.v1.AdminService/GetStatus"
        served = described(server.address, tmp_path)
        findings = message_cases.fuzz_messages(served, 1, 3, tmp_path / "found", names=(name,))
        goes_on.set()
    assert findings.outcomes["found"] > 0
    assert all("did not end" in sentence for sentence in findings.sentences)


def test_a_message_that_says_too_much_is_found(tmp_path: Path) -> None:
    engine = ForgetfulEngine()

    def leak(method: str) -> None:
        raise AudioEmptyError("in /opt/lib/site-packages/encoders: send more")

    engine.before = leak
    with running(engine) as server, grpc.insecure_channel(server.address) as channel:
        caller = Caller(channel, described(server.address, tmp_path))
        with pytest.raises(FoundError, match="says too much"):
            caller.call("/anacrusis.v1.AdminService/GetStatus", [b""])


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*[A-Z]*-*.bin")), ids=lambda path: path.name)
def test_messages_that_once_found_something(served: Served, path: Path) -> None:
    name = next(name for name in METHODS if name.endswith("/" + path.name.split("-")[0]))
    with grpc.insecure_channel(served.address) as channel:
        Caller(channel, served).call(name, path.read_bytes().split(b"\n--\n"))


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_any_message_is_one_of_its_method(data: st.DataObject) -> None:
    """What hypothesis draws can be read back: it is the values that are odd, and not the bytes."""
    from google.protobuf import message_factory

    from tests.fuzz.messages import any_request

    served = described("", Path("/nowhere"))
    for name, method in METHODS.items():
        for raw in data.draw(any_request(name, served)):
            assert message_factory.GetMessageClass(method.input_type).FromString(raw).SerializeToString() is not None
