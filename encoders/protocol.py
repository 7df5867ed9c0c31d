"""What every encoder is: waveforms in, one content vector a track out."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]


@runtime_checkable
class Encoder(Protocol):
    """Turns waveforms into content vectors.

    The contract (held by `tests/contracts/test_encoder_contract.py`): the same waveform gives the same vector whatever
    stands beside it in the batch, on every call and after every load; every vector is finite; an empty sequence gives
    an array of shape `(0, dim)`.

    Attributes
    ----------
    encoder_id : str
        Names weights, front end and pooling. Two encoders with the same id give comparable vectors. Only the characters
        `a-z A-Z 0-9 . _ -`, so that it can stand in a file name.
    sample_rate_hz : int
        Sample rate that the waveforms must have.
    dim : int
        Length of the content vector.
    """

    @property
    def encoder_id(self) -> str:
        """Stable, file-name safe id of weights, front end and pooling."""

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the waveforms, in Hz."""

    @property
    def dim(self) -> int:
        """Length of the content vector."""

    def encode(self, waveforms: Sequence[Float32Array]) -> Float32Array:
        """Encode tracks.

        Parameters
        ----------
        waveforms : sequence of ndarray, each of shape (n_samples,), float32
            Mono, at `sample_rate_hz`, nominally in [-1, 1]. Lengths may differ.

        Returns
        -------
        ndarray of shape (n, dim), float32
            One finite content vector a track, in the order given.

        Raises
        ------
        InvalidWaveformError
            A waveform has another shape or dtype, is empty, or holds NaN or infinity.
        """

    def outputs(self, waveforms: Sequence[Float32Array]) -> dict[str, Float32Array]:
        """Return the encoder's own outputs, each the mean over a track's windows.

        Parameters
        ----------
        waveforms : sequence of ndarray, each of shape (n_samples,), float32
            As in `encode`.

        Returns
        -------
        dict of str to ndarray of shape (n, d), float32
            The names and widths `d` are the encoder's own.

        Raises
        ------
        InvalidWaveformError
            As in `encode`.
        """
