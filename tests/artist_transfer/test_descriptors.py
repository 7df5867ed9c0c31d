import dataclasses

import numpy as np
import pytest

from artist_transfer import NO_DATE
from artist_transfer.descriptors import Descriptors
from tests.artist_transfer.worlds import warm

CONTENT = np.array([[1.0, 5.0, 0.1], [np.nan, np.nan, np.nan], [3.0, 15.0, 0.1]])
POPULARITY = np.array([np.nan, np.e - 1.0, np.e**3 - 1.0])


def tracks(**changes):
    made = warm([["a"], ["b"], ["c"]], content=CONTENT, days=[10, NO_DATE, 30], vectors=np.eye(3, 2) * 4.0)
    return dataclasses.replace(made, **{"popularity": POPULARITY, **changes})


def test_what_is_known_is_standardised_and_what_is_not_is_zero():
    world = tracks()
    described = Descriptors.of(world).describe(world.content, world.release_day)
    expected = [[-1.0, -1.0, 0.0, 1.0, -1.0, 1.0], [0.0] * 6, [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]]
    np.testing.assert_allclose(described, expected, atol=1e-6)
    assert described.dtype == np.float32


def test_far_out_is_cut():
    descriptors = Descriptors.of(tracks())
    content = np.array([[3e38, -3e38, 3e38], [2.0, 10.0, 0.1]], dtype=np.float32)
    described = descriptors.describe(content, np.array([2**31 - 1, -(2**31) + 1], dtype=np.int32))
    np.testing.assert_allclose(described, [[4, -4, 4, 1, 4, 1], [0, 0, 0, 1, -4, 1]], atol=1e-6)


def test_listens_there_and_back():
    descriptors = Descriptors.of(tracks())
    standard = descriptors.standard_listens(tracks().popularity)
    np.testing.assert_allclose(standard, [0.0, -1.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(descriptors.listens_of(standard[1:]), POPULARITY[1:], rtol=1e-5)
    wild = descriptors.listens_of(np.array([-1e30, 1e30], dtype=np.float32))
    assert wild[0] == 0.0
    assert np.isfinite(wild).all()


@pytest.mark.parametrize("value", [0.0, 7.3, 0.1, 1e15])
def test_what_is_always_the_same_is_only_centred(value):
    """Rounding in the mean of many equal numbers does not become their unit."""
    n = 1000
    world = warm([["a"]] * n, content=np.full((n, 2), value), days=[19_000] * n)
    descriptors = Descriptors.of(dataclasses.replace(world, popularity=np.full(n, value)))
    assert descriptors.day.tolist() == [19_000.0, 1.0]
    assert descriptors.listens[1] == 1.0
    described = descriptors.describe(world.content, world.release_day)
    np.testing.assert_allclose(described[:, :2], 0.0, atol=1e-5)


def test_nothing_known_at_all():
    world = tracks(
        content=np.full((3, 2), np.nan), release_day=np.full(3, NO_DATE, np.int32), popularity=np.full(3, np.nan)
    )
    descriptors = Descriptors.of(world)
    assert not descriptors.describe(world.content, world.release_day).any()
    assert not descriptors.standard_listens(world.popularity).any()
    assert descriptors.length == pytest.approx(8 / 3)


def test_a_space_of_zeros_has_a_unit():
    assert Descriptors.of(tracks(collaborative=np.zeros((3, 2)))).length == 1.0


def test_saved_and_read_again():
    descriptors = Descriptors.of(tracks())
    again = Descriptors.from_tensors(descriptors.tensors(), 3)
    for name, value in descriptors.tensors().items():
        np.testing.assert_array_equal(again.tensors()[name], value)
    with pytest.raises(ValueError, match="reshape"):
        Descriptors.from_tensors(descriptors.tensors(), 4)
    with pytest.raises(KeyError):
        Descriptors.from_tensors({}, 3)
