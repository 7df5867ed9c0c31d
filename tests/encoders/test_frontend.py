import numpy as np
import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from encoders.frontend import (
    HOP_LENGTH,
    LOG_GAIN,
    MIN_SAMPLES,
    N_FFT,
    N_FRAMES,
    N_MELS,
    SAMPLE_RATE_HZ,
    SEGMENT_LENGTH,
    WINDOW_STRIDE,
    LogMel,
    n_windows,
    segments,
)

# On the Slaney scale 1 kHz is mel 15 and 8 kHz mel 45.25; the centre of band b lies at mel (b + 1) * 45.25 / 97.
BAND_OF_1_KHZ = 31


def whole_signal(waveform: np.ndarray) -> np.ndarray:
    """The definition: the centred, reflect-padded spectrogram of the whole track, cut into patches."""
    transform = MelSpectrogram(
        SAMPLE_RATE_HZ,
        N_FFT,
        hop_length=HOP_LENGTH,
        n_mels=N_MELS,
        norm="slaney",
        mel_scale="slaney",
        pad_mode="reflect",
    )
    frames = torch.log10(LOG_GAIN * transform(torch.from_numpy(waveform)) + 1).T.numpy()
    count = len(frames) // N_FRAMES
    return frames[: count * N_FRAMES].reshape(count, N_FRAMES, N_MELS)


@pytest.mark.parametrize(
    "n_samples",
    [MIN_SAMPLES, MIN_SAMPLES + 1, WINDOW_STRIDE, 2 * WINDOW_STRIDE - HOP_LENGTH, 2 * WINDOW_STRIDE, 200_001],
)
def test_windows_equal_the_whole_spectrogram(n_samples):
    waveform = np.random.default_rng(n_samples).uniform(-1, 1, n_samples).astype(np.float32)
    cut = np.stack(list(segments(waveform)))
    assert cut.shape == (n_windows(n_samples), SEGMENT_LENGTH)
    found = LogMel()(torch.from_numpy(cut)).numpy()
    np.testing.assert_allclose(found, whole_signal(waveform), atol=2e-5)


@pytest.mark.parametrize("n_samples", [1, 7, 16_000, MIN_SAMPLES - 1])
def test_a_short_track_is_repeated(n_samples):
    waveform = np.random.default_rng(1).uniform(-1, 1, n_samples).astype(np.float32)
    (short,) = segments(waveform)
    (repeated,) = segments(np.resize(waveform, MIN_SAMPLES))
    np.testing.assert_array_equal(short, repeated)


def test_inner_windows_are_views():
    waveform = np.zeros(10 * WINDOW_STRIDE, np.float32)
    assert all(np.shares_memory(segment, waveform) for segment in list(segments(waveform))[1:-1])


def test_silence_is_zero_and_louder_is_more():
    tone = np.sin(2 * np.pi * 1000 * np.arange(SEGMENT_LENGTH) / SAMPLE_RATE_HZ).astype(np.float32)
    patches = LogMel()(torch.from_numpy(np.stack([tone * 0, tone * 0.01, tone])))
    assert patches.shape == (3, N_FRAMES, N_MELS)
    assert (patches[0] == 0).all()
    assert (patches[2] >= patches[1]).all()
    assert patches[2].mean(dim=0).argmax() == patches[1].mean(dim=0).argmax() == BAND_OF_1_KHZ
