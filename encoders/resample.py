"""Sample-rate conversion in blocks, equal to converting the whole signal at once."""

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# torchaudio's own defaults, and its filter: a sinc under a Hann window (`sinc_interp_hann`).
LOWPASS_ZERO_CROSSINGS = 6  # sinc zero crossings on each side of the filter
ROLLOFF = 0.99  # cut-off, as a share of the lower Nyquist frequency

# An exact ratio for a file that declares 44,101 Hz would have 16,000 different filters. The nearest ratio with a
# denominator up to this is at most 1 / (2 * 990) = 0.05 % off, less than a cent of pitch.
MAX_DENOMINATOR = 1000

# Output samples that are computed at once, as a matrix product: their filters overlap, so that more of them share what
# they read and more of what they share is zeros. Small enough that the product of a block stays in one thread.
OUTPUTS_AT_ONCE = 24


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


class _Piece(NamedTuple):
    """Filters of some neighbouring output samples of a step.

    Attributes
    ----------
    outputs : slice
        Their places among the step's output samples.
    start : int
        The first sample that they read, counted from the step's first one; may be negative.
    filters : ndarray of shape (n_read, n_outputs), float32
    """

    outputs: slice
    start: int
    filters: NDArray[np.float32]


class _Steps(NamedTuple):
    """A conversion that repeats itself: every `source` samples become `target` samples by the same filters."""

    source: int
    target: int
    reach: int  # samples that are read before a step's first and after its last
    pieces: list[_Piece]


@lru_cache(maxsize=16)
def _steps(source: int, target: int) -> _Steps:
    """Lay out the conversion by `target / source`, a reduced ratio."""
    cutoff = ROLLOFF * min(source, target)
    half = LOWPASS_ZERO_CROSSINGS * source / cutoff  # samples: half the width of a filter
    widest = 2 * math.ceil(half) + math.ceil(OUTPUTS_AT_ONCE * source / target) + 1
    # So many periods are one step that its pieces are full and no piece reads more than a step: what they read in step
    # after step are then the rows of a matrix that BLAS takes as it lies in memory.
    periods = max(1, -(-widest // source), -(-4 * OUTPUTS_AT_ONCE // target))
    pieces = []
    for first in range(0, periods * target, OUTPUTS_AT_ONCE):
        outputs = np.arange(first, min(first + OUTPUTS_AT_ONCE, periods * target))
        place = outputs * source / target  # in samples of the source
        reads = np.arange(math.floor(place[0] - half), math.ceil(place[-1] + half) + 1)
        crossings = np.clip(
            (reads[:, None] - place) * (cutoff / source), -LOWPASS_ZERO_CROSSINGS, LOWPASS_ZERO_CROSSINGS
        )
        window = np.cos(crossings * (math.pi / 2 / LOWPASS_ZERO_CROSSINGS)) ** 2
        filters = np.sinc(crossings) * window * (cutoff / source)
        pieces.append(_Piece(slice(int(first), int(outputs[-1]) + 1), int(reads[0]), filters.astype(np.float32)))
    return _Steps(periods * source, periods * target, math.ceil(half) + 1, pieces)


class BlockResampler:
    """Converts a mono signal that arrives in blocks.

    A windowed sinc, torchaudio's `sinc_interp_hann`, is centred at every output sample. Its places relative to the
    samples repeat themselves, so the filters are computed once; each block is converted with the context that they
    read, and what still lacks context waits: the concatenation equals the conversion of the whole signal up to float32
    rounding. torchaudio itself gives every filter of a period the length of the period, most of it zeros (441 samples
    where 22 or 38 count, from 22,050 or 44,100 to 16,000 Hz), which costs ten times as much.

    Parameters
    ----------
    source_hz, target_hz : int
        Sample rates in Hz, positive.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        reduced = ratio(source_hz, target_hz)
        self._target, self._source = reduced.numerator, reduced.denominator
        self._same = self._source == self._target
        self._steps = None if self._same else _steps(self._source, self._target)
        self._buffer = np.zeros(0 if self._steps is None else self._steps.reach, np.float32)  # silence before the start
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
        if self._steps is None:
            return block
        self._buffer = np.concatenate([self._buffer, block])
        return self._convert(self._steps, (self._buffer.size - 2 * self._steps.reach) // self._steps.source)

    def finish(self) -> NDArray[np.float32]:
        """Return the rest: the signal is followed by silence.

        Returns
        -------
        ndarray of shape (m,), float32
            All blocks together have `ceil(n * target / source)` samples.
        """
        if self._steps is None:
            return np.zeros(0, np.float32)
        missing = -(-self._received * self._target // self._source) - self._returned
        count = -(-missing // self._steps.target)
        needed = count * self._steps.source + 2 * self._steps.reach
        self._buffer = np.pad(self._buffer, (0, max(0, needed - self._buffer.size)))
        return self._convert(self._steps, count)[:missing]

    def _convert(self, steps: _Steps, count: int) -> NDArray[np.float32]:
        """Convert the next so many steps; the buffer begins `reach` samples before the first of them."""
        if count <= 0:
            return np.zeros(0, np.float32)
        converted = np.empty((count, steps.target), np.float32)
        stride = self._buffer.itemsize
        for piece in steps.pieces:
            # The rows overlap: a view, whose bounds NumPy checks.
            read: NDArray[np.float32] = np.ndarray(
                (count, len(piece.filters)),
                np.float32,
                self._buffer,
                offset=(steps.reach + piece.start) * stride,
                strides=(steps.source * stride, stride),
            )
            np.matmul(read, piece.filters, out=converted[:, piece.outputs])
        self._buffer = self._buffer[count * steps.source :]
        self._returned += converted.size
        return converted.reshape(-1)
