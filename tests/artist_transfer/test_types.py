import datetime

import numpy as np
import pytest

from artist_transfer import NO_DATE, ColdTracks, Credits, Tier, TransferInputError, WarmTracks, release_days
from tests.artist_transfer.worlds import undated, warm


def parts(n=3):
    return {
        "space_id": "space-1",
        "encoder_id": "encoder-1",
        "track_ids": [f"t{row}" for row in range(n)],
        "content": np.zeros((n, 2)),
        "collaborative": np.zeros((n, 4)),
        "credits": Credits.from_lists([["a"]] * n),
        "release_day": undated(n),
    }


def with_hole(value):
    matrix = np.zeros((3, 2))
    matrix[1, 1] = value
    return matrix


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"content": with_hole(np.nan)}, "NOT_FINITE"),
        ({"collaborative": with_hole(np.inf)}, "NOT_FINITE"),
        ({"content": with_hole(1e300)}, "NOT_FINITE"),
        ({"content": np.zeros((2, 2))}, "SHAPE_MISMATCH"),
        ({"content": np.zeros(3)}, "SHAPE_MISMATCH"),
        ({"content": np.zeros((3, 0))}, "SHAPE_MISMATCH"),
        ({"content": [["x", "y"]] * 3}, "NOT_NUMERIC"),
        ({"track_ids": ["a", "b", "a"]}, "TRACK_ID_REPEATED"),
        ({"track_ids": ["a", "", "b"]}, "TRACK_ID_EMPTY"),
        ({"release_day": undated(2)}, "SHAPE_MISMATCH"),
        ({"release_day": np.zeros(3)}, "SHAPE_MISMATCH"),
        ({"credits": Credits.from_lists([["a"]])}, "SHAPE_MISMATCH"),
    ],
)
def test_warm_tracks_that_do_not_fit_are_refused_by_name(change, reason):
    with pytest.raises(TransferInputError) as caught:
        WarmTracks(**parts() | change)
    assert caught.value.reason == reason
    assert caught.value.field == next(iter(change))


def test_the_sentence_names_the_first_bad_row():
    with pytest.raises(TransferInputError, match="row 1"):
        ColdTracks(["a", "b", "c"], with_hole(np.nan), Credits.from_lists([[]] * 3), undated(3))


def test_numbers_become_float32():
    tracks = WarmTracks(**parts())
    assert tracks.content.dtype == tracks.collaborative.dtype == np.float32
    assert (len(tracks), tracks.content_dim, tracks.dim) == (3, 2, 4)


def test_take_and_without_divide_the_tracks():
    tracks = warm([["a"], ["b", "a"], ["c"]], days=[1, 2, 3])
    taken, rest = tracks.take([2, 0]), tracks.without([2, 0])
    assert taken.track_ids.tolist() == ["t2", "t0"]
    assert rest.track_ids.tolist() == ["t1"]
    assert taken.release_day.tolist() == [3, 1]
    np.testing.assert_array_equal(taken.content, tracks.content[[2, 0]])
    np.testing.assert_array_equal(rest.collaborative, tracks.collaborative[[1]])
    assert len(rest.credits.artists) == 2
    assert tracks.take(np.array([False, True, False])).track_ids.tolist() == ["t1"]
    assert len(tracks.take([])) == 0
    assert tracks.without(-1).track_ids.tolist() == ["t0", "t1"]


@pytest.mark.parametrize("rows", [[3], [-4], [0.5], np.array([True])])
def test_rows_outside_are_refused(rows):
    with pytest.raises(TransferInputError):
        warm([["a"], ["b"], ["c"]]).take(rows)


def test_as_cold_keeps_everything_but_the_collaborative_vector():
    cold = warm([["a"], ["b"]], days=[5, 6]).as_cold([1])
    assert cold.track_ids.tolist() == ["t1"]
    assert cold.release_day.tolist() == [6]
    assert cold.encoder_id == "encoder-1"
    assert not hasattr(cold, "collaborative")


def test_release_days():
    dates = [datetime.date(1970, 1, 2), None, datetime.date(1969, 12, 31)]
    assert release_days(dates).tolist() == [1, NO_DATE, -1]
    assert release_days([]).dtype == np.int32


def test_tiers_are_ordered_from_the_best_source():
    assert [tier.name for tier in sorted(Tier)] == ["COLLABORATIVE", "ARTIST_TRANSFER", "AUDIO_ONLY"]
