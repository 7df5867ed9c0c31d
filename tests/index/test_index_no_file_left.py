"""A process that may open no more files: nothing is damaged, and it goes on once it may."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from index import HomeUnreachableError, Store, TrackRecord, WriteBatch


@contextmanager
def no_file_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull, "rb") as last:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno(), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_is_not_taken_for_damage(store: Store) -> None:
    store.commit(WriteBatch(tracks=[TrackRecord("there")]))
    with no_file_left():
        with pytest.raises(HomeUnreachableError) as reading:
            store.tracks()
        with pytest.raises(HomeUnreachableError) as writing:
            store.commit(WriteBatch(tracks=[TrackRecord("new")]))
    assert "ulimit -n" in str(reading.value)
    assert "ulimit -n" in str(writing.value)
    store.commit(WriteBatch(tracks=[TrackRecord("new")]))
    assert {one.track_id for one in store.tracks()} == {"there", "new"}
