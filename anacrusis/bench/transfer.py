"""How many tracks a second the transfer projects, in batches and one after the other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.made_catalogue import MadeCatalogue
from anacrusis.bench.promises import at_least, at_most
from jobs.progress import OnProgress, Progress

if TYPE_CHECKING:
    from artist_transfer import ColdTracks, TransferModel, WarmTracks

DIM, CONTENT_DIM = 128, 200
LOOPED = 32  # tracks that go one after the other: enough for a steady figure
TRAINED_ON, STEPS = 3000, 5  # what a fit of few steps learns does not matter, only what its answers cost
MIN_SPEED_UP = 50.0
MAX_DIFFERENCE = 1e-3  # of an element beside the longest vector: sums of another order differ in the last digits
SPACE_ID, ENCODER_ID = "made", "made-content"


def bench_transfer(
    tracks: int, repeats: int, *, networks: int | None = None, device: str, seed: int = 0, on_progress: OnProgress
) -> dict[str, Any]:
    """Measure projections of the cold tracks of a made catalogue.

    Parameters
    ----------
    tracks : int
        In the catalogue; two thirds of them are cold.
    repeats : int
        Of both ways, in turns; medians count.
    networks : int, optional
        Of the transfer; None: as many as a training makes.
    device : {"auto", "cpu", "cuda"}
    seed : int
    on_progress : callable

    Returns
    -------
    dict
        In JSON's types: a row a method, and `checks`.
    """
    from artist_transfer import Catalogue, FitOptions, RankingOptions, fit

    made = MadeCatalogue.of(tracks, seed)
    warm, cold = _tracks(made)
    catalogue = Catalogue(warm)
    learned = warm.take(np.argsort(made.artist[made.warm], kind="stable")[:TRAINED_ON])
    ranking = RankingOptions(members=networks or RankingOptions.members, steps=STEPS, candidates=256, listeners=128)
    models = {
        "ranking": fit(learned, FitOptions(method="ranking", ranking=ranking, device=device)),
        "artist_mean": fit(learned, FitOptions(method="artist_mean", device=device)),
    }
    methods, checks = [], []
    for number, (name, model) in enumerate(models.items()):
        on_progress(Progress("project", number, len(models), name))
        method = _measure(model, cold, catalogue, repeats)
        methods.append({"method": name, **method})
    on_progress(Progress("project", len(models), len(models)))
    served = methods[0]
    checks.append(
        at_least(
            f"the ranking transfer, {len(cold):,} tracks together beside one after the other, times as fast",
            served["speed_up"],
            MIN_SPEED_UP,
        )
    )
    checks += [
        at_most(f"{one['method']}: largest difference between the two", one["difference"], MAX_DIFFERENCE)
        for one in methods
    ]
    return {
        "tracks": tracks,
        "warm": len(warm),
        "cold": len(cold),
        "artists": int(made.artist.max()) + 1,
        "looped": min(LOOPED, len(cold)),
        "networks": networks or RankingOptions.members,
        "repeats": repeats,
        "methods": methods,
        "checks": checks,
    }


def _tracks(made: MadeCatalogue) -> tuple[WarmTracks, ColdTracks]:
    from artist_transfer import ColdTracks, Credits, WarmTracks, release_days

    def parts(rows: NDArray[np.int64]) -> dict[str, Any]:
        artists = [
            (f"a{artist}",) if guest < 0 else (f"a{artist}", f"a{guest}")
            for artist, guest in zip(made.artist[rows].tolist(), made.guest[rows].tolist(), strict=True)
        ]
        return {
            "track_ids": np.array([f"t{row:09d}" for row in rows.tolist()], dtype=np.str_),
            "content": made.places(rows, CONTENT_DIM, 2),
            "credits": Credits.from_lists(artists),
            "release_day": release_days([None] * len(rows)),
            "encoder_id": ENCODER_ID,
        }

    warm, cold = np.flatnonzero(made.warm), np.flatnonzero(~made.warm)
    return (
        WarmTracks(space_id=SPACE_ID, collaborative=made.places(warm, DIM, 1), **parts(warm)),
        ColdTracks(**parts(cold)),
    )


def _measure(model: TransferModel, cold: ColdTracks, catalogue: Any, repeats: int) -> dict[str, Any]:
    some = [cold.take([row]) for row in np.linspace(0, len(cold) - 1, min(LOOPED, len(cold))).astype(int).tolist()]
    together, alone = model.project(cold, catalogue), [model.project(one, catalogue) for one in some]
    rows = np.linspace(0, len(cold) - 1, len(some)).astype(int)
    mine = np.concatenate([one.vectors for one in alone])
    difference = float(np.abs(mine - together.vectors[rows]).max() / np.linalg.norm(mine, axis=1).max())
    batched, looped = [], []
    for _ in range(repeats):
        batched.append(len(cold) / _seconds(lambda: model.project(cold, catalogue)))
        looped.append(len(some) / _seconds(lambda: [model.project(one, catalogue) for one in some]))
    return {
        "together_per_s": statistics.median(batched),
        "alone_per_s": statistics.median(looped),
        "speed_up": statistics.median(a / b for a, b in zip(batched, looped, strict=True)),
        "difference": difference,
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
