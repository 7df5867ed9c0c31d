import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artist_transfer.calibration import Calibration, signs
from artist_transfer.catalogue import CatalogueRows
from artist_transfer.ranking import row_cosine


def drawn(n, seed=0):
    """Signs as they may be: a constant, then numbers between 0 and 1."""
    return np.concatenate([np.ones((n, 1)), np.random.default_rng(seed).random((n, 9))], axis=1).astype(np.float32)


def test_a_known_relation_is_found():
    """The cosine to expect is a curve over one of the signs, with noise."""
    given_, asked = drawn(4000), drawn(2000, seed=1)
    rng = np.random.default_rng(2)

    def curve(signs_):
        return 0.2 + 0.6 * signs_[:, 4].astype(np.float64) ** 2

    calibration = Calibration.fit(given_, curve(given_) + rng.normal(scale=0.1, size=4000))
    found = calibration.of(asked)
    assert found.dtype == np.float32
    assert np.abs(found - curve(asked)).mean() < 0.03
    # Reliable: what is said is what is, in each of ten bins.
    for part in np.array_split(np.argsort(found), 10):
        assert found[part].mean() == pytest.approx(curve(asked)[part].mean(), abs=0.03)


def test_few_tracks_get_their_mean():
    calibration = Calibration.fit(drawn(8), np.linspace(0.1, 0.5, 8))
    np.testing.assert_allclose(calibration.of(drawn(3, seed=5)), 0.3, atol=1e-6)


def test_signs_that_tell_nothing_get_the_mean_of_all():
    calibration = Calibration.fit(np.ones((200, 10), np.float32), np.linspace(0.0, 1.0, 200))
    np.testing.assert_allclose(calibration.of(np.ones((2, 10), np.float32)), 0.5, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 120), st.integers(0, 10_000), st.floats(0.01, 100.0))
def test_from_0_to_1_and_never_falling_with_the_score(n, seed, scale):
    rng = np.random.default_rng(seed)
    calibration = Calibration.fit(drawn(n, seed) * np.float32(scale), rng.uniform(-1.0, 1.0, n))
    asked = drawn(50, seed + 1) * np.float32(10.0 * scale)
    found = calibration.of(asked)
    assert ((found >= 0.0) & (found <= 1.0)).all()
    in_order = found[np.argsort(asked @ calibration.weights, kind="stable")]
    assert (np.diff(in_order) >= -1e-6).all()


def test_saved_and_read_again():
    calibration = Calibration.fit(drawn(100), np.linspace(0.0, 1.0, 100))
    again = Calibration.from_tensors(calibration.tensors())
    np.testing.assert_array_equal(again.of(drawn(9)), calibration.of(drawn(9)))


@pytest.mark.parametrize(
    "change",
    [
        {"weights": np.zeros(9)},
        {"scores": np.zeros(3)},
        {"scores": np.zeros(0), "cosines": np.zeros(0)},
        {"scores": np.zeros((2, 2)), "cosines": np.zeros((2, 2))},
    ],
)
def test_tensors_that_do_not_fit_are_refused(change):
    tensors = Calibration.fit(drawn(100), np.linspace(0.0, 1.0, 100)).tensors()
    with pytest.raises(ValueError, match="calibration of shapes"):
        Calibration.from_tensors(tensors | {f"calibration.{name}": value for name, value in change.items()})


def test_signs_by_hand():
    collaborative = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]], dtype=np.float32)
    selected = CatalogueRows(np.array([0, 2, 2, 3]), np.array([0, 1, 2]), np.array([2, 1, 2], dtype=np.int8))
    vectors = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=np.float32)
    found = signs(vectors, selected, collaborative, np.array([True, True, False]))
    half = np.sqrt(0.5)
    expected = [
        [1, 1, 1, np.log(3), 0.5, half, half / 2, row_cosine(vectors[:1], np.array([[0.5, 0.5]]))[0], 1, 0],
        [1, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        [1, 1, 0, np.log(2), 1, 1, 1, 0, 0, 0],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    nothing = selected.emptied(np.ones(3, dtype=bool))
    assert not signs(vectors, nothing, collaborative[:0], np.zeros(3, dtype=bool))[:, 1:].any()
