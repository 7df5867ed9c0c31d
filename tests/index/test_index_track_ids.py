"""Ids of an index's rows: whatever the ids are, and however many are asked for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.track_ids import PackedIds, TrackIds

WORDS = st.text(st.characters(codec="utf-8"), max_size=6)
SETS = st.one_of(st.sets(WORDS), st.sets(st.text("ab\0", min_size=3, max_size=3)))  # of any lengths, and of one


@pytest.fixture(params=[0, 1024], ids=["in passes", "one by one"])
def one_by_one(request, monkeypatch) -> None:
    monkeypatch.setattr("index.track_ids._BISECTED", request.param)
    monkeypatch.setattr("index.track_ids._CUT_OUT", request.param)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(SETS, SETS, st.data())
def test_ids_are_found_and_given_back(one_by_one, words: set[str], others: set[str], data) -> None:
    expected = sorted(words)
    # A slice, as the piece of a larger column is.
    ids = TrackIds(pa.array(["first", *expected, "last"]).slice(1, len(expected)))
    assert len(ids) == len(expected)
    assert ids.array.to_pylist() == expected
    rows = data.draw(st.lists(st.integers(0, len(expected) - 1)) if expected else st.just([]))
    picked = [expected[row] for row in rows]
    packed = ids.at(np.array(rows, dtype=np.int64))
    assert packed.strings() == PackedIds.of(picked).strings() == picked
    assert packed.text == "".join(picked).encode()
    mixed = data.draw(st.lists(st.integers(0, 2 * len(expected))))
    named = [(expected + [f"fresh {row}" for row in range(len(expected) + 1)])[row] for row in mixed]
    assert ids.at(np.array(mixed, dtype=np.int64), lambda row: f"fresh {row}").strings() == named
    first = data.draw(st.integers(0, len(picked)))
    assert packed.part(first, len(picked)).strings() == picked[first:]
    assert [ids.find(one) for one in expected] == list(range(len(expected)))
    assert all((ids.find(one) >= 0) == (one in words) for one in others)
    wanted = [*others, *expected[::2]]
    assert set(ids.rows_of(wanted).tolist()) == {expected.index(one) for one in wanted if one in words}
    among = TrackIds(pa.array(sorted(others), pa.string()))
    assert ids.places_among(among).tolist() == [sorted(others).index(one) if one in others else -1 for one in expected]


def test_what_is_no_id_is_not_found() -> None:
    ids = TrackIds(pa.array(["a", "b", "\U0001f3b5"]))
    assert [ids.find(one) for one in ("", "\ud83c", "aa", "\U0001f3b5")] == [-1, -1, -1, 2]
