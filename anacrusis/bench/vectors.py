"""Vectors to search: a recommender's own, more of them drawn from those, or made ones that lie in clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.errors import BenchError

Float32Array = NDArray[np.float32]

DIM = 128
TRACKS_AN_ARTIST = 10
GENRES = 64
ARTIST_SPREAD, TRACK_SPREAD = 0.7, 0.5  # of an artist around its genre, of a track around its artist
_HALVED_AT = 16  # dimensions further back carry less and less, as in factors that were learned
_DRAWN_NOISE = 0.5  # of the usual distance to the nearest neighbour
_SAMPLE = 2000  # vectors that this distance is measured on
_PIECE = 65_536


@dataclass(frozen=True, eq=False)
class BenchVectors:
    """The files of one size, beside each other in a folder, as float32 `.npy`.

    Parameters
    ----------
    folder : Path
    source : str
        A sentence that says where they come from.
    """

    folder: Path
    source: str

    @property
    def tracks(self) -> Float32Array:
        """What is indexed: shape (n, dim), mapped into memory."""
        return _mapped(self.folder / "tracks.npy")

    @property
    def tuning(self) -> Float32Array:
        """Queries that efforts are chosen by: shape (queries, dim); none of them is indexed."""
        return _mapped(self.folder / "tuning.npy")

    @property
    def queries(self) -> Float32Array:
        """Queries that are measured: shape (queries, dim); none of them is indexed, or among `tuning`."""
        return _mapped(self.folder / "queries.npy")


def _mapped(path: Path) -> Float32Array:
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def write_vectors(
    folder: Path, tracks: int, *, queries: int, factors: Float32Array | None = None, dim: int = DIM, seed: int = 0
) -> BenchVectors:
    """Write vectors to search and queries that are not among them.

    Parameters
    ----------
    folder : Path
        Exists.
    tracks : int
        How many are to be searched.
    queries : int
        How many of each of the two kinds of queries.
    factors : ndarray of float32, shape (n, dim), optional
        A recommender's item vectors: as many of them as are needed, or all and more drawn from them with noise; the
        queries are vectors of the file which are then left out. None: made vectors.
    dim : int
        Of made vectors.
    seed : int

    Returns
    -------
    BenchVectors

    Raises
    ------
    BenchError
        The file holds too few vectors to leave the queries out.
    """
    rng = np.random.default_rng(seed)
    if factors is None:
        made = _Made(tracks, dim, seed)
        asked = made.rows(rng.integers(0, tracks, 2 * queries), rng)
        pieces: Iterator[Float32Array] = (
            made.rows(np.arange(at, min(at + _PIECE, tracks)), np.random.default_rng([seed, at]))
            for at in range(0, tracks, _PIECE)
        )
        source = (
            f"made vectors: {GENRES} genres, {made.artists:,} artists, tracks around their artists; "
            "the queries are further tracks of the same artists"
        )
    else:
        if len(factors) < 4 * queries:
            raise BenchError(
                f"the factor file has {len(factors)} vectors: {2 * queries} are left out as queries, so give at "
                f"least {4 * queries}"
            )
        order = rng.permutation(len(factors))
        asked, kept = factors[order[: 2 * queries]], factors[np.sort(order[2 * queries :])]
        pieces = _drawn(kept, tracks, seed)
        of = "all" if tracks == len(kept) else f"{tracks:,}" if tracks < len(kept) else "drawn with noise from the"
        source = f"a recommender's item vectors, {of} of {len(kept):,}; the queries are {2 * queries:,} others"
    dim = asked.shape[1]
    target = np.lib.format.open_memmap(folder / "tracks.npy", mode="w+", dtype=np.float32, shape=(tracks, dim))
    at = 0
    for piece in pieces:
        target[at : at + len(piece)] = piece
        at += len(piece)
    target.flush()
    np.save(folder / "tuning.npy", asked[:queries].astype(np.float32), allow_pickle=False)
    np.save(folder / "queries.npy", asked[queries:].astype(np.float32), allow_pickle=False)
    return BenchVectors(folder, source)


class _Made:
    """Genres, artists around them, tracks around these; later dimensions carry less, as in learned factors."""

    def __init__(self, tracks: int, dim: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self.artists = max(1, tracks // TRACKS_AN_ARTIST)
        self._scale = (1.0 / np.sqrt(1.0 + np.arange(dim) / _HALVED_AT)).astype(np.float32)
        genres = rng.standard_normal((GENRES, dim), np.float32)
        self._centres = rng.standard_normal((self.artists, dim), np.float32)
        self._centres *= ARTIST_SPREAD
        self._centres += genres[np.arange(self.artists) % GENRES]

    def rows(self, tracks: NDArray[np.int64], rng: np.random.Generator) -> Float32Array:
        noise = rng.standard_normal((len(tracks), len(self._scale)), np.float32)
        return np.asarray((self._centres[tracks % self.artists] + TRACK_SPREAD * noise) * self._scale)


def _drawn(kept: Float32Array, tracks: int, seed: int) -> Iterator[Float32Array]:
    """Give the vectors themselves, and where more are wanted, others near them: nearer than their neighbours are."""
    rng = np.random.default_rng([seed, 2])
    if tracks <= len(kept):
        yield kept[np.sort(rng.permutation(len(kept))[:tracks])]
        return
    yield kept
    scale = _DRAWN_NOISE * _usual_distance(kept, rng) / np.sqrt(kept.shape[1])
    for at in range(len(kept), tracks, _PIECE):
        rows = rng.integers(0, len(kept), min(_PIECE, tracks - at))
        noise = rng.standard_normal((len(rows), kept.shape[1]), np.float32)
        yield np.asarray(kept[rows] + np.float32(scale) * noise)


def _usual_distance(vectors: Float32Array, rng: np.random.Generator) -> float:
    import faiss

    some = vectors[rng.permutation(len(vectors))[:_SAMPLE]]
    squared, _ = faiss.knn(np.ascontiguousarray(some), np.ascontiguousarray(vectors), 2)
    return float(np.sqrt(np.median(squared[:, 1])))


def nearest(queries: Float32Array, tracks: Float32Array, k: int) -> NDArray[np.int64]:
    """Find the rows with the largest inner products, exactly, in float32.

    Parameters
    ----------
    queries : ndarray of float32, shape (q, dim)
    tracks : ndarray of float32, shape (n, dim)

    Returns
    -------
    ndarray of int64, shape (q, min(k, n))
        Best first.
    """
    import faiss

    k = min(k, len(tracks))
    scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    step = 4 * _PIECE
    for at in range(0, len(tracks), step):
        piece = np.ascontiguousarray(tracks[at : at + step])
        more, found = faiss.knn(
            np.ascontiguousarray(queries), piece, min(k, len(piece)), metric=faiss.METRIC_INNER_PRODUCT
        )
        scores, rows = np.concatenate([scores, more], axis=1), np.concatenate([rows, found + at], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return rows


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Say which share of the true rows was found; both of shape (q, k), padded with -1 where fewer were found."""
    if truth.shape[1] == 0:
        return 1.0
    hit = [len(np.intersect1d(mine, best)) for mine, best in zip(found, truth, strict=True)]
    return float(np.mean(hit) / truth.shape[1])
