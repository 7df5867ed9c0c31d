"""Fitting the artist transfer of a space."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jobs.errors import InteractionsError
from jobs.interactions_file import InteractionsReport, read_interactions
from jobs.models import keep_model
from jobs.progress import OnProgress, Progress, silent
from jobs.projector import warm_tracks

if TYPE_CHECKING:
    from artist_transfer import EpochReport, TransferModel
    from artist_transfer.options import Method
    from jobs.engine import Engine


@dataclass(frozen=True)
class TrainingReport:
    """What a training brought.

    Attributes
    ----------
    model : TransferModel
    folder : str
        Where it was saved.
    seconds : float
        How long the fit took.
    interactions : InteractionsReport or None
        What it learned from listeners; None where no file was given.
    """

    model: TransferModel
    folder: str
    seconds: float
    interactions: InteractionsReport | None


def train_space(
    engine: Engine,
    space_id: str = "",
    *,
    seed: int = 0,
    max_epochs: int = 500,
    patience: int = 15,
    method: str = "auto",
    interactions: Path | None = None,
    on_progress: OnProgress = silent,
) -> TrainingReport:
    """Fit a transfer on the warm tracks of a space and keep it as the space's newest.

    Parameters
    ----------
    engine : Engine
    space_id : str
        The space; empty for the one imported last.
    seed, max_epochs, patience, method
        As in `artist_transfer.FitOptions`.
    interactions : Path, optional
        Who listened to what, see `jobs.interactions_file`: the ranking transfer then learns to be found by listeners.
    on_progress : callable
        Told after each epoch, or some steps.

    Returns
    -------
    TrainingReport

    Raises
    ------
    artist_transfer.NotEnoughTracksError
        When no warm track of the space has been heard, or too few for a method that is insisted on.
    InteractionsError
        When the file of interactions cannot be taken, or the method learns from none.
    """
    from artist_transfer import FitOptions, NotEnoughTracksError, fit

    options = FitOptions(  # checked before anything is read
        seed=seed, max_epochs=max_epochs, patience=patience, method=cast("Method", method), device=engine.device
    )
    if interactions is not None and method not in ("auto", "ranking"):
        raise InteractionsError(
            f"The method {method} learns from no listener; leave the interactions out, or choose ranking or auto."
        )
    space = engine.find_space(space_id)
    warm = warm_tracks(engine.store, space.space_id, engine.encoder.encoder_id)
    if warm is None:
        raise NotEnoughTracksError(
            f"No track of space {space.space_id!r} has a content vector of {engine.encoder.encoder_id}; "
            "ingest the audio of its tracks first (`anacrusis ingest`).",
            reason="NOT_ENOUGH_TRACKS",
        )

    given, read = (None, None) if interactions is None else read_interactions(interactions, engine.store, warm)

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
    model = fit(warm, options, interactions=given, on_epoch=on_epoch)
    seconds = time.perf_counter() - start
    return TrainingReport(model, keep_model(engine.home, model), seconds, read)
