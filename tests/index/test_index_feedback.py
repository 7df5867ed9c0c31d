"""Events are stored as they were said, refused where they cannot be, and counted once."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lance
import pytest

from index import DamagedHomeError, FeedbackAction, FeedbackEvent, InvalidInputError, Standing, Store, WriteBatch
from index.feedback import FeedbackTables
from index.tables import Table

NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)


def play(track_id: str = "new", user_id: str = "ann", **fields: object) -> FeedbackEvent:
    return FeedbackEvent(track_id, user_id, FeedbackAction.PLAY, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "at",
    [
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00+00:00",
        "9999-12-31T23:59:59-14:00",
        "9999-06-01T00:00:00+00:00",
        "1969-12-31T23:59:59+00:00",
    ],
)
def test_a_time_that_no_clock_shows_is_refused(store: Store, at: str) -> None:
    with pytest.raises(InvalidInputError, match="1970 to 9998") as refused:
        store.commit(WriteBatch(feedback=[play(at=dt.datetime.fromisoformat(at))]))
    assert refused.value.field == "at"
    assert store.feedback_version() == 0


def test_one_time_that_cannot_be_read_hides_no_other_event(store: Store) -> None:
    broken = play(user_id="broken", at=dt.datetime.fromisoformat("0001-01-01T00:00:00+14:00"))
    store._feedback.add([broken, play(at=NOON)])
    assert {event.user_id: event.at for event in store.feedback(["new"])} == {"broken": None, "ann": NOON}


def test_one_instant_is_one_event_in_whatever_zone() -> None:
    paris = NOON.astimezone(dt.timezone(dt.timedelta(hours=2)))
    assert play(at=paris).event_id == play(at=NOON).event_id
    assert play(at=paris).at == NOON
    assert play(at=NOON.replace(hour=14)).event_id != play(at=paris).event_id


def test_threads_on_different_tracks_count_no_event_twice(store: Store) -> None:
    """Each asks for the counts right after its own event, with whatever handle it then gets."""

    def listen(number: int) -> set[int]:
        seen = set()
        for turn in range(4):
            store.commit(WriteBatch(feedback=[play(f"track-{number}-{turn}")]))
            seen |= set(store.feedback_counts().values())
        return seen

    with ThreadPoolExecutor(12) as pool:
        assert set().union(*pool.map(listen, range(12))) == {1}
    assert len(store.feedback_counts()) == 48


def test_a_thread_that_was_held_up_with_an_older_handle_counts_no_event_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(WriteBatch(feedback=[play("one")]))
    tables = store._feedback
    table = tables._by_track
    assert table is not None
    latest, held_up, go_on = table.latest, threading.Event(), threading.Event()

    def slow() -> object:
        handle = latest()
        if threading.current_thread() is older:
            held_up.set()
            go_on.wait(5.0)
        return handle

    monkeypatch.setattr(table, "latest", slow)
    older = threading.Thread(target=tables.counts)
    older.start()
    held_up.wait()
    store.commit(WriteBatch(feedback=[play("two")]))
    newer = threading.Thread(target=tables.counts)
    newer.start()
    newer.join(0.2)
    go_on.set()
    older.join()
    newer.join()
    assert tables.counts() == {"one": 1, "two": 1}


@pytest.mark.parametrize("left", ["", "_transactions", "_versions", "data"])
def test_a_first_event_that_was_cut_off_is_made_up_for(tmp_path: Path, left: str) -> None:
    """The process ended before the table's manifest was written."""
    Store.open(tmp_path / "home").close()
    for name in ("feedback.lance", "standings.lance"):
        folder = tmp_path / "home" / name / left
        folder.mkdir(parents=True)
        if left:
            (folder / "half-written").write_bytes(b"half")
    with Store.open(tmp_path / "home") as store:
        assert store.feedback(["new"]) == []
        assert store.standings() == {}
        assert store.feedback_version() == 0
        standing = Standing("new", "als", 1.0, 0.5, graduated=False)
        store.commit(WriteBatch(feedback=[play()], standings=[standing]))
        assert store.feedback_counts() == {"new": 1}
    with Store.open(tmp_path / "home") as store:
        assert [event.user_id for event in store.feedback(["new"])] == ["ann"]
        assert store.standings() == {"new": standing}


def test_a_table_that_cannot_be_opened_by_track_is_not_half_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit(WriteBatch(feedback=[play()]))
    tables = FeedbackTables(store.layout)
    broken = [True]

    def opened(address: str, name: str, key: str, indexed: Sequence[str] = ()) -> Table:
        if key == "track_id" and broken.pop():
            raise DamagedHomeError("the disk is away for a moment")
        return Table(address, name, key, indexed)

    broken.insert(0, False)
    monkeypatch.setattr("index.feedback.Table", opened)
    with pytest.raises(DamagedHomeError):
        tables.counts()
    assert tables.counts() == {"new": 1}


def test_many_events_are_indexed_by_track_and_found_with_those_that_come_later(store: Store) -> None:
    events = [play(f"track-{number % 3000}", f"user-{number}") for number in range(18_000)]
    for start in range(0, len(events), 6000):
        store.commit(WriteBatch(feedback=events[start : start + 6000]))
    store._feedback.opened()[0].compact()
    indices = lance.dataset(store.layout.feedback).describe_indices()
    assert {name for index in indices for name in index.field_names} == {"event_id", "track_id"}
    receipt = store.commit(WriteBatch(feedback=[play("track-1", "late"), events[1]]))
    assert len(receipt.newly_recorded) == 1
    store._feedback.opened()[0].compact()
    found = store.feedback(["track-1"])
    assert {event.user_id for event in found} == {f"user-{number}" for number in range(1, 18_000, 3000)} | {"late"}
    assert store.feedback_counts()["track-1"] == len(found) == 7
