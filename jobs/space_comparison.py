"""A new training beside the one that is served, before anything is switched: figures, and a limit to hold them to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from artist_transfer import Alignment, NotEnoughTracksError
from index import Metric, NoSnapshotError, SpaceRecord, Store, Tier
from jobs.errors import PublishRefusedError, SpaceComparisonError
from jobs.progress import OnProgress, Progress, silent

if TYPE_CHECKING:
    from jobs.engine import Engine

LENGTHS = (10, 100)
"""Of the compared lists of neighbours; limits are about the first."""

QUANTILES = (0.05, 0.5, 0.95)
"""Of the lengths of vectors."""

MAX_QUERIES = 1000
"""Tracks whose neighbours are looked up: an overlap's standard error is then at most 0.016."""

_CELLS = 2**24  # scores held at once, 64 MiB: 16 queries against a million tracks

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class SpaceFigures:
    """One of the two trainings.

    Attributes
    ----------
    space_id : str
    dim : int
    metric : str
    norms : ndarray, shape (tracks,), float64
        Lengths of its collaborative vectors, as they were imported.
    """

    space_id: str
    dim: int
    metric: str
    norms: DoubleArray

    @property
    def tracks(self) -> int:
        """How many tracks have a collaborative vector and are not withdrawn."""
        return len(self.norms)

    def quantiles(self) -> dict[str, float | None]:
        """Return `QUANTILES` of the lengths by name (``q05``); None where there is no track."""
        found = np.quantile(self.norms, QUANTILES).tolist() if self.tracks else [None] * len(QUANTILES)
        return {f"q{share * 100:02.0f}": value for share, value in zip(QUANTILES, found, strict=True)}

    def as_dict(self) -> dict[str, Any]:
        """Return the figures in JSON's types."""
        return {
            "space_id": self.space_id,
            "dim": self.dim,
            "metric": self.metric,
            "tracks": self.tracks,
            "norms": self.quantiles(),
        }


@dataclass(frozen=True, eq=False)
class NeighborOverlap:
    """How many of a track's k nearest tracks in one training are among its k nearest in the other.

    Attributes
    ----------
    k : int
    each : ndarray, shape (queries,), float64
        Of each track that was looked at, 0 to 1.
    chance : float
        What k tracks drawn blindly from the others would give. Trainings that agree on nothing but which tracks have
        long vectors lie above it where they compare by inner product.
    """

    k: int
    each: DoubleArray
    chance: float

    @property
    def mean(self) -> float:
        """Over the tracks, 0 to 1."""
        return float(self.each.mean())

    @property
    def standard_error(self) -> float:
        """Of that mean, as an estimate of the one over all shared tracks; nearer still where most were looked at."""
        return float(self.each.std(ddof=1) / np.sqrt(len(self.each)))

    def as_dict(self) -> dict[str, Any]:
        """Return the figures in JSON's types."""
        return {
            "mean": self.mean,
            "standard_error": self.standard_error,
            "chance": self.chance,
            "queries": len(self.each),
        }


@dataclass(frozen=True, eq=False)
class SpaceComparison:
    """What `compare_spaces` found. Withdrawn tracks count nowhere.

    Attributes
    ----------
    space, with_space : SpaceFigures
        The training in question, and the one it is compared with.
    shared : int
        Tracks that have a collaborative vector in both.
    newly_warm : int
        Stored tracks that have a collaborative vector in `space` and none in `with_space`: publishing makes them warm.
    newly_cold : int
        The other way about: publishing places them by the transfer, where they have been heard.
    overlaps : tuple of NeighborOverlap
        One for each of `LENGTHS` that is shorter than the list of all other shared tracks; any two longer ones would
        agree.
    alignment : Alignment or None
        From `with_space` to `space`; None where too few tracks are shared to determine it.
    """

    space: SpaceFigures
    with_space: SpaceFigures
    shared: int
    newly_warm: int
    newly_cold: int
    overlaps: tuple[NeighborOverlap, ...]
    alignment: Alignment | None

    @property
    def coverage(self) -> float:
        """Share of the tracks of `with_space` that `space` has as well, 0 to 1; 1 where there is none to lose."""
        return self.shared / self.with_space.tracks if self.with_space.tracks else 1.0

    @property
    def missing(self) -> float:
        """Share of the tracks of `with_space` that `space` lacks, 0 to 1."""
        return 1.0 - self.coverage

    def overlap(self, k: int) -> NeighborOverlap | None:
        """Return the overlap of lists of one length; None where it could not be measured."""
        return next((one for one in self.overlaps if one.k == k), None)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures in JSON's types; None for what could not be measured."""
        overlaps = {f"overlap@{k}": self.overlap(k) for k in LENGTHS}
        found = self.alignment
        return {
            "space": self.space.as_dict(),
            "with_space": self.with_space.as_dict(),
            "shared": self.shared,
            "coverage": self.coverage,
            "missing": self.missing,
            "newly_warm": self.newly_warm,
            "newly_cold": self.newly_cold,
            **{name: one.as_dict() if one is not None else None for name, one in overlaps.items()},
            "alignment": None
            if found is None
            else {
                "residual": found.residual,
                "cosine": found.cosine,
                "scale": found.scale,
                "fitted": found.fitted,
                "held_out": found.held_out,
            },
        }


def compare_spaces(
    engine: Engine,
    space_id: str,
    with_space_id: str | None = None,
    *,
    max_queries: int = MAX_QUERIES,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> SpaceComparison:
    """Compare a training with another one, such as the served; reads only.

    Neighbours are exact, among the shared tracks and by each space's own metric. In a space that compares by cosine
    lengths mean nothing, so that its directions alone are aligned.

    Parameters
    ----------
    engine : Engine
    space_id : str
        The training in question.
    with_space_id : str, optional
        What it is compared with; the served space where None.
    max_queries : int
        At most so many shared tracks, drawn by `seed`, have their neighbours looked up among all of them; at least 2.
    seed : int
        Of that draw, and of the tracks that are held out of the alignment.
    on_progress : callable

    Returns
    -------
    SpaceComparison

    Raises
    ------
    index.UnknownSpaceError
    index.NoSnapshotError
        When no other space is named and none is served.
    SpaceComparisonError
        When a space is compared with itself.
    """
    store = engine.store
    if with_space_id is None:
        served = store.published()
        if served is None:
            raise NoSnapshotError(
                f"No space is served that {space_id!r} could be compared with; publish one, or name one with --with."
            )
        with_space_id = served.space_id
    if space_id == with_space_id:
        raise SpaceComparisonError(
            f"Space {space_id!r} would be compared with itself; name another one with --with.", field="with_space_id"
        )
    records = store.space(space_id), store.space(with_space_id)
    withdrawn = store.withdrawn()
    (rows, vectors), (with_rows, with_vectors) = (_training(store, one.space_id, withdrawn) for one in records)
    figures = [
        SpaceFigures(one.space_id, one.dim, one.metric.value, _norms(found))
        for one, found in zip(records, (vectors, with_vectors), strict=True)
    ]
    shared = sorted(rows.keys() & with_rows.keys())
    new, old = (
        _as_compared(found[np.array([row_of[one] for one in shared], dtype=np.intp)], record)
        for row_of, found, record in zip((rows, with_rows), (vectors, with_vectors), records, strict=True)
    )
    del vectors, with_vectors  # a copy of each is held already
    stored = [one for one in store.tracks_table()[0]["track_id"].to_pylist() if one not in withdrawn]
    return SpaceComparison(
        space=figures[0],
        with_space=figures[1],
        shared=len(shared),
        newly_warm=sum(one in rows and one not in with_rows for one in stored),
        newly_cold=sum(one in with_rows and one not in rows for one in stored),
        overlaps=_overlaps(new, old, max_queries, seed, on_progress),
        alignment=_aligned(old, new, seed),
    )


def require_likeness(
    engine: Engine,
    space_id: str,
    *,
    min_overlap: float | None = None,
    min_coverage: float | None = None,
    on_progress: OnProgress = silent,
) -> SpaceComparison | None:
    """Refuse to publish a space that lies too far from the served one; reads only.

    Parameters
    ----------
    engine : Engine
    space_id : str
        What is to be published.
    min_overlap : float, optional
        Least overlap@10 with the served space, 0 to 1.
    min_coverage : float, optional
        Least share of the served space's tracks that it has as well, 0 to 1.
    on_progress : callable

    Returns
    -------
    SpaceComparison or None
        None where nothing was compared: no limit is given, no space is served, or this one is.

    Raises
    ------
    PublishRefusedError
        When a figure is below its limit, or cannot be measured.
    SpaceComparisonError
        When a limit is no share.
    index.UnknownSpaceError
    """
    for name, limit in (("min_overlap", min_overlap), ("min_coverage", min_coverage)):
        if limit is not None and not 0.0 <= limit <= 1.0:
            raise SpaceComparisonError(f"The {name} is {limit}; give a share from 0 to 1.", field=name)
    served = engine.store.published()
    if (min_overlap is None and min_coverage is None) or served is None or served.space_id == space_id:
        return None
    found = compare_spaces(engine, space_id, served.space_id, on_progress=on_progress)
    short = []
    overlap = found.overlap(LENGTHS[0])
    if min_overlap is not None and overlap is None:
        short.append(f"its overlap@{LENGTHS[0]} cannot be measured on {found.shared} shared tracks")
    elif min_overlap is not None and overlap is not None and overlap.mean < min_overlap:
        short.append(
            f"its overlap@{LENGTHS[0]} is {overlap.mean:.4f} (chance: {overlap.chance:.4f}) where {min_overlap:g} is "
            "the least"
        )
    if min_coverage is not None and found.coverage < min_coverage:
        short.append(f"it has {found.coverage:.4f} of {served.space_id!r}'s tracks where {min_coverage:g} is the least")
    if short:
        raise PublishRefusedError(
            f"Space {space_id!r} is not published and {served.space_id!r} is served on: compared with it, "
            f"{', and '.join(short)}. Look at `anacrusis space compare {space_id}`; import a better training, or "
            "publish with lower limits or without any.",
            field="space_id",
        )
    return found


def _training(store: Store, space_id: str, withdrawn: frozenset[str]) -> tuple[dict[str, int], FloatArray]:
    """Read the collaborative vectors of a space, and the row of each track among them."""
    served = store.served_rows(space_id)
    is_warm = served.tiers == Tier.COLLABORATIVE
    kept = {one: row for row, one in enumerate(served.track_ids) if is_warm[row] and one not in withdrawn}
    vectors = served.vectors[np.array(list(kept.values()), dtype=np.intp)]
    return {one: row for row, one in enumerate(kept)}, vectors


def _norms(vectors: FloatArray) -> DoubleArray:
    """Measure lengths without a second matrix; squares of tiny numbers are none in float32."""
    norms: DoubleArray = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    return norms


def _as_compared(vectors: FloatArray, space: SpaceRecord) -> FloatArray:
    """Bring vectors, shape (n, dim), in place to the form whose inner products are the space's scores."""
    if space.metric is Metric.COSINE:  # which holds no zero vector
        vectors /= _norms(vectors)[:, None]
    return vectors


def _overlaps(
    new: FloatArray, old: FloatArray, max_queries: int, seed: int, on_progress: OnProgress
) -> tuple[NeighborOverlap, ...]:
    n = len(new)
    lengths = [k for k in LENGTHS if k < n - 1]
    if not lengths:
        return ()
    queries = np.sort(np.random.default_rng(seed).choice(n, size=min(n, max_queries), replace=False))
    shares = np.empty((len(lengths), len(queries)))
    block = max(1, _CELLS // n)
    for start in range(0, len(queries), block):
        on_progress(Progress("compare", start, len(queries)))
        some = queries[start : start + block]
        pairs = zip(*(_nearest(vectors, some, lengths[-1]) for vectors in (new, old)), strict=True)
        for place, (one, other) in enumerate(pairs, start=start):
            for row, k in enumerate(lengths):
                shares[row, place] = np.intersect1d(one[:k], other[:k], assume_unique=True).size / k
    on_progress(Progress("compare", len(queries), len(queries)))
    return tuple(NeighborOverlap(k, each, k / (n - 1)) for k, each in zip(lengths, shares, strict=True))


def _nearest(vectors: FloatArray, queries: IntArray, k: int) -> Sequence[IntArray]:
    """Find the rows of the k best scores of each query row but itself, best first, ties by row."""
    scores = vectors[queries] @ vectors.T
    scores[np.arange(len(queries)), queries] = -np.inf
    nearest = []
    for row in scores:
        candidates = np.flatnonzero(row >= np.partition(row, -k)[-k])  # more than k only where the last ones tie
        nearest.append(candidates[np.argsort(-row[candidates], kind="stable")[:k]])
    return nearest


def _aligned(old: FloatArray, new: FloatArray, seed: int) -> Alignment | None:
    try:
        return Alignment.fit(old, new, seed=seed)
    except NotEnoughTracksError:
        return None
