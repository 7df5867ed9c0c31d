"""The records that pass through this room: warm tracks, cold tracks, projections. No torch in here."""

import datetime
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from artist_transfer.credits import Credits, IntArray
from artist_transfer.errors import TransferInputError

FloatArray = npt.NDArray[np.float32]
StrArray = npt.NDArray[np.str_]

NO_DATE = int(np.iinfo(np.int32).min)
"""The release day of a track whose release date is not known."""

_EPOCH = datetime.date(1970, 1, 1)


class Tier(enum.IntEnum):
    """Where a vector comes from; the smaller number is the better source."""

    COLLABORATIVE = 1
    ARTIST_TRANSFER = 2
    AUDIO_ONLY = 3


def release_days(dates: Sequence[datetime.date | None]) -> npt.NDArray[np.int32]:
    """Release dates as days since 1970-01-01.

    Parameters
    ----------
    dates : sequence of date or None
        None where the date is not known. A date of which only the year is known is its first day.

    Returns
    -------
    ndarray, shape (n,), int32
        `NO_DATE` where the date is not known.
    """
    return np.asarray([NO_DATE if day is None else (day - _EPOCH).days for day in dates], dtype=np.int32)


def finite_matrix(values: object, field: str, *, rows: int | None = None, missing: bool = False) -> FloatArray:
    """`values` as a finite, contiguous float32 matrix.

    Parameters
    ----------
    values : array_like, shape (n, d)
        Numbers.
    field : str
        The argument's name, for the error.
    rows : int, optional
        How many rows there must be.
    missing : bool
        Whether a row of NaN alone is taken: what it stands for is not known.

    Returns
    -------
    ndarray, shape (n, d), float32
        Without a copy where `values` already fits.

    Raises
    ------
    TransferInputError
        ``NOT_NUMERIC``, ``SHAPE_MISMATCH`` or ``NOT_FINITE``.
    """
    try:
        with np.errstate(over="ignore"):
            matrix = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise TransferInputError(
            f"{field} is not a matrix of numbers; give an array of shape (tracks, dim).",
            reason="NOT_NUMERIC",
            field=field,
        ) from None
    if matrix.ndim != 2 or matrix.shape[1] == 0 or (rows is not None and matrix.shape[0] != rows):
        wanted = f"({'tracks' if rows is None else rows}, dim)"
        raise TransferInputError(
            f"{field} has shape {matrix.shape}; give one row for each track: {wanted}.",
            reason="SHAPE_MISMATCH",
            field=field,
        )
    bad = ~np.isfinite(matrix).all(axis=1)
    if missing:
        bad &= ~np.isnan(matrix).all(axis=1)
    if bad.any():
        raise TransferInputError(
            f"{field} has NaN or infinite numbers in {int(bad.sum())} rows, the first is row {int(np.argmax(bad))}; "
            "leave those tracks out or compute them again.",
            reason="NOT_FINITE",
            field=field,
        )
    return matrix


def content_known(content: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether each row of `content`, shape (n, content_dim), is there; a row of NaN is not."""
    return np.asarray(~np.isnan(content[:, 0]))


def _popularity(values: object, rows: int) -> FloatArray:
    """Check listens; float32, NaN where not known."""
    if values is None:
        return np.full(rows, np.nan, dtype=np.float32)
    try:
        counts = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        counts = np.empty((0, 0), dtype=np.float32)
    if counts.shape != (rows,):
        raise TransferInputError(
            f"popularity is no list of {rows} numbers; give one number of listens for each track, NaN where not known.",
            reason="SHAPE_MISMATCH",
            field="popularity",
        )
    if bool(np.any(np.isinf(counts) | (counts < 0.0))):
        raise TransferInputError(
            "popularity has negative or infinite numbers; give listens from 0, NaN where not known.",
            reason="NOT_FINITE",
            field="popularity",
        )
    return counts


def _track_ids(values: Any) -> StrArray:
    ids = np.asarray(values, dtype=np.str_) if len(values) else np.empty(0, dtype="<U1")
    if ids.ndim != 1:
        raise TransferInputError(
            f"track_ids has shape {ids.shape}; give a flat list of ids.",
            reason="SHAPE_MISMATCH",
            field="track_ids",
        )
    if bool(np.any(ids == "")):
        raise TransferInputError(
            f"Track {int(np.argmax(ids == ''))} has an empty id; name every track.",
            reason="TRACK_ID_EMPTY",
            field="track_ids",
        )
    return ids


def _release_day(values: object, rows: int) -> npt.NDArray[np.int32]:
    days = np.asarray(values)
    if days.shape != (rows,) or (rows and not np.issubdtype(days.dtype, np.integer)):
        raise TransferInputError(
            f"release_day has shape {days.shape} and type {days.dtype}; give {rows} integers, days since 1970-01-01 "
            "(see release_days).",
            reason="SHAPE_MISMATCH",
            field="release_day",
        )
    return days.astype(np.int32, copy=False)


def _check_credits(credit: Credits, rows: int) -> None:
    if len(credit) != rows:
        raise TransferInputError(
            f"There are credits for {len(credit)} tracks and {rows} track ids; give credits for each track.",
            reason="SHAPE_MISMATCH",
            field="credits",
        )


@dataclass(frozen=True, eq=False)
class WarmTracks:
    """n tracks of one space that have a collaborative vector.

    Parameters
    ----------
    space_id : str
        The space of the collaborative vectors.
    encoder_id : str
        The encoder of the content vectors.
    track_ids : array_like of str, shape (n,)
        Each once.
    content : array_like, shape (n, content_dim), float32
        Content vectors, finite; a row of NaN where it is not known.
    collaborative : array_like, shape (n, dim), float32
        Collaborative vectors, finite, in the space's own scale.
    credits : Credits
        Of these n tracks.
    release_day : array_like, shape (n,), int32
        Days since 1970-01-01, `NO_DATE` where not known.
    popularity : array_like, shape (n,), float32, optional
        Listens (or listeners, or playlists: whatever the recommender counted), at least 0, NaN where not known.

    Raises
    ------
    TransferInputError
        ``SHAPE_MISMATCH``, ``NOT_FINITE``, ``NOT_NUMERIC``, ``TRACK_ID_EMPTY`` or ``TRACK_ID_REPEATED``.
    """

    space_id: str
    encoder_id: str
    track_ids: StrArray
    content: FloatArray
    collaborative: FloatArray
    credits: Credits
    release_day: npt.NDArray[np.int32]
    popularity: FloatArray = None  # type: ignore[assignment]  # always an array once made

    def __post_init__(self) -> None:
        ids = _track_ids(self.track_ids)
        n = ids.size
        object.__setattr__(self, "track_ids", ids)
        object.__setattr__(self, "content", finite_matrix(self.content, "content", rows=n, missing=True))
        object.__setattr__(self, "popularity", _popularity(self.popularity, n))
        object.__setattr__(self, "collaborative", finite_matrix(self.collaborative, "collaborative", rows=n))
        object.__setattr__(self, "release_day", _release_day(self.release_day, n))
        _check_credits(self.credits, n)
        unique, counts = np.unique(ids, return_counts=True)
        if unique.size != n:
            raise TransferInputError(
                f"The track {str(unique[np.argmax(counts > 1)])!r} stands more than once among the warm tracks; "
                "keep one row for each track.",
                reason="TRACK_ID_REPEATED",
                field="track_ids",
            )

    def __len__(self) -> int:
        return self.track_ids.size

    @property
    def content_known(self) -> npt.NDArray[np.bool_]:
        """Whether each track has a content vector, shape (n,)."""
        return content_known(self.content)

    @property
    def content_dim(self) -> int:
        """Length of a content vector."""
        return int(self.content.shape[1])

    @property
    def dim(self) -> int:
        """Length of a collaborative vector."""
        return int(self.collaborative.shape[1])

    def take(self, rows: npt.ArrayLike) -> "WarmTracks":
        """Take the tracks at `rows` (positions, or a mask of length n), in that order."""
        at = _positions(rows, len(self))
        return WarmTracks(
            self.space_id,
            self.encoder_id,
            self.track_ids[at],
            self.content[at],
            self.collaborative[at],
            self.credits.take(at),
            self.release_day[at],
            self.popularity[at],
        )

    def without(self, rows: npt.ArrayLike) -> "WarmTracks":
        """All tracks but those at `rows` (positions, or a mask of length n)."""
        keep = np.ones(len(self), dtype=np.bool_)
        keep[_positions(rows, len(self))] = False
        return self.take(keep)

    def as_cold(self, rows: npt.ArrayLike | None = None) -> "ColdTracks":
        """Take the tracks at `rows` (all by default) as if nobody had listened to them yet."""
        at = _positions(np.arange(len(self)) if rows is None else rows, len(self))
        return ColdTracks(
            self.track_ids[at], self.content[at], self.credits.take(at), self.release_day[at], self.encoder_id
        )


@dataclass(frozen=True, eq=False)
class ColdTracks:
    """m tracks that wait for their place in the space.

    Parameters
    ----------
    track_ids : array_like of str, shape (m,)
        A track that is also warm never stands in its own catalogue.
    content : array_like, shape (m, content_dim), float32
        Content vectors, finite; a row of NaN where it is not known.
    credits : Credits
        Of these m tracks; artists that no warm track has are simply unknown.
    release_day : array_like, shape (m,), int32
        Days since 1970-01-01, `NO_DATE` where not known.
    encoder_id : str, optional
        The encoder of the content vectors; where given, a model of another encoder refuses them.

    Raises
    ------
    TransferInputError
        ``SHAPE_MISMATCH``, ``NOT_FINITE``, ``NOT_NUMERIC`` or ``TRACK_ID_EMPTY``.
    """

    track_ids: StrArray
    content: FloatArray
    credits: Credits
    release_day: npt.NDArray[np.int32]
    encoder_id: str = ""

    def __post_init__(self) -> None:
        ids = _track_ids(self.track_ids)
        object.__setattr__(self, "track_ids", ids)
        object.__setattr__(self, "content", finite_matrix(self.content, "content", rows=ids.size, missing=True))
        object.__setattr__(self, "release_day", _release_day(self.release_day, ids.size))
        _check_credits(self.credits, ids.size)

    def __len__(self) -> int:
        return self.track_ids.size

    @property
    def content_known(self) -> npt.NDArray[np.bool_]:
        """Whether each track has a content vector, shape (m,)."""
        return content_known(self.content)

    def take(self, rows: npt.ArrayLike) -> "ColdTracks":
        """Take the tracks at `rows` (positions, or a mask of length m), in that order."""
        at = _positions(rows, len(self))
        return ColdTracks(
            self.track_ids[at], self.content[at], self.credits.take(at), self.release_day[at], self.encoder_id
        )


@dataclass(frozen=True, eq=False)
class Projection:
    """What a model says about m cold tracks.

    Attributes
    ----------
    vectors : ndarray, shape (m, dim), float32
        Projected vectors, finite, in the space's own scale.
    tiers : ndarray, shape (m,), int8
        `Tier.ARTIST_TRANSFER` or `Tier.AUDIO_ONLY`.
    confidence : ndarray, shape (m,), float32
        Expected cosine between the projected and the true vector, in [0, 1].
    catalogue_size : ndarray, shape (m,), int32
        How many catalogue tracks were read, at most the catalogue limit; 0 for `Tier.AUDIO_ONLY`.
    leaned_on : tuple of m tuples of (str, float)
        The catalogue tracks with the largest weights, at most 8, descending, then by track id. Weights sum to 1 over
        the whole catalogue, so those of a longer one sum to less. Empty for `Tier.AUDIO_ONLY`.
    popularity, popularity_low, popularity_high : ndarray, shape (m,), float32
        Listens to expect once the track is as well known as the warm ones, in the unit of `WarmTracks.popularity`:
        the median and the bounds that hold nine of ten tracks. NaN where the space's own counts are not known.
    """

    vectors: FloatArray
    tiers: npt.NDArray[np.int8]
    confidence: FloatArray
    catalogue_size: npt.NDArray[np.int32]
    leaned_on: tuple[tuple[tuple[str, float], ...], ...]
    popularity: FloatArray
    popularity_low: FloatArray
    popularity_high: FloatArray

    def __len__(self) -> int:
        return int(self.vectors.shape[0])


def _positions(rows: npt.ArrayLike, n: int) -> IntArray:
    at = np.asarray(rows)
    if at.dtype == np.bool_:
        if at.shape != (n,):
            raise TransferInputError(
                f"The mask has shape {at.shape}; give one truth value for each of the {n} tracks.",
                reason="SHAPE_MISMATCH",
                field="rows",
            )
        return np.flatnonzero(at).astype(np.int64)
    at = np.atleast_1d(at)
    if at.size == 0:
        return np.empty(0, dtype=np.int64)
    if at.ndim != 1 or not np.issubdtype(at.dtype, np.integer) or at.min() < -n or at.max() >= n:
        raise TransferInputError(
            f"The rows are not positions among {n} tracks; give integers from 0 to {n - 1} or a mask.",
            reason="SHAPE_MISMATCH",
            field="rows",
        )
    return np.where(at < 0, at + n, at).astype(np.int64)
