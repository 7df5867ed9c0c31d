"""Fitted transfers under the home folder: ``models/<space_id>/<model_id>/``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from index import Home

if TYPE_CHECKING:
    from artist_transfer import TransferModel

FOLDER = "models"
_NEWEST = "newest"  # a one-line file beside the models: the id of the one fitted last


def keep_model(home: Home, model: TransferModel) -> str:
    """Save a fitted transfer and make it the newest of its space.

    Parameters
    ----------
    home : Home
        The home folder.
    model : TransferModel
        The fitted model.

    Returns
    -------
    str
        Its folder.
    """
    from artist_transfer import ModelFileError

    folder = f"{FOLDER}/{model.space_id}/{model.model_id}"
    try:  # the id is a hash of weights and options: the same fit again is the same model, unless its files are damaged
        _load(home, folder, device="cpu")
    except ModelFileError:
        _save(home, folder, model)
    # A reader sees the old id or the new one.
    home.files.write(f"{FOLDER}/{model.space_id}/{_NEWEST}", f"{model.model_id}\n".encode())
    return f"{home}/{folder}"


def newest_model(home: Home, space_id: str, *, device: str, known: TransferModel | None = None) -> TransferModel | None:
    """Load the transfer that was fitted last for a space.

    Parameters
    ----------
    home : Home
        The home folder.
    space_id : str
        The space.
    device : {"auto", "cpu", "cuda"}
        Where it will run.
    known : TransferModel, optional
        One that was loaded before for this device: where it is still the newest it is not loaded again, because a
        model's id is a hash of its weights.

    Returns
    -------
    TransferModel or None
        None when none was ever fitted.

    Raises
    ------
    artist_transfer.ModelFileError
        When its files are damaged or missing.
    index.HomeUnreachableError
    """
    try:
        model_id = home.files.read(f"{FOLDER}/{space_id}/{_NEWEST}").decode().strip()
    except FileNotFoundError:
        return None
    if known is not None and (known.model_id, known.space_id) == (model_id, space_id):
        return known
    return _load(home, f"{FOLDER}/{space_id}/{model_id}", device=device)


def _save(home: Home, folder: str, model: TransferModel) -> None:
    from artist_transfer import save_model
    from artist_transfer.storage import MANIFEST_NAME

    home.require_writable()
    if home.local is not None:
        save_model(model, home.local / folder)
        return
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, "model")
        save_model(model, made)
        names = sorted((path.name for path in made.iterdir()), key=lambda name: name == MANIFEST_NAME)
        for name in names:  # the manifest last
            home.files.write(f"{folder}/{name}", (made / name).read_bytes())


def _load(home: Home, folder: str, *, device: str) -> TransferModel:
    from artist_transfer import load_model

    if home.local is not None:
        return load_model(home.local / folder, device=device)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, folder)  # so that what is wrong with it names the model
        copy.mkdir(parents=True)
        for name in home.files.names(folder):
            (copy / name).write_bytes(home.files.read(f"{folder}/{name}"))
        return load_model(copy, device=device)
