"""Fitting the artist transfer of a space."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jobs.models import keep_model
from jobs.progress import OnProgress, Progress, silent
from jobs.projector import warm_tracks

if TYPE_CHECKING:
    from artist_transfer import EpochReport, TransferModel
    from artist_transfer.options import Method
    from jobs.engine import Engine


def train_space(
    engine: Engine,
    space_id: str = "",
    *,
    seed: int = 0,
    max_epochs: int = 500,
    patience: int = 15,
    method: str = "auto",
    on_progress: OnProgress = silent,
) -> tuple[TransferModel, Path, float]:
    """Fit a transfer on the warm tracks of a space and keep it as the space's newest.

    Parameters
    ----------
    engine : Engine
    space_id : str
        The space; empty for the one imported last.
    seed, max_epochs, patience, method
        As in `artist_transfer.FitOptions`.
    on_progress : callable
        Told after each epoch.

    Returns
    -------
    model : TransferModel
    folder : Path
        Where it was saved.
    seconds : float
        How long the fit took.

    Raises
    ------
    artist_transfer.NotEnoughTracksError
        When no warm track of the space has been heard.
    """
    from artist_transfer import FitOptions, NotEnoughTracksError, fit

    options = FitOptions(  # checked before anything is read
        seed=seed, max_epochs=max_epochs, patience=patience, method=cast("Method", method), device=engine.device
    )
    space = engine.find_space(space_id)
    warm = warm_tracks(engine.store, space.space_id, engine.encoder.encoder_id)
    if warm is None:
        raise NotEnoughTracksError(
            f"No track of space {space.space_id!r} has a content vector of {engine.encoder.encoder_id}; "
            "ingest the audio of its tracks first (`anacrusis ingest`).",
            reason="NOT_ENOUGH_TRACKS",
        )

    def on_epoch(epoch: EpochReport) -> None:
        on_progress(
            Progress(
                "train",
                epoch.epoch,
                epoch.epochs,
                f"loss {epoch.loss:.4f}" + ("" if epoch.ndcg is None else f", held-out NDCG@20 {epoch.ndcg:.3f}"),
            )
        )

    start = time.perf_counter()
    model = fit(warm, options, on_epoch=on_epoch)
    seconds = time.perf_counter() - start
    return model, keep_model(engine.home, model), seconds
