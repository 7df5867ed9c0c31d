import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artist_transfer import ConfidenceTable


def estimate(sizes, agreement, audio=()):
    return ConfidenceTable.estimate(np.array(sizes, dtype=np.int64), np.array(agreement, float), np.array(audio, float))


def test_each_bin_of_catalogue_sizes_has_its_own_mean():
    sizes = np.repeat([1, 2, 3, 4, 7, 8, 250], 4000)
    agreement = np.repeat([0.1, 0.3, 0.3, 0.5, 0.5, 0.9, 0.9], 4000)
    table = estimate(sizes, agreement, [0.2, 0.4])
    asked = np.array([1, 2, 3, 4, 7, 8, 9, 250, 0])
    expected = [0.1, 0.3, 0.3, 0.5, 0.5, 0.9, 0.9, 0.9, 0.3]
    np.testing.assert_allclose(table.of(asked), expected, atol=0.005)


def test_a_bin_of_few_is_drawn_to_the_mean_of_all():
    table = estimate([1] * 98 + [8] * 2, [0.5] * 98 + [1.0] * 2)
    assert 0.5 < table.artist_transfer[3] < 0.7
    assert table.artist_transfer[1] == pytest.approx(0.51)


def test_nothing_measured_is_no_confidence():
    table = estimate([], [])
    assert table.of(np.array([0, 1, 100])).tolist() == [0.0, 0.0, 0.0]


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(-1, 1)), max_size=30), st.lists(st.floats(-1, 1), max_size=5))
def test_always_from_0_to_1_and_through_json(tracks, audio):
    table = estimate([size for size, _ in tracks], [cosine for _, cosine in tracks], audio)
    values = table.of(np.arange(300))
    assert values.dtype == np.float32
    assert ((values >= 0) & (values <= 1)).all()
    assert ConfidenceTable.from_json(table.to_json()) == table


@pytest.mark.parametrize(
    "values",
    [
        {"artist_transfer": [0.1, 0.2], "audio_only": 0.1},
        {"artist_transfer": [0.1, 0.2, 0.3, 1.4], "audio_only": 0.1},
        {"artist_transfer": [0.1, 0.2, 0.3, float("nan")], "audio_only": 0.1},
        {"artist_transfer": 0.3, "audio_only": 0.1},
        {"artist_transfer": [0.1, 0.2, 0.3, 0.4], "audio_only": "high"},
    ],
)
def test_a_table_that_is_none_is_refused(values):
    with pytest.raises(ValueError):  # noqa: PT011  (the storage turns any of them into one sentence)
        ConfidenceTable.from_json(values)
