"""A training is carried into another one: recovered where it is a copy, and not where it has nothing in common."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artist_transfer import Alignment, NotEnoughTracksError, TransferInputError
from artist_transfer.alignment import HELD_OUT_FROM, JUDGED_FROM

seeds = st.integers(0, 2**32 - 1)
dims = st.integers(1, 12)
scales = st.floats(1e-3, 1e3)
sizes = st.integers(12, 150)  # on both sides of the number from which tracks are held out


def turned(rng: np.random.Generator, dim: int, to: int) -> np.ndarray:
    """Orthonormal rows (dim up) or columns (dim down)."""
    square = np.linalg.qr(rng.normal(size=(max(dim, to),) * 2))[0]
    return square[:dim, :to]


@given(seed=seeds, dim=dims, more=st.integers(0, 5), scale=scales, tracks=sizes)
def test_a_turned_and_scaled_copy_is_recovered(seed, dim, more, scale, tracks):
    rng = np.random.default_rng(seed)
    old = rng.normal(size=(tracks, dim)).astype(np.float32)
    new = (scale * (old @ turned(rng, dim, dim + more))).astype(np.float32)
    found = Alignment.fit(old, new, seed=seed)
    np.testing.assert_allclose(found.carry(old), new, rtol=0, atol=1e-4 * scale)
    assert found.carry(old).dtype == np.float32
    assert found.rotation.dtype == np.float64
    assert found.scale == pytest.approx(scale, rel=1e-4)
    assert found.residual < 1e-5
    assert found.fitted + (found.held_out if tracks >= HELD_OUT_FROM else 0) == tracks


def test_many_vectors_are_mapped_in_blocks():
    """As all at once, and without as many doubles: an eighth of what they would take."""
    rng = np.random.default_rng(3)
    old = rng.normal(size=(400_000, 16)).astype(np.float32)
    found = Alignment.fit(old[:500], (2.0 * (old[:500] @ turned(rng, 16, 16))).astype(np.float32))
    for mapped, expected in ((found.carry, 2.0 * old @ found.rotation), (found.back, old @ found.rotation.T / 2.0)):
        tracemalloc.start()
        result = mapped(old)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_allclose(result, expected, atol=1e-4)
        assert peak - result.nbytes < old.size * 8


@given(seed=seeds, dim=dims, more=st.integers(1, 5), tracks=st.integers(30, 150))
def test_a_copy_in_fewer_dimensions_is_recovered(seed, dim, more, tracks):
    """The old tracks lie in a subspace that a projection keeps as it is."""
    rng = np.random.default_rng(seed)
    new = rng.normal(size=(tracks, dim)).astype(np.float32)
    old = (new @ turned(rng, dim, dim + more)).astype(np.float32)
    found = Alignment.fit(old, new)
    assert found.rotation.shape == (dim + more, dim)
    np.testing.assert_allclose(found.rotation.T @ found.rotation, np.eye(dim), atol=1e-9)
    np.testing.assert_allclose(found.carry(old), new, atol=1e-3)
    assert found.residual < 1e-4


@given(seed=seeds, dim=dims, more=st.integers(0, 5), scale=scales, noise=st.floats(0.0, 2.0))
def test_carrying_keeps_inner_products_up_to_the_scale_squared(seed, dim, more, scale, noise):
    rng = np.random.default_rng(seed)
    old = rng.normal(size=(40, dim)).astype(np.float32)
    new = scale * (old @ turned(rng, dim, dim + more) + noise * rng.normal(size=(40, dim + more)))
    found = Alignment.fit(old, new)
    np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(dim), atol=1e-9)
    carried = found.carry(old).astype(np.float64)
    expected = found.scale**2 * (old.astype(np.float64) @ old.T)
    np.testing.assert_allclose(carried @ carried.T, expected, rtol=1e-4, atol=1e-4 * found.scale**2)


@given(seed=seeds, dim=dims, to=dims)
def test_nothing_in_common_leaves_everything(seed, dim, to):
    rng = np.random.default_rng(seed)
    found = Alignment.fit(rng.normal(size=(3000, dim)), rng.normal(size=(3000, to)))
    assert found.held_out == 300
    assert found.residual == pytest.approx(1.0, abs=0.02)
    assert found.scale < 0.2


@given(seed=seeds, dim=st.integers(2, 6))
def test_no_other_scale_and_no_other_rotation_fits_better(seed, dim):
    """By least squares over the tracks that it was fitted on."""
    rng = np.random.default_rng(seed)
    old, new = rng.normal(size=(2, 50, dim)).astype(np.float32).astype(np.float64)
    found = Alignment.fit(old, new)

    def missed(scale: float, rotation: np.ndarray) -> float:
        return float(np.linalg.norm(scale * old @ rotation - new) / np.linalg.norm(new))

    least = missed(found.scale, found.rotation)
    for _ in range(10):
        assert least <= missed(found.scale * rng.uniform(0.5, 1.5), found.rotation) + 1e-9
        assert least <= missed(found.scale, turned(rng, dim, dim)) + 1e-9
    assert found.residual > least  # which no track was fitted to


def test_the_residual_is_that_of_tracks_held_out():
    """More dimensions than the tracks can fill: what was fitted looks alike, what was not does not."""
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(2, HELD_OUT_FROM, 90)).astype(np.float32)
    found = Alignment.fit(old, new)
    assert (found.fitted, found.held_out) == (90, 10)
    assert found.residual > 1.0
    few = Alignment.fit(old[:-1], new[:-1])
    assert (few.fitted, few.held_out) == (HELD_OUT_FROM - 1, 0)
    assert few.residual < 1.0
    narrow = Alignment.fit(old, np.hstack([new, new])[:, :95])  # 90 tracks could not determine it, 100 can
    assert (narrow.fitted, narrow.held_out) == (90, 10)
    wide = Alignment.fit(np.hstack([old, old])[:, :95], np.hstack([new, new])[:, :95])
    assert (wide.fitted, wide.held_out) == (100, 0)


def test_of_few_tracks_each_is_held_out_once():
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(2, 60, 20)).astype(np.float32)
    found = Alignment.fit(old, new)
    assert (found.fitted, found.held_out) == (60, 60)
    assert found.residual > 1.0  # chance was fitted, and does not carry over to who was left out
    assert np.linalg.norm(found.carry(old) - new) < np.linalg.norm(new)
    fewer = Alignment.fit(old[: JUDGED_FROM - 1, :4], new[: JUDGED_FROM - 1, :4])
    assert (fewer.fitted, fewer.held_out) == (JUDGED_FROM - 1, 0)


def test_the_seed_draws_who_is_held_out():
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(2, 200, 4))
    residuals = [Alignment.fit(old, new, seed=seed).residual for seed in (0, 0, 1)]
    assert residuals[0] == residuals[1] != residuals[2]


def test_tracks_that_are_zero_in_either_training_are_left_out():
    rng = np.random.default_rng(0)
    old = rng.normal(size=(20, 4))
    with_zeros = [np.vstack([one, extra]) for one, extra in ((old, np.eye(2, 4)), (3 * old, np.zeros((2, 4))))]
    found = Alignment.fit(*with_zeros)
    assert (found.fitted, found.scale) == (20, pytest.approx(3.0))


def test_trainings_that_point_nowhere_together_have_the_scale_zero():
    found = Alignment.fit([[1.0], [1.0]], [[1.0], [-1.0]])
    assert (found.scale, found.residual) == (0.0, 1.0)
    assert not found.carry([[5.0]]).any()


@pytest.mark.parametrize(
    ("old", "new", "reason", "field"),
    [
        ([[1.0, np.nan]] * 4, np.eye(4), "NOT_FINITE", "old"),
        (np.eye(4), [[1.0, np.inf]] * 4, "NOT_FINITE", "new"),
        (np.eye(4), np.eye(3), "SHAPE_MISMATCH", "new"),
        (np.ones(4), np.eye(4), "SHAPE_MISMATCH", "old"),
        ([["x"]], [[1.0]], "NOT_NUMERIC", "old"),
        (np.zeros((4, 2)), np.eye(4), "NOT_ENOUGH_TRACKS", "old"),
        (np.eye(4), np.zeros((4, 4)), "NOT_ENOUGH_TRACKS", "old"),
        (np.ones((3, 4)), np.ones((3, 5)), "NOT_ENOUGH_TRACKS", "old"),
        (np.ones((0, 4)), np.ones((0, 4)), "NOT_ENOUGH_TRACKS", "old"),
    ],
)
def test_what_cannot_be_aligned_is_refused(old, new, reason, field):
    with pytest.raises(TransferInputError) as caught:
        Alignment.fit(old, new)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert isinstance(caught.value, NotEnoughTracksError) == (reason == "NOT_ENOUGH_TRACKS")


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [(np.ones((1, 3)), "SHAPE_MISMATCH"), (np.ones(4), "SHAPE_MISMATCH"), ([[np.nan] * 4], "NOT_FINITE")],
)
def test_only_vectors_of_the_old_training_are_carried(vectors, reason):
    found = Alignment.fit(np.eye(4), np.eye(4))
    with pytest.raises(TransferInputError) as caught:
        found.carry(vectors)
    assert caught.value.reason == reason


@given(seed=seeds, dim=st.integers(1, 8), more=st.integers(0, 4), scale=scales)
def test_what_was_carried_comes_back(seed, dim, more, scale):
    rng = np.random.default_rng(seed)
    old = rng.normal(size=(60, dim)).astype(np.float32)
    found = Alignment.fit(old, scale * old @ turned(rng, dim, dim + more))
    np.testing.assert_allclose(found.back(found.carry(old)), old, atol=1e-3)


def test_the_cosine_is_what_is_kept_of_directions():
    rng = np.random.default_rng(0)
    old = rng.normal(size=(4000, 6))
    assert Alignment.fit(old, 5 * old @ turned(rng, 6, 6)).cosine == pytest.approx(1.0)
    noisy = old + rng.normal(size=old.shape)
    cosines = np.einsum("nd,nd->n", old, noisy) / np.linalg.norm(old, axis=1) / np.linalg.norm(noisy, axis=1)
    assert Alignment.fit(old, noisy).cosine == pytest.approx(cosines.mean(), abs=0.03)
    assert Alignment.fit(old, rng.normal(size=old.shape)).cosine == pytest.approx(0.0, abs=0.05)


def test_where_directions_count_lengths_do_not():
    rng = np.random.default_rng(0)
    old = rng.normal(size=(500, 6))
    new = rng.lognormal(1.0, 1.0, size=(500, 1)) * (old @ turned(rng, 6, 6))
    found = Alignment.fit(old, new, directions=True)
    assert found.residual == pytest.approx(0.0, abs=1e-6)
    assert found.cosine == pytest.approx(1.0)
    assert np.linalg.norm(found.carry(old), axis=1).mean() == pytest.approx(np.linalg.norm(new, axis=1).mean(), rel=0.1)
    assert Alignment.fit(old, new).residual > 0.1


@given(seed=seeds, dims=st.tuples(dims, dims, dims))
def test_one_after_the_other(seed, dims):
    rng = np.random.default_rng(seed)
    one, two, three = (rng.normal(size=(30, dim)) for dim in dims)
    first, second = Alignment.fit(one, two), Alignment.fit(two, three)
    both = first.then(second)
    np.testing.assert_allclose(both.carry(one), second.carry(first.carry(one)), atol=1e-4)
    if both.scale > 1e-3:
        np.testing.assert_allclose(both.back(three), first.back(second.back(three)), rtol=1e-3, atol=1e-3)
    assert both.cosine == pytest.approx(first.cosine * second.cosine)
    assert both.residual >= max(first.residual, second.residual)


def test_maps_that_do_not_meet_and_trainings_without_common_ground_are_refused():
    found = Alignment.fit(np.eye(4), np.eye(4))
    with pytest.raises(TransferInputError) as caught:
        found.then(Alignment.fit(np.eye(3), np.eye(3)))
    assert caught.value.reason == "SHAPE_MISMATCH"
    with pytest.raises(TransferInputError) as caught:
        found.back(np.ones((1, 3)))
    assert caught.value.reason == "SHAPE_MISMATCH"
    with pytest.raises(NotEnoughTracksError) as caught:
        Alignment.fit([[1.0], [1.0]], [[1.0], [-1.0]]).back([[1.0]])
    assert caught.value.reason == "NOTHING_IN_COMMON"
