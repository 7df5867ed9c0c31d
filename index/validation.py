"""What ids and vectors must be before they reach a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from index.errors import InvalidIdError, InvalidQueryError, InvalidTrackError, InvalidVectorError
from index.schemas import column_vectors
from index.types import Float32Array, Metric, ServedVector, SpaceRecord, Tier, TrackRecord

MAX_ID_LENGTH = 256
"""Longest track, user or artist id in characters."""

MAX_MAGNITUDE = 1e15
"""Largest absolute value of a vector's element: products of two of them, summed over any real dimension, stay far
below float32's 3.4e38. (What float16 cannot hold is scaled by a power of two when an index is built.)"""

ROLES = frozenset({"primary", "featured", "remixer"})

_TIERS = frozenset(int(tier) for tier in Tier)
_FOLDER_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Lone surrogates are refused with the control characters because UTF-8, which the tables store, has none.
_SURROGATE = re.compile("[\ud800-\udfff]")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_name(name: str, field: str) -> str:
    """Refuse a space, encoder or snapshot id that could not safely name a folder.

    Raises
    ------
    InvalidIdError
    """
    if not isinstance(name, str) or not _FOLDER_SAFE.fullmatch(name):
        raise InvalidIdError(
            f"{field} {_shown(name)} is no valid id: use 1 to 64 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit",
            field=field,
        )
    return name


def check_id(value: str, field: str = "track_id") -> str:
    """Refuse a track, user or artist id that is empty, too long or holds control characters.

    Raises
    ------
    InvalidIdError
    """
    if not is_id(value):
        raise InvalidIdError(
            f"{field} {_shown(value)} is no valid id: use 1 to {MAX_ID_LENGTH} characters without control characters",
            field=field,
        )
    return value


def is_id(value: object) -> bool:
    """Whether `check_id` lets a value pass: only such can be in a table."""
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and not _FORBIDDEN.search(value)


def check_unique(ids: Sequence[str], field: str) -> None:
    """Refuse a list that names an id twice.

    Raises
    ------
    InvalidIdError
    """
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for value in ids:
        if value in seen:
            raise InvalidIdError(f"{field} {_shown(value)} stands there twice: give every id once", field=field)
        seen.add(value)


def check_track(track: TrackRecord) -> None:
    """Refuse metadata that contradicts itself.

    Raises
    ------
    InvalidIdError, InvalidTrackError
    """
    check_id(track.track_id)
    for artist in track.artist_ids:
        check_id(artist, "artist_ids")
    check_unique(track.artist_ids, "artist_ids")
    if track.roles and len(track.roles) != len(track.artist_ids):
        raise InvalidTrackError(
            f"track {_shown(track.track_id)} has {len(track.artist_ids)} artist_ids but {len(track.roles)} roles: "
            "give one role for each artist, or none",
            field="roles",
        )
    for role in track.roles:
        if role not in ROLES:
            raise InvalidTrackError(
                f"track {_shown(track.track_id)} has the role {_shown(role)}: use primary, featured or remixer",
                field="roles",
            )
    named = ((name, getattr(track, name)) for name in ("title", "label", "isrc", "audio_sha256", "audio_uri"))
    for name, text in (*named, *(("markets", market) for market in track.markets)):
        if text is not None and not is_text(text):
            raise InvalidTrackError(
                f"track {_shown(track.track_id)} holds text that is not valid Unicode: send it as UTF-8", field=name
            )


def check_withdrawal(track_id: str, reason: str) -> None:
    """Refuse a withdrawal that could not be stored.

    Raises
    ------
    InvalidIdError, InvalidTrackError
    """
    check_id(track_id)
    if not is_text(reason):
        raise InvalidTrackError(
            f"the reason to withdraw {_shown(track_id)} is not valid Unicode: send it as UTF-8", field="reason"
        )


def is_text(value: object) -> bool:
    """Whether the tables can store a value as text: a string without lone surrogates, which UTF-8 has not."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def check_vectors(
    vectors: Any,
    *,
    dim: int | None,
    metric: Metric | None = None,
    names: Sequence[str] | None = None,
    field: str = "vector",
) -> Float32Array:
    """Bring vectors to contiguous float32 and refuse those that no search can use.

    Parameters
    ----------
    vectors : array_like, shape (n, dim)
    dim : int or None
        Expected length; None: whatever comes.
    metric : Metric, optional
        Where it is cosine, zero vectors are refused.
    names : sequence of str, optional
        Ids of the rows, to name the culprit.

    Returns
    -------
    ndarray of float32, shape (n, dim)

    Raises
    ------
    InvalidVectorError
    """
    try:
        array = np.asarray(vectors)
        if array.dtype != np.float32:
            with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
                array = array.astype(np.float32)
        array = np.ascontiguousarray(array)
    except (TypeError, ValueError) as error:
        raise InvalidVectorError(
            f"{field} is no array of numbers of equal length: send rows of {dim or 'equal numbers of'} floats",
            field=field,
        ) from error
    if array.ndim != 2 or array.shape[1] == 0 or (dim is not None and array.shape[1] != dim):
        wanted = f"(n, {dim})" if dim is not None else "(n, dim)"
        raise InvalidVectorError(
            f"{field} has the shape {array.shape} where {wanted} is needed: send vectors of the space's dimension",
            field=field,
        )

    def culprit(bad: Any) -> str:
        row = int(np.flatnonzero(bad)[0])
        return f"of {_shown(names[row])}" if names is not None else f"number {row}"

    largest = max(float(array.max(initial=0.0)), -float(array.min(initial=0.0)))
    if not largest <= MAX_MAGNITUDE:  # NaN compares as wrong; rows are only looked at where one is
        bad = ~np.isfinite(array).all(axis=1)
        if bad.any():
            raise InvalidVectorError(
                f"{field} {culprit(bad)} holds NaN or infinite values: send finite numbers", field=field
            )
        raise InvalidVectorError(
            f"{field} {culprit(np.abs(array).max(axis=1) > MAX_MAGNITUDE)} holds values beyond {MAX_MAGNITUDE:g}: "
            "scale the space's vectors down",
            field=field,
        )
    if metric is Metric.COSINE:
        bad = ~array.any(axis=1)
        if bad.any():
            raise InvalidVectorError(
                f"{field} {culprit(bad)} is zero and has no direction: a cosine space needs vectors that are not zero",
                field=field,
            )
    return array


def check_served(rows: Sequence[ServedVector], *, dim: int, metric: Metric) -> None:
    """Refuse served vectors that could not be searched.

    Raises
    ------
    InvalidIdError, InvalidVectorError
    """
    for row in rows:
        check_id(row.track_id)
        if row.tier not in _TIERS:
            raise InvalidVectorError(
                f"vector of {_shown(row.track_id)} has the tier {row.tier!r}: use a Tier", field="tier"
            )
        if not 0.0 <= row.confidence <= 1.0:
            raise InvalidVectorError(
                f"vector of {_shown(row.track_id)} has the confidence {row.confidence}: it must lie in [0, 1]",
                field="confidence",
            )
        known = row.popularity
        if known is not None and not 0.0 <= known.low <= known.listens <= known.high < np.inf:
            raise InvalidVectorError(
                f"vector of {_shown(row.track_id)} has the popularity {known.listens} between {known.low} and "
                f"{known.high}: it needs 0 <= low <= listens <= high, all finite",
                field="popularity",
            )
        if np.shape(row.vector) != (dim,):
            raise InvalidVectorError(
                f"vector of {_shown(row.track_id)} has the shape {np.shape(row.vector)}: the space has dimension {dim}",
                field="vector",
            )
    if rows:
        stacked = np.stack([np.asarray(row.vector) for row in rows])
        check_vectors(stacked, dim=dim, metric=metric, names=[row.track_id for row in rows])


def check_served_columns(rows: pa.Table, *, dim: int, metric: Metric) -> None:
    """Refuse columns of served vectors that could not be searched; see `check_served`.

    Raises
    ------
    InvalidIdError, InvalidVectorError
    """
    ids = rows["track_id"].to_pylist()
    for track_id in ids:
        check_id(track_id)
    check_unique(ids, "track_id")
    confidence = np.asarray(rows["confidence"].to_numpy())
    bad = np.flatnonzero(~((confidence >= 0.0) & (confidence <= 1.0)))
    if len(bad):
        raise InvalidVectorError(
            f"vector of {_shown(ids[bad[0]])} has the confidence {confidence[bad[0]]}: it must lie in [0, 1]",
            field="confidence",
        )
    check_vectors(column_vectors(rows["vector"]), dim=dim, metric=metric, names=ids)


def check_damping(damping: float, space: SpaceRecord) -> None:
    """Refuse a damping of popularity that is no share, or that a space has no use for.

    Raises
    ------
    InvalidQueryError
    """
    if isinstance(damping, bool) or not isinstance(damping, (int, float, np.number)) or not 0.0 <= damping <= 1.0:
        raise InvalidQueryError(
            f"popularity_damping is {damping!r}: use 0 (not at all) to 1 (by direction alone)",
            field="popularity_damping",
        )
    if damping > 0.0 and space.metric is Metric.COSINE:
        raise InvalidQueryError(
            f"popularity_damping is {damping!r} but space {space.space_id!r} compares by cosine, so that directions "
            "alone count already: leave it out",
            field="popularity_damping",
        )


def check_listens(listens: Any, names: Sequence[str]) -> Float32Array:
    """Bring counts of listens to float32 and refuse those that count nothing.

    Parameters
    ----------
    listens : array_like, shape (n,)
        At least 0; NaN where not known.
    names : sequence of str, length n
        Ids of the tracks.

    Returns
    -------
    ndarray of float32, shape (n,)

    Raises
    ------
    InvalidVectorError
    """
    try:
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
            counted = np.asarray(listens, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidVectorError("listens are no numbers: send one number for each track", field="listens") from error
    if counted.shape != (len(names),):
        raise InvalidVectorError(
            f"listens have the shape {counted.shape} for {len(names)} tracks: send one number for each", field="listens"
        )
    bad = np.flatnonzero(np.isinf(counted) | (counted < 0))
    if len(bad):
        raise InvalidVectorError(
            f"listens of {_shown(names[bad[0]])} are {counted[bad[0]]}: "
            "send finite numbers from 0, NaN where not known",
            field="listens",
        )
    return counted


def _shown(value: object) -> str:
    """Quote, escape and cut an id for a sentence."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:76]}...{text[0]}"
