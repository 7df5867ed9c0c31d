"""The bundled catalogue: the Wesnoth soundtrack, its composers, and the playlists that scenario authors made of it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jobs.factors import Factors, check_factors
from jobs.release import Release, parse_release_date

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FOLDER = Path(__file__).parent / "wesnoth"
# The factorisation that finds the most held-out playlist entries, see benchmarks/wesnoth_factors.py. With more
# dimensions, or with less regularisation, 34 tracks in 196 playlists are learned by heart.
DIM = 8
REGULARIZATION = 10.0
ALPHA = 10.0  # weight of an entry against that of a missing one
ITERATIONS = 30


@dataclass(frozen=True)
class WesnothCatalogue:
    """Tracks and playlists.

    Attributes
    ----------
    warm, cold : list of Release
        Tracks that stand in a playlist, and those that stand in none.
    playlists : list of list of str
        The track ids of each playlist.
    """

    warm: list[Release]
    cold: list[Release]
    playlists: list[list[str]]


def load_catalogue() -> WesnothCatalogue:
    """Read the bundled catalogue."""
    by_playlist: dict[str, list[str]] = {}
    with (FOLDER / "playlists.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_playlist.setdefault(row["playlist_id"], []).append(row["track_id"])
    with (FOLDER / "tracks.csv").open(newline="", encoding="utf-8") as file:
        releases = [
            Release(
                track_id=row["track_id"],
                title=row["title"],
                artist_ids=(row["artist"],),
                release_date=parse_release_date(row["date"]),
                audio=FOLDER / row["audio"],
            )
            for row in csv.DictReader(file)
        ]
    listened = {track_id for playlist in by_playlist.values() for track_id in playlist}
    return WesnothCatalogue(
        warm=[release for release in releases if release.track_id in listened],
        cold=[release for release in releases if release.track_id not in listened],
        playlists=list(by_playlist.values()),
    )


def learn_factors(catalogue: WesnothCatalogue, *, seed: int = 0) -> Factors:
    """Learn a collaborative space from the playlists: implicit-feedback matrix factorisation by `implicit`.

    Parameters
    ----------
    catalogue : WesnothCatalogue
    seed : int
        Fixes the factors' first values.

    Returns
    -------
    Factors
        Of the warm tracks; what a platform would export from its recommender.
    """
    plays = playlist_matrix(catalogue)
    factors = factorise(plays, dim=DIM, regularization=REGULARIZATION, alpha=ALPHA, seed=seed)[1]
    return check_factors([release.track_id for release in catalogue.warm], factors, name="the playlists' factors")


def playlist_matrix(catalogue: WesnothCatalogue) -> csr_matrix:
    """Return which playlist (row) holds which warm track (column): float32 ones."""
    from scipy.sparse import csr_matrix

    column = {release.track_id: position for position, release in enumerate(catalogue.warm)}
    pairs = sorted({(row, column[one]) for row, tracks in enumerate(catalogue.playlists) for one in tracks})
    rows, columns = zip(*pairs, strict=True)
    shape = (len(catalogue.playlists), len(catalogue.warm))
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)


def factorise(
    plays: csr_matrix, *, dim: int, regularization: float, alpha: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factorise playlists by alternating least squares, as the library `implicit` does it.

    Parameters
    ----------
    plays : csr_matrix of float32, shape (n_playlists, n_tracks)
    dim : int
    regularization, alpha : float
        As `implicit` has them.
    seed : int

    Returns
    -------
    playlist_factors, track_factors : ndarray of float32, shapes (n_playlists, dim) and (n_tracks, dim)
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # implicit warns where BLAS threads compete with its own
        model = AlternatingLeastSquares(
            factors=dim,
            regularization=regularization,
            alpha=alpha,
            iterations=ITERATIONS,
            random_state=seed,
            num_threads=1,
        )
        model.fit(plays, show_progress=False)
    return np.asarray(model.user_factors), np.asarray(model.item_factors)
