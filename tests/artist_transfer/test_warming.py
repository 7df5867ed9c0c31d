"""Folding listens into projected vectors: exact without listens, towards who plays, away from who skips."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artist_transfer import Background, Listens, TransferInputError, WarmingOptions, graduates, warm_up
from artist_transfer.warming import position_weight

DIM = 6
OPTIONS = WarmingOptions()


def _world(seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, Background]:
    rng = np.random.default_rng(seed)
    users = (rng.normal(size=(40, DIM)) * rng.uniform(0.3, 1.5, size=DIM) * scale).astype(np.float32)
    tracks = (rng.normal(size=(30, DIM)) + 0.2).astype(np.float32)
    return users, tracks, Background.of(users, tracks)


def _listens(users: np.ndarray, rows: list[tuple[int, int, bool, int]]) -> Listens:
    tracks, listeners, played, positions = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    return Listens(
        np.array(tracks, np.int64),
        np.array(listeners, np.int64),
        np.array(played, np.bool_),
        np.array(positions, np.int64),
        users,
    )


rows_of_listens = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 39), st.booleans(), st.integers(0, 50)), max_size=40
)


@given(seed=st.integers(0, 9))
def test_without_listens_the_prior_stays_to_the_bit(seed):
    users, tracks, background = _world(seed)
    found = warm_up(tracks[:5], _listens(users, []), background, OPTIONS)
    assert found.vectors.tobytes() == tracks[:5].tobytes()
    assert not found.listeners.any()
    assert not found.evidence_share.any()


@given(seed=st.integers(0, 9), rows=rows_of_listens)
def test_it_is_the_formula(seed, rows):
    """Track by track, in plain Python and in the space's own coordinates."""
    users, tracks, background = _world(seed)
    found = warm_up(tracks[:5], _listens(users, rows), background, OPTIONS)
    scale = np.sqrt((users.astype(float) ** 2).sum(axis=1).mean())
    unit = users.astype(float) / scale
    gram = unit.T @ unit / len(unit)
    sigma = np.sqrt(((users.astype(float) @ tracks.astype(float).T) ** 2).mean())
    for track in range(5):
        weight_of: dict[tuple[int, bool], float] = {}
        for other, user, played, position in rows:
            if other == track:
                weight = (1.0 if played else OPTIONS.skip_weight) / np.log2(1 + max(position, 1))
                weight_of[user, played] = max(weight_of.get((user, played), 0.0), weight)
        n = sum(weight for (_, played), weight in weight_of.items() if played)
        prior, centre = tracks[track] * scale, tracks.mean(axis=0) * scale
        start = centre + OPTIONS.fade / (OPTIONS.fade + n) * (prior - centre)
        left = OPTIONS.ridge * np.eye(DIM) + OPTIONS.background * gram
        right = np.zeros(DIM)
        for (user, played), weight in weight_of.items():
            u = unit[user] * min(1.0, 3.0 / max(np.linalg.norm(unit[user]), 1e-12))
            asked = max(OPTIONS.target * sigma, u @ start) if played else min(0.0, u @ start)
            left += weight * np.outer(u, u)
            right += weight * (asked - u @ start) * u
        expected = (start + np.linalg.solve(left, right)) / scale
        np.testing.assert_allclose(found.vectors[track], expected, rtol=1e-4, atol=1e-4)
        assert found.listeners[track] == pytest.approx(n)
        assert found.evidence_share[track] == pytest.approx(n / (n + OPTIONS.fade))


@given(seed=st.integers(0, 9), rows=rows_of_listens, order=st.randoms())
def test_order_and_repetition_change_nothing(seed, rows, order):
    users, tracks, background = _world(seed)
    once = warm_up(tracks[:5], _listens(users, rows), background, OPTIONS)
    again = [*rows, *rows]
    order.shuffle(again)
    twice = warm_up(tracks[:5], _listens(users, again), background, OPTIONS)
    assert once.vectors.tobytes() == twice.vectors.tobytes()
    assert once.listeners.tolist() == twice.listeners.tolist()


@given(seed=st.integers(0, 9), rows=rows_of_listens)
def test_a_batch_is_its_tracks_one_by_one(seed, rows):
    users, tracks, background = _world(seed)
    together = warm_up(tracks[:5], _listens(users, rows), background, OPTIONS)
    for track in range(5):
        own = [(0, *rest) for other, *rest in rows if other == track]
        alone = warm_up(tracks[track : track + 1], _listens(users, own), background, OPTIONS)
        np.testing.assert_allclose(alone.vectors[0], together.vectors[track], rtol=1e-5, atol=1e-5)


@given(seed=st.integers(0, 9), scale=st.sampled_from([1e-3, 1.0, 1e4]), rows=rows_of_listens)
def test_the_scale_of_a_space_changes_nothing(seed, scale, rows):
    """Users times s and tracks divided by s are the same space."""
    users, tracks, background = _world(seed)
    found = warm_up(tracks[:5], _listens(users, rows), background, OPTIONS)
    scaled_users, scaled_tracks = (users * scale).astype(np.float32), (tracks / scale).astype(np.float32)
    scaled = Background.of(scaled_users, scaled_tracks)
    other = warm_up(scaled_tracks[:5], _listens(scaled_users, rows), scaled, OPTIONS)
    np.testing.assert_allclose(other.vectors * scale, found.vectors, rtol=2e-3, atol=2e-3)


def _towards(listeners: int, *, played: bool, position: int = 1, prior: float = 0.5) -> tuple[float, float]:
    """Score of a user like the listeners before and after, and how far the vector moved."""
    users, _tracks, background = _world(3)
    alike = np.tile(users[:1], (max(listeners, 1), 1))
    before = (users[:1] * prior).astype(np.float32)
    rows = [(0, row, played, position) for row in range(listeners)]
    after = warm_up(before, _listens(alike, rows), background, replace(OPTIONS, fade=1e6)).vectors
    return float(users[0] @ (after - before)[0]), float(np.linalg.norm(after - before))


def test_more_agreeing_listeners_move_it_further():
    moved = [_towards(listeners, played=True)[0] for listeners in (0, 1, 2, 5, 10, 20)]
    assert moved[0] == 0.0
    assert all(less < more for less, more in itertools.pairwise(moved))


def test_skips_move_it_away_and_less_than_plays_attract():
    away = [_towards(listeners, played=False)[0] for listeners in (0, 1, 2, 5, 10)]
    assert all(less > more for less, more in itertools.pairwise(away))
    users, _, background = _world(3)
    half_way = (
        OPTIONS.target * background.score_scale / 2 / float(users[0] @ users[0])
    )  # as far to the one as the other
    assert -_towards(1, played=False, prior=half_way)[0] < 0.9 * _towards(1, played=True, prior=half_way)[0]


def test_a_skip_of_what_was_not_liked_anyway_does_not_attract():
    assert _towards(3, played=False, prior=-0.5)[0] == pytest.approx(0.0, abs=1e-5)


def test_a_play_of_what_was_liked_beyond_the_target_does_not_repel():
    assert _towards(3, played=True, prior=50.0)[0] >= -1e-2


@pytest.mark.parametrize("played", [True, False])
def test_position_discounts_plays_and_skips(played):
    moved = [_towards(2, played=played, position=position)[1] for position in (1, 2, 5, 30)]
    assert all(nearer > later for nearer, later in itertools.pairwise(moved))
    assert _towards(2, played=played, position=0)[1] == moved[0]
    np.testing.assert_allclose(position_weight(np.array([0, 1, 3, 7])), [1.0, 1.0, 0.5, 1 / 3])


def test_no_listener_moves_it_further_than_three_usual_ones():
    users, tracks, background = _world(5)
    usual = float(np.sqrt((users.astype(float) ** 2).sum(axis=1).mean()))
    direction = users[:1] / np.linalg.norm(users[0])
    moved = []
    for length in (3.0, 1e3, 1e9):
        one = (direction * length * usual).astype(np.float32)
        moved.append(warm_up(tracks[:1], _listens(one, [(0, 0, True, 1)]), background, OPTIONS).vectors)
        assert np.isfinite(moved[-1]).all()
    np.testing.assert_allclose(moved[1], moved[0], rtol=1e-4)
    np.testing.assert_allclose(moved[2], moved[0], rtol=1e-4)


def test_many_listeners_leave_nothing_of_the_prior():
    """And with more listeners than dimensions the other way of solving is the one that is taken."""
    users, tracks, background = _world(7)
    rows = [(track, user, True, 1) for track in range(2) for user in range(40)]
    found = warm_up(np.stack([tracks[0], -tracks[0]]), _listens(users, rows), background, replace(OPTIONS, fade=1e-3))
    np.testing.assert_allclose(found.vectors[0], found.vectors[1], atol=1e-2)


def test_graduation_has_hysteresis():
    options = replace(OPTIONS, graduate_at=10.0, return_below=5.0)
    assert not graduates(9.9, False, options)
    assert graduates(10.0, False, options)
    assert graduates(5.0, True, options)
    assert not graduates(4.9, True, options)


def test_what_does_not_fit_is_refused():
    users, tracks, background = _world(1)
    with pytest.raises(TransferInputError, match="one space"):
        warm_up(tracks[:1, :3], _listens(users, []), background, OPTIONS)
    with pytest.raises(TransferInputError, match="NaN"):
        warm_up(tracks[:1], _listens(users * np.nan, []), background, OPTIONS)
    with pytest.raises(TransferInputError, match="one training"):
        Background.of(users[:, :3], tracks)
    with pytest.raises(TransferInputError, match="all zero"):
        Background.of(users * 0, tracks)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ridge", 0.0),
        ("background", -1.0),
        ("fade", np.nan),
        ("target", -2.0),
        ("skip_weight", 1.5),
        ("return_below", 11.0),
    ],
)
def test_options_out_of_range_are_named(field, value):
    with pytest.raises(TransferInputError, match=field) as caught:
        replace(OPTIONS, **{field: value})
    assert (caught.value.reason, caught.value.field) == ("OPTION_OUT_OF_RANGE", field)
