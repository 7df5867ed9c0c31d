"""Does a projected vector find what the true one finds? Every warm track in turn is treated as cold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jobs.progress import OnProgress, Progress, silent
from jobs.projector import without_credits

if TYPE_CHECKING:
    from artist_transfer import FitOptions, WarmTracks

METHODS = ("acarec", "artist_mean", "audio_only")


@dataclass(frozen=True)
class OverlapFigure:
    """Overlap@k of one method.

    Attributes
    ----------
    mean : float
        Share of the true vector's k nearest tracks that the projected vector finds among its own k, 0 to 1.
    standard_error : float
        Of that mean, over the tracks.
    tracks : int
        How many tracks were treated as cold.
    """

    mean: float
    standard_error: float
    tracks: int


def leave_one_out(
    warm: WarmTracks, options: FitOptions, *, cosine: bool, k: int = 10, on_progress: OnProgress = silent
) -> dict[str, OverlapFigure]:
    """Project each warm track from a fit, and a catalogue, that have never seen it.

    Parameters
    ----------
    warm : WarmTracks
        n tracks; the transfer is fitted n times, so this is for small spaces.
    options : FitOptions
        Of each fit; its method is left aside.
    cosine : bool
        Whether the space compares by cosine instead of the inner product.
    k : int
        Length of the compared neighbour lists.
    on_progress : callable

    Returns
    -------
    dict of str to OverlapFigure
        ``acarec`` (the network of the ACARec paper; the ranking transfer takes too long to be fitted n times) and
        ``artist_mean``, both from audio alone where the artist has nothing else; ``audio_only`` (as if every artist
        were new); and ``chance``: what k tracks drawn blindly from the n - 1 others find.
    """
    from dataclasses import replace

    from artist_transfer import Catalogue, fit

    overlaps: dict[str, list[float]] = {method: [] for method in METHODS}
    for row in range(len(warm)):
        others = warm.without([row])
        target = warm.as_cold([row])
        catalogue = Catalogue(others)
        mean_model = fit(others, replace(options, method="artist_mean"))
        projected = {
            "acarec": fit(others, replace(options, method="acarec")).project(target, catalogue),
            "artist_mean": mean_model.project(target, catalogue),
            "audio_only": mean_model.project(without_credits(target), catalogue),
        }
        wanted = _nearest(others.collaborative, warm.collaborative[row], k, cosine=cosine)
        for method, projection in projected.items():
            found = _nearest(others.collaborative, projection.vectors[0], k, cosine=cosine)
            overlaps[method].append(len(wanted & found) / len(wanted))
        on_progress(Progress("check", row + 1, len(warm)))
    figures = {method: _figure(values) for method, values in overlaps.items()}
    figures["chance"] = OverlapFigure(min(1.0, k / (len(warm) - 1)), 0.0, len(warm))
    return figures


def _nearest(vectors: NDArray[np.float32], query: NDArray[np.float32], k: int, *, cosine: bool) -> set[int]:
    scores = vectors @ query
    if cosine:  # the query's own length changes no order
        scores = scores / np.maximum(np.linalg.norm(vectors, axis=1), np.finfo(np.float32).tiny)
    return set(np.argsort(-scores, kind="stable")[:k].tolist())


def _figure(values: list[float]) -> OverlapFigure:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return OverlapFigure(float(np.mean(values)), spread / float(np.sqrt(len(values))), len(values))
