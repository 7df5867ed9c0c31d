"""Codes that are patched are those that are encoded anew, bit for bit."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.codes import codes_of, encode, patch, power_of_two_scale
from index.types import Metric

DIM = 3
# Around the powers of two where the scale changes and where float16 rounds up to one, and tiny ones beside large ones.
EDGES = [0.0, 1.0, 1 + 2**-12, 1 + 2**-20, 2 - 2**-20, 2.0, 0.5 + 2**-13, 0.5, 1e-12, 3e-8, 1e15, -1.0, -2.0, -0.7]
values = st.sampled_from(EDGES) | st.floats(-4, 4, width=32)


@st.composite
def changes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors before, vectors after, and which row of the first each row of the second is, unchanged (-1: none)."""
    rows = st.lists(values, min_size=DIM, max_size=DIM)
    before = np.array(draw(st.lists(rows, min_size=1, max_size=8)), dtype=np.float32)
    kept = np.array(draw(st.lists(st.integers(-1, len(before) - 1), min_size=1, max_size=10)), dtype=np.int64)
    after = before[np.maximum(kept, 0)]
    for row in np.flatnonzero(kept < 0):
        after[row] = draw(rows)
    return before, after, kept


def anew(vectors: np.ndarray, metric: Metric, batch: int = 4) -> tuple[np.ndarray, float]:
    pieces = [vectors[start : start + batch] for start in range(0, len(vectors), batch)]
    index, scale = encode(lambda: pieces, np.arange(len(vectors)), vectors.shape[1], metric)
    return codes_of(index).copy(), scale


@settings(max_examples=150)
@given(changes(), st.sampled_from(Metric))
def test_patched_is_built_anew(change, metric):
    before, after, kept = change
    codes, scale = anew(before, metric)
    expected, expected_scale = anew(after, metric)
    patched = patch(codes, scale, kept, after[kept < 0], metric)
    if patched is not None:
        assert scale == expected_scale
        np.testing.assert_array_equal(codes_of(patched).view(np.uint16), expected.view(np.uint16))
    else:
        # Only where the scale has changed, or where rounding hides whether it has.
        largest = float(np.abs(after).max())
        assert metric is Metric.INNER_PRODUCT
        assert scale != expected_scale or np.float16(largest * scale) <= 2**13


@settings(max_examples=100)
@given(st.lists(st.lists(values, min_size=DIM, max_size=DIM), min_size=1, max_size=12), st.integers(1, 12))
def test_the_batches_make_no_difference(rows, batch):
    vectors = np.array(rows, dtype=np.float32)
    codes, scale = anew(vectors, Metric.INNER_PRODUCT, batch)
    assert scale == power_of_two_scale(float(np.abs(vectors).max()))
    np.testing.assert_array_equal(codes, (vectors * np.float32(scale)).astype(np.float16))


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_the_index_of_codes_is_the_one_that_faiss_makes(count):
    vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    made, scale = encode(lambda: [vectors], np.arange(count), 8, Metric.INNER_PRODUCT)
    added = faiss.IndexScalarQuantizer(8, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    added.add(vectors * np.float32(scale))
    assert (faiss.serialize_index(made) == faiss.serialize_index(added)).all()
    np.testing.assert_array_equal(codes_of(made), (vectors * np.float32(scale)).astype(np.float16))
