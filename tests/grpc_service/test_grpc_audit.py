"""What administrators do is written down before it is done, and what came of it behind."""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from fake_engine import FakeEngine
from grpc_harness import Hold, running, until

from grpc_service.access_options import AccessOptions, LimitOptions
from grpc_service.audit import Act, AuditError, AuditLog, local_act
from grpc_service.client import Client, ClientError, NotFoundError, UnavailableError
from grpc_service.exposure import Protection
from grpc_service.pb.anacrusis.v1.release_service_pb2 import WithdrawTracksRequest
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub
from grpc_service.roles import Role
from grpc_service.tokens import add_token
from index import ReadOnlyError
from jobs import UnknownArtistError

ACT = Act("WithdrawTracks", "token:rights", "ipv4:10.0.0.1:5", {"track_ids": ["a"]}, "request-1")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_an_act_stands_there_before_and_behind_with_who_and_what(engine: FakeEngine, tmp_path: Path) -> None:
    log, tokens = tmp_path / "audit.jsonl", tmp_path / "tokens.json"
    secret, _ = add_token(tokens, "rights", Role.ADMIN)
    seen: list[object] = []

    def before(method: str) -> None:
        if method == "withdraw":
            seen.append(lines(log)[-1]["outcome"])

    engine.before = before
    protection = Protection(access=AccessOptions(tokens=tokens), limits=LimitOptions(0, 0, 0), audit=AuditLog(log))
    with running(engine, protection=protection) as server, Client(server.address, retries=0, token=secret) as client:
        client.withdraw(["warm-0", "none\u00e4"], reason="rights, \u00fc")
        client.status()
        client.neighbors_of_track("warm-1")
        list(client.refresh(["x"]))
    begun, done, *refresh = lines(log)
    assert seen == ["begun"]  # while it was done
    assert (begun["act"], begun["who"], begun["outcome"]) == ("WithdrawTracks", "token:rights", "begun")
    assert begun["what"] == {"track_ids": ["warm-0", "none\u00e4"], "reason": "rights, \u00fc"}
    assert str(begun["peer"]).startswith("ipv4:127.0.0.1:")
    assert (done["outcome"], done["request_id"]) == ("done", begun["request_id"])
    assert [(one["act"], one["outcome"], one["what"]) for one in refresh] == [
        ("RefreshArtists", "begun", {"artist_ids": ["x"]}),
        ("RefreshArtists", "done", {"artist_ids": ["x"]}),
    ]
    assert secret not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_an_act_is_on_the_disk_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    on_disk: list[bytes] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: on_disk.append(path.read_bytes()))
    with AuditLog(path).recording(ACT):
        assert on_disk == [path.read_bytes()]
        assert b'"begun"' in on_disk[0]
    assert len(on_disk) == 2


def test_what_fails_is_written_down_as_failed(engine: FakeEngine, tmp_path: Path) -> None:
    def fail(method: str) -> None:
        raise UnknownArtistError("nobody by that name")

    engine.before = fail
    log = tmp_path / "audit.jsonl"
    with (
        running(engine, protection=Protection(audit=AuditLog(log))) as server,
        Client(server.address, retries=0) as client,
        pytest.raises(NotFoundError),
    ):
        list(client.refresh(["nobody"]))
    assert [(one["outcome"], one.get("reason"), one["who"]) for one in lines(log)] == [
        ("begun", None, "anybody"),
        ("failed", "ARTIST_NOT_FOUND", "anybody"),
    ]


def test_of_a_caller_who_leaves_the_outcome_is_unknown(engine: FakeEngine, tmp_path: Path, hold: Hold) -> None:
    log = tmp_path / "audit.jsonl"
    held = hold("withdraw")
    request = WithdrawTracksRequest(track_ids=["warm-0"])
    with (
        running(engine, protection=Protection(audit=AuditLog(log))) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        call = ReleaseServiceStub(channel).WithdrawTracks.future(request)
        held.wait()
        call.cancel()
        until(lambda: len(lines(log)) == 2)
        held.release()
    assert [(one["outcome"], one.get("reason")) for one in lines(log)] == [
        ("begun", None),
        ("unknown", "CALLER_LEFT"),
    ]


def test_what_cannot_be_written_down_is_not_done(
    engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "folder" / "audit.jsonl"
    log.parent.mkdir()
    with running(engine, protection=Protection(audit=AuditLog(log))) as server:
        log.unlink()
        log.mkdir()
        with Client(server.address, retries=0) as client:
            with pytest.raises(UnavailableError) as refused:
                client.withdraw(["warm-0"])
            assert refused.value.reason == "AUDIT_UNWRITABLE"
            assert str(tmp_path) not in str(refused.value)
            assert str(log) in caplog.text
            assert client.neighbors_of_track("warm-0")
    assert "withdraw" not in [method for method, _ in engine.calls]


def test_a_replica_says_so_and_writes_nothing(engine: FakeEngine, tmp_path: Path) -> None:
    def refuse() -> None:
        raise ReadOnlyError("this home is open to read only")

    engine.require_writable = refuse  # type: ignore[method-assign]
    log = tmp_path / "audit.jsonl"
    with (
        running(engine, protection=Protection(audit=AuditLog(log))) as server,
        Client(server.address, retries=0) as client,
        pytest.raises(ClientError) as refused,
    ):
        client.withdraw(["warm-0"])
    assert refused.value.reason == "READ_ONLY"
    assert log.read_text() == ""


def test_a_log_that_cannot_be_written_is_found_out_at_the_start(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("none/audit.jsonl", "link.jsonl", "pipe", "."):
        protection = Protection(audit=AuditLog(tmp_path / name))
        with pytest.raises(AuditError, match="audit log"), running(engine, protection=protection):
            pass
    assert not (tmp_path / "elsewhere").exists()


def test_many_write_at_once_and_every_line_is_whole(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: log.begin(Act("a", "b", "c", {"track_ids": ["x" * 5000, number]})), range(64)))
    found = lines(tmp_path / "audit.jsonl")
    assert sorted(one["what"]["track_ids"][1] for one in found) == list(range(64))  # type: ignore[index]
    assert len({one["request_id"] for one in found}) == 64


def test_a_line_behind_one_that_was_cut_off_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"time": "2026-1')
    AuditLog(path).begin(ACT)
    first, second = path.read_text().splitlines()
    assert first == '{"time": "2026-1'
    assert json.loads(second)["who"] == "token:rights"


def test_nothing_of_a_caller_begins_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    AuditLog(path).begin(Act("WithdrawTracks", "token:a", "p", {"reason": 'x\n{"act": "none"}\u2028\r'}))
    assert len(path.read_bytes().split(b"\n")) == 2
    assert len(lines(path)) == 1


def test_an_outcome_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        AuditLog(tmp_path / "none" / "audit.jsonl").end(ACT)
    assert "request-1" in caplog.text


def test_a_command_is_recorded_with_its_user(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with AuditLog(path).recording(local_act("withdraw", {"track_ids": ["a"]})):
        assert len(lines(path)) == 1
    with pytest.raises(KeyboardInterrupt), AuditLog(path).recording(local_act("withdraw", {})):
        raise KeyboardInterrupt
    assert [(one["outcome"], one.get("reason")) for one in lines(path)] == [
        ("begun", None),
        ("done", None),
        ("begun", None),
        ("failed", "KeyboardInterrupt"),
    ]
    assert all(str(one["who"]).startswith("user:") for one in lines(path))


def test_without_a_file_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    AuditLog(None).check()
    AuditLog(None).begin(ACT)
    line = capsys.readouterr().err
    assert line.startswith("audit {")
    assert json.loads(line.removeprefix("audit "))["request_id"] == "request-1"
