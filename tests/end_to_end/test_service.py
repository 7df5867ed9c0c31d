"""The promises of the service, through a real server in a process of its own."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from hostile_audio import HOSTILE
from made_catalogue import SPACE_ID, audio_bytes

from anacrusis.server_process import ServerProcess, running_server
from grpc_service.client import Client, Feedback
from grpc_service.client_errors import ClientError


@pytest.fixture
def server(home: Path) -> Iterator[ServerProcess]:
    """One of the test's own, which may end it."""
    with running_server(home) as server:
        yield server


@pytest.fixture(scope="module")
def deliveries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `lasting` may read audio from."""
    return tmp_path_factory.mktemp("deliveries")


@pytest.fixture(scope="module")
def lasting(
    _home_template: Path, tmp_path_factory: pytest.TempPathFactory, deliveries: Path
) -> Iterator[ServerProcess]:
    """One for all tests that leave it running: a server takes seconds to start."""
    home = shutil.copytree(_home_template, tmp_path_factory.mktemp("lasting") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANACRUSIS_SERVER__ALLOWED_ROOTS", str(deliveries))
        with running_server(home) as server:
            yield server


@pytest.fixture
def client(lasting: ServerProcess) -> Iterator[Client]:
    with Client(lasting.address, timeout_s=60.0) as client:
        yield client


def found(client: Client, track_id: str = "ada-0") -> set[str]:
    return set(client.neighbors_of_track(track_id, k=100).track_ids)


def refusal(call: object) -> ClientError:
    with pytest.raises(ClientError) as caught:
        call()  # type: ignore[operator]
    return caught.value


def test_what_is_acknowledged_is_found_survives_a_kill_and_is_unchanged_when_sent_again(
    home: Path, server: ServerProcess
) -> None:
    audio = audio_bytes(330.0)
    with Client(server.address, timeout_s=60.0) as client:
        taken = client.ingest("new", audio=audio, artist_ids=["ada"], title="New")
        server.process.send_signal(signal.SIGKILL)  # right behind the acknowledgement
    assert taken.state == "created"
    assert server.process.wait(timeout=30) == -signal.SIGKILL
    with running_server(home) as again, Client(again.address, timeout_s=60.0) as client:
        assert "new" in found(client)
        repeated = client.ingest("new", audio=audio, artist_ids=["ada"], title="New")
        assert (repeated.state, repeated.tier, repeated.served) == ("unchanged", taken.tier, True)
        assert client.withdraw(["new"]) == ["new"]
        assert "new" not in found(client)
        assert refusal(lambda: client.get_embedding("new")).reason == "TRACK_WITHDRAWN"
        again.process.send_signal(signal.SIGKILL)
    with running_server(home) as third, Client(third.address, timeout_s=60.0) as client:
        assert "new" not in found(client)


def test_feedback_survives_a_kill_right_behind_its_acknowledgement(home: Path, server: ServerProcess) -> None:
    with Client(server.address, timeout_s=60.0) as client:
        before = client.ingest("new", audio=audio_bytes(330.0), artist_ids=["ada"], include_vector=True).vector
        plays = [Feedback("new", "listener"), Feedback("new", "stranger"), Feedback("new", "fan", user_vector=-before)]
        report = client.record_feedback(plays, space_id=SPACE_ID)
        server.process.send_signal(signal.SIGKILL)
    assert [result.state for result in report.results] == ["counted", "waiting", "counted"]
    assert server.process.wait(timeout=30) == -signal.SIGKILL
    with running_server(home) as again, Client(again.address, timeout_s=60.0) as client:
        moved = client.get_embedding("new")
        assert moved.model_id.endswith("+feedback")
        assert not np.allclose(moved.vector, before)
        assert {result.state for result in client.record_feedback(plays, space_id=SPACE_ID).results} == {"unchanged"}
        np.testing.assert_array_equal(client.get_embedding("new").vector, moved.vector)


def test_every_way_in_makes_the_same_vector(client: Client, deliveries: Path) -> None:
    audio = audio_bytes(330.0, seconds=40.0)  # long enough for an upload in chunks
    delivery = deliveries / "new.wav"
    delivery.write_bytes(audio)
    ways = {
        "inline": client.ingest("inline", audio=audio, artist_ids=["ada"], include_vector=True),
        "path": client.ingest("path", audio=delivery, artist_ids=["ada"], include_vector=True),
        "uri": client.ingest("uri", uri=f"file://{delivery}", artist_ids=["ada"], include_vector=True),
    }
    for taken in ways.values():
        assert taken.vector is not None
        np.testing.assert_allclose(taken.vector, ways["inline"].vector, rtol=1e-5, atol=1e-6)
    assert set(ways) <= found(client)


def test_a_uri_outside_the_allowed_roots_is_refused(client: Client, deliveries: Path) -> None:
    outside = deliveries.parent / "outside.wav"
    outside.write_bytes(audio_bytes())
    (deliveries / "link.wav").symlink_to(outside)
    for uri in (
        f"file://{outside}",
        f"file://{deliveries}/../outside.wav",
        "https://example.org/x.wav",
        f"file://{deliveries}/link.wav",
    ):
        assert refusal(lambda uri=uri: client.ingest("x", uri=uri, artist_ids=["ada"])).reason == "URI_NOT_ALLOWED"


def test_bad_audio_is_refused_with_its_reason_and_leaves_the_store_unharmed(client: Client) -> None:
    before = replace(client.status(), upkeep=None)  # which the server counts anew every minute
    for what, (make, reason) in HOSTILE.items():
        error = refusal(lambda make=make: client.ingest("bad", audio=make(), artist_ids=["ada"]))
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason), what
        assert len(str(error)) > 20, what
        assert replace(client.status(), upkeep=None) == before, what
        assert "bad" not in found(client), what


def test_bad_questions_get_their_code_and_their_sentence(client: Client) -> None:
    invalid, missing, state = (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
    )
    good = np.ones(8, np.float32)
    questions = {
        "NaN": (lambda: client.neighbors_of_vector(np.full(8, np.nan)), invalid, "VECTOR_INVALID"),
        "dimension": (lambda: client.neighbors_of_vector(np.ones(9)), invalid, "VECTOR_INVALID"),
        "user's dimension": (lambda: client.neighbors_of_user(np.ones(9)), invalid, "VECTOR_INVALID"),
        "k = 0": (lambda: client.neighbors_of_vector(good, k=0), invalid, "K_OUT_OF_RANGE"),
        "k = 10 million": (lambda: client.neighbors_of_vector(good, k=10_000_000), invalid, "K_OUT_OF_RANGE"),
        "unknown track": (lambda: client.neighbors_of_track("nobody's"), missing, "TRACK_NOT_FOUND"),
        "unknown embedding": (lambda: client.get_embedding("nobody's"), missing, "TRACK_NOT_FOUND"),
        "unknown user": (lambda: client.neighbors_of_user("nobody"), missing, "USER_NOT_FOUND"),
        "unknown artist": (lambda: list(client.refresh(["nobody"])), missing, "ARTIST_NOT_FOUND"),
        "another space": (lambda: client.neighbors_of_track("ada-0", space_id="old"), state, "SPACE_MISMATCH"),
        "no credits": (lambda: client.ingest("x", audio=audio_bytes(), artist_ids=[]), invalid, "RELEASE_INVALID"),
        "no date": (
            lambda: client.ingest("x", audio=audio_bytes(), artist_ids=["ada"], release_date="someday"),
            invalid,
            "RELEASE_INVALID",
        ),
    }
    for name, (call, code, reason) in questions.items():
        error = refusal(call)
        assert (error.code, error.reason) == (code, reason), name
    assert client.neighbors_of_vector(good, k=3).space_id == SPACE_ID


def test_a_refresh_streams_its_progress_and_publishes(client: Client) -> None:
    client.ingest("new", audio=audio_bytes(330.0), artist_ids=["ada"])
    before = client.status()
    steps = list(client.refresh(["ada"]))
    after = client.status()
    assert len(steps) > 1
    assert after.snapshot_id != before.snapshot_id
    assert "new" in found(client)


def test_every_acknowledged_track_is_found_at_once_while_snapshots_are_published(lasting: ServerProcess) -> None:
    audio = audio_bytes(330.0)
    stop = threading.Event()
    snapshots: list[str] = []

    def publish() -> None:
        with Client(lasting.address, timeout_s=60.0) as client:
            while not stop.is_set():
                list(client.refresh())
                snapshots.append(client.status().snapshot_id)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        with Client(lasting.address, timeout_s=60.0) as client:
            for number in range(25):
                client.ingest(f"new-{number}", audio=audio, artist_ids=["ada"])
                assert f"new-{number}" in found(client)
                if number % 5 == 4:
                    client.withdraw([f"new-{number}"])
                    assert f"new-{number}" not in found(client)
            stop.set()
            publisher.join()
            expected = {f"new-{number}" for number in range(25) if number % 5 != 4}
            assert {track_id for track_id in found(client) if track_id.startswith("new-")} == expected
    finally:
        stop.set()
        publisher.join()
    assert len(set(snapshots)) >= 2


def test_a_proxy_for_the_web_is_not_asked_the_way_to_the_service(
    lasting: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Client(lasting.address, timeout_s=20.0, retries=0) as client:
        assert client.status().space_id == SPACE_ID


def test_a_stream_answers_good_and_bad_questions_alike(client: Client) -> None:
    answers = dict(client.stream_neighbors([("1", "ada-0"), ("2", "nobody's"), ("3", np.ones(8))], k=2))
    assert set(answers) == {"1", "2", "3"}
    assert isinstance(answers["2"], ClientError)
    assert [len(answers[request_id]) for request_id in ("1", "3")] == [2, 2]  # type: ignore[arg-type]


def test_a_server_stops_when_told_and_finishes_what_it_has_begun(home: Path, server: ServerProcess) -> None:
    with Client(server.address, timeout_s=60.0) as client:
        client.ingest("new", audio=audio_bytes(330.0), artist_ids=["ada"])
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=60) == 0
