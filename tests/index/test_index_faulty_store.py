"""An object store that throttles, loses replies, cuts them off, or is silent: bounded tries, no loss, nothing twice."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np
import pytest
from faulty_store import FaultyStore, faulty_store

from index import (
    HomeUnreachableError,
    Metric,
    Searcher,
    ServedVector,
    SpaceRecord,
    Store,
    StoreError,
    Tier,
    TrackRecord,
    WriteBatch,
    build_snapshot,
)

DIM = 4


@pytest.fixture
def faulty(s3: object, _s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    with faulty_store(_s3_endpoint) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.address)
        yield store


@pytest.fixture
def store(s3: object, faulty: FaultyStore) -> Iterator[Store]:
    # A bucket of its own: Lance keeps the client of one that it has seen, and with it the endpoint.
    bucket = f"faulty-{secrets.token_hex(4)}"
    s3.create_bucket(Bucket=bucket)  # type: ignore[attr-defined]
    with Store.open(f"s3://{bucket}/home") as opened:
        ids = [f"t{number}" for number in range(6)]
        vectors = np.random.default_rng(1).normal(size=(6, DIM)).astype(np.float32)
        opened.create_space(SpaceRecord("als", DIM, Metric.INNER_PRODUCT), ids, vectors)
        opened.publish(build_snapshot(opened, "als").snapshot_id)
        yield opened


def batch(track_id: str) -> WriteBatch:
    row = ServedVector(track_id, np.ones(DIM, np.float32), Tier.AUDIO_ONLY, 0.25)
    return WriteBatch(tracks=[TrackRecord(track_id)], fresh={"als": [row]})


def whole(store: Store, *track_ids: str) -> None:
    """Everything is there once, for this process and for one that opens the home anew."""
    with Store.open(store.home, create=False) as again:
        for opened in (store, again):
            assert sorted(one.track_id for one in opened.tracks()) == sorted(track_ids)
            assert sorted(opened.fresh_rows("als").track_ids) == sorted(track_ids)


def test_a_commit_whose_reply_is_lost_counts_once(store: Store, faulty: FaultyStore) -> None:
    faulty.set("lose the reply", 1, lambda method, path: method == "PUT" and ".manifest" in path)
    store.commit(batch("new"))
    assert faulty.done == 1
    whole(store, "new")


@pytest.mark.slow
def test_a_few_faults_are_got_over(store: Store, faulty: FaultyStore) -> None:
    faults = ("throttle", "lose the reply", "cut the reply")
    with Searcher.open(store, device="cpu") as searcher:
        for fault in faults:
            faulty.set(fault, 2)
            store.commit(batch(fault))
            assert faulty.done == 2
            assert fault in searcher.search(np.ones((1, DIM), np.float32), 10).hits[0].track_ids
    faulty.set("", 0)
    whole(store, *faults)


@pytest.mark.slow
def test_a_store_that_throttles_for_good_is_told_and_served_on_from_memory(store: Store, faulty: FaultyStore) -> None:
    with Searcher.open(store, device="cpu") as searcher:
        before = searcher.search(np.ones((1, DIM), np.float32), 10).hits[0].track_ids
        faulty.set("throttle", 1_000_000)
        with pytest.raises(HomeUnreachableError) as caught:
            store.commit(batch("new"))
        assert "does not answer" in str(caught.value)
        assert searcher.search(np.ones((1, DIM), np.float32), 10).hits[0].track_ids == before
        with pytest.raises(StoreError):
            searcher.sync()
        faulty.set("", 0)
        store.commit(batch("new"))
        whole(store, "new")
        assert "new" in searcher.search(np.ones((1, DIM), np.float32), 10).hits[0].track_ids
