"""Content vectors written as fragments: taken in at once, no key twice, whoever else writes."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pytest
from lance.fragment import FragmentMetadata

from index import ContentBackfill, HeardPart, InvalidVectorError, Store, TrackRecord, WriteBatch
from index.tables import Table

ENCODER, DIM = "ear", 4


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "home")


def part(backfill: ContentBackfill, *track_ids: str, value: float = 1.0) -> HeardPart:
    fragment = backfill.target.write(track_ids, np.full((len(track_ids), DIM), value, np.float32))
    return HeardPart(fragment, track_ids, ("0" * 64,) * len(track_ids), track_ids)


def content(store: Store) -> dict[str, float]:
    ids, vectors = store.content(ENCODER)
    assert len(set(ids)) == len(ids)
    return {track_id: float(vector[0]) for track_id, vector in zip(ids, vectors, strict=True)}


def take_in(backfill: ContentBackfill, parts: list[HeardPart], leaving_out: Collection[str] = ()) -> None:
    backfill.take_in({one: set(one.track_ids).difference(leaving_out) for one in parts})


def commit(store: Store, track_id: str, value: float) -> None:
    store.commit(WriteBatch(content={ENCODER: [(track_id, np.full(DIM, value, np.float32))]}))


def test_fragments_are_unseen_until_they_are_taken_in_and_the_table_stays_what_it_was(store: Store) -> None:
    commit(store, "old", 9.0)
    backfill = store.backfill(ENCODER, DIM)
    parts = [part(backfill, "a", "b"), part(backfill, "c")]
    assert content(store) == {"old": 9.0}
    versions = lance.dataset(backfill.target.address).version
    take_in(backfill, parts)
    assert content(store) == {"old": 9.0, "a": 1.0, "b": 1.0, "c": 1.0}
    dataset = lance.dataset(backfill.target.address)
    assert dataset.version == versions + 1
    assert dataset.has_stable_row_ids
    assert dataset.schema.field("track_id").metadata[b"lance-schema:unenforced-primary-key"] == b"true"
    commit(store, "a", 5.0)  # an ingest afterwards finds the key
    assert content(store)["a"] == 5.0


def test_what_others_heard_meanwhile_and_what_is_not_wanted_is_left_out(store: Store) -> None:
    backfill = store.backfill(ENCODER, DIM)
    parts = [part(backfill, "a", "b", "gone"), part(backfill, "b", "c", value=2.0), part(backfill, "d")]
    commit(store, "a", 7.0)
    commit(store, "d", 7.0)
    take_in(backfill, parts, {"gone"})
    assert content(store) == {"a": 7.0, "b": 1.0, "c": 2.0, "d": 7.0}


@pytest.mark.parametrize("order", ["before the commit", "after the commit"])
def test_a_merge_at_the_same_moment_leaves_one_row_and_that_is_the_others(
    store: Store, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, "old", 9.0)
    backfill = store.backfill(ENCODER, DIM)
    parts = [part(backfill, "a", "x")]
    append = lance.LanceDataset.commit
    merged = backfill.target.write(["x"], np.full((1, DIM), 7.0, np.float32))

    def somebody_merges() -> None:  # as Lance leaves it where a merge began before the other's commit
        operation = lance.LanceOperation.Append([FragmentMetadata.from_json(merged)])
        append(backfill.target.address, operation, read_version=lance.dataset(backfill.target.address).version)

    def commit_beside(*args: object, **options: object) -> object:
        if order == "before the commit":
            somebody_merges()
        committed = append(*args, **options)
        if order == "after the commit":
            somebody_merges()
        return committed

    monkeypatch.setattr(lance.LanceDataset, "commit", commit_beside)
    take_in(backfill, parts)
    assert content(store) == {"old": 9.0, "a": 1.0, "x": 7.0}
    assert backfill.drop_twins() == 0


def test_lance_lets_an_append_and_a_merge_of_one_key_pass_each_other(store: Store) -> None:
    """Why `drop_twins` is there; it may go when this fails."""
    backfill = store.backfill(ENCODER, DIM)
    address = backfill.target.address
    fragment = FragmentMetadata.from_json(part(backfill, "x").fragment)
    version = lance.dataset(address).version
    commit(store, "x", 7.0)
    lance.LanceDataset.commit(address, lance.LanceOperation.Append([fragment]), read_version=version, max_retries=0)
    assert store.content(ENCODER)[0] == ["x", "x"]


def test_notes_outlive_the_job_unless_their_fragment_is_gone(store: Store) -> None:
    backfill = store.backfill(ENCODER, DIM)
    first, second = part(backfill, "a", "b"), part(backfill, "c")
    backfill.note(first)
    backfill.note(second)
    again = Store.open(store.home).backfill(ENCODER, DIM)
    assert sorted(again.noted(), key=lambda one: one.track_ids) == [first, second]
    (file,) = json.loads(second.fragment)["files"]
    Path(again.target.address, "data", file["path"]).unlink()
    assert again.noted() == [first]
    take_in(again, [first])
    again.finish()
    assert content(store) == {"a": 1.0, "b": 1.0}
    assert store.backfill(ENCODER, DIM).noted() == []


def test_many_notes_do_not_make_each_other_slow(store: Store) -> None:
    backfill = store.backfill(ENCODER, DIM)
    heard = part(backfill, "a")
    for number in range(60):
        file = f"{number}.lance"
        backfill.note(replace(heard, fragment=heard.fragment.replace(".lance", file)))
    assert len(lance.dataset(store.layout.staged(ENCODER)).get_fragments()) < 20


def test_a_job_that_goes_on_takes_nothing_in_twice(store: Store) -> None:
    killed = store.backfill(ENCODER, DIM)
    heard = part(killed, "a", "b")
    killed.note(heard)
    take_in(killed, [heard])
    commit(store, "b", 7.0)
    again = store.backfill(ENCODER, DIM)
    take_in(again, again.noted())
    assert content(store) == {"a": 1.0, "b": 7.0}


def test_vectors_that_the_table_cannot_hold_are_refused(store: Store) -> None:
    backfill = store.backfill(ENCODER, DIM)
    with pytest.raises(InvalidVectorError):
        backfill.target.write(["a"], np.full((1, DIM), np.nan, np.float32))
    with pytest.raises(InvalidVectorError, match="has the length 4 in this home, not 5"):
        store.backfill(ENCODER, DIM + 1)


def test_tracks_are_added_and_never_overwritten(store: Store) -> None:
    def record(track_id: str, title: str) -> TrackRecord:
        return TrackRecord(track_id, title=title, artist_ids=("ada",), roles=("primary",), audio_sha256="0" * 64)

    store.commit(WriteBatch(tracks=[record("a", "theirs")]))
    assert store.add_tracks([record("a", "ours"), record("b", "ours")]) == 1
    assert {one.track_id: one.title for one in store.tracks()} == {"a": "theirs", "b": "ours"}


def test_a_clean_up_leaves_what_is_written_and_not_yet_taken_in(store: Store) -> None:
    commit(store, "old", 8.0)
    backfill = store.backfill(ENCODER, DIM)
    heard = part(backfill, "a")
    backfill.note(heard)
    commit(store, "old", 9.0)
    versions, _ = Table(backfill.target.address, "content", "track_id").clean_up(timedelta(0))
    assert versions > 0
    assert backfill.noted() == [heard]
    take_in(backfill, [heard])
    assert content(store) == {"old": 9.0, "a": 1.0}
