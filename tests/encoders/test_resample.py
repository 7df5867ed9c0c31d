import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.transforms import Resample

from encoders.resample import MAX_DENOMINATOR, BlockResampler, ratio

USUAL = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)


# In float64: torchaudio's filters for float32 are rounded on their way, 1e-5 of a full-scale sample.
whole = functools.cache(functools.partial(Resample, dtype=torch.float64))


def in_blocks(signal: np.ndarray, cuts: list[int], source: int, target: int) -> np.ndarray:
    resampler = BlockResampler(source, target)
    parts = [resampler.push(block) for block in np.split(signal, sorted(cuts))]
    return np.concatenate([*parts, resampler.finish()])


@settings(max_examples=60, deadline=None)
@given(
    source=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000]),
    target=st.sampled_from([16_000, 48_000]),
    n=st.integers(0, 30_000),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    seed=st.integers(0, 99),
)
def test_blocks_equal_the_whole(source, target, n, cuts, seed):
    signal = np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)
    found = in_blocks(signal, [int(share * n) for share in cuts], source, target)
    expected = whole(source, target)(torch.from_numpy(signal).double()).numpy() if n else signal
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=3e-6)


def test_a_tone_keeps_its_pitch_and_level():
    time = np.arange(44_100) / 44_100
    found = in_blocks(np.sin(2 * np.pi * 440 * time).astype(np.float32), [100, 9_999], 44_100, 16_000)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(found[200:-200], expected[200:-200], atol=2e-3)


def test_what_the_new_rate_cannot_hold_is_removed():
    time = np.arange(48_000) / 48_000
    found = in_blocks(np.sin(2 * np.pi * 12_000 * time).astype(np.float32), [], 48_000, 16_000)
    assert np.abs(found[100:-100]).max() < 0.01


@settings(max_examples=200, deadline=None)
@given(source=st.integers(4_000, 192_000), target=st.sampled_from([16_000, 24_000, 48_000]))
def test_odd_rates_need_no_huge_kernel(source, target):
    reduced = ratio(source, target)
    assert reduced.denominator <= MAX_DENOMINATOR
    assert float(reduced) == pytest.approx(target / source, rel=5.1e-4)


@pytest.mark.parametrize("source", USUAL)
def test_usual_rates_are_exact(source):
    for target in (16_000, 24_000, 44_100, 48_000):
        assert ratio(source, target) * source == target
