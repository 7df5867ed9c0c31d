"""Arrow schemas of the Lance tables, and the way between their rows and records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from index.types import Float32Array, Int8Array, Popularity, ServedVector, Tier, TrackRecord, utc_now

_TIME = pa.timestamp("us", tz="UTC")
# Without this mark two writers' merge_inserts of one new key both insert it (seen: 4,000 rows for 1,750 keys).
_KEY = {"lance-schema:unenforced-primary-key": "true"}


def key_field(name: str, kind: pa.DataType | None = None) -> pa.Field:
    """Describe a table's key column; of text where no other type is given."""
    return pa.field(name, kind or pa.string(), nullable=False, metadata=_KEY)


TRACKS = pa.schema(
    [
        key_field("track_id"),
        pa.field("title", pa.string()),
        pa.field("artist_ids", pa.list_(pa.string())),
        pa.field("roles", pa.list_(pa.string())),
        pa.field("release_date", pa.date32()),
        pa.field("label", pa.string()),
        pa.field("markets", pa.list_(pa.string())),
        pa.field("isrc", pa.string()),
        pa.field("audio_sha256", pa.string()),
        pa.field("audio_uri", pa.string()),
        pa.field("basis", pa.string()),
        pa.field("updated_at", _TIME),
    ]
)

WITHDRAWN = pa.schema([key_field("track_id"), pa.field("withdrawn_at", _TIME), pa.field("reason", pa.string())])

SPACES = pa.schema(
    [
        key_field("space_id"),
        pa.field("dim", pa.int32()),
        pa.field("metric", pa.string()),
        pa.field("created_at", _TIME),
        pa.field("track_count", pa.int64()),
        pa.field("user_count", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("creation", pa.string()),
    ]
)

SNAPSHOTS = pa.schema(
    [
        key_field("snapshot_id"),
        pa.field("space_id", pa.string()),
        pa.field("served_version", pa.int64()),
        pa.field("fresh_version", pa.int64()),
        pa.field("index_kind", pa.string()),
        pa.field("row_count", pa.int64()),
        pa.field("model_id", pa.string()),
        pa.field("created_at", _TIME),
    ]
)

RETIRED = pa.schema(
    [
        key_field("name"),
        pa.field("kind", pa.string()),
        pa.field("id", pa.string()),
        pa.field("retired_at", _TIME),
    ]
)

LEASES = pa.schema(
    [
        key_field("name"),
        pa.field("holder", pa.string()),
        pa.field("token", pa.string()),
        pa.field("acquired_at", _TIME),
        pa.field("expires_at", _TIME),
    ]
)

PUBLISHES = pa.schema(
    [
        key_field("sequence", pa.int64()),
        pa.field("snapshot_id", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("published_at", _TIME),
    ]
)


POPULARITY = ("popularity", "popularity_low", "popularity_high")
"""Columns of `served_schema` that hold a `Popularity`: its listens, its low, its high."""


def content_schema(dim: int) -> pa.Schema:
    """Content vectors of one encoder, float32, `dim` long."""
    return pa.schema(
        [
            key_field("track_id"),
            pa.field("encoder_id", pa.string()),
            pa.field("content", pa.list_(pa.float32(), dim)),
        ]
    )


def served_schema(dim: int) -> pa.Schema:
    """Vectors of one space, served or fresh.

    ``fresh_version`` says up to which version of the fresh table a served row has taken the track's fresh row
    into account; in the fresh table itself it is 0 and means nothing. The three columns of `Popularity` are null
    together, where it is not known.
    """
    return pa.schema(
        [
            key_field("track_id"),
            pa.field("space_id", pa.string()),
            pa.field("vector", pa.list_(pa.float32(), dim)),
            pa.field("tier", pa.int8()),
            pa.field("confidence", pa.float32()),
            pa.field("model_id", pa.string()),
            pa.field("catalogue_size", pa.int32()),
            pa.field("leaned_on_ids", pa.list_(pa.string())),
            pa.field("leaned_on_weights", pa.list_(pa.float32())),
            pa.field("basis", pa.string()),
            pa.field("catalogue_basis", pa.string()),
            *(pa.field(name, pa.float32()) for name in POPULARITY),
            pa.field("fresh_version", pa.int64()),
        ]
    )


def users_schema(dim: int) -> pa.Schema:
    """User vectors of one space."""
    return pa.schema([key_field("user_id"), pa.field("vector", pa.list_(pa.float32(), dim))])


MOVED = pa.schema([key_field("track_id"), pa.field("moved", pa.float32()), pa.field("stamp", pa.string())])


def vector_column(vectors: Float32Array) -> pa.Array:
    """View a C-contiguous float32 array of shape (n, dim) as a FixedSizeList column, without a copy."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def column_vectors(column: pa.ChunkedArray | pa.Array) -> Float32Array:
    """Read a FixedSizeList<float32> column as an array of shape (n, dim)."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    dim = column.type.list_size
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, dim)


def tracks_table(tracks: Iterable[TrackRecord], now: datetime | None = None) -> pa.Table:
    """Rows of `TRACKS`."""
    stamp = now or utc_now()
    rows = list(tracks)
    columns: dict[str, Any] = {
        name: [getattr(track, name) for track in rows] for name in TRACKS.names if name != "updated_at"
    }
    columns["updated_at"] = [stamp] * len(rows)
    return pa.table(columns, schema=TRACKS)


def track_records(table: pa.Table) -> list[TrackRecord]:
    """Read rows of `TRACKS` as records."""
    columns = {name: table[name].to_pylist() for name in TRACKS.names if name not in ("basis", "updated_at")}
    lists = ("artist_ids", "roles", "markets")
    records = []
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        row |= {name: tuple(row[name] or ()) for name in lists}
        records.append(TrackRecord(**row))
    return records


def content_table(encoder_id: str, ids: Sequence[str], vectors: Float32Array) -> pa.Table:
    """Rows of one encoder's content table."""
    columns = [pa.array(ids, pa.string()), pa.array([encoder_id] * len(ids)), vector_column(vectors)]
    return pa.Table.from_arrays(columns, schema=content_schema(vectors.shape[1]))


def users_table(ids: Sequence[str], vectors: Float32Array) -> pa.Table:
    """Rows of one space's user table."""
    columns = [pa.array(ids, pa.string()), vector_column(vectors)]
    return pa.Table.from_arrays(columns, schema=users_schema(vectors.shape[1]))


def popularity_columns(popularity: Float32Array) -> list[pa.Array]:
    """Make the columns `POPULARITY` of an array of shape (n, 3); NaN becomes null."""
    return [pa.array(popularity[:, part], pa.float32(), from_pandas=True) for part in range(len(POPULARITY))]


def column_popularity(table: pa.Table) -> Float32Array:
    """Read the columns `POPULARITY` as an array of shape (n, 3); null becomes NaN."""
    parts = [table[name].to_numpy() for name in POPULARITY]
    return np.stack(parts, axis=1).astype(np.float32, copy=False)


def popularity_row(popularity: Popularity | None) -> tuple[float, float, float]:
    """Give listens, low and high; NaN where not known."""
    if popularity is None:
        return (np.nan, np.nan, np.nan)
    return (popularity.listens, popularity.low, popularity.high)


def as_popularity(row: Iterable[float]) -> Popularity | None:
    """Read listens, low and high, as `Hits.popularity` has them; None where they are NaN: not known."""
    listens, low, high = map(float, row)
    return None if np.isnan(listens) else Popularity(listens, low, high)


def collaborative_table(
    space_id: str, ids: Sequence[str], vectors: Float32Array, listens: Float32Array | None = None
) -> pa.Table:
    """Rows of a served table that come from the recommender itself; NaN where a track's listens are not known."""
    n = len(ids)
    counted = np.full(n, np.nan, dtype=np.float32) if listens is None else listens
    no_lists = np.zeros(n + 1, dtype=np.int32)
    columns = [
        pa.array(ids, pa.string()),
        pa.repeat(pa.scalar(space_id), n),
        vector_column(vectors),
        pa.array(np.full(n, int(Tier.COLLABORATIVE), dtype=np.int8)),
        pa.array(np.ones(n, dtype=np.float32)),
        pa.repeat(pa.scalar(""), n),
        pa.array(np.zeros(n, dtype=np.int32)),
        pa.ListArray.from_arrays(pa.array(no_lists), pa.array([], pa.string())),
        pa.ListArray.from_arrays(pa.array(no_lists), pa.array([], pa.float32())),
        pa.repeat(pa.scalar(""), n),
        pa.repeat(pa.scalar(""), n),
        *popularity_columns(np.repeat(counted[:, None], len(POPULARITY), axis=1)),
        pa.array(np.zeros(n, dtype=np.int64)),
    ]
    return pa.Table.from_arrays(columns, schema=served_schema(vectors.shape[1]))


def served_table(space_id: str, rows: Sequence[ServedVector], dim: int, fresh_version: int = 0) -> pa.Table:
    """Rows of a served or fresh table."""
    vectors = np.empty((len(rows), dim), dtype=np.float32)
    popularity = np.empty((len(rows), len(POPULARITY)), dtype=np.float32)
    for position, row in enumerate(rows):
        vectors[position] = row.vector
        popularity[position] = popularity_row(row.popularity)
    columns = [
        pa.array([row.track_id for row in rows], pa.string()),
        pa.array([space_id] * len(rows), pa.string()),
        vector_column(vectors),
        pa.array([int(row.tier) for row in rows], pa.int8()),
        pa.array([row.confidence for row in rows], pa.float32()),
        pa.array([row.model_id for row in rows], pa.string()),
        pa.array([row.catalogue_size for row in rows], pa.int32()),
        pa.array([[track_id for track_id, _ in row.leaned_on] for row in rows], pa.list_(pa.string())),
        pa.array([[weight for _, weight in row.leaned_on] for row in rows], pa.list_(pa.float32())),
        pa.array([row.basis for row in rows], pa.string()),
        pa.array([row.catalogue_basis for row in rows], pa.string()),
        *popularity_columns(popularity),
        pa.array([fresh_version] * len(rows), pa.int64()),
    ]
    return pa.Table.from_arrays(columns, schema=served_schema(dim))


class ServedRows:
    """Rows of a served or fresh table as columns.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of `served_schema`, and optionally ``_row_last_updated_at_version``.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def track_ids(self) -> list[str]:
        """Ids, one a row."""
        return list(self.table["track_id"].to_pylist())

    @property
    def vectors(self) -> Float32Array:
        """Array of float32, shape (n, dim)."""
        return column_vectors(self.table["vector"])

    @property
    def tiers(self) -> Int8Array:
        """Array of int8, shape (n,): values of `Tier`."""
        return np.asarray(self.table["tier"].to_numpy(), dtype=np.int8)

    @property
    def confidence(self) -> Float32Array:
        """Array of float32, shape (n,), in [0, 1]."""
        return np.asarray(self.table["confidence"].to_numpy(), dtype=np.float32)

    @property
    def popularity(self) -> Float32Array:
        """Array of float32, shape (n, 3): listens, low and high of `Popularity`, NaN where not known."""
        return column_popularity(self.table)

    @property
    def versions(self) -> list[int]:
        """Version of the table that wrote each row, where the rows were read with it."""
        return list(self.table["_row_last_updated_at_version"].to_pylist())

    def records(self) -> list[ServedVector]:
        """Give the rows one by one."""
        vectors, popularity = self.vectors, self.popularity
        names = ("track_id", "tier", "confidence", "model_id", "catalogue_size", "basis", "catalogue_basis")
        lists = ("leaned_on_ids", "leaned_on_weights")
        rows = zip(*(self.table[name].to_pylist() for name in (*names, *lists)), strict=True)
        return [
            ServedVector(
                track_id=track_id,
                vector=vectors[position],
                tier=Tier(tier),
                confidence=float(confidence),
                model_id=model_id,
                catalogue_size=size,
                leaned_on=tuple(zip(ids or (), weights or (), strict=True)),
                basis=basis,
                catalogue_basis=catalogue_basis,
                popularity=as_popularity(popularity[position]),
            )
            for position, (
                track_id,
                tier,
                confidence,
                model_id,
                size,
                basis,
                catalogue_basis,
                ids,
                weights,
            ) in enumerate(rows)
        ]
