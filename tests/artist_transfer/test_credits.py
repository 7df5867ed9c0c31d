import numpy as np
import pytest

from artist_transfer import Credits, Role, TransferInputError


def listed(credits):
    bounds = zip(credits.indptr[:-1], credits.indptr[1:], strict=True)
    return [
        [(credits.artist_ids[a], Role(r)) for a, r in zip(credits.artists[i:j], credits.roles[i:j], strict=True)]
        for i, j in bounds
    ]


def test_lists_keep_order_and_roles_by_name_number_or_enum():
    credits = Credits.from_lists([["b", "a", "c"], [], ["a"]], [["primary", 2, Role.REMIXER], [], ["FEATURED"]])
    assert listed(credits) == [
        [("b", Role.PRIMARY), ("a", Role.FEATURED), ("c", Role.REMIXER)],
        [],
        [("a", Role.FEATURED)],
    ]


@pytest.mark.parametrize("roles", [None, [[], []]])
def test_without_roles_the_first_artist_is_primary_and_the_others_featured(roles):
    credits = Credits.from_lists([["a", "b", "c"], ["b"]], roles)
    assert listed(credits) == [
        [("a", Role.PRIMARY), ("b", Role.FEATURED), ("c", Role.FEATURED)],
        [("b", Role.PRIMARY)],
    ]


def test_an_artist_named_twice_keeps_the_closest_role():
    credits = Credits.from_lists([["a", "b", "a"]], [["remixer", "primary", "primary"]])
    assert listed(credits) == [[("a", Role.PRIMARY), ("b", Role.PRIMARY)]]


def test_take_reorders_tracks():
    credits = Credits.from_lists([["a", "b"], [], ["c"], ["a"]])
    assert listed(credits.take(np.array([2, 0, 1, 2]))) == [listed(credits)[row] for row in (2, 0, 1, 2)]


def test_primary_artists():
    credits = Credits.from_lists([["a", "b"], [], ["b", "a"]])
    assert credits.primary_artists().tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    ("artists", "roles", "reason"),
    [
        ([["a"]], [["singer"]], "ROLE_UNKNOWN"),
        ([["a"]], [[7]], "ROLE_UNKNOWN"),
        ([["a", "b"]], [["primary"]], "CREDITS_INVALID"),
        ([["a"], ["b"]], [["primary"]], "CREDITS_INVALID"),
        (["a"], None, "CREDITS_INVALID"),
        ([[""]], None, "ARTIST_ID_EMPTY"),
        ([[None]], None, "ARTIST_ID_EMPTY"),
    ],
)
def test_bad_lists_are_refused(artists, roles, reason):
    with pytest.raises(TransferInputError) as caught:
        Credits.from_lists(artists, roles)
    assert caught.value.reason == reason
    assert caught.value.field in ("artist_ids", "roles")


@pytest.mark.parametrize(
    ("indptr", "artists", "roles", "reason"),
    [
        ([0, 2], [0], [1], "CREDITS_INVALID"),
        ([1, 1], [0], [1], "CREDITS_INVALID"),
        ([0, 2, 1], [0], [1], "CREDITS_INVALID"),
        ([0, 1], [5], [1], "CREDITS_INVALID"),
        ([0, 2], [0, 0], [1, 2], "CREDITS_INVALID"),
        ([0, 1], [0], [9], "ROLE_UNKNOWN"),
    ],
)
def test_arrays_that_contradict_themselves_are_refused(indptr, artists, roles, reason):
    with pytest.raises(TransferInputError) as caught:
        Credits(np.array(indptr), np.array(artists), np.array(roles), ("a", "b"))
    assert caught.value.reason == reason
