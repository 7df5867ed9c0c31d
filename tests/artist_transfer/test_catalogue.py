import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artist_transfer import NO_DATE, Catalogue, ColdTracks, Credits, Role, TransferInputError
from tests.artist_transfer.worlds import warm


def cold(credits, *, day=NO_DATE, ids=("new",), roles=None):
    n = len(credits)
    return ColdTracks(list(ids), np.zeros((n, 3)), Credits.from_lists(credits, roles), np.full(n, day, dtype=np.int32))


def found(catalogue, targets, limit=250):
    batch = catalogue.gather(targets, limit)
    return [catalogue.tracks.track_ids[rows[rows >= 0]].tolist() for rows in batch.rows]


def test_an_artists_other_tracks_and_nobody_elses():
    catalogue = Catalogue(warm([["a"], ["b"], ["a"], ["c", "a"]]))
    assert found(catalogue, cold([["a"]])) == [["t0", "t2", "t3"]]


def test_a_target_never_leans_on_itself():
    tracks = warm([["a"], ["a"]])
    assert found(Catalogue(tracks), tracks.as_cold()) == [["t1"], ["t0"]]


def test_an_unknown_artist_and_no_artist_find_nothing():
    batch = Catalogue(warm([["a"]])).gather(cold([["z"], []], ids=("x", "y")))
    assert batch.sizes.tolist() == [0, 0]
    assert batch.rows.shape == (2, 0)


def test_several_artists_are_merged_and_a_shared_track_counts_once_in_the_closest_role():
    catalogue = Catalogue(warm([["a"], ["a", "b"], ["b"]]))
    batch = catalogue.gather(cold([["b", "a"]], roles=[["featured", "primary"]]))
    assert batch.rows.tolist() == [[0, 1, 2]]
    assert batch.roles.tolist() == [[Role.PRIMARY, Role.PRIMARY, Role.FEATURED]]


def test_what_is_known_to_come_later_is_left_out():
    catalogue = Catalogue(warm([["a"]] * 4, days=[9, 10, 11, NO_DATE]))
    assert found(catalogue, cold([["a"]], day=10)) == [["t1", "t0", "t3"]]
    assert found(catalogue, cold([["a"]], day=8)) == [["t3"]]
    assert found(catalogue, cold([["a"]])) == [["t2", "t1", "t0", "t3"]]


def test_over_the_limit_the_most_recent_stay_then_the_smaller_id():
    catalogue = Catalogue(warm([["a"]] * 5, days=[3, 5, 5, NO_DATE, 4], ids=["e", "d", "c", "b", "a"]))
    assert found(catalogue, cold([["a"]]), limit=3) == [["c", "d", "a"]]
    assert found(catalogue, cold([["a"]], ids=("c",)), limit=3) == [["d", "a", "e"]]


def test_the_order_of_the_warm_tracks_changes_nothing():
    tracks = warm([["a"]] * 6, days=[1, 2, 2, NO_DATE, 3, NO_DATE])
    shuffled = tracks.take([4, 2, 0, 5, 1, 3])
    target = cold([["a"]])
    assert found(Catalogue(tracks), target, 4) == found(Catalogue(shuffled), target, 4)


def test_an_empty_catalogue_and_no_targets():
    nothing = warm([["a"]]).take([])
    assert Catalogue(nothing).gather(cold([["a"]])).sizes.tolist() == [0]
    assert Catalogue(warm([["a"]])).gather(cold([], ids=())).rows.shape[0] == 0


def test_a_limit_below_one_is_refused():
    with pytest.raises(TransferInputError) as caught:
        Catalogue(warm([["a"]])).gather(cold([["a"]]), limit=0)
    assert caught.value.field == "limit"


def test_padding_stands_at_the_end():
    batch = Catalogue(warm([["a"], ["a"], ["b"]])).gather(cold([["b"], ["a"]], ids=("x", "y")))
    assert batch.rows.tolist() == [[2, -1], [0, 1]]
    assert batch.mask.tolist() == [[True, False], [True, True]]


artists = st.lists(st.sampled_from("abcd"), max_size=3, unique=True)
days = st.sampled_from([NO_DATE, 1, 2, 3])
track = st.tuples(artists, days)


@settings(deadline=None, max_examples=150)
@given(st.lists(track, max_size=12), st.lists(track, min_size=1, max_size=4), st.integers(1, 5))
def test_against_a_plain_loop(warm_tracks, targets, limit):
    tracks = warm([a for a, _ in warm_tracks] or [[]], days=[d for _, d in warm_tracks] or [1])
    tracks = tracks if warm_tracks else tracks.take([])
    # Every second target is itself warm.
    ids = [f"t{row}" if row % 2 else f"new{row}" for row in range(len(targets))]
    cold_tracks = ColdTracks(
        ids,
        np.zeros((len(targets), 3)),
        Credits.from_lists([a for a, _ in targets]),
        np.array([d for _, d in targets], dtype=np.int32),
    )
    expected = []
    for (mine, day), own in zip(targets, ids, strict=True):
        rows = [
            (-released if released != NO_DATE else 10**9, f"t{row}")
            for row, (theirs, released) in enumerate(warm_tracks)
            if set(mine) & set(theirs)
            and f"t{row}" != own
            and not (day != NO_DATE and released != NO_DATE and released > day)
        ]
        expected.append([name for _, name in sorted(rows)][:limit])
    assert found(Catalogue(tracks), cold_tracks, limit) == expected


def lists(selected):
    pieces = np.split(np.arange(selected.rows.size), selected.indptr[1:-1])
    return [list(zip(selected.rows[at].tolist(), selected.roles[at].tolist(), strict=True)) for at in pieces]


def test_taking_and_emptying_catalogues():
    selected = Catalogue(warm([["a"], ["a", "b"], ["b"], ["c"]])).select(warm([["a"], ["b"], ["c"], ["z"]]).as_cold())
    whole = lists(selected)
    assert lists(selected.take(np.array([2, 0, 0]))) == [whole[2], whole[0], whole[0]]
    assert selected.take(np.array([], dtype=np.int64)).sizes.size == 0
    emptied = selected.emptied(np.array([False, True, False, True]))
    assert lists(emptied) == [whole[0], [], whole[2], []]
    assert selected.emptied(np.ones(4, dtype=bool)).rows.size == 0
