"""MusiCNN as an `Encoder`: the pretrained weights, the front end and the pooling together."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders import frontend
from encoders.errors import EncoderFileError
from encoders.folding import fold
from encoders.musicnn import OUTPUT_WIDTHS, MusiCNN
from encoders.torch_threads import TorchThreads
from encoders.windows import (
    Window,
    check_waveforms,
    full_precision,
    mean_over_windows,
    resolve_batch_windows,
    resolve_device,
)

Float32Array = NDArray[np.float32]

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
# name -> file and SHA-256 of its bytes, as `python -m encoders.convert_musicnn` prints it
WEIGHTS = {
    "musicnn-msd": (
        "musicnn_msd.safetensors",
        "b9e54703f99e8b67d6042beb06c8cb01c170185f1079fa8096ba77578b9bce38",
    ),
    "musicnn-mtt": (
        "musicnn_mtt.safetensors",
        "cdbff361ee5398452c47aa25f94f08e3140cf81a3d0beb19bd0a57cc2e58670c",
    ),
}
CONTENT_OUTPUT = "mean_pool"  # the content vector: the mean over a track's windows of this output
POOLING = f"mean of {CONTENT_OUTPUT}"
ID_DIGITS = 8  # hexadecimal digits of the hash in an encoder id


def load_musicnn(name: str, folder: Path = WEIGHTS_FOLDER) -> tuple[MusiCNN, str]:
    """Load a network with its pretrained weights.

    Parameters
    ----------
    name : str
        A key of `WEIGHTS`.
    folder : Path
        Where the weights lie.

    Returns
    -------
    model : MusiCNN
        On the CPU, in evaluation mode.
    sha256 : str
        Of the weights file, verified.

    Raises
    ------
    EncoderFileError
        The file is missing or is not the one recorded.
    """
    from safetensors.torch import load

    file_name, expected = WEIGHTS[name]
    try:
        content = (folder / file_name).read_bytes()
    except OSError as error:
        raise EncoderFileError(
            f"the weights {file_name} of {name} cannot be read ({error.strerror}): install the package again"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise EncoderFileError(
            f"the weights {file_name} of {name} have SHA-256 {found}, expected {expected}: "
            "the file is damaged or replaced; install the package again"
        )
    model = MusiCNN()
    # The counters of batches seen belong to training and are not in the file.
    state = load(content) | {key: value for key, value in model.state_dict().items() if "num_batches" in key}
    model.load_state_dict(state)
    return model.eval(), found


class MusicnnEncoder:
    """The default encoder: MusiCNN's `mean_pool`, averaged over windows of 3 s.

    A track shorter than a window (2.976 s) is repeated until it fills one; a last partial window is dropped. Safe to
    share between threads.

    Parameters
    ----------
    name : str
        "musicnn-msd" (trained on the Million Song Dataset) or "musicnn-mtt" (MagnaTagATune).
    device : str
        See `resolve_device`.
    batch_windows : int, optional
        Windows that go through the network at once; see `resolve_batch_windows`.

    Raises
    ------
    EncoderFileError
        The weights are missing or damaged.
    InvalidOptionError
        An option is outside its range.
    """

    def __init__(self, name: str, *, device: str = "auto", batch_windows: int | None = None) -> None:
        self._device = resolve_device(device)
        self._batch_windows = resolve_batch_windows(batch_windows, self._device)
        model, sha256 = load_musicnn(name)
        self._threads = TorchThreads()
        self._network = fold(model).to(self._device)
        self._log_mel = frontend.LogMel().to(self._device)
        identity = repr((sha256, frontend.CONSTANTS, POOLING))
        self._encoder_id = f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:ID_DIGITS]}"

    @property
    def encoder_id(self) -> str:
        """Name, and a hash of weights, front-end constants and pooling, e.g. "musicnn-msd-1a2b3c4d"."""
        return self._encoder_id

    @property
    def sample_rate_hz(self) -> int:
        """16,000 Hz."""
        return frontend.SAMPLE_RATE_HZ

    @property
    def dim(self) -> int:
        """753, the width of `mean_pool`."""
        return OUTPUT_WIDTHS[CONTENT_OUTPUT]

    def encode(self, waveforms: Sequence[Float32Array]) -> Float32Array:
        """Encode tracks; see `Encoder.encode`.

        Parameters
        ----------
        waveforms : sequence of ndarray, each of shape (n_samples,), float32
            Mono, 16,000 Hz.

        Returns
        -------
        ndarray of shape (n, 753), float32
        """
        return self._run(waveforms, {CONTENT_OUTPUT: self.dim})[CONTENT_OUTPUT]

    def outputs(self, waveforms: Sequence[Float32Array]) -> dict[str, Float32Array]:
        """Return the network's outputs; see `Encoder.outputs`.

        Parameters
        ----------
        waveforms : sequence of ndarray, each of shape (n_samples,), float32
            Mono, 16,000 Hz.

        Returns
        -------
        dict of str to ndarray, float32
            `sigmoid` (n, 50) in [0, 1], `penultimate` (n, 200), `mean_pool` and `max_pool` (n, 753).
        """
        return self._run(waveforms, OUTPUT_WIDTHS)

    def outputs_of_patches(self, log_mel: Float32Array) -> dict[str, Float32Array]:
        """Return the network's outputs for every log-mel patch, past the front end.

        Parameters
        ----------
        log_mel : ndarray of shape (n_patches, 187, 96), float32

        Returns
        -------
        dict of str to ndarray, float32
            As `outputs`, one row a patch.
        """
        with torch.inference_mode(), full_precision(self._device):
            results = self._network(torch.from_numpy(log_mel).to(self._device))
            return {name: value.cpu().numpy() for name, value in results.items()}

    def patches(self, waveform: Float32Array) -> Float32Array:
        """Return a track's log-mel patches.

        Parameters
        ----------
        waveform : ndarray of shape (n_samples,), float32
            Mono, 16,000 Hz.

        Returns
        -------
        ndarray of shape (n_patches, 187, 96), float32
        """
        check_waveforms([waveform])
        samples = torch.from_numpy(np.stack(list(frontend.segments(waveform))))
        with torch.inference_mode():
            result: Float32Array = self._log_mel(samples.to(self._device)).cpu().numpy()
        return result

    def _run(self, waveforms: Sequence[Float32Array], widths: Mapping[str, int]) -> dict[str, Float32Array]:
        check_waveforms(waveforms)
        return mean_over_windows(
            _windows(waveforms),
            self._forward,
            n_tracks=len(waveforms),
            widths=widths,
            batch_windows=self._batch_windows,
            side_by_side=self._threads.map if self._device.type == "cpu" else map,
        )

    def _forward(self, samples: Float32Array) -> dict[str, Tensor]:
        with torch.inference_mode(), full_precision(self._device):
            results: dict[str, Tensor] = self._network(self._log_mel(torch.from_numpy(samples).to(self._device)))
        return results


def _windows(waveforms: Sequence[Float32Array]) -> Iterator[Window]:
    for track, waveform in enumerate(waveforms):
        for samples in frontend.segments(waveform):
            yield Window(track, samples, 1.0)
