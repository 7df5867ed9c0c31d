"""Windows of many tracks through a network in full batches, averaged back to tracks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.errors import EncoderFileError, InvalidOptionError, InvalidWaveformError

Float32Array = NDArray[np.float32]
SideBySide = Callable[..., Iterator[Any]]

# MusiCNN on one core, front end included: 470 times real time for 1 window, 550 for 4, 570 for 8 and 550 for 16, whose
# intermediate results overflow the caches. Batches are shared out among the cores, of half a minute of music, too.
CPU_BATCH_WINDOWS = 4
CUDA_BATCH_WINDOWS = 64  # a guess: not measured on a device yet


class Window(NamedTuple):
    """One window of a track.

    Attributes
    ----------
    track : int
        Position of its track in the call.
    samples : ndarray of shape (n_samples,), float32
    weight : float
        Its share in the track's mean, relative to the track's other windows.
    """

    track: int
    samples: Float32Array
    weight: float


def check_waveforms(waveforms: Sequence[Float32Array], *, min_samples: int = 1) -> None:
    """Refuse what is not a list of usable waveforms.

    Parameters
    ----------
    waveforms : sequence of ndarray, each of shape (n_samples,), float32
    min_samples : int
        Fewest samples that the encoder can use.

    Raises
    ------
    InvalidWaveformError
        Names the position of the first bad waveform and what is wrong with it.
    """
    if isinstance(waveforms, np.ndarray) and waveforms.ndim < 2:
        raise InvalidWaveformError(
            "waveforms is one array, expected a sequence of arrays: pass [waveform] for one track"
        )
    for position, waveform in enumerate(waveforms):
        name = f"waveforms[{position}]"
        if not isinstance(waveform, np.ndarray):
            raise InvalidWaveformError(
                f"{name} is a {type(waveform).__name__}, expected a NumPy array: pass decode_audio(...).samples"
            )
        if waveform.dtype != np.float32:
            raise InvalidWaveformError(
                f"{name} has dtype {waveform.dtype}, expected float32 in [-1, 1]: convert and scale it"
            )
        if waveform.ndim != 1:
            raise InvalidWaveformError(
                f"{name} has shape {waveform.shape}, expected (n_samples,): average the channels to mono"
            )
        if waveform.size < min_samples:
            raise InvalidWaveformError(
                f"{name} has {waveform.size} samples, expected at least {min_samples}: pass more of the track"
            )
        if not np.isfinite(waveform).all():
            raise InvalidWaveformError(f"{name} holds NaN or infinite samples: repair or leave out the track")


def batches(windows: Iterable[Window], batch_windows: int) -> Iterator[list[Window]]:
    """Group windows of equal length.

    Parameters
    ----------
    windows : iterable of Window
        Read lazily: at most one batch a distinct length is held.
    batch_windows : int
        Largest batch.

    Yields
    ------
    list of Window
        1 to `batch_windows` windows of one length, so that no window is ever padded for another's sake.
    """
    waiting: dict[int, list[Window]] = {}
    for window in windows:
        alike = waiting.setdefault(window.samples.size, [])
        alike.append(window)
        if len(alike) == batch_windows:
            yield waiting.pop(window.samples.size)
    yield from waiting.values()


def mean_over_windows(
    windows: Iterable[Window],
    forward: Callable[[Float32Array], Mapping[str, Tensor]],
    *,
    n_tracks: int,
    widths: Mapping[str, int],
    batch_windows: int,
    side_by_side: SideBySide = map,
) -> dict[str, Float32Array]:
    """Run windows through a network and average its outputs over every track's windows.

    Parameters
    ----------
    windows : iterable of Window
        At least one for every track.
    forward : callable
        Takes samples (batch, n_samples) float32 and returns tensors (batch, width) by name.
    n_tracks : int
    widths : mapping of str to int
        Outputs to keep, and their widths.
    batch_windows : int
        Largest batch.
    side_by_side : callable, optional
        Calls a function for each batch, in order, and may do several at a time; see `encoders.torch_threads`.

    Returns
    -------
    dict of str to ndarray of shape (n_tracks, width), float32
        Weighted means, summed in float64.

    Raises
    ------
    EncoderFileError
        The network's output is not finite: its weights are damaged.
    """
    sums = {name: np.zeros((n_tracks, width), np.float64) for name, width in widths.items()}
    weights = np.zeros(n_tracks, np.float64)

    def run(batch: Sequence[Window]) -> tuple[Sequence[Window], Mapping[str, Tensor]]:
        return batch, forward(np.stack([window.samples for window in batch]))

    for batch, results in side_by_side(run, batches(windows, batch_windows)):
        tracks = np.array([window.track for window in batch])
        shares = np.array([window.weight for window in batch])
        np.add.at(weights, tracks, shares)
        for name, total in sums.items():
            values = results[name].to("cpu", torch.float64).numpy()
            np.add.at(total, tracks, values * shares[:, None])
    means = {name: (total / weights[:, None]).astype(np.float32) for name, total in sums.items()}
    for name, mean in means.items():
        if not np.isfinite(mean).all():
            raise EncoderFileError(
                f"the encoder's output {name} is not finite: its weights are damaged, or samples are far above 1.0"
            )
    return means


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Compute without TensorFloat-32, which would cost three decimal digits of the parity with the reference.

    Parameters
    ----------
    device : torch.device
        Only CUDA devices have it; the switch is the process's, and is left alone for others.
    """
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[object] = torch.backends.cudnn.flags(allow_tf32=False)
    return flags


def resolve_device(device: str) -> torch.device:
    """Return the device that a name stands for.

    Parameters
    ----------
    device : str
        "auto" (CUDA where there is a device, else the CPU), "cpu", "cuda", "cuda:N"; "gpu" is another name for "cuda".

    Returns
    -------
    torch.device

    Raises
    ------
    InvalidOptionError
        The name is unknown, or asks for CUDA on a machine without it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = "cuda" if device == "gpu" else device
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise InvalidOptionError(f"device {device!r} is unknown: use auto, cpu, cuda or cuda:N", field="device")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InvalidOptionError(
            f"device {device!r} asks for a CUDA device that this machine does not have: use auto or cpu",
            field="device",
        )
    return torch.device(name)


def resolve_batch_windows(batch_windows: int | None, device: torch.device) -> int:
    """Return the batch size to use.

    Parameters
    ----------
    batch_windows : int or None
        As asked for; None chooses `CPU_BATCH_WINDOWS` or `CUDA_BATCH_WINDOWS`.
    device : torch.device

    Returns
    -------
    int

    Raises
    ------
    InvalidOptionError
        It is below 1.
    """
    if batch_windows is None:
        return CUDA_BATCH_WINDOWS if device.type == "cuda" else CPU_BATCH_WINDOWS
    if batch_windows < 1:
        raise InvalidOptionError(
            f"batch_windows is {batch_windows}, expected at least 1: leave it out for the default",
            field="batch_windows",
        )
    return batch_windows
