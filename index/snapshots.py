"""From a version of the served table to a built index on disk, and back; damaged files are built anew from Lance."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index.errors import HomeUnreachableError
from index.feedback import FOLDED
from index.files import HomeFiles, digest
from index.schemas import POPULARITY, column_popularity, column_vectors
from index.store import Store
from index.tables import Table
from index.types import Float32Array, Int8Array, Int64Array, Metric, SnapshotRecord, SpaceRecord, utc_now

_log = logging.getLogger(__name__)

INDEX_FORMAT = "anacrusis-index"
INDEX_FORMAT_VERSION = 1
FLAT_FP16 = "flat_fp16"
"""Scalar-quantised float16, searched exhaustively. The only kind of this format version."""

# Elements are scaled by a power of two (which changes no digit) so that the largest lies below 2**14: below float16's
# 65,504 with room for sums, and with 28 powers of two above its smallest normal number, 2**-14.
_LARGEST_EXPONENT = 14
_ADD_ROWS = 65_536


@dataclass(frozen=True)
class BuildProgress:
    """How far `build_snapshot` is.

    Parameters
    ----------
    stage : str
        "fold", "read", "write" or "done".
    done, total : int
        Rows.
    """

    stage: str
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class BaseIndex:
    """A built index in memory, rows in ascending order of track id.

    Parameters
    ----------
    index : faiss.IndexScalarQuantizer
    scale : float
        Power of two that its vectors were multiplied by.
    track_ids : pyarrow.Array of string, length n
    tiers : ndarray of int8, shape (n,)
    confidence : ndarray of float32, shape (n,)
    popularity : ndarray of float32, shape (n, 3)
        Listens, low and high; NaN where not known.
    """

    index: Any
    scale: float
    track_ids: pa.Array
    tiers: Int8Array
    confidence: Float32Array
    popularity: Float32Array


@dataclass(frozen=True)
class _Manifest:
    """What ``base.json`` says of ``base.faiss``."""

    kind: str
    space_id: str
    served_version: int
    count: int
    dim: int
    metric: str
    scale: float
    ids_sha256: str
    index_sha256: str
    format: str = INDEX_FORMAT
    version: int = INDEX_FORMAT_VERSION


class _UnusableIndexError(Exception):
    """The files on disk do not hold the index that they should; never leaves this file."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of a served table at a version, without their vectors."""

    track_ids: pa.Array  # ascending
    order: Int64Array  # row r of the index is row order[r] of the table
    tiers: Int8Array
    confidence: Float32Array
    popularity: Float32Array
    ids_sha256: str


def build_snapshot(
    store: Store, space_id: str, *, on_progress: Callable[[BuildProgress], None] | None = None
) -> SnapshotRecord:
    """Fold a space's fresh rows in, build the index of the result, and record both as a snapshot.

    Nothing of it is visible to queries before `Store.publish`. Withdrawn tracks stay in the index and are masked when
    it is searched, so that they are masked in every snapshot alike.

    Parameters
    ----------
    on_progress : callable, optional
        Called from this thread.

    Raises
    ------
    UnknownSpaceError
    DamagedHomeError
    OSError
        The index could not be written.
    """

    def tell(stage: str, done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(BuildProgress(stage, done, total))

    space = store.space(space_id)
    tell("fold", 0, 0)
    served_version, fresh_version = store.space_tables.fold(space_id)
    table = store.space_tables.served(space_id)
    rows = _read_rows(table, served_version)
    built, scale = _build(table, served_version, space, rows, lambda done: tell("read", done, len(rows.track_ids)))
    now = utc_now()
    record = SnapshotRecord(
        # Sorts by time; the random part keeps two builders of one moment apart.
        snapshot_id=f"{now:%Y%m%dT%H%M%S}.{now.microsecond:06d}Z-{secrets.token_hex(3)}",
        space_id=space_id,
        served_version=served_version,
        fresh_version=fresh_version,
        index_kind=FLAT_FP16,
        row_count=len(rows.track_ids),
        model_id=_main_model(table, served_version),
        created_at=now,
    )
    tell("write", len(rows.track_ids), len(rows.track_ids))
    _write(store.layout.files, store.layout.index_folder(record.snapshot_id), built, scale, space, record, rows)
    store.record_snapshot(record)
    tell("done", len(rows.track_ids), len(rows.track_ids))
    return record


def load_base(store: Store, snapshot: SnapshotRecord) -> BaseIndex:
    """Read a snapshot's index; build it anew from Lance and write it back where its files are missing or damaged.

    Raises
    ------
    DamagedHomeError
        The served table cannot be read.
    """
    space = store.space(snapshot.space_id)
    table = store.space_tables.served(snapshot.space_id)
    rows = _read_rows(table, snapshot.served_version)
    files, folder = store.layout.files, store.layout.index_folder(snapshot.snapshot_id)
    try:
        index, scale = _read(files, folder, space, snapshot, rows)
    except _UnusableIndexError as error:
        _log.warning("index of snapshot %s: %s; building it anew from Lance", snapshot.snapshot_id, error)
        index, scale = _build(table, snapshot.served_version, space, rows, lambda done: None)
        try:
            if not store.layout.read_only:
                _write(files, folder, index, scale, space, snapshot, rows)
        except (OSError, HomeUnreachableError) as write_error:
            # A home without the right to write is served all the same; the next opening builds again.
            _log.warning("index of snapshot %s could not be written back: %s", snapshot.snapshot_id, write_error)
    return BaseIndex(index, scale, rows.track_ids, rows.tiers, rows.confidence, rows.popularity)


def _read_rows(table: Table, version: int) -> _Rows:
    found = table.read(columns=["track_id", "tier", "confidence", *POPULARITY], version=version).combine_chunks()
    # By bytes of UTF-8, which is by code point, which is how Python compares strings.
    order = pc.sort_indices(found["track_id"])
    found = found.take(order)
    ids = found["track_id"].combine_chunks()
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    return _Rows(
        track_ids=ids,
        order=order.to_numpy().astype(np.int64),
        tiers=np.asarray(found["tier"].to_numpy(), dtype=np.int8),
        confidence=np.asarray(found["confidence"].to_numpy(), dtype=np.float32),
        popularity=column_popularity(found),
        # Ids hold no control characters, so a line each is unambiguous.
        ids_sha256=hashlib.sha256("\n".join(ids.to_pylist()).encode()).hexdigest(),
    )


def _main_model(table: Table, version: int) -> str:
    column = table.read(columns=["model_id"], version=version)["model_id"].to_pylist()
    counts = Counter(model_id.removesuffix(FOLDED) for model_id in column)
    counts.pop("", None)
    return max(sorted(counts), key=lambda model: counts[model], default="")


def unit(vectors: Float32Array) -> Float32Array:
    """Scale rows to length 1; computed in float64, as squares of large or small float32 values leave their range."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def power_of_two_scale(largest: float) -> float:
    """Give the power of two that brings the largest absolute value into (2**13, 2**14]."""
    if largest <= 0.0:
        return 1.0
    return 2.0 ** max(min(_LARGEST_EXPONENT - math.ceil(math.log2(largest)), 100), -100)


def _build(
    table: Table, version: int, space: SpaceRecord, rows: _Rows, on_rows: Callable[[int], None]
) -> tuple[Any, float]:
    n = len(rows.track_ids)
    if space.metric is Metric.COSINE:
        largest = 1.0
    else:
        batches = table.batches(["vector"], version=version)
        largest = max((float(np.abs(column_vectors(b["vector"])).max(initial=0.0)) for b in batches), default=0.0)
    scale = power_of_two_scale(largest)
    place = np.empty(n, dtype=np.int64)
    place[rows.order] = np.arange(n)
    halves: npt.NDArray[np.float16] = np.empty((n, space.dim), dtype=np.float16)
    start = 0
    for batch in table.batches(["vector"], version=version):
        vectors = column_vectors(batch["vector"])
        if space.metric is Metric.COSINE:
            vectors = unit(vectors)
        halves[place[start : start + len(vectors)]] = vectors * np.float32(scale)
        start += len(vectors)
        on_rows(start)
    index = faiss.IndexScalarQuantizer(space.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for first in range(0, n, _ADD_ROWS):
        index.add(halves[first : first + _ADD_ROWS].astype(np.float32))
    return index, scale


def _write(
    files: HomeFiles,
    folder: str,
    index: Any,
    scale: float,
    space: SpaceRecord,
    snapshot: SnapshotRecord,
    rows: _Rows,
) -> None:
    sha256 = ""

    def write(path: Path) -> None:
        nonlocal sha256
        faiss.write_index(index, str(path))
        sha256 = digest(path)

    files.fill(f"{folder}/base.faiss", write)
    manifest = _Manifest(
        kind=snapshot.index_kind,
        space_id=space.space_id,
        served_version=snapshot.served_version,
        count=len(rows.track_ids),
        dim=space.dim,
        metric=space.metric.value,
        scale=scale,
        ids_sha256=rows.ids_sha256,
        index_sha256=sha256,
    )
    files.write(f"{folder}/base.json", json.dumps(asdict(manifest), indent=1).encode())


def _read(
    files: HomeFiles, folder: str, space: SpaceRecord, snapshot: SnapshotRecord, rows: _Rows
) -> tuple[Any, float]:
    try:
        found = _Manifest(**json.loads(files.read(f"{folder}/base.json")))
        path = files.checked(f"{folder}/base.faiss", found.index_sha256)
    except (OSError, ValueError, TypeError) as error:
        raise _UnusableIndexError(f"its files cannot be read ({type(error).__name__})") from error
    expected = _Manifest(
        kind=snapshot.index_kind,
        space_id=space.space_id,
        served_version=snapshot.served_version,
        count=len(rows.track_ids),
        dim=space.dim,
        metric=space.metric.value,
        scale=found.scale,
        ids_sha256=rows.ids_sha256,
        index_sha256=found.index_sha256,
    )
    for name, value in asdict(expected).items():
        if getattr(found, name) != value:
            raise _UnusableIndexError(f"{name} is {getattr(found, name)!r} where {value!r} was expected")
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise _UnusableIndexError("FAISS cannot read it") from error
    if index.ntotal != expected.count or index.d != expected.dim:
        raise _UnusableIndexError(f"it holds {index.ntotal} vectors of {index.d} where {expected.count} were expected")
    return index, float(found.scale)
