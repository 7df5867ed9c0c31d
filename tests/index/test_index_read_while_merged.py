"""What is being read is never the object that Lance merges into: it would panic, and take the writing thread along."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lance
import pytest

from index import Store, TrackRecord, WriteBatch, tables
from index.errors import DamagedHomeError

ROUNDS = 60
READERS = 4


@pytest.fixture(autouse=True)
def _appending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Append new keys from the first upsert on."""
    monkeypatch.setattr(tables, "_KNOWN_AFTER", 0)


def put(store: Store, track_id: str, title: str = "") -> None:
    store.commit(WriteBatch(tracks=[TrackRecord(track_id, title=title)]))


def test_nobody_reads_from_what_is_merged_into(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    merged_into: list[Any] = []
    merge_insert = lance.LanceDataset.merge_insert

    def noted(dataset: lance.LanceDataset, on: str) -> Any:
        merged_into.append(dataset)
        return merge_insert(dataset, on)

    monkeypatch.setattr(lance.LanceDataset, "merge_insert", noted)
    put(store, "first")  # merged or appended, whatever comes before the keys are known
    put(store, "second")
    merged_into.clear()
    put(store, "third")
    assert not merged_into  # it was appended: now one object may read and write
    read_from = store._tracks.latest()
    put(store, "third", "changed")
    (written,) = merged_into
    assert written is not read_from
    assert written is not store._tracks.latest()


def test_a_panic_is_told_as_an_error_and_the_next_commit_goes_well(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    put(store, "there")

    def fail(dataset: lance.LanceDataset, on: str) -> Any:
        raise panic("already borrowed")

    with monkeypatch.context() as patch:
        patch.setattr(lance.LanceDataset, "merge_insert", fail)
        with pytest.raises(DamagedHomeError):
            put(store, "there", "changed")
    put(store, "there", "changed")
    assert [one.title for one in store.tracks()] == ["changed"]


@pytest.mark.slow
def test_appending_merging_and_reading_at_once(store: Store) -> None:
    over = threading.Event()

    def read() -> int:
        count = 0
        while not over.is_set():
            count += len(store.tracks())
        return count

    with ThreadPoolExecutor(READERS) as pool:
        reading = [pool.submit(read) for _ in range(READERS)]
        try:
            for number in range(ROUNDS):
                put(store, f"new-{number}")
                put(store, f"new-{number}", "changed")
        finally:
            over.set()
        assert all(one.result() for one in reading)
    assert [one.title for one in store.tracks()] == ["changed"] * ROUNDS
