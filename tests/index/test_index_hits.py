"""Hits of several queries as bytes: the same as those of each, one behind the other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from index import Hits, packed_together
from index.hits import HitColumns
from index.track_ids import PackedIds


@st.composite
def hits_of_some_searches(draw) -> list[Hits]:
    """Neighbouring parts of each search's columns, some left out, some given twice."""
    every: list[Hits] = []
    for search in range(draw(st.integers(0, 3))):
        ends = np.cumsum(draw(st.lists(st.integers(0, 4), max_size=4))).tolist()
        count = ends[-1] if ends else 0
        numbers = np.arange(count)
        known = draw(st.sampled_from(["no column", "of none", "of some"]))
        popularity = np.full((count, 3), np.nan, dtype=np.float32)
        if known == "of some":
            popularity[::2] = numbers[::2, None]
        columns = HitColumns(
            PackedIds.of([f"{search}:" + "\u00fc" * number for number in numbers]),
            numbers.astype(np.float32),
            (numbers % 3).astype(np.int8),
            np.ones(count, dtype=np.float32),
            None if known == "no column" else popularity,
        )
        parts = [Hits(columns, first, end) for first, end in zip([0, *ends], ends, strict=False)]
        every += (
            parts
            if draw(st.booleans())
            else draw(st.lists(st.sampled_from(parts), max_size=5) if parts else st.just([]))
        )
    return every


@given(hits_of_some_searches())
def test_hits_are_told_together_as_they_are_told_alone(several: list[Hits]) -> None:
    told = packed_together(several)
    lengths = np.frombuffer(told.id_lengths, "<u4")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    assert PackedIds(told.ids, offsets).strings() == [one for hits in several for one in hits.track_ids]
    assert told.scores == b"".join(hits.scores.tobytes() for hits in several)
    assert told.tiers == b"".join(hits.tiers.tobytes() for hits in several)
    assert told.confidence == b"".join(hits.confidence.tobytes() for hits in several)
    popularity = np.concatenate([hits.popularity for hits in several]) if several else np.zeros((0, 3), np.float32)
    if told.popularity:
        np.testing.assert_array_equal(np.frombuffer(told.popularity, "<f4").reshape(-1, 3), popularity)
    else:
        assert np.isnan(popularity).all()
