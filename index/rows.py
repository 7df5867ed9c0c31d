"""What a search knows of each row beside vector and id: tier, confidence, popularity, release day, artists, markets.

Columns are flat arrays (lists of lists as CSR: values and offsets), so that a filter over a million rows is a few
vectorised comparisons and a row costs tens of bytes rather than a Python object.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.types import NO_DATE, Float32Array, Int8Array, Int32Array, Int64Array, TrackRecord

Scalar = TypeVar("Scalar", bound=np.generic)

EPOCH = date(1970, 1, 1)
NO_ARTIST = -1
"""``primary_artist`` of a row without credits."""


def day_number(day: date | None) -> int:
    """Days since 1970-01-01; `NO_DATE` for None."""
    return NO_DATE if day is None else (day - EPOCH).days


class Vocabulary:
    """Codes of strings, handed out in order of first sight and never taken back. Safe to use from many threads."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._coding = threading.Lock()  # of two new words at one moment both would get the same code

    def code(self, word: str) -> int:
        """Give a word's code, making one up where it is new."""
        with self._coding:
            return self._codes.setdefault(word, len(self._codes))

    def known(self, words: Iterable[str]) -> Int32Array:
        """Give the codes of those words that have one."""
        found = (self._codes.get(word) for word in words)
        return np.array([code for code in found if code is not None], dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Columns:
    """Metadata of n rows.

    Parameters
    ----------
    tiers : ndarray of int8, shape (n,)
    confidence : ndarray of float32, shape (n,)
    popularity : ndarray of float32, shape (n, 3)
        Listens, low and high of `Popularity`; NaN where not known.
    release_day : ndarray of int32, shape (n,)
        Days since 1970-01-01, or `NO_DATE`.
    primary_artist : ndarray of int32, shape (n,)
        Code of the artist that a per-artist cap counts, or `NO_ARTIST`.
    artist_offsets, market_offsets : ndarray of int32, shape (n + 1,)
        Row r's codes stand at ``codes[offsets[r]:offsets[r + 1]]``.
    artist_codes, market_codes : ndarray of int32
    """

    tiers: Int8Array
    confidence: Float32Array
    popularity: Float32Array
    release_day: Int32Array
    primary_artist: Int32Array
    artist_offsets: Int32Array
    artist_codes: Int32Array
    market_offsets: Int32Array
    market_codes: Int32Array

    def __len__(self) -> int:
        return len(self.tiers)

    @cached_property
    def knows_popularity(self) -> bool:
        """Whether the popularity of any row is known."""
        return not bool(np.isnan(self.popularity).all())


def aligned_columns(
    track_ids: pa.Array,
    tiers: Int8Array,
    confidence: Float32Array,
    popularity: Float32Array,
    tracks: pa.Table,
    artists: Vocabulary,
    markets: Vocabulary,
) -> Columns:
    """Join the rows of an index with the tracks table.

    Parameters
    ----------
    track_ids : pyarrow.Array of string, length n
    tracks : pyarrow.Table
        Columns of the tracks table, in any order. Rows without a track get unknown metadata.
    artists, markets : Vocabulary
        Extended by what stands in the tracks.
    """
    where = pc.index_in(track_ids, value_set=tracks["track_id"].combine_chunks())
    picked = tracks.select(["artist_ids", "roles", "release_date", "markets"]).take(where)
    artist_offsets, artist_codes = _codes(picked["artist_ids"], artists)
    market_offsets, market_codes = _codes(picked["markets"], markets)
    days = pc.fill_null(picked["release_date"].cast(pa.int32()), NO_DATE)
    return Columns(
        tiers=tiers,
        confidence=confidence,
        popularity=popularity,
        release_day=np.asarray(days.to_numpy(), dtype=np.int32),
        primary_artist=_primary(artist_offsets, artist_codes, picked["roles"]),
        artist_offsets=artist_offsets,
        artist_codes=artist_codes,
        market_offsets=market_offsets,
        market_codes=market_codes,
    )


def patched_columns(
    before: Columns,
    kept: Int64Array,
    track_ids: pa.Array,
    tiers: Int8Array,
    confidence: Float32Array,
    popularity: Float32Array,
    tracks: pa.Table,
    artists: Vocabulary,
    markets: Vocabulary,
) -> Columns:
    """Give what `aligned_columns` gives, from the columns of an older index and what has changed of the tracks since.

    Parameters
    ----------
    before : Columns
        Of m rows, joined by the same vocabularies.
    kept : ndarray of int64, shape (n,)
        Row of `before` for each row of the index; -1 where its track is looked up.
    track_ids : pyarrow.Array of string, length n
    tracks : pyarrow.Table
        Of the tables of tracks those that are looked up.
    artists, markets : Vocabulary
    """
    new = np.flatnonzero(kept < 0)
    if not len(new) and len(kept) == len(before):  # both ascend: they are the same
        return replace(before, tiers=tiers, confidence=confidence, popularity=popularity)
    looked_up = aligned_columns(
        track_ids.take(pa.array(new)), tiers[new], confidence[new], popularity[new], tracks, artists, markets
    )
    rows = kept.copy()
    rows[new] = len(before) + np.arange(len(new))

    def joined(name: str) -> Any:
        return np.concatenate([getattr(before, name), getattr(looked_up, name)])[rows]

    artist_offsets, artist_codes = _joined_lists(before, looked_up, "artist", rows)
    market_offsets, market_codes = _joined_lists(before, looked_up, "market", rows)
    return Columns(
        tiers=tiers,
        confidence=confidence,
        popularity=popularity,
        release_day=joined("release_day"),
        primary_artist=joined("primary_artist"),
        artist_offsets=artist_offsets,
        artist_codes=artist_codes,
        market_offsets=market_offsets,
        market_codes=market_codes,
    )


def _joined_lists(first: Columns, second: Columns, name: str, rows: Int64Array) -> tuple[Int32Array, Int32Array]:
    """Pick lists out of those of two columns, one behind the other."""
    ends, more = getattr(first, f"{name}_offsets"), getattr(second, f"{name}_offsets")
    offsets = np.concatenate([ends, ends[-1] + more[1:]])
    codes = np.concatenate([getattr(first, f"{name}_codes"), getattr(second, f"{name}_codes")])
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    picked = _offsets(lengths)
    return picked, codes[np.arange(picked[-1]) + np.repeat(starts - picked[:-1], lengths)]


def _offsets(lengths: Int32Array) -> Int32Array:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _lists(column: pa.ChunkedArray) -> tuple[Int32Array, pa.Array]:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return _offsets(lengths), pc.list_flatten(column.combine_chunks())


def _codes(column: pa.ChunkedArray, vocabulary: Vocabulary) -> tuple[Int32Array, Int32Array]:
    offsets, words = _lists(column)
    if not len(words):
        return offsets, np.zeros(0, dtype=np.int32)
    encoded = words.dictionary_encode()
    own = np.array([vocabulary.code(word) for word in encoded.dictionary.to_pylist()], dtype=np.int32)
    return offsets, own[encoded.indices.to_numpy()]


def _primary(offsets: Int32Array, codes: Int32Array, roles: pa.ChunkedArray) -> Int32Array:
    n = len(offsets) - 1
    has = offsets[1:] > offsets[:-1]
    primary = np.full(n, NO_ARTIST, dtype=np.int32)
    primary[has] = codes[offsets[:-1][has]]
    role_offsets, words = _lists(roles)
    if len(words):
        # Reversed, so that of several primary artists of one row the first is assigned last and stays.
        marked = np.flatnonzero(pc.equal(words, "primary").to_numpy(zero_copy_only=False))[::-1]
        rows = np.searchsorted(role_offsets, marked, side="right") - 1
        primary[rows] = codes[offsets[rows] + (marked - role_offsets[rows])]
    return primary


class Growing(Generic[Scalar]):
    """An array that grows at its end; views of its beginning stay valid and never change.

    Parameters
    ----------
    dtype : numpy dtype
    width : tuple of int, optional
        Shape of one element.
    """

    def __init__(self, dtype: Any, width: tuple[int, ...] = ()) -> None:
        self._buffer: npt.NDArray[Scalar] = np.zeros((16, *width), dtype=dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, values: Any) -> None:
        """Append values; amortised O(1) each."""
        needed = self._count + len(values)
        if needed > len(self._buffer):
            # A new buffer: readers that hold a view of the old one keep it.
            grown = np.zeros((max(needed, 2 * len(self._buffer)), *self._buffer.shape[1:]), dtype=self._buffer.dtype)
            grown[: self._count] = self._buffer[: self._count]
            self._buffer = grown
        if len(values):
            self._buffer[self._count : needed] = values
        self._count = needed

    def view(self) -> npt.NDArray[Scalar]:
        """Give everything appended so far, without a copy."""
        return self._buffer[: self._count]


class GrowingColumns:
    """`Columns` that rows are appended to.

    Parameters
    ----------
    artists, markets : Vocabulary
    """

    def __init__(self, artists: Vocabulary, markets: Vocabulary) -> None:
        self._artists = artists
        self._markets = markets
        self._tiers: Growing[np.int8] = Growing(np.int8)
        self._confidence: Growing[np.float32] = Growing(np.float32)
        self._popularity: Growing[np.float32] = Growing(np.float32, (3,))
        self._release_day: Growing[np.int32] = Growing(np.int32)
        self._primary: Growing[np.int32] = Growing(np.int32)
        self._artist_offsets: Growing[np.int32] = Growing(np.int32)
        self._artist_codes: Growing[np.int32] = Growing(np.int32)
        self._market_offsets: Growing[np.int32] = Growing(np.int32)
        self._market_codes: Growing[np.int32] = Growing(np.int32)
        self._artist_offsets.extend([0])
        self._market_offsets.extend([0])

    def append(self, track: TrackRecord, tier: int, confidence: float, popularity: tuple[float, float, float]) -> None:
        """Append one row."""
        artists = [self._artists.code(artist) for artist in track.artist_ids]
        markets = [self._markets.code(market) for market in track.markets]
        self._tiers.extend([tier])
        self._confidence.extend([confidence])
        self._popularity.extend([popularity])
        self._release_day.extend([day_number(track.release_date)])
        self._primary.extend([_primary_of(artists, track.roles)])
        self._artist_codes.extend(artists)
        self._artist_offsets.extend([len(self._artist_codes)])
        self._market_codes.extend(markets)
        self._market_offsets.extend([len(self._market_codes)])

    def view(self) -> Columns:
        """Give the rows appended so far, without a copy."""
        return Columns(
            tiers=self._tiers.view(),
            confidence=self._confidence.view(),
            popularity=self._popularity.view(),
            release_day=self._release_day.view(),
            primary_artist=self._primary.view(),
            artist_offsets=self._artist_offsets.view(),
            artist_codes=self._artist_codes.view(),
            market_offsets=self._market_offsets.view(),
            market_codes=self._market_codes.view(),
        )


def _primary_of(codes: list[int], roles: tuple[str, ...]) -> int:
    if not codes:
        return NO_ARTIST
    return codes[roles.index("primary")] if "primary" in roles else codes[0]
