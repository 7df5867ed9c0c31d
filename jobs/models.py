"""Fitted transfers under the home folder: ``models/<space_id>/<model_id>/``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artist_transfer import TransferModel

FOLDER = "models"
_NEWEST = "newest"  # a one-line file beside the models: the id of the one fitted last


def keep_model(home: Path, model: TransferModel) -> Path:
    """Save a fitted transfer and make it the newest of its space.

    Parameters
    ----------
    home : Path
        The home folder.
    model : TransferModel
        The fitted model.

    Returns
    -------
    Path
        Its folder.
    """
    from artist_transfer import ModelFileError, load_model, save_model

    space_folder = home / FOLDER / model.space_id
    folder = space_folder / model.model_id
    space_folder.mkdir(parents=True, exist_ok=True)
    try:  # the id is a hash of weights and options: the same fit again is the same model, unless its files are damaged
        load_model(folder, device="cpu")
    except ModelFileError:
        save_model(model, folder)
    pointer = space_folder / f".{_NEWEST}.{model.model_id}"
    pointer.write_text(model.model_id + "\n", encoding="utf-8")
    pointer.replace(space_folder / _NEWEST)  # atomic: a reader sees the old id or the new one
    return folder


def newest_model(home: Path, space_id: str, *, device: str) -> TransferModel | None:
    """Load the transfer that was fitted last for a space.

    Parameters
    ----------
    home : Path
        The home folder.
    space_id : str
        The space.
    device : {"auto", "cpu", "cuda"}
        Where it will run.

    Returns
    -------
    TransferModel or None
        None when none was ever fitted.

    Raises
    ------
    artist_transfer.ModelFileError
        When its files are damaged or missing.
    """
    pointer = home / FOLDER / space_id / _NEWEST
    if not pointer.is_file():
        return None
    from artist_transfer import load_model

    return load_model(pointer.parent / pointer.read_text(encoding="utf-8").strip(), device=device)
