"""What a refresh of a few artists costs beside one of everything, on a home that is made for it."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.made_catalogue import MadeCatalogue
from jobs.progress import OnProgress, Progress

if TYPE_CHECKING:
    from jobs import Engine, RefreshReport

MAX_RATIO = 0.05
CHANGED_SHARE = 0.01
"""Of the artists; the promise is that refreshing them costs at most `MAX_RATIO` of refreshing all."""

ONCE_FROM_TRACKS = 100_001
"""Refreshing all of a catalogue of this size takes minutes: from here on that is measured once."""

DIM = 128
TRAINED_ON = 3000  # warm tracks; what a fit of few steps learns does not matter here, only what its answers cost
STEPS = 5
SPACE_ID = "made"
_COMMIT_TRACKS = 65_536


def bench_refresh(
    tracks: int,
    repeats: int,
    *,
    networks: int | None = None,
    encoder: str,
    device: str,
    seed: int = 0,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Measure refreshes of everything and of one artist in a hundred, side by side.

    Parameters
    ----------
    tracks : int
        In the made catalogue.
    repeats : int
        Of both, one behind the other, or of what changed alone where the catalogue is large (`ONCE_FROM_TRACKS`); the
        median of their ratios counts.
    networks : int, optional
        Of the transfer; None: as many as a training makes. More make projecting dearer, and nothing cheaper.
    encoder : str
        Whose length the made content vectors have.
    device : {"auto", "cpu", "cuda"}
    seed : int
        Fixes the catalogue.
    on_progress : callable

    Returns
    -------
    dict
        In JSON's types: sizes, the seconds of each repeat with their stages, and ``checks``.
    """
    from artist_transfer import RankingOptions
    from jobs import Engine

    made = MadeCatalogue.of(tracks, seed)
    rng = np.random.default_rng([seed, 1])
    warm = np.flatnonzero(made.warm)
    # One warm track of each of these artists is not yet heard, or is withdrawn: half of the catalogues grow.
    _, first = np.unique(made.artist[warm], return_index=True)
    per_round = max(2, round(CHANGED_SHARE * len(np.unique(made.artist))))
    changing = rng.permutation(warm[first])[: per_round * repeats].reshape(repeats, -1)
    grows = np.arange(changing.shape[1]) % 2 == 0
    with tempfile.TemporaryDirectory(prefix="anacrusis-bench-") as folder:
        home = Path(folder) / "home"
        began = time.perf_counter()
        with Engine.open(home, create=True, encoder=encoder, device=device) as engine:
            _fill(engine, made, set(changing[:, grows].ravel().tolist()), networks, on_progress)
        filled_s = time.perf_counter() - began
        with Engine.open(home, encoder=encoder, device=device) as engine:
            everything, changed = [], []
            for number, turn in enumerate(changing):
                # The first publish projects everything as well, so that a million tracks are not projected twice.
                if number == 0 or tracks < ONCE_FROM_TRACKS:
                    everything.append(_timed(engine, on_progress, everything=number > 0))
                _change(engine, made, turn[grows], turn[~grows])
                changed.append(_timed(engine, on_progress, everything=False))
            tiers = engine.status().tier_counts
    # Each beside the last one of everything before it: how fast a shared machine is at the moment drops out.
    beside = everything if len(everything) == repeats else everything * repeats
    ratio = median(some["seconds"] / all_["seconds"] for some, all_ in zip(changed, beside, strict=True))
    return {
        "tracks": tracks,
        "artists": len(np.unique(made.artist)),
        "warm": int(made.warm.sum()),
        "changed_artists": per_round,
        "repeats": repeats,
        "networks": networks or RankingOptions.members,
        "dim": DIM,
        "tier_counts": {tier.name.lower(): count for tier, count in tiers.items()},
        "fill_s": filled_s,
        "everything": everything,
        "changed": changed,
        "median_everything": _median(everything),
        "median_changed": _median(changed),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "ratio": ratio,
        "checks": [
            {
                "name": f"refresh of 1 % of the artists beside one of all, {tracks} tracks",
                "measured": ratio,
                "bound": MAX_RATIO,
                "holds": ratio <= MAX_RATIO,
            }
        ],
    }


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Take the run whose seconds are the median, the longer of two in the middle."""
    return sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]


def _timed(engine: Engine, on_progress: OnProgress, *, everything: bool) -> dict[str, Any]:
    start = time.perf_counter()
    done: RefreshReport = engine.refresh(everything=everything, on_progress=on_progress)
    return {
        "seconds": time.perf_counter() - start,
        "upkeep_s": done.maintenance.seconds if done.maintenance is not None else 0.0,  # part of the seconds
        "projected": done.projected,
        "reasons": done.reasons,
        "stage_s": done.stage_s,
    }


def _fill(
    engine: Engine, made: MadeCatalogue, unheard: set[int], networks: int | None, on_progress: OnProgress
) -> None:
    """Store the catalogue, a training that places its warm tracks, and a transfer fitted to it."""
    from artist_transfer import FitOptions, RankingOptions, fit
    from index import SpaceRecord
    from jobs.models import keep_model
    from jobs.projector import warm_tracks

    n = len(made.artist)
    for batch in _batches(np.arange(n)):
        _store(engine, made, batch[~np.isin(batch, list(unheard))])
        on_progress(Progress("fill", int(batch[-1]) + 1, n))
    warm = np.flatnonzero(made.warm)
    vectors = np.concatenate([made.places(batch, DIM, 1) for batch in _batches(warm)])
    engine.store.create_space(SpaceRecord(SPACE_ID, DIM), [f"t{track}" for track in warm.tolist()], vectors)
    encoder_id = engine.encoder.encoder_id
    learned = [f"t{track}" for track in warm[np.argsort(made.artist[warm], kind="stable")][:TRAINED_ON].tolist()]
    known = warm_tracks(engine.store, SPACE_ID, encoder_id, learned)
    assert known is not None  # the catalogue was just stored
    ranking = RankingOptions(members=networks or RankingOptions.members, steps=STEPS, candidates=256, listeners=128)
    keep_model(engine.home, fit(known, FitOptions(method="ranking", ranking=ranking, device=engine.device)))


def _store(engine: Engine, made: MadeCatalogue, tracks: NDArray[np.int64]) -> None:
    from index import TrackRecord, WriteBatch

    if len(tracks) == 0:
        return
    content = made.places(tracks, engine.encoder.dim, 2)
    records = [
        TrackRecord(
            f"t{track}",
            artist_ids=(f"a{artist}",) if guest < 0 else (f"a{artist}", f"a{guest}"),
            audio_sha256=f"{track:064x}",
        )
        for track, artist, guest in zip(
            tracks.tolist(), made.artist[tracks].tolist(), made.guest[tracks].tolist(), strict=True
        )
    ]
    rows = [(record.track_id, vector) for record, vector in zip(records, content, strict=True)]
    engine.store.commit(WriteBatch(tracks=records, content={engine.encoder.encoder_id: rows}))


def _change(engine: Engine, made: MadeCatalogue, heard: NDArray[np.int64], withdrawn: NDArray[np.int64]) -> None:
    _store(engine, made, heard)
    engine.withdraw([f"t{track}" for track in withdrawn.tolist()], "a bench")


def _batches(tracks: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(tracks), _COMMIT_TRACKS):
        yield tracks[first : first + _COMMIT_TRACKS]
