"""Sample-rate conversion in blocks, equal to converting the whole signal at once."""

import math
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

# torchaudio's own defaults, written out because the context that a block needs follows from them.
LOWPASS_ZERO_CROSSINGS = 6  # sinc zero crossings on each side of the filter
ROLLOFF = 0.99  # cut-off, as a share of the lower Nyquist frequency

# The polyphase kernel has about numerator x denominator taps: 160/441 (44.1 -> 16 kHz) is small, but a file that
# declares 44,101 Hz would ask for 16,000 x 44,101 = 2.8 GB. The nearest ratio with a denominator up to this is at most
# 1 / (2 * 990) = 0.05 % off, less than a cent of pitch, and costs at most some tens of megabytes.
MAX_DENOMINATOR = 1000


def ratio(source_hz: int, target_hz: int) -> Fraction:
    """Return the conversion ratio, target over source, with a bounded denominator.

    Parameters
    ----------
    source_hz, target_hz : int
        Sample rates in Hz, positive.

    Returns
    -------
    Fraction
        Exact for every usual pair of rates; else the nearest with a denominator of at most `MAX_DENOMINATOR`.
    """
    return Fraction(target_hz, source_hz).limit_denominator(MAX_DENOMINATOR)


@lru_cache(maxsize=16)
def _kernel(source: int, target: int) -> "Resample":
    import torch
    from torchaudio.transforms import Resample

    with torch.inference_mode():
        return Resample(source, target, lowpass_filter_width=LOWPASS_ZERO_CROSSINGS, rolloff=ROLLOFF)


class BlockResampler:
    """Converts a mono signal that arrives in blocks.

    A windowed sinc (torchaudio's `sinc_interp_hann`) maps every group of `source` samples to `target` samples, where
    `target / source` is the reduced ratio; a group needs only its neighbours within the filter's width. So each block
    is converted with that context and the context's own output is cut off: the concatenation equals the conversion
    of the whole signal up to float32 rounding.

    Parameters
    ----------
    source_hz, target_hz : int
        Sample rates in Hz, positive.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        reduced = ratio(source_hz, target_hz)
        self._target, self._source = reduced.numerator, reduced.denominator
        width = math.ceil(LOWPASS_ZERO_CROSSINGS * self._source / (min(self._source, self._target) * ROLLOFF))
        # The kernel reaches `width` samples to the left and `width + source` to the right of a group's start.
        self._context = math.ceil(width / self._source) + 1
        self._buffer = np.zeros(self._context * self._source, np.float32)  # silence before the start
        self._received = 0
        self._returned = 0

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next samples and return what can be converted so far.

        Parameters
        ----------
        block : ndarray of shape (n,), float32

        Returns
        -------
        ndarray of shape (m,), float32
            May be empty.
        """
        self._received += block.size
        if self._source == self._target:
            return block
        self._buffer = np.concatenate([self._buffer, block])
        groups = self._buffer.size // self._source - 2 * self._context
        return self._convert(groups) if groups > 0 else np.zeros(0, np.float32)

    def finish(self) -> NDArray[np.float32]:
        """Return the rest: the signal is followed by silence.

        Returns
        -------
        ndarray of shape (m,), float32
            All blocks together have `ceil(n * target / source)` samples.
        """
        if self._source == self._target:
            return np.zeros(0, np.float32)
        total = -(-self._received * self._target // self._source)
        missing = total - self._returned
        groups = -(-missing // self._target)
        if groups <= 0:
            return np.zeros(0, np.float32)
        needed = (groups + 2 * self._context) * self._source
        self._buffer = np.pad(self._buffer, (0, max(0, needed - self._buffer.size)))
        return self._convert(groups)[:missing]

    def _convert(self, groups: int) -> NDArray[np.float32]:
        import torch

        chunk = self._buffer[: (groups + 2 * self._context) * self._source]
        with torch.inference_mode():
            converted = _kernel(self._source, self._target)(torch.from_numpy(chunk)).numpy()
        self._buffer = self._buffer[groups * self._source :]
        self._returned += groups * self._target
        first = self._context * self._target
        result: NDArray[np.float32] = converted[first : first + groups * self._target]
        return result
