"""Means over the catalogues of tracks, by either reading of whose catalogue counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from artist_transfer import NO_DATE, Catalogue, CatalogueRows, ColdTracks, Credits, WarmTracks
from jobs.evaluation.benchmark_folder import FloatArray, IntArray

Reading = Literal["primary", "credited", "primary_else_credited"]
"""Whose tracks count: those with the same primary artist; those that share any credited artist; or the latter only
where there are none of the former."""

Tracks = TypeVar("Tracks", WarmTracks, ColdTracks)

READINGS: tuple[Reading, ...] = get_args(Reading)


class CatalogueMeans:
    """Looks up the catalogues of tracks among the warm ones; no track stands in its own.

    Parameters
    ----------
    warm : artist_transfer.WarmTracks
    reading : str
        See `Reading`.
    """

    def __init__(self, warm: WarmTracks, reading: Reading) -> None:
        self._reading = reading
        warm = undated(warm)
        self._primary = Catalogue(replace(warm, credits=primary_only(warm.credits)))
        self._credited = Catalogue(warm)

    def select(self, tracks: ColdTracks) -> CatalogueRows:
        """Select each track's whole catalogue; an empty one where there is none."""
        tracks = undated(tracks)
        everything = max(1, len(self._credited))
        if self._reading == "credited":
            return self._credited.select(tracks, everything)
        by_primary = replace(tracks, credits=primary_only(tracks.credits))
        primary = self._primary.select(by_primary, everything)
        if self._reading == "primary":
            return primary
        credited = self._credited.select(tracks, everything)
        rows = [
            chosen.rows[chosen.indptr[track] : chosen.indptr[track + 1]]
            for track, size in enumerate(primary.sizes.tolist())
            for chosen in ((primary if size else credited),)
        ]
        indptr = np.concatenate([[0], np.cumsum([row.size for row in rows])]).astype(np.int64)
        flat = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
        return CatalogueRows(indptr, flat, np.ones(flat.size, dtype=np.int8))


def undated(tracks: Tracks) -> Tracks:
    """Forget when tracks were released: the baselines and the paper's network know no dates."""
    return replace(tracks, release_day=np.full(len(tracks), NO_DATE, dtype=np.int32))


def primary_only(credit: Credits) -> Credits:
    """Leave each track its primary artist alone."""
    first = credit.primary_artists()
    has = first >= 0
    indptr = np.concatenate([[0], np.cumsum(has)]).astype(np.int64)
    return Credits(indptr, first[has], np.ones(int(has.sum()), dtype=np.int8), credit.artist_ids)


def segment_means(
    indptr: IntArray, values: NDArray[np.floating], *, known: NDArray[np.bool_] | None = None
) -> tuple[FloatArray, IntArray]:
    """Take the mean of each segment of rows.

    Parameters
    ----------
    indptr : ndarray, shape (m + 1,), int64
        Where each segment begins and ends.
    values : ndarray, shape (nnz, d), float
        The rows of all segments, one segment behind the other.
    known : ndarray, shape (nnz,), bool, optional
        Which rows count; all of them where None.

    Returns
    -------
    means : ndarray, shape (m, d), float32
        Zeros where no row counts.
    counts : ndarray, shape (m,), int64
        How many counted.
    """
    counted = np.ones(len(values), dtype=np.int64) if known is None else known.astype(np.int64)
    weighted = np.where(counted[:, None] > 0, values, 0.0)
    totals = np.zeros((indptr.size - 1, values.shape[1]), dtype=np.float64)
    counts = np.zeros(indptr.size - 1, dtype=np.int64)
    filled = np.diff(indptr) > 0
    if filled.any():
        starts = indptr[:-1][filled]
        totals[filled] = np.add.reduceat(weighted, starts, axis=0, dtype=np.float64)
        counts[filled] = np.add.reduceat(counted, starts)
    return (totals / np.maximum(counts, 1)[:, None]).astype(np.float32), counts
