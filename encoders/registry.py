"""Encoders by name."""

from encoders.errors import UnknownEncoderError
from encoders.protocol import Encoder

MUSICNN_NAMES = ("musicnn-msd", "musicnn-mtt")
TRANSFORMERS_PREFIX = "transformers:"
DEFAULT_ENCODER = MUSICNN_NAMES[0]


def load_encoder(name: str = DEFAULT_ENCODER, *, device: str = "auto", batch_windows: int | None = None) -> Encoder:
    """Load an encoder.

    Parameters
    ----------
    name : str
        "musicnn-msd" (the default), "musicnn-mtt", or "transformers:SOURCE" where SOURCE is a local folder or a hub id.
    device : str
        "auto" (CUDA where there is a device, else the CPU), "cpu", "cuda" or "cuda:N".
    batch_windows : int, optional
        Windows that go through the network at once, at least 1. By default what suits the device.

    Returns
    -------
    Encoder

    Raises
    ------
    UnknownEncoderError
        No encoder has that name; the sentence lists those there are.
    EncoderFileError
        Weights or checkpoint are missing, damaged or of an unsupported kind.
    InvalidOptionError
        An option is outside its range.
    """
    if name in MUSICNN_NAMES:
        from encoders.musicnn_encoder import MusicnnEncoder

        return MusicnnEncoder(name, device=device, batch_windows=batch_windows)
    source = name.removeprefix(TRANSFORMERS_PREFIX)
    if source and source != name:
        from encoders.transformers_encoder import TransformersEncoder

        return TransformersEncoder(source, device=device, batch_windows=batch_windows)
    known = ", ".join((*MUSICNN_NAMES, f"{TRANSFORMERS_PREFIX}FOLDER_OR_HUB_ID"))
    raise UnknownEncoderError(f"no encoder is called {name!r}: use one of {known}")
