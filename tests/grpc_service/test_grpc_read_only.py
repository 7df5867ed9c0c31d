"""A read-only replica follows what a writer does to the home, refuses what would change it, and writes nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from grpc_harness import running, until
from made_catalogue import DIM, SPACE_ID, audio_bytes, release, warm_factors

from grpc_service.client import Client, Feedback
from grpc_service.client_errors import ClientError, FailedPreconditionError, NotFoundError
from index import DamagedHomeError, ReadOnlyError, ServedVector, SpaceRecord, Store, Tier, TrackRecord, WriteBatch
from index import build_snapshot as build
from jobs import Engine
from jobs.factors import Factors
from jobs.maintain import maintain
from jobs.models import keep_model
from jobs.spaces import import_space, rollback_snapshot
from jobs.train import train_space


@pytest.fixture
def replica(home: Path) -> Iterator[Client]:
    with (
        running(Engine.open(home, read_only=True, device="cpu"), poll_interval_s=0.02) as server,
        Client(server.address, retries=0, timeout_s=60) as client,
    ):
        yield client


def found(client: Client) -> set[str]:
    return set(client.neighbors_of_track("ada-0", k=100).track_ids)


def contents(home: Path) -> dict[str, str]:
    """Every file of a home, with its hash."""
    return {
        str(path.relative_to(home)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file()
    }


def test_a_replica_follows_ingests_withdrawals_publishes_and_rollbacks(replica: Client, home: Path) -> None:
    with Engine.open(home, device="cpu") as writer:
        first = replica.status().snapshot_id
        writer.ingest([release("new")])
        until(lambda: "new" in found(replica))
        writer.withdraw(["ben-1"])
        until(lambda: "ben-1" not in found(replica))
        turned = Factors(warm_factors().ids, warm_factors().vectors[:, ::-1].copy())
        import_space(writer, "space-2", turned)
        writer.refresh(space_id="space-2")
        until(lambda: replica.status().space_id == "space-2")
        query = np.asarray(replica.get_embedding("ada-0").vector)
        np.testing.assert_array_equal(query, turned.vectors[turned.ids == "ada-0"][0])
        assert "new" in found(replica)
        assert "ben-1" not in found(replica)
        rollback_snapshot(writer)
        until(lambda: replica.status().snapshot_id == first)
        until(lambda: "new" in found(replica))
        assert "ben-1" not in found(replica)


def test_a_replica_refuses_what_would_change_the_home_and_says_where_to_send_it(replica: Client, home: Path) -> None:
    before = contents(home)
    audio = audio_bytes()
    calls: list[Callable[[], object]] = [
        lambda: replica.ingest("new", artist_ids=["ada"], audio=audio),
        lambda: replica.ingest("new", artist_ids=["ada"], audio=audio * 400),  # long enough to go in pieces
        lambda: replica.withdraw(["ada-0"]),
        lambda: replica.record_feedback([Feedback("ada-0", "listener")]),
        lambda: list(replica.refresh()),
    ]
    for call in calls:
        with pytest.raises(FailedPreconditionError, match="without --read-only") as caught:
            call()
        assert caught.value.reason == "READ_ONLY"
    assert contents(home) == before
    assert found(replica) >= {"ada-1", "ben-0"}
    with pytest.raises(NotFoundError):
        replica.get_embedding("new")


def test_a_client_asks_replicas_in_turn_and_goes_on_with_those_that_are_left(home: Path) -> None:
    with (
        running(Engine.open(home, read_only=True, device="cpu"), grace_s=0.0) as first,
        running(Engine.open(home, read_only=True, device="cpu"), grace_s=0.0) as second,
        Client(f"ipv4:{first.address},{second.address}", timeout_s=60) as client,
    ):
        until(lambda: bool(found(client)) and min(first.calls_begun, second.calls_begun) >= 10)
        second.drain()
        second.join()
        assert all(found(client) for _ in range(20))


def test_a_replica_says_what_it_is_and_how_often_it_looks(replica: Client, home: Path) -> None:
    status = replica.status()
    assert (status.read_only, status.poll_interval_s) == (True, 0.02)
    with running(Engine.open(home, device="cpu")) as server, Client(server.address) as client:
        assert not client.status().read_only


def test_a_replica_leaves_to_others_what_a_writer_does_at_opening(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A track that is stored but not projected, and an index that is damaged."""
    with Engine.open(home, device="cpu") as writer:
        record = TrackRecord("left-behind", artist_ids=("ada",))
        encoder_id = writer.encoder.encoder_id
        content = writer.store.content(encoder_id, ["ada-0"])[1][0]
        writer.store.commit(WriteBatch(tracks=[record], content={encoder_id: [("left-behind", content)]}))
    (index,) = home.glob("indexes/*/base.faiss")
    index.write_bytes(b"damaged")
    before = contents(home)
    with Engine.open(home, read_only=True, device="cpu") as replica:
        assert "building it anew" in caplog.text
        assert not replica.sync()
        assert len(replica.searcher.search(np.ones((1, DIM), np.float32), 100).hits[0].track_ids) == 12
        assert contents(home) == before
        with Engine.open(home, device="cpu"):
            assert replica.sync()
        assert "left-behind" in replica.searcher.search(np.ones((1, DIM), np.float32), 100).hits[0].track_ids


def test_a_replica_waits_for_the_first_publish_but_not_for_a_home(tmp_path: Path) -> None:
    with pytest.raises(DamagedHomeError) as caught:
        Engine.open(tmp_path / "home", create=True, read_only=True)
    assert caught.value.reason == "HOME_NOT_FOUND"
    assert not (tmp_path / "home").exists()
    with (
        Engine.open(tmp_path / "home", create=True) as writer,
        running(Engine.open(tmp_path / "home", read_only=True), poll_interval_s=0.02) as server,
        Client(server.address, retries=0) as replica,
    ):
        with pytest.raises(ClientError) as unserved:
            found(replica)
        assert unserved.value.reason == "NO_SNAPSHOT"
        writer.store.create_space(SpaceRecord("als", 2), ["ada-0", "x"], np.eye(2, dtype=np.float32))
        writer.store.publish(build(writer.store, "als").snapshot_id)
        until(lambda: replica.status().space_id == "als")
        assert found(replica) == {"x"}


def test_nothing_in_a_store_writes_to_a_home_that_is_read_only(home: Path) -> None:
    row = ServedVector("new", np.ones(DIM, np.float32), Tier.AUDIO_ONLY, 0.5)
    with Engine.open(home) as engine:
        model = train_space(engine, method="artist_mean").model  # its folder is there, so that it is only named
    before = contents(home)
    with Store.open(home, read_only=True) as store, Engine.open(home, read_only=True) as engine:
        snapshot = store.published()
        assert snapshot is not None
        for write in (
            lambda: store.commit(WriteBatch(withdrawn={"ada-0": ""})),
            lambda: store.create_space(SpaceRecord("s", 1), ["a"], np.ones((1, 1), np.float32)),
            lambda: store.replace_served(SPACE_ID, [row], as_of=0),
            lambda: build(store, SPACE_ID),
            lambda: store.record_snapshot(snapshot),
            lambda: store.publish(snapshot.snapshot_id),
            store.rollback,
            lambda: store.lease("refresh"),
            lambda: engine.refresh(),
            lambda: rollback_snapshot(engine),
            lambda: train_space(engine, method="artist_mean"),
            lambda: maintain(engine),
            lambda: keep_model(engine.home, model),
        ):
            with pytest.raises(ReadOnlyError):
                write()
    assert contents(home) == before


def test_whatever_a_store_offers_refuses_to_write_or_is_known_to_read() -> None:
    reading = {
        "bases",
        "between_commits",
        "changed_since",
        "news_since",
        "close",
        "collaborative_rows",
        "content",
        "feedback",
        "feedback_counts",
    }
    reading |= {"feedback_version", "fresh_rows", "fresh_since", "fresh_version", "heard_ids", "home", "layout"}
    reading |= {"newest_rows", "open", "publish_sequence", "published", "publishes", "rollback_target", "served_rows"}
    reading |= {"served_vectors", "snapshot", "snapshots", "space", "space_tables", "spaces", "stale_ids", "standings"}
    reading |= {
        "know_keys",
        "subscribe",
        "track",
        "track_columns",
        "tracks",
        "tracks_table",
        "user_vectors",
        "versions",
    }
    reading |= {"moved", "registry", "rollback_stack", "shown_rows", "snapshot_columns", "tables"}
    reading |= {"with_feedback_counts", "withdrawn", "withdrawn_at"}
    offered = {name: inspect.getsource(one) for name, one in vars(Store).items() if inspect.isfunction(one)}
    unguarded = {name for name, source in offered.items() if "self._home.require_writable()" not in source}
    assert {name for name in unguarded if not name.startswith("_")} <= reading


def test_a_running_replica_needs_no_right_to_write(home: Path, replica: Client) -> None:
    for path in (home, *home.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with Engine.open(home, read_only=True, device="cpu") as engine, running(engine) as server:  # noqa: SIM117
            with Client(server.address) as client:
                assert found(client) == found(replica)
    finally:
        for path in (home, *home.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
