import numpy as np
import pytest

from artist_transfer.scaling import Scaling

CONTENT = np.array([[1.0, 5.0], [np.nan, np.nan], [3.0, 5.0]], dtype=np.float32)
VECTORS = np.array([[0.5, -2.0], [1.0, 0.0], [0.0, 0.0]], dtype=np.float32)


def test_what_is_known_comes_out_standard_and_what_is_not_as_the_mean():
    scaling = Scaling.of(CONTENT, VECTORS)
    np.testing.assert_allclose(scaling.content_mean, [2.0, 5.0])
    np.testing.assert_allclose(scaling.content_spread, [1.0, 1.0])
    np.testing.assert_allclose(scaling.content(CONTENT), [[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert scaling.content(CONTENT).dtype == np.float32
    assert np.isnan(CONTENT[1]).all(), "what came in stays as it is"


def test_tracks_whose_content_is_not_known_change_no_statistic_of_the_content():
    known = CONTENT[[0, 2]]
    with_unknown, without = Scaling.of(CONTENT, VECTORS), Scaling.of(known, VECTORS)
    np.testing.assert_array_equal(with_unknown.content_mean, without.content_mean)
    np.testing.assert_array_equal(with_unknown.content_spread, without.content_spread)
    np.testing.assert_array_equal(with_unknown.content(known), without.content(known))


def test_where_no_content_is_known_all_of_it_is_zero():
    nothing = np.full((3, 2), np.nan, dtype=np.float32)
    scaling = Scaling.of(nothing, VECTORS)
    assert (scaling.content(nothing) == 0).all()
    assert np.isfinite(scaling.content_mean).all()
    assert (scaling.content_spread == 1).all()


@pytest.mark.parametrize(("vectors", "scale"), [(VECTORS, 2.0), (np.zeros((3, 2), np.float32), 1.0)])
def test_one_number_brings_the_space_into_the_unit_cube(vectors, scale):
    assert Scaling.of(CONTENT, vectors).space_scale == scale
