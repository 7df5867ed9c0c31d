import numpy as np
import pytest

from artist_transfer import FitOptions, Interactions, TransferInputError, fit
from tests.artist_transfer.worlds import TINY_RANKING, clusters

USERS = np.arange(6.0).reshape(3, 2)


def test_a_pair_that_stands_twice_counts_once():
    given = Interactions(USERS, [[2, 0], [0, 5], [2, 0]])
    assert given.users.dtype == np.float32
    assert given.entries.tolist() == [[0, 5], [2, 0]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"users": [["x"]]}, "NOT_NUMERIC"),
        ({"users": [[np.nan, 1.0]]}, "NOT_FINITE"),
        ({"users": [1.0]}, "SHAPE_MISMATCH"),
        ({"entries": [[0.5, 1.0]]}, "SHAPE_MISMATCH"),
        ({"entries": [0, 1]}, "SHAPE_MISMATCH"),
        ({"entries": [[0, 1, 2]]}, "SHAPE_MISMATCH"),
        ({"entries": [[3, 0]]}, "SHAPE_MISMATCH"),
        ({"entries": [[-1, 0]]}, "SHAPE_MISMATCH"),
        ({"entries": [[0, -1]]}, "SHAPE_MISMATCH"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, reason):
    with pytest.raises(TransferInputError) as caught:
        Interactions(**({"users": USERS, "entries": [[0, 0]]} | change))
    assert (caught.value.reason, caught.value.field) == (reason, next(iter(change)))


def test_the_entries_of_some_tracks_are_counted_from_their_rows():
    given = Interactions(USERS, [[0, 0], [0, 3], [1, 2], [2, 3]])
    some = given.of_tracks(np.array([3, 0]), 4)
    assert some.entries.tolist() == [[0, 0], [0, 1], [2, 0]]
    assert given.of_tracks(np.array([1]), 4).entries.shape == (0, 2)


def test_each_users_tracks():
    indptr, tracks = Interactions(USERS, [[2, 1], [0, 4], [2, 0]]).by_user()
    assert indptr.tolist() == [0, 1, 1, 3]
    assert tracks.tolist() == [4, 0, 1]


@pytest.mark.parametrize(
    ("users", "entries", "words"),
    [
        (np.ones((2, 7)), [[0, 0]], "7 dimensions and the space 8"),
        (np.ones((2, 8)), [[0, 12]], "outside of the 12 warm tracks"),
        (np.ones((2, 8)), np.empty((0, 2), dtype=np.int64), "no entry"),
    ],
)
def test_listeners_of_another_space_are_refused(users, entries, words):
    tracks = clusters(artists=4, tracks_each=3)
    options = FitOptions(method="ranking", device="cpu", ranking=TINY_RANKING)
    with pytest.raises(TransferInputError, match=words) as caught:
        fit(tracks, options, interactions=Interactions(users, entries))
    assert (caught.value.reason, caught.value.field) == ("SHAPE_MISMATCH", "interactions")
