import numpy as np
import pytest

from artist_transfer import CatalogueRows
from artist_transfer.sampling import sample_catalogues


def catalogues(sizes):
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    return CatalogueRows(indptr, np.arange(indptr[-1]) + 100, np.ones(indptr[-1], dtype=np.int8))


def test_each_draw_is_without_replacement_and_from_the_targets_own_catalogue():
    sizes = np.array([1, 3, 5, 6, 40, 0, 7])
    rows = catalogues(sizes)
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = sample_catalogues(rows, 5, rng)
        for target, size in enumerate(sizes):
            own = drawn[target][drawn[target] >= 0]
            assert own.size == min(size, 5) == np.unique(own).size
            assert np.isin(own, rows.rows[rows.indptr[target] : rows.indptr[target + 1]]).all()


@pytest.mark.parametrize("size", [6, 9])
def test_each_track_is_drawn_equally_often(size):
    targets = 20_000
    drawn = sample_catalogues(catalogues([size] * targets), 5, np.random.default_rng(1))
    share = np.bincount((drawn - 100).ravel() % size, minlength=size) / targets
    # Standard deviation of a share is below 0.0036; five of them.
    np.testing.assert_allclose(share, 5 / size, atol=0.018)


def test_the_seed_decides():
    rows = catalogues([30] * 8)
    first, again, other = (sample_catalogues(rows, 5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_nothing_to_draw_from():
    assert (sample_catalogues(catalogues([0, 0]), 3, np.random.default_rng(0)) == -1).all()
