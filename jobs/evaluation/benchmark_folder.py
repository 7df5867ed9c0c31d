"""Reading a benchmark folder: tracks in splits, who listened to what, and the collaborative space of the warm tracks.

====================  ==============================================================================================
file                  columns
====================  ==============================================================================================
tracks.parquet        ``track_id``, ``artist_ids`` (list, primary first), ``split`` (``warm``, ``cold_val`` or another
                      name that begins with ``cold_``); optional ``roles`` (list), ``content`` (list of numbers, null
                      where not known), ``decade`` (the first year of the decade of release, null where not known)
interactions.parquet  ``user_id``, ``track_id``, ``split`` (that of the track)
item_factors.parquet  ``track_id``, ``vector``: of the warm tracks, all of them and no others
user_factors.parquet  ``user_id``, ``vector``: of every user with an interaction
====================  ==============================================================================================

Without both factor files the space is trained on the warm interactions (`jobs.evaluation.bpr`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artist_transfer import NO_DATE, ColdTracks, Credits, TransferError, WarmTracks
from jobs.errors import BenchmarkError, FactorsError
from jobs.evaluation.bpr import train_factors
from jobs.evaluation.parquet_columns import decade_column, list_column, read_columns, text_column, vector_column
from jobs.factors import Factors, read_factors
from jobs.progress import OnProgress, Progress, silent

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

WARM = "warm"
VALIDATION = "cold_val"
"""The split that methods may look at to choose and to stop."""

FACTOR_FILES = ("item_factors.parquet", "user_factors.parquet")
ENCODER_ID = "benchmark-content"


@dataclass(frozen=True, eq=False)
class ColdSplit:
    """Cold tracks that stand for tomorrow's releases, and who listened to them afterwards.

    Attributes
    ----------
    name : str
        Such as ``cold_val``.
    tracks : artist_transfer.ColdTracks
        m tracks.
    entries : ndarray, shape (e, 2), int64
        User row and track row (within this split) of each entry; sorted, each pair once.
    """

    name: str
    tracks: ColdTracks
    entries: IntArray


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A benchmark folder, checked.

    Attributes
    ----------
    name : str
        The folder's name.
    warm : artist_transfer.WarmTracks
        The warm tracks; content is NaN where the folder has none, `popularity` counts their entries, the release day
        is the first of the decade where the folder knows it.
    splits : dict of str to ColdSplit
        The cold splits by name; ``cold_val`` is among them.
    user_ids : ndarray of str, shape (u,)
    users : ndarray, shape (u, dim), float32
        User vectors of the same space; a score is the inner product with a track's vector.
    warm_entries : ndarray, shape (n, 2), int64
        User row and warm track row of each entry; sorted, each pair once.
    factors : str
        ``given`` by the folder or ``trained`` here.
    """

    name: str
    warm: WarmTracks
    splits: dict[str, ColdSplit]
    user_ids: NDArray[np.str_]
    users: FloatArray
    warm_entries: IntArray
    factors: str


def read_benchmark(folder: Path, *, seed: int = 0, on_progress: OnProgress = silent) -> Benchmark:
    """Read and check a benchmark folder.

    Parameters
    ----------
    folder : Path
        In the layout above.
    seed : int
        Of the space, where it has to be trained.
    on_progress : callable
        Told when a space has to be trained.

    Returns
    -------
    Benchmark

    Raises
    ------
    BenchmarkError
        When a file or a column is missing or of a wrong kind, an id stands twice or fits no other file, a split is
        unknown or empty, or numbers are not finite; the sentence names the file and the remedy.
    ExtraMissingError
        When the space has to be trained and ``implicit`` is not installed.
    """
    if not folder.is_dir():
        raise BenchmarkError(f"There is no folder {folder}; name a benchmark folder with tracks.parquet in it.")
    tracks = _read_tracks(folder / "tracks.parquet")
    user_of, track_of, user_ids = _read_interactions(folder / "interactions.parquet", tracks)

    row_within = np.empty(tracks.ids.size, dtype=np.int64)
    rows_of = {name: np.flatnonzero(tracks.split == name) for name in np.unique(tracks.split).tolist()}
    for rows in rows_of.values():
        row_within[rows] = np.arange(rows.size)

    def entries(name: str) -> IntArray:
        chosen = tracks.split[track_of] == name
        pairs = np.stack([user_of[chosen], row_within[track_of[chosen]]], axis=1)
        return np.unique(pairs, axis=0)  # a playlist may hold a track twice; it is one listener all the same

    by_split = {name: entries(name) for name in rows_of}
    for name, pairs in by_split.items():
        if pairs.size == 0:
            raise BenchmarkError(
                f"{folder / 'interactions.parquet'} has no entry for any track of the split {name!r}; add its entries "
                "or leave the split out."
            )
    warm_rows, warm_entries = rows_of[WARM], by_split[WARM]
    items, users = _factors(folder, tracks.ids, warm_rows, user_ids, warm_entries, seed, on_progress)
    try:
        warm = WarmTracks(
            space_id=folder.resolve().name,
            encoder_id=ENCODER_ID,
            track_ids=tracks.ids[warm_rows],
            content=tracks.content[warm_rows],
            collaborative=items,
            credits=tracks.credits.take(warm_rows),
            release_day=tracks.release_day[warm_rows],
            popularity=np.bincount(warm_entries[:, 1], minlength=warm_rows.size).astype(np.float32),
        )
        splits = {
            name: ColdSplit(
                name,
                ColdTracks(
                    tracks.ids[rows],
                    tracks.content[rows],
                    tracks.credits.take(rows),
                    tracks.release_day[rows],
                    ENCODER_ID,
                ),
                by_split[name],
            )
            for name, rows in rows_of.items()
            if name != WARM
        }
    except TransferError as error:
        raise BenchmarkError(f"{folder / 'tracks.parquet'}: {error}") from None
    given = (folder / FACTOR_FILES[0]).exists()
    return Benchmark(
        name=folder.resolve().name,
        warm=warm,
        splits=splits,
        user_ids=user_ids,
        users=users,
        warm_entries=warm_entries,
        factors="given" if given else "trained",
    )


@dataclass(frozen=True, eq=False)
class _Tracks:
    ids: NDArray[np.str_]
    split: NDArray[np.str_]
    credits: Credits
    content: FloatArray
    release_day: NDArray[np.int32]


def _read_tracks(path: Path) -> _Tracks:
    columns = read_columns(path, ("track_id", "artist_ids", "split"), ("roles", "content", "decade"))
    ids = text_column(path, "track_id", columns["track_id"])
    split = text_column(path, "split", columns["split"])
    unique, counts = np.unique(ids, return_counts=True)
    if unique.size != ids.size:
        twice = unique[int(np.argmax(counts > 1))]
        raise BenchmarkError(f"{path}: the track {str(twice)!r} stands more than once; keep one row for each track.")
    wrong = [name for name in np.unique(split).tolist() if name != WARM and not name.startswith("cold_")]
    if wrong:
        raise BenchmarkError(
            f"{path}: the split {wrong[0]!r} is not known; use {WARM!r}, {VALIDATION!r} or another name that begins "
            "with 'cold_'."
        )
    for needed in (WARM, VALIDATION):
        if needed not in split:
            raise BenchmarkError(f"{path} has no track of the split {needed!r}; methods are fitted on it, so add some.")
    artists = list_column(path, "artist_ids", columns["artist_ids"])
    roles = list_column(path, "roles", columns["roles"]) if "roles" in columns else None
    try:
        credit = Credits.from_lists(artists, roles)
    except TransferError as error:
        raise BenchmarkError(f"{path}: {error}") from None
    content = (
        vector_column(path, "content", columns["content"])
        if "content" in columns
        else np.full((ids.size, 1), np.nan, dtype=np.float32)
    )
    release_day = (
        decade_column(path, "decade", columns["decade"])
        if "decade" in columns
        else np.full(ids.size, NO_DATE, dtype=np.int32)
    )
    return _Tracks(ids, split, credit, content, release_day)


def _read_interactions(path: Path, tracks: _Tracks) -> tuple[IntArray, IntArray, NDArray[np.str_]]:
    """Row of the user and row of the track of each entry, and the users' ids."""
    columns = read_columns(path, ("user_id", "track_id", "split"), ())
    user_ids, users = np.unique(text_column(path, "user_id", columns["user_id"]), return_inverse=True)
    named = text_column(path, "track_id", columns["track_id"])
    split = text_column(path, "split", columns["split"])
    rows = _rows_of(tracks.ids, named)
    if (rows < 0).any():
        stranger = str(named[int(np.argmax(rows < 0))])
        raise BenchmarkError(
            f"{path} names the track {stranger!r}, which tracks.parquet does not have; add the track or drop the entry."
        )
    wrong = split != tracks.split[rows]
    if wrong.any():
        at = int(np.argmax(wrong))
        raise BenchmarkError(
            f"{path}, row {at + 1}: the split is {str(split[at])!r}, but the track {str(named[at])!r} is of the split "
            f"{str(tracks.split[rows[at]])!r}; write the track's split."
        )
    return users.astype(np.int64), rows, user_ids


def _factors(
    folder: Path,
    track_ids: NDArray[np.str_],
    warm_rows: IntArray,
    user_ids: NDArray[np.str_],
    warm_entries: IntArray,
    seed: int,
    on_progress: OnProgress,
) -> tuple[FloatArray, FloatArray]:
    """Vectors of the warm tracks and of the users, in the order of those."""
    item_path, user_path = (folder / name for name in FACTOR_FILES)
    there = [path for path in (item_path, user_path) if path.exists()]
    if not there:
        on_progress(
            Progress("factors", 0, 1, f"{folder} has no factors; they are trained on the warm entries, seed {seed}")
        )
        items, users = train_factors(warm_entries, warm_rows.size, user_ids.size, seed=seed)
        on_progress(Progress("factors", 1, 1))
        return items, users
    if len(there) == 1:
        missing = item_path if there[0] == user_path else user_path
        raise BenchmarkError(
            f"{there[0]} is there without {missing}; vectors of items and users belong to one training: bring both, or "
            "neither and they are trained."
        )
    item_factors, user_factors = _read_factors(item_path, "track_id"), _read_factors(user_path, "user_id")
    if item_factors.vectors.shape[1] != user_factors.vectors.shape[1]:
        raise BenchmarkError(
            f"{item_path} has {item_factors.vectors.shape[1]} dimensions and {user_path} has "
            f"{user_factors.vectors.shape[1]}; bring the two of one training."
        )
    warm_ids = track_ids[warm_rows]
    surplus = np.flatnonzero(_rows_of(warm_ids, item_factors.ids) < 0)
    if surplus.size:
        raise BenchmarkError(
            f"{item_path} has a vector for {str(item_factors.ids[surplus[0]])!r}, which is no warm track of "
            "tracks.parquet; only what the recommender was trained on may have one."
        )
    return (
        _in_order(item_path, "warm track", warm_ids, item_factors),
        _in_order(user_path, "user", user_ids, user_factors),
    )


def _read_factors(path: Path, id_column: str) -> Factors:
    try:
        return read_factors(path, id_column=id_column)
    except FactorsError as error:
        raise BenchmarkError(str(error)) from None


def _in_order(path: Path, what: str, ids: NDArray[np.str_], factors: Factors) -> FloatArray:
    rows = _rows_of(factors.ids, ids)
    if (rows < 0).any():
        raise BenchmarkError(
            f"{path} lacks {int((rows < 0).sum())} vectors, the first that of the {what} "
            f"{str(ids[int(np.argmax(rows < 0))])!r}; every {what} needs one."
        )
    return factors.vectors[rows]


def _rows_of(table: NDArray[np.str_], wanted: NDArray[np.str_]) -> IntArray:
    """Row of each wanted id in a table of distinct ids, -1 where it is not there."""
    order = np.argsort(table, kind="stable")
    place = np.minimum(np.searchsorted(table, wanted, sorter=order), table.size - 1)
    rows: Any = order[place]
    return np.where(table[rows] == wanted, rows, -1).astype(np.int64)
