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

    Raises
    ------
    index.ReadOnlyError, index.HomeUnreachableError
    """
    folder = _saved(home, model)
    _name_newest(home, model)
    return f"{home}/{folder}"


def keep_model_after(home: Home, model: TransferModel, newest_id: str | None) -> bool:
    """Do what `keep_model` does, but only as long as another one is the newest.

    A training takes no lease, so that one may end at any moment. What is left between the last look and the switch is
    the writing of one line.

    Parameters
    ----------
    home : Home
    model : TransferModel
    newest_id : str or None
        From `newest_model_id`, when it was last looked at.

    Returns
    -------
    bool
        Whether it is the newest now; else it has been saved, and serves nothing.

    Raises
    ------
    index.ReadOnlyError, index.HomeUnreachableError
    """
    _saved(home, model)
    if newest_model_id(home, model.space_id) != newest_id:
        return False
    _name_newest(home, model)
    return True


def newest_model_id(home: Home, space_id: str) -> str | None:
    """Give the id of the transfer that was fitted last for a space; None where none ever was."""
    try:
        return home.files.read(f"{FOLDER}/{space_id}/{_NEWEST}").decode().strip()
    except FileNotFoundError:
        return None


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
    model_id = newest_model_id(home, space_id)
    if model_id is None:
        return None
    if known is not None and (known.model_id, known.space_id) == (model_id, space_id):
        return known
    return _load(home, f"{FOLDER}/{space_id}/{model_id}", device=device)


def _saved(home: Home, model: TransferModel) -> str:
    from artist_transfer import ModelFileError

    home.require_writable()
    folder = f"{FOLDER}/{model.space_id}/{model.model_id}"
    try:  # the id is a hash of weights and options: the same fit again is the same model, unless its files are damaged
        _load(home, folder, device="cpu")
    except ModelFileError:
        _save(home, folder, model)
    return folder


def _name_newest(home: Home, model: TransferModel) -> None:
    # A reader sees the old id or the new one.
    home.files.write(f"{FOLDER}/{model.space_id}/{_NEWEST}", f"{model.model_id}\n".encode())


def _save(home: Home, folder: str, model: TransferModel) -> None:
    from artist_transfer import save_model
    from artist_transfer.storage import MANIFEST_NAME

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
