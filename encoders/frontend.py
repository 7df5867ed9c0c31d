"""MusiCNN's front end: waveform -> windows -> log-mel patches (torchaudio).

Constants and order of operations follow the reference: Pons & Serra 2019, "musicnn: pre-trained convolutional neural
networks for music audio tagging". Every length below is derived from four of them.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

SAMPLE_RATE_HZ = 16_000
N_FFT = 512  # samples: a 32 ms Hann window
HOP_LENGTH = 256  # samples: 16 ms, half a window
N_MELS = 96  # bands on the Slaney scale with Slaney normalisation, 0 Hz to Nyquist
N_FRAMES = 187  # frames in a window (2.99 s)
LOG_GAIN = 10_000.0  # the logarithm taken is log10(LOG_GAIN * power + 1)

FRAME_PADDING = N_FFT // 2  # 256 samples of reflection at both ends of a track centre its first and last frame
WINDOW_STRIDE = N_FRAMES * HOP_LENGTH  # 47,872 samples = 2.992 s from window to window: they do not overlap
SEGMENT_LENGTH = (N_FRAMES - 1) * HOP_LENGTH + N_FFT  # 48,128 samples that the frames of one window read
MIN_SAMPLES = (N_FRAMES - 1) * HOP_LENGTH  # 47,616 samples = 2.976 s: the shortest track with a whole window

CONSTANTS = (SAMPLE_RATE_HZ, N_FFT, HOP_LENGTH, N_MELS, N_FRAMES, LOG_GAIN)  # what an encoder id has to cover


def n_windows(n_samples: int) -> int:
    """Return how many windows a track has.

    Parameters
    ----------
    n_samples : int
        Length of the track in samples, at least 1.

    Returns
    -------
    int
        At least 1: a shorter track is repeated to fill one window. A last partial window is dropped.
    """
    return max(1, (1 + n_samples // HOP_LENGTH) // N_FRAMES)


def segments(waveform: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Cut a track into the stretches of samples that its windows read.

    Frame t of the centred, reflect-padded spectrogram reads `padded[t * HOP_LENGTH : t * HOP_LENGTH + N_FFT]`, so a
    window's frames read one stretch of `SEGMENT_LENGTH` samples and windows can be computed apart: memory is bounded
    for tracks of any length, and windows of different tracks share a batch.

    Parameters
    ----------
    waveform : ndarray of shape (n_samples,), float32
        At least one sample at `SAMPLE_RATE_HZ`. Shorter than `MIN_SAMPLES` it is repeated until it fills one window,
        which keeps its level and timbre where zeros would look like a rhythm of silence.

    Yields
    ------
    ndarray of shape (SEGMENT_LENGTH,), float32
        A view where the window lies inside the track, a padded copy at its ends.
    """
    if waveform.size < MIN_SAMPLES:
        waveform = np.resize(waveform, MIN_SAMPLES)
    for window in range(n_windows(waveform.size)):
        start = window * WINDOW_STRIDE - FRAME_PADDING
        stop = start + SEGMENT_LENGTH
        inside = waveform[max(0, start) : stop]
        before, after = max(0, -start), max(0, stop - waveform.size)
        yield np.pad(inside, (before, after), mode="reflect") if before or after else inside


class LogMel(nn.Module):
    """Log-mel patches of segments.

    Input: `(batch, SEGMENT_LENGTH)` float32 samples. Output: `(batch, N_FRAMES, N_MELS)` float32,
    `log10(10000 * power + 1)`, non-negative.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectrogram(
            sample_rate=SAMPLE_RATE_HZ,
            n_fft=N_FFT,
            hop_length=HOP_LENGTH,
            n_mels=N_MELS,
            power=2.0,
            center=False,  # `segments` has already put the padding where the track ends
            norm="slaney",
            mel_scale="slaney",
        )

    def forward(self, samples: Tensor) -> Tensor:
        """Return the log-mel patches of segments (see the class)."""
        power: Tensor = self.mel(samples)
        return torch.log10(LOG_GAIN * power + 1.0).transpose(1, 2)
