"""Audio models of `transformers` as encoders, from a local folder or a hub id.

Supported are three kinds of model (`KINDS`): those that read the raw waveform (wav2vec 2.0, HuBERT, WavLM, data2vec and
their relatives), the Audio Spectrogram Transformer, and CLAP's audio tower. Weights have to be safetensors; code that
comes with a checkpoint is never run.

MERT: its checkpoints declare the model type "mert_model" and bring code of their own. Where the configuration switches
MERT's additions off (no constant-Q features, no deep norm, no relaxed attention) the network is HuBERT's and is loaded
as such, provided that every weight finds its place; else it is refused.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.errors import EncoderFileError
from encoders.torch_threads import TorchThreads
from encoders.transformers_kinds import KINDS, Kind
from encoders.windows import (
    Window,
    check_waveforms,
    full_precision,
    mean_over_windows,
    resolve_batch_windows,
    resolve_device,
)

Float32Array = NDArray[np.float32]

CONTENT_OUTPUT = "content"
MIN_TAIL_S = 1.0  # a last partial window shorter than this is dropped, unless the track has no other
ID_DIGITS = 8
QUIET = 40  # logging.ERROR
# Only used to mask inputs in pretraining, so checkpoints may lack it.
TRAINING_ONLY = ("masked_spec_embed",)


class TransformersEncoder:
    """An audio model of `transformers` as an `Encoder`.

    A track is cut into windows of the model's natural length (`Kind`); each is prepared by the checkpoint's own feature
    extractor. Windows share a batch only with windows of the same length, so nothing is ever padded for another track's
    sake. The content vector is the mean over windows, weighted by their lengths.

    Parameters
    ----------
    source : str
        A local folder (then nothing is fetched) or a hub id.
    device : str
        See `resolve_device`.
    batch_windows : int, optional
        Windows that go through the network at once; see `resolve_batch_windows`.

    Raises
    ------
    EncoderFileError
        The checkpoint is missing, damaged, incomplete, not in safetensors, or of an unsupported type.
    InvalidOptionError
        An option is outside its range.
    """

    def __init__(self, source: str, *, device: str = "auto", batch_windows: int | None = None) -> None:
        self._device = resolve_device(device)
        self._batch_windows = resolve_batch_windows(batch_windows, self._device)
        self._threads = TorchThreads()
        local = Path(source).is_dir()
        config = _read_config(source, local=local)
        self._kind = _kind_of(source, config)
        self._extractor = _load_extractor(source, local=local)
        model = _load_model(source, self._kind, local=local)
        self._model = model.to(self._device).eval().requires_grad_(False)
        self._window = self._kind.window_samples(self._extractor)
        self._widths = {CONTENT_OUTPUT: self._kind.dim(model.config)}
        self._encoder_id = _identity(source, model, self._extractor, self._kind)

    @property
    def encoder_id(self) -> str:
        """Model type, the source's last part, and a hash of weights, feature extractor and pooling."""
        return self._encoder_id

    @property
    def sample_rate_hz(self) -> int:
        """The feature extractor's sample rate in Hz."""
        return int(self._extractor.sampling_rate)

    @property
    def dim(self) -> int:
        """Width of the content vector: the model's hidden size, or CLAP's projection."""
        return self._widths[CONTENT_OUTPUT]

    def encode(self, waveforms: Sequence[Float32Array]) -> Float32Array:
        """Encode tracks; see `Encoder.encode`.

        Parameters
        ----------
        waveforms : sequence of ndarray, each of shape (n_samples,), float32
            Mono, at `sample_rate_hz`, at least 0.1 s.

        Returns
        -------
        ndarray of shape (n, dim), float32
        """
        return self.outputs(waveforms)[CONTENT_OUTPUT]

    def outputs(self, waveforms: Sequence[Float32Array]) -> dict[str, Float32Array]:
        """Return the model's output; see `Encoder.outputs`.

        Parameters
        ----------
        waveforms : sequence of ndarray, each of shape (n_samples,), float32
            As in `encode`.

        Returns
        -------
        dict of str to ndarray, float32
            `content` (n, dim), the only output.
        """
        check_waveforms(waveforms, min_samples=self.sample_rate_hz // 10)
        return mean_over_windows(
            self._windows(waveforms),
            self._forward,
            n_tracks=len(waveforms),
            widths=self._widths,
            batch_windows=self._batch_windows,
            side_by_side=self._threads.map if self._device.type == "cpu" else map,
        )

    def _windows(self, waveforms: Sequence[Float32Array]) -> Iterator[Window]:
        for track, waveform in enumerate(waveforms):
            for start in range(0, waveform.size, self._window):
                samples = waveform[start : start + self._window]
                if start == 0 or samples.size >= MIN_TAIL_S * self.sample_rate_hz:
                    yield Window(track, samples, float(samples.size))

    def _forward(self, samples: Float32Array) -> dict[str, Tensor]:
        with torch.inference_mode(), full_precision(self._device):
            inputs = self._kind.prepare(self._extractor, list(samples))
            moved = {name: value.to(self._device) for name, value in inputs.items()}
            return {CONTENT_OUTPUT: self._kind.pool(self._model, moved)}


def _read_config(source: str, *, local: bool) -> Mapping[str, Any]:
    from transformers import PreTrainedConfig

    if local and not (Path(source) / "config.json").is_file():
        raise EncoderFileError(f"the folder {source} has no config.json: point to a folder of save_pretrained")
    try:
        config, _ = PreTrainedConfig.get_config_dict(source, local_files_only=local)
    except (OSError, ValueError) as error:
        raise EncoderFileError(
            f"no model can be read from {source!r}: give an existing local folder or a hub id that can be reached"
        ) from error
    return dict(config)


def _kind_of(source: str, config: Mapping[str, Any]) -> Kind:
    model_type = str(config.get("model_type", ""))
    if model_type == "mert_model":
        additions = [name for name in ("feature_extractor_cqt", "deepnorm") if config.get(name, False)]
        if config.get("attention_relax", -1.0) > 0:
            additions.append("attention_relax")
        if additions:
            raise EncoderFileError(
                f"the MERT checkpoint {source} uses {', '.join(additions)}, which only its own code implements and "
                "that code is never run: use a checkpoint without, or another model"
            )
    if model_type not in KINDS:
        raise EncoderFileError(
            f"the model type {model_type!r} of {source} is not supported: use one of {', '.join(sorted(KINDS))}"
        )
    return KINDS[model_type]


def _load_extractor(source: str, *, local: bool) -> Any:
    import transformers

    try:
        extractors: Any = transformers.AutoFeatureExtractor
        return extractors.from_pretrained(source, trust_remote_code=False, local_files_only=local)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderFileError(
            f"the feature extractor of {source} cannot be read: save it beside the model (preprocessor_config.json)"
        ) from error


def _load_model(source: str, kind: Kind, *, local: bool) -> Any:
    import transformers
    from safetensors import SafetensorError

    noise = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(QUIET)  # its report lists every weight of CLAP's text tower as unexpected
    try:
        model, report = getattr(transformers, kind.model_class).from_pretrained(
            source,
            trust_remote_code=False,
            local_files_only=local,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise EncoderFileError(
            f"the weights of {source} cannot be loaded: they have to be whole and in safetensors "
            "(save_pretrained writes them)"
        ) from error
    finally:
        transformers.logging.set_verbosity(noise)
    missing = sorted(name for name in report["missing_keys"] if not name.endswith(TRAINING_ONLY))
    if missing:
        raise EncoderFileError(
            f"the checkpoint {source} lacks {len(missing)} weights of {kind.model_class}, such as {missing[0]}: "
            "use a whole checkpoint of that model"
        )
    return model


def _identity(source: str, model: Any, extractor: Any, kind: Kind) -> str:
    """Return an id from the parameters' bytes, so that sharding or where the checkpoint lies change nothing."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    settings = {key: value for key, value in extractor.to_dict().items() if _is_plain(value)}
    digest.update(json.dumps([settings, kind.model_class, kind.window_s, MIN_TAIL_S], sort_keys=True).encode())
    name = re.sub(r"[^a-z0-9]+", "-", Path(source).name.lower()).strip("-")[:40]
    return f"{model.config.model_type.replace('_', '-')}-{name or 'model'}-{digest.hexdigest()[:ID_DIGITS]}"


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool | type(None))
