"""The transport with the engine that it is made for: real audio, encoder, store and search."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from grpc_harness import Running, running, until

from grpc_service.client import (
    Client,
    ClientError,
    FailedPreconditionError,
    Filters,
    InvalidArgumentError,
    NotFoundError,
    Tier,
    UnavailableError,
)
from index import SpaceRecord
from jobs import Engine, Release

RATE = 16_000
DIM = 8
WARM = [f"warm-{number}" for number in range(12)]


def tone(pitch_hz: float, seconds: float = 4.0, rate: int = RATE, channels: int = 1, level: float = 0.5) -> bytes:
    """A WAV file of a steady tone."""
    time = np.arange(int(seconds * rate)) / rate
    wave = (level * np.sin(2 * np.pi * pitch_hz * time)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, np.repeat(wave[:, None], channels, axis=1), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def prepare(home: Path) -> None:
    """Make a home with a published space: twelve warm tracks by three artists, four of them heard."""
    rng = np.random.default_rng(7)
    with Engine.open(home, create=True, device="cpu") as engine:
        engine.store.create_space(
            SpaceRecord("space-1", DIM),
            WARM,
            rng.normal(size=(len(WARM), DIM)).astype(np.float32),
            user_ids=["ann"],
            user_vectors=rng.normal(size=(1, DIM)).astype(np.float32),
        )
        heard = [
            Release(track_id, (f"artist-{place % 3}",), tone(200 + 50 * place), title=f"Title {place}")
            for place, track_id in enumerate(WARM[:4])
        ]
        assert all(outcome.error is None for outcome in engine.ingest(heard))
        engine.refresh()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    prepare(home)
    return home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Running]:
    with running(Engine.open(home, device="cpu")) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.address, retries=0, timeout_s=60) as client:
        yield client


def test_a_release_goes_in_and_its_neighbours_come_out(client: Client) -> None:
    send = {"artist_ids": ["artist-0"], "audio": tone(333), "title": "New", "include_vector": True}
    created = client.ingest("new", **send)  # type: ignore[arg-type]
    assert (created.state, created.served, created.tier) == ("created", True, Tier.ARTIST_TRANSFER)
    assert created.catalogue_size == 2
    assert {track_id for track_id, _ in created.leaned_on} == {"warm-0", "warm-3"}
    assert "new" in client.neighbors_of_vector(created.vector, k=13).track_ids
    assert client.neighbors_of_track("new", k=1, titles=True).space_id == "space-1"
    assert client.ingest("new", **send).state == "unchanged"  # type: ignore[arg-type]
    np.testing.assert_array_equal(client.get_embedding("new").vector, created.vector)
    only_new = client.neighbors_of_track("warm-0", filters=Filters(tiers=[Tier.ARTIST_TRANSFER]), titles=True)
    assert [neighbor.title for neighbor in only_new] == ["New"]
    assert client.withdraw(["new"]) == ["new"]
    assert "new" not in client.neighbors_of_vector(created.vector, k=13).track_ids
    with pytest.raises(FailedPreconditionError):
        client.get_embedding("new")


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (b"", "AUDIO_EMPTY"),
        (tone(300)[:20_000], "AUDIO_TRUNCATED"),
        (b"this is no audio at all" * 100, "AUDIO_NOT_AUDIO"),
        (tone(300, level=0.0), "AUDIO_SILENT"),
        (tone(300, seconds=0.2), "AUDIO_TOO_SHORT"),
        (tone(300, rate=192_001, seconds=1.5), "AUDIO_SAMPLE_RATE"),
        (tone(300, channels=8), "AUDIO_CHANNELS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_audio_gets_its_code_and_harms_nothing(client: Client, audio: bytes, reason: str) -> None:
    before = replace(client.status(), upkeep=None)  # counted by the clock
    with pytest.raises(InvalidArgumentError) as caught:
        client.ingest("bad", artist_ids=["artist-0"], audio=audio)
    assert caught.value.reason == reason
    assert caught.value.field
    assert replace(client.status(), upkeep=None) == before
    with pytest.raises(NotFoundError):
        client.neighbors_of_track("bad")


def test_wrong_questions_get_their_code(client: Client) -> None:
    for ask, kind, reason in (
        (lambda: client.neighbors_of_vector(np.full(DIM, np.nan)), InvalidArgumentError, "VECTOR_INVALID"),
        (lambda: client.neighbors_of_vector(np.ones(DIM + 1)), InvalidArgumentError, "VECTOR_INVALID"),
        (lambda: client.neighbors_of_track("nobody"), NotFoundError, "TRACK_NOT_FOUND"),
        (lambda: client.neighbors_of_user("nobody"), NotFoundError, "USER_NOT_FOUND"),
        (lambda: client.neighbors_of_track("warm-0", space_id="other"), FailedPreconditionError, "SPACE_MISMATCH"),
        (lambda: client.get_embedding("warm-0", space_id="other"), FailedPreconditionError, "SPACE_MISMATCH"),
        (lambda: client.neighbors_of_track("warm-0", k=0), InvalidArgumentError, "K_OUT_OF_RANGE"),
        (lambda: client.neighbors_of_track("warm-0", k=10_000_000), InvalidArgumentError, "K_OUT_OF_RANGE"),
        (lambda: client.neighbors_of_track("warm-0", popularity_damping=1.5), InvalidArgumentError, "QUERY_INVALID"),
        (lambda: client.neighbors_of_tracks(["warm-0"], popularity_damping=-1), InvalidArgumentError, "QUERY_INVALID"),
        (lambda: client.neighbors_of_user("ann", popularity_damping=np.nan), InvalidArgumentError, "QUERY_INVALID"),
        (lambda: list(client.refresh(["nobody"])), NotFoundError, "ARTIST_NOT_FOUND"),
        (lambda: client.ingest("", artist_ids=["x"], audio=b"x"), InvalidArgumentError, "RELEASE_INVALID"),
    ):
        with pytest.raises(kind) as caught:
            ask()
        assert caught.value.reason == reason


def test_all_ways_of_asking_agree(client: Client) -> None:
    alone = [client.neighbors_of_track(track_id, k=5) for track_id in WARM]
    together = client.neighbors_of_tracks(WARM, k=5)
    streamed = dict(client.stream_neighbors(((track_id, track_id) for track_id in WARM), k=5))
    for track_id, one, other in zip(WARM, alone, together, strict=True):
        assert one.track_ids == other.track_ids == streamed[track_id].track_ids  # type: ignore[union-attr]
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)  # type: ignore[union-attr]
    assert len(client.neighbors_of_user("ann", k=3)) == 3


def test_queries_of_different_damping_that_are_searched_together_keep_their_own(client: Client) -> None:
    vectors = client.get_embeddings(WARM)[0]
    long = np.mean([np.linalg.norm(one.vector) for one in vectors])
    query = np.ones(DIM, np.float32)
    # Asked at one moment, so that the micro-batcher takes several into one search.
    with ThreadPoolExecutor(8) as pool:
        dampings = [0.0, 0.5, 1.0] * 8
        answers = list(pool.map(lambda d: client.neighbors_of_vector(query, k=20, popularity_damping=d), dampings))
    for damping, answer in zip(dampings, answers, strict=True):
        scores = dict(zip(answer.track_ids, answer.scores, strict=True))
        for one in vectors:
            weight = 1 - damping + damping * long / np.linalg.norm(one.vector)
            np.testing.assert_allclose(scores[one.track_id], one.vector @ query * weight, atol=5e-3)


def test_a_refresh_publishes_another_snapshot(client: Client) -> None:
    before = client.status().snapshot_id
    *steps, report = client.refresh()
    assert steps
    assert report.stage == "done"
    assert client.status().snapshot_id == report.snapshot_id != before


def test_the_upkeep_of_the_home_is_counted_without_anybody_asking(client: Client) -> None:
    until(lambda: client.status().upkeep is not None)
    upkeep = client.status().upkeep
    assert upkeep is not None
    assert upkeep.versions > upkeep.small_fragments > 0
    assert upkeep.alerts == ()


def test_nothing_published_is_said_with_a_hint_when_to_come_back(tmp_path: Path) -> None:
    with running(Engine.open(tmp_path / "home", create=True)) as server, Client(server.address, retries=0) as client:
        assert client.status().space_id == ""
        with pytest.raises(UnavailableError) as caught:
            client.neighbors_of_track("warm-0")
        assert (caught.value.reason, bool(caught.value.retry_after_s)) == ("NO_SNAPSHOT", True)
        with pytest.raises(ClientError):
            client.neighbors_of_tracks(["warm-0"])


SERVE = """
import sys
from grpc_service.options import ServerOptions
from grpc_service.server import run_server
from jobs import Engine

engine = Engine.open(sys.argv[1], device="cpu")
run_server(engine, ServerOptions(port=0), on_ready=lambda address: print(address, flush=True))
"""


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    prepare(tmp_path / "home")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path / "home")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        assert process.stdout is not None
        with Client(process.stdout.readline().strip(), retries=0, timeout_s=60) as client:
            created = client.ingest("new", artist_ids=["artist-1"], audio=tone(250), include_vector=True)
            assert client.withdraw(["warm-5"]) == ["warm-5"]
            process.kill()
        assert created.served
        process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    with running(Engine.open(tmp_path / "home", device="cpu")) as server, Client(server.address) as client:
        found = client.neighbors_of_vector(created.vector, k=20).track_ids
        assert "new" in found
        assert "warm-5" not in found
        again = client.ingest("new", artist_ids=["artist-1"], audio=tone(250), include_vector=True, timeout_s=60)
        assert again.state == "unchanged"
        np.testing.assert_array_equal(again.vector, created.vector)
