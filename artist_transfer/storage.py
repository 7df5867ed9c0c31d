"""A model on disk: a folder with model.safetensors and manifest.json.

The manifest is read first. It says which format, method, space and encoder the model has, what the fit
measured, and the SHA-256 of the weights; loading believes none of it until sizes, hash and model id agree.
There is no pickle.
"""

import datetime
import hashlib
import json
import os
import platform
import shutil
import tempfile
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from artist_transfer.artist_mean import ArtistMeanModel
from artist_transfer.audio_only import AudioOnly
from artist_transfer.carried import BASE, CARRIED, CarriedModel
from artist_transfer.confidence import ConfidenceTable
from artist_transfer.errors import ModelFileError, TransferInputError
from artist_transfer.model import FittedModel, ModelFacts, TransferModel
from artist_transfer.options import FitOptions, RankingOptions

FORMAT = "anacrusis.artist_transfer"
FORMAT_VERSION = 2
WEIGHTS_NAME = "model.safetensors"
MANIFEST_NAME = "manifest.json"

Tensors = dict[str, npt.NDArray[np.generic]]


def save_model(model: TransferModel, folder: str | Path, *, created_at: datetime.datetime | None = None) -> None:
    """Write a model.

    A new folder appears complete or not at all. In a folder that is already there both files are replaced, the manifest
    last; a reader between the two finds a hash that does not fit and refuses. So give each model a folder of its own,
    named by its ``model_id``.

    Parameters
    ----------
    model : TransferModel
        From `artist_transfer.fit` or `load_model`.
    folder : str or Path
        Where to; folders above it are made.
    created_at : datetime, optional
        With a time zone; now where None.

    Raises
    ------
    ModelFileError
        ``MODEL_NOT_WRITTEN``: the folder cannot be written, or the model is not one of this room's.
    """
    folder = Path(folder)
    if not isinstance(model, FittedModel):
        raise ModelFileError(
            f"A {type(model).__name__} has no file format; save a model that fit or load_model gave.",
            reason="MODEL_NOT_WRITTEN",
            field="model",
        )
    weights = save_tensors({name: np.ascontiguousarray(value) for name, value in model.tensors().items()})
    moment = datetime.datetime.now(datetime.UTC) if created_at is None else created_at.astimezone(datetime.UTC)
    manifest = json.dumps(_manifest(model, weights, moment), indent=2, sort_keys=True, allow_nan=False) + "\n"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write(scratch / WEIGHTS_NAME, weights)
            _write(scratch / MANIFEST_NAME, manifest.encode())
            if folder.is_dir():
                (scratch / WEIGHTS_NAME).replace(folder / WEIGHTS_NAME)
                (scratch / MANIFEST_NAME).replace(folder / MANIFEST_NAME)
            else:
                scratch.chmod(0o755)
                scratch.rename(folder)
            _sync_folder(folder)
            _sync_folder(folder.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise ModelFileError(
            f"The model cannot be written to {folder} ({error.strerror}); choose a folder that can be written.",
            reason="MODEL_NOT_WRITTEN",
            field="folder",
        ) from error


def load_model(folder: str | Path, *, device: str = "auto") -> TransferModel:
    """Read a model that `save_model` wrote.

    Parameters
    ----------
    folder : str or Path
        The model's folder.
    device : str
        Where a network computes: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".

    Returns
    -------
    TransferModel
        With the ``model_id`` of the one that was saved, and its answers.

    Raises
    ------
    ModelFileError
        ``MODEL_MISSING``, ``MODEL_VERSION`` or ``MODEL_DAMAGED``; the sentence names what was expected and found.
    TransferInputError
        ``DEVICE_UNAVAILABLE``.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    weights = _read(folder, WEIGHTS_NAME)
    found = hashlib.sha256(weights).hexdigest()
    expected = manifest.get("weights_sha256")
    if found != expected:
        raise _damaged(folder, WEIGHTS_NAME, f"SHA-256 {expected}", found)
    try:
        tensors: Tensors = dict(load_tensors(weights))
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged(folder, WEIGHTS_NAME, "a safetensors file", str(error)) from error
    try:
        model = _model(manifest, tensors, device)
    except TransferInputError as error:
        if error.reason == "DEVICE_UNAVAILABLE":
            raise
        raise _damaged(folder, MANIFEST_NAME, "a fit's options", str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _damaged(folder, MANIFEST_NAME, "a manifest that fits the weights", repr(error)) from error
    if model.model_id != manifest.get("model_id"):
        raise _damaged(folder, MANIFEST_NAME, f"model id {model.model_id}", repr(manifest.get("model_id")))
    return model


def _manifest(model: FittedModel, weights: bytes, moment: datetime.datetime) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **_described(model),
        **({"base": _described(model.base)} if isinstance(model, CarriedModel) else {}),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "created_at": moment.isoformat(),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "torch", "safetensors")},
        },
    }


def _described(model: FittedModel) -> dict[str, Any]:
    facts = model.facts
    return {
        "model_id": model.model_id,
        "method": facts.method,
        "why": facts.why,
        "space_id": facts.space_id,
        "encoder_id": facts.encoder_id,
        "content_dim": facts.content_dim,
        "dim": facts.dim,
        "options": asdict(facts.options),
        "metrics": facts.metrics,
        "confidence": facts.confidence.to_json(),
    }


def _facts(manifest: dict[str, Any]) -> ModelFacts:
    texts = {name: manifest[name] for name in ("method", "why", "space_id", "encoder_id")}
    sizes = {name: manifest[name] for name in ("content_dim", "dim")}
    if not all(isinstance(value, str) for value in texts.values()):
        raise TypeError(f"{', '.join(texts)} must be strings")
    if not all(isinstance(value, int) and value > 0 for value in sizes.values()):
        raise TypeError(f"{', '.join(sizes)} must be whole numbers above 0")
    return ModelFacts(
        **texts,
        **sizes,
        options=_options(manifest["options"]),
        confidence=ConfidenceTable.from_json(manifest["confidence"]),
        metrics={str(name): float(value) for name, value in manifest["metrics"].items()},
    )


def _options(given: dict[str, Any]) -> FitOptions:
    ranking = dict(given["ranking"])
    ranking["frozen"] = tuple(ranking["frozen"])
    return FitOptions(**{**given, "ranking": RankingOptions(**ranking)})


def _model(manifest: dict[str, Any], tensors: Tensors, device: str) -> FittedModel:
    facts = _facts(manifest)
    if facts.method != CARRIED:
        return _build(facts, tensors, device)
    below = {name.removeprefix(BASE): value for name, value in tensors.items() if name.startswith(BASE)}
    base = _build(_facts(manifest["base"]), below, device)
    if base.model_id != manifest["base"]["model_id"] or base.encoder_id != facts.encoder_id:
        raise ValueError(f"a base called {manifest['base']['model_id']!r} of {facts.encoder_id}")
    return CarriedModel.from_tensors(facts, base, tensors)


def _build(facts: ModelFacts, tensors: Tensors, device: str) -> FittedModel:
    audio_only = AudioOnly.from_tensors(tensors, facts.content_dim, facts.dim)
    if facts.method == "artist_mean":
        return ArtistMeanModel(facts, audio_only)
    if facts.method == "acarec":
        # Torch is needed for the networks only.
        from artist_transfer.acarec import AcarecModel

        return AcarecModel.from_tensors(facts, audio_only, tensors, device=device)
    if facts.method == "ranking":
        from artist_transfer.ranking_model import RankingModel

        return RankingModel.from_tensors(facts, audio_only, tensors, device=device)
    raise ValueError(f"method {facts.method!r}, where ranking, acarec, artist_mean and carried are known")


def _read_manifest(folder: Path) -> dict[str, Any]:
    text = _read(folder, MANIFEST_NAME)
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise _damaged(folder, MANIFEST_NAME, "JSON", str(error)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise _damaged(folder, MANIFEST_NAME, f"format {FORMAT}", repr(found))
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ModelFileError(
            f"The model in {folder} has format version {manifest.get('format_version')!r} and this program reads "
            f"{FORMAT_VERSION}; fit the model again or use the program that wrote it.",
            reason="MODEL_VERSION",
            field="folder",
        )
    return manifest


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"There is no readable {name} in {folder}; expected a folder that save_model wrote, fit the model again.",
            reason="MODEL_MISSING",
            field="folder",
        ) from error


def _damaged(folder: Path, name: str, expected: str, found: str) -> ModelFileError:
    return ModelFileError(
        f"{name} in {folder} is damaged: expected {expected}, found {found}; fit the model again.",
        reason="MODEL_DAMAGED",
        field="folder",
    )


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
