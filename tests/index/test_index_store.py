"""The tables: what is written is there, once, under whatever id, and for every process."""

from __future__ import annotations

import json
import threading
from datetime import date

import lance
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_oracle import served

from index import (
    DamagedHomeError,
    Filters,
    InvalidIdError,
    InvalidTrackError,
    InvalidVectorError,
    Store,
    StoreClosedError,
    StoreError,
    TrackRecord,
    UnknownSnapshotError,
    UnknownSpaceError,
    WriteBatch,
)
from index.table_reads import ROW_VERSION
from index.tables import Table

FULL = TrackRecord(
    track_id="Ünïcødé 'quoted\" \\ % ; -- 音楽",
    title="A title",
    artist_ids=("x", "y"),
    roles=("primary", "remixer"),
    release_date=date(1999, 12, 31),
    label="L",
    markets=("DE", "FR"),
    isrc="ISRC",
    audio_sha256="ab",
    audio_uri="s3://b/k",
)


def test_tracks_come_back_as_they_went_in(store):
    plain = TrackRecord("plain")
    store.commit(WriteBatch(tracks=[FULL, plain]))
    assert store.track(FULL.track_id) == FULL
    assert store.track("plain") == plain
    assert store.track("unknown") is None
    assert sorted(track.track_id for track in store.tracks()) == sorted([FULL.track_id, "plain"])
    assert store.tracks(["plain", "unknown"]) == [plain]
    assert store.tracks([]) == []


ID = st.text(
    st.characters(blacklist_categories=("Cc", "Cs")) | st.sampled_from("'\"\\;%_ `\u2028"), min_size=1, max_size=40
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(ID, min_size=1, max_size=6, unique=True))
def test_any_printable_id_is_found_and_finds_nothing_else(store, ids):
    store.commit(WriteBatch(tracks=[TrackRecord(track_id, title=track_id[::-1]) for track_id in ids]))
    for track_id in ids:
        found = store.tracks([track_id])
        assert [track.track_id for track in found] == [track_id]
        assert found[0].title == track_id[::-1]


def test_many_ids_are_looked_up_at_once(store):
    ids = [f"it's {n}" for n in range(600)]
    store.commit(WriteBatch(tracks=[TrackRecord(i) for i in ids], content={"e": [(i, np.ones(2)) for i in ids]}))
    assert {track.track_id for track in store.tracks(ids[:400])} == set(ids[:400])
    rows, _ = store.tracks_table(track_ids=ids[:300])
    assert ROW_VERSION in rows.column_names
    found, content = store.content("e", [*ids[:500], "unknown"])
    assert set(found) == set(ids[:500])
    assert content.shape == (500, 2)


@pytest.mark.parametrize("count", [1, 400])  # a filter, and one pass over the keys
@pytest.mark.parametrize("bad", ["half \ud800", "\x00", "line\nbreak", "\x7f", "x" * 100_000, ""])
def test_what_can_be_no_id_is_not_found(store, space, bad, count):
    store.commit(WriteBatch(tracks=[TrackRecord("good")], content={"e": [("good", np.ones(2))]}))
    ids = [bad, "good", *(f"unknown {n}" for n in range(count))]
    assert store.track(bad) is None
    assert store.tracks([bad]) == []
    assert store.tracks(ids) == [TrackRecord("good")]
    assert store.content("e", ids)[0] == ["good"]
    assert store.served_vectors("als", [bad]) == {}
    assert len(store.served_rows("als", track_ids=ids)) == 0
    assert store.user_vectors("als", [bad])[0] == []
    with pytest.raises(UnknownSnapshotError):
        store.publish(bad)
    with pytest.raises(InvalidIdError):
        store.space(bad)


@pytest.mark.parametrize("bad", ["half \ud800", "\x00", "x" * 100_000, ""])
def test_a_query_names_what_can_be_no_id_in_vain(searcher, bad):
    ones = np.ones((1, 8), dtype=np.float32)
    assert not searcher.vectors([bad])[0].any()
    assert len(searcher.search(ones, 40, exclude=[[bad]])[0]) == 30
    assert len(searcher.search(ones, 40, filters=Filters(artists_in=frozenset({bad})))[0]) == 0
    assert len(searcher.search(ones, 40, filters=Filters(artists_out=frozenset({bad})))[0]) == 30


def test_content_is_kept_by_encoder(store):
    first, second = np.arange(3, dtype=np.float32), np.arange(5, dtype=np.float32)
    store.commit(WriteBatch(content={"one": [("t", first)], "two": [("t", second)]}))
    store.commit(WriteBatch(content={"one": [("u", first + 1), ("u", first + 2)]}))
    ids, content = store.content("one")
    assert dict(zip(ids, content.tolist(), strict=True)) == {"t": [0, 1, 2], "u": [2, 3, 4]}
    np.testing.assert_array_equal(store.content("two", ["t"])[1], second[None])
    assert store.content("three")[0] == []


@pytest.mark.parametrize(
    ("batch", "error", "field"),
    [
        (WriteBatch(tracks=[TrackRecord("")]), InvalidIdError, "track_id"),
        (WriteBatch(tracks=[TrackRecord("x" * 257)]), InvalidIdError, "track_id"),
        (WriteBatch(tracks=[TrackRecord("line\nbreak")]), InvalidIdError, "track_id"),
        (WriteBatch(tracks=[TrackRecord("half \ud800")]), InvalidIdError, "track_id"),
        (WriteBatch(tracks=[TrackRecord("t", title="half \ud800")]), InvalidTrackError, "title"),
        (WriteBatch(tracks=[TrackRecord("t", artist_ids=("a", "a"))]), InvalidIdError, "artist_ids"),
        (WriteBatch(tracks=[TrackRecord("t", artist_ids=("a",), roles=("primary", "x"))]), InvalidTrackError, "roles"),
        (WriteBatch(tracks=[TrackRecord("t", artist_ids=("a",), roles=("drummer",))]), InvalidTrackError, "roles"),
        (WriteBatch(content={"../up": [("t", np.ones(2))]}), InvalidIdError, "encoder_id"),
        (WriteBatch(content={"e": [("t", np.array([1.0, np.nan]))]}), InvalidVectorError, "content"),
        (WriteBatch(fresh={"als": [served("t", np.ones(7))]}), InvalidVectorError, "vector"),
        (WriteBatch(fresh={"als": [served("t", np.full(8, np.inf))]}), InvalidVectorError, "vector"),
        (WriteBatch(fresh={"als": [served("t", np.full(8, 1e20))]}), InvalidVectorError, "vector"),
        (WriteBatch(fresh={"als": [served("t", np.ones(8), confidence=1.5)]}), InvalidVectorError, "confidence"),
        (WriteBatch(fresh={"als": [served("t", np.ones(8), tier=9)]}), InvalidVectorError, "tier"),
        (WriteBatch(fresh={"other": [served("t", np.ones(8))]}), UnknownSpaceError, "space_id"),
        (WriteBatch(withdrawn={"": "why"}), InvalidIdError, "track_id"),
        (WriteBatch(withdrawn={"t": "half \ud800"}), InvalidTrackError, "reason"),
        (WriteBatch(tracks=[TrackRecord("t", markets=("half \ud800",))]), InvalidTrackError, "markets"),
        (WriteBatch(tracks=[TrackRecord("t", audio_sha256="half \ud800")]), InvalidTrackError, "audio_sha256"),
    ],
)
def test_what_is_malformed_is_refused_and_nothing_of_it_written(store, space, batch, error, field):
    good = TrackRecord("good")
    mixed = WriteBatch(
        tracks=[good, *batch.tracks], content=batch.content, fresh=batch.fresh, withdrawn=batch.withdrawn
    )
    with pytest.raises(error) as caught:
        store.commit(mixed)
    assert caught.value.field == field
    assert caught.value.reason.isupper()
    assert store.track("good") is None


def test_a_new_encoders_lengths_are_compared_before_anything_is_written(store):
    batch = WriteBatch(tracks=[TrackRecord("t")], content={"e": [("t", np.ones(2)), ("u", np.ones(3))]})
    with pytest.raises(InvalidVectorError):
        store.commit(batch)
    assert store.track("t") is None
    assert store.content("e")[0] == []


def test_many_threads_lose_nothing_and_double_nothing(store, space):
    started = threading.Barrier(16)
    failures: list[Exception] = []

    def write(worker: int) -> None:
        started.wait()
        try:
            for turn in range(3):
                own, shared = f"w{worker}-{turn}", f"s{turn}"
                store.commit(
                    WriteBatch(
                        tracks=[TrackRecord(own), TrackRecord(shared, title=str(worker))],
                        content={"e": [(own, np.full(2, worker))]},
                        fresh={"als": [served(own, np.ones(8)), served(shared, np.full(8, worker + 1.0))]},
                    )
                )
                assert store.track(own) is not None
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    expected = {f"w{worker}-{turn}" for worker in range(16) for turn in range(3)}
    tracks = [track.track_id for track in store.tracks()]
    assert sorted(tracks) == sorted(expected | {"s0", "s1", "s2"})
    assert sorted(store.content("e")[0]) == sorted(expected)
    assert sorted(store.fresh_rows("als").track_ids) == sorted(tracks)
    # Sixteen callers shared writes: far fewer versions than commits.
    assert lance.dataset(str(store.home / "tracks.lance")).version < 48


def test_one_callers_failure_is_not_anothers(store, monkeypatch):
    store.commit(WriteBatch(tracks=[TrackRecord("before")]))
    real = Table.upsert
    barrier = threading.Barrier(6)

    def upsert(self, rows, **options):
        if "cursed" in rows["track_id"].to_pylist():
            raise DamagedHomeError("no")
        return real(self, rows, **options)

    monkeypatch.setattr(Table, "upsert", upsert)
    outcomes: dict[str, object] = {}

    def write(track_id: str) -> None:
        barrier.wait()
        try:
            outcomes[track_id] = store.commit(WriteBatch(tracks=[TrackRecord(track_id)]))
        except StoreError as error:
            outcomes[track_id] = error

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "cursed", "c", "d", "e")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(outcomes.pop("cursed"), DamagedHomeError)
    assert not any(isinstance(outcome, Exception) for outcome in outcomes.values())
    assert {track.track_id for track in store.tracks()} == {"before", "a", "b", "c", "d", "e"}


def test_withdrawals_are_told_apart_from_repeats(store):
    assert store.commit(WriteBatch(withdrawn={"a": "x", "b": "x"})).newly_withdrawn == ("a", "b")
    assert store.commit(WriteBatch(withdrawn={"b": "y", "c": "y"})).newly_withdrawn == ("c",)
    assert store.withdrawn() == {"a", "b", "c"}


def test_a_closed_store_refuses(tmp_path):
    store = Store.open(tmp_path / "h")
    store.commit(WriteBatch(tracks=[TrackRecord("t")]))
    store.close()
    store.close()
    with pytest.raises(StoreClosedError):
        store.commit(WriteBatch(tracks=[TrackRecord("u")]))


def test_compaction_keeps_rows_and_their_versions(store, space):
    before: dict[str, int] = {}
    for turn in range(60):
        store.commit(WriteBatch(fresh={"als": [served(f"n{turn % 50}", np.full(8, turn))]}))
        before[f"n{turn % 50}"] = store.fresh_version("als")
    (folder,) = (store.home / "fresh").iterdir()
    table = lance.dataset(str(folder))
    assert len(table.get_fragments()) < 30
    rows = store.fresh_rows("als")
    found = dict(zip(rows.track_ids, rows.versions, strict=True))
    assert found.keys() == before.keys()
    # A compaction between a commit and the reading of its version only moves the latter.
    assert all(found[key] <= before[key] <= found[key] + 1 for key in found)
    assert found["n5"] > found["n12"]


# Homes ---------------------------------------------------------------------------------------------------------------


def test_what_is_no_home_is_not_made_one(tmp_path):
    for missing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DamagedHomeError) as caught:
            Store.open(missing, create=False)
        assert caught.value.reason == "HOME_NOT_FOUND"
    (tmp_path / "holiday.txt").write_text("photos")
    with pytest.raises(DamagedHomeError, match=r"holiday\.txt"):
        Store.open(tmp_path)
    with pytest.raises(DamagedHomeError, match="file"):
        Store.open(tmp_path / "holiday.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holiday.txt"]


@pytest.mark.parametrize("version", [2, 99])
def test_another_format_version_is_named(tmp_path, version):
    Store.open(tmp_path / "h").close()
    (tmp_path / "h" / "home.json").write_text(json.dumps({"format": "anacrusis-home", "version": version}))
    with pytest.raises(DamagedHomeError, match=f"version {version} where this program reads 3: open it with the rel"):
        Store.open(tmp_path / "h")
    (tmp_path / "h" / "home.json").write_text("{")
    with pytest.raises(DamagedHomeError, match="backup"):
        Store.open(tmp_path / "h")


def test_a_damaged_table_is_named(tmp_path):
    with Store.open(tmp_path / "h") as store:
        store.commit(WriteBatch(tracks=[TrackRecord("t")]))
    for manifest in (tmp_path / "h" / "tracks.lance" / "_versions").iterdir():
        manifest.write_bytes(b"not a manifest")
    with pytest.raises(DamagedHomeError, match="table tracks"):
        Store.open(tmp_path / "h")


def test_a_home_half_made_is_finished(tmp_path):
    with Store.open(tmp_path / "h"):
        pass
    (tmp_path / "h" / "home.json").unlink()
    with Store.open(tmp_path / "h") as store:
        store.commit(WriteBatch(tracks=[TrackRecord("t")]))
        assert store.track("t") is not None
