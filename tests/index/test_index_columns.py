"""Columns that are patched are those that are joined anew."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.rows import Columns, Vocabulary, aligned_columns, find_sorted, patched_columns, places_of, rows_among
from index.schemas import tracks_table
from index.types import TrackRecord
from tests.index.search_oracle import day

IDS = [f"t{number}" for number in range(8)]
NAMES = ["a", "b", "c", "d"]


@st.composite
def tracks(draw: st.DrawFn) -> dict[str, TrackRecord]:
    """Records of some of the tracks."""
    found = {}
    for track_id in draw(st.lists(st.sampled_from(IDS), unique=True)):
        artists = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
        roles = draw(st.permutations(["primary", "featured", "remixer"]))[: len(artists)] if draw(st.booleans()) else ()
        found[track_id] = TrackRecord(
            track_id,
            artist_ids=tuple(artists),
            roles=tuple(roles) if artists else (),
            release_date=draw(st.none() | st.integers(0, 9).map(day)),
            markets=tuple(draw(st.lists(st.sampled_from(["DE", "FR", "SE"]), unique=True))),
        )
    return found


def join(ids: list[str], known: dict[str, TrackRecord], artists: Vocabulary, markets: Vocabulary) -> Columns:
    rows = pa.array(ids, pa.string()), *properties(ids)
    return aligned_columns(*rows, tracks_table(list(known.values())), artists, markets)


def properties(ids: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = len(ids)
    return np.full(n, 2, np.int8), np.arange(n, dtype=np.float32), np.ones((n, 3), np.float32)


def words(columns: Columns, artists: Vocabulary, markets: Vocabulary) -> list[tuple[object, ...]]:
    """Rows as they read, whatever the codes are."""
    names = {int(artists.known([name])[0]): name for name in NAMES if len(artists.known([name]))}
    places = {int(markets.known([name])[0]): name for name in ("DE", "FR", "SE") if len(markets.known([name]))}
    return [
        (
            int(columns.tiers[row]),
            float(columns.confidence[row]),
            int(columns.release_day[row]),
            names.get(int(columns.primary_artist[row])),
            [names[int(one)] for one in columns.artist_codes[slice(*columns.artist_offsets[row : row + 2])]],
            [places[int(one)] for one in columns.market_codes[slice(*columns.market_offsets[row : row + 2])]],
        )
        for row in range(len(columns))
    ]


@settings(max_examples=100)
@given(st.data(), tracks(), tracks())
def test_patched_is_joined_anew(data, known, changed):
    before_ids, after_ids = (
        sorted(data.draw(st.lists(st.sampled_from(IDS), unique=True), label=name)) for name in ("before", "after")
    )
    artists, markets = Vocabulary(), Vocabulary()
    before = join(before_ids, known, artists, markets)
    now = known | changed

    kept = places_of(pa.array(after_ids, pa.string()), pa.array(before_ids, pa.string()))
    kept[[track_id in changed for track_id in after_ids]] = -1
    looked_up = [now[track_id] for row, track_id in enumerate(after_ids) if kept[row] < 0 and track_id in now]
    ids = pa.array(after_ids, pa.string())
    patched = patched_columns(before, kept, ids, *properties(after_ids), tracks_table(looked_up), artists, markets)

    expected_names = Vocabulary(), Vocabulary()
    assert words(patched, artists, markets) == words(join(after_ids, now, *expected_names), *expected_names)


def test_no_two_words_get_one_code_from_two_threads():
    vocabulary = Vocabulary()
    together = threading.Barrier(4)

    def name_them(thread: int) -> None:
        together.wait()
        for number in range(5000):
            vocabulary.code(f"{thread}-{number}")

    threads = [threading.Thread(target=name_them, args=(one,)) for one in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    known = vocabulary.known(f"{thread}-{number}" for thread in range(4) for number in range(5000))
    assert len(set(known.tolist())) == 20_000


@pytest.mark.parametrize("bisected", [0, 1024])
def test_rows_are_found_by_their_ids_however_many_are_asked_for(bisected: int, monkeypatch) -> None:
    monkeypatch.setattr("index.rows._BISECTED", bisected)
    ids = pa.array(sorted(["a", "b", "b c", "ä", "z", "\U0001f3b5"]))
    wanted = ["\U0001f3b5", "a", "nowhere", "", "ä"]
    assert sorted(rows_among(ids, wanted)) == [0, 4, 5]
    assert [find_sorted(ids, one) for one in wanted] == [5, 0, -1, -1, 4]
    assert rows_among(ids, []).tolist() == []
    assert rows_among(ids.slice(0, 0), wanted).tolist() == []
