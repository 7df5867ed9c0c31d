"""Commits that could not be shown when they were made, and withdrawals that overtake views."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from search_oracle import served

from index import DamagedHomeError, Searcher, SpaceRecord, Store, TrackRecord, WriteBatch, build_snapshot
from index.rows import GrowingColumns
from index.state import SearchState

ONES = np.ones((1, 8), dtype=np.float32)


def found(searcher: Searcher) -> list[str]:
    return searcher.search(ONES, 100)[0].track_ids


def expected(*new: str, without: tuple[str, ...] = ()) -> set[str]:
    return ({f"t{i:02d}" for i in range(30)} | set(new)) - set(without)


def test_a_look_up_that_fails_loses_neither_the_row_nor_the_withdrawal(searcher, store, monkeypatch):
    calls = []

    def broken(self, **options):
        calls.append(options)
        raise OSError("too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "tracks_table", broken)
        # No track comes with the row, so that showing it needs a look-up.
        store.commit(WriteBatch(fresh={"als": [served("late", np.full(8, 99))]}, withdrawn={"t03": ""}))
        assert calls
        with pytest.raises(OSError, match="too many"):  # no answer rather than a wrong one
            found(searcher)
    assert found(searcher)[0] == "late"
    assert set(found(searcher)) == expected("late", without=("t03",))
    assert searcher.vectors(["late", "t03"])[0].tolist() == [True, False]
    with Searcher.open(store, device="cpu") as other:
        assert found(other) == found(searcher)


@pytest.mark.parametrize("rows_before_the_failure", [0, 1])
def test_an_update_that_breaks_off_halfway_is_mended_by_the_next_query(
    searcher, store, monkeypatch, caplog, rows_before_the_failure
):
    store.commit(WriteBatch(tracks=[TrackRecord("early")], fresh={"als": [served("early", np.full(8, 50))]}))
    real, appended = GrowingColumns.append, []

    def append(self, track, tier, confidence):
        if len(appended) == rows_before_the_failure:
            raise MemoryError("no room")
        appended.append(track)
        real(self, track, tier, confidence)

    rows = [served(name, np.full(8, 90 + n)) for n, name in enumerate(("a", "b", "t05"))]
    with monkeypatch.context() as patched:
        patched.setattr(GrowingColumns, "append", append)
        store.commit(WriteBatch(tracks=[TrackRecord(row.track_id) for row in rows], fresh={"als": rows}))
        # Another commit before anybody asks.
        store.commit(WriteBatch(withdrawn={"b": "", "t06": ""}))
    assert "could not be shown" in caplog.text
    assert found(searcher)[:3] == ["t05", "a", "early"]
    assert set(found(searcher)) == expected("a", "early", without=("t06",))
    assert searcher.status().fresh_rows == 3
    store.commit(WriteBatch(tracks=[TrackRecord("c")], fresh={"als": [served("c", np.full(8, 95))]}))
    assert found(searcher)[0] == "c"


def test_catching_up_mends_what_could_not_be_shown(searcher, store, monkeypatch):
    def broken(self, **changes):
        raise MemoryError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(SearchState, "updated", broken)
        store.commit(WriteBatch(tracks=[TrackRecord("t")], fresh={"als": [served("t", np.full(8, 99))]}))
        with pytest.raises(MemoryError):
            searcher.status()
    assert searcher.catch_up()
    assert not searcher.catch_up()
    assert found(searcher)[0] == "t"


def test_a_catch_up_that_cannot_read_leaves_what_was_served(searcher, store, monkeypatch):
    def broken(self, *arguments, **options):
        raise DamagedHomeError("no")

    with Store.open(store.home) as other:
        other.commit(WriteBatch(tracks=[TrackRecord("t")], fresh={"als": [served("t", np.full(8, 99))]}))
    with monkeypatch.context() as patched:
        patched.setattr(Store, "fresh_since", broken)
        with pytest.raises(DamagedHomeError):
            searcher.catch_up()
        assert set(found(searcher)) == expected()
    assert searcher.catch_up()
    assert set(found(searcher)) == expected("t")


# Withdrawals that overtake views -------------------------------------------------------------------------------------


def test_a_view_taken_before_a_withdrawal_keeps_to_it(searcher, store):
    store.commit(WriteBatch(tracks=[TrackRecord("n")], fresh={"als": [served("n", np.full(8, 99))]}))
    view = searcher.view()
    before = view.search(ONES, 10)[0]
    store.commit(WriteBatch(withdrawn={"n": "", before.track_ids[3]: "", "unknown": ""}))
    after = view.search(ONES, 10)[0]
    kept = [at for at in range(10) if at not in (0, 3)]
    assert after.track_ids == [before.track_ids[at] for at in kept]
    np.testing.assert_array_equal(after.scores, before.scores[kept])
    assert len(after.tiers) == len(after.confidence) == 8
    assert not view.vectors(["n", before.track_ids[3]])[0].any()
    assert len(searcher.search(ONES, 10)[0]) == 10  # a new view fills the gap


def test_a_view_of_a_snapshot_that_was_replaced_keeps_to_later_withdrawals(searcher, store):
    view = searcher.view()
    store.create_space(SpaceRecord("next", 8), ["t00", "o1"], np.ones((2, 8), dtype=np.float32))
    store.publish(build_snapshot(store, "next").snapshot_id)
    searcher.sync()
    assert searcher.snapshot != view.snapshot
    store.commit(WriteBatch(withdrawn={"t00": ""}))
    assert set(view.search(ONES, 100)[0].track_ids) == expected(without=("t00",))
    assert found(searcher) == ["o1"]
    with Store.open(store.home) as other:
        other.commit(WriteBatch(withdrawn={"t01": ""}))
    searcher.catch_up()
    assert set(view.search(ONES, 100)[0].track_ids) == expected(without=("t00", "t01"))


def test_no_search_begun_before_a_withdrawal_ends_with_it_in_the_answer(searcher, store, monkeypatch):
    state = searcher.view()._state
    inside, withdrawn = threading.Event(), threading.Event()
    real = type(state.base.backend).search

    def search(self, *arguments):
        hits = real(self, *arguments)
        inside.set()
        assert withdrawn.wait(20)
        return hits

    answers: list[list[str]] = []
    with monkeypatch.context() as patched:
        patched.setattr(type(state.base.backend), "search", search)
        thread = threading.Thread(target=lambda: answers.append(found(searcher)))
        thread.start()
        assert inside.wait(20)
        store.commit(WriteBatch(withdrawn={"t07": ""}))
        withdrawn.set()
        thread.join()
    assert set(answers[0]) == expected(without=("t07",))
