"""From a version of the served table to a built index, and back; damaged files are built anew from Lance.

An index is patched where it can be: of the rows of the space's snapshot before, those that were not written since keep
their codes, and only the others' vectors are read. What comes out is the file that a build from all rows writes.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.bases import BaseIndex, IndexedRows, UnusableIndexError
from index.codes import codes_of, encode, patch
from index.devices import choose_device
from index.errors import DamagedHomeError, HomeFullError, HomeUnreachableError
from index.feedback import FOLDED
from index.index_files import read_index, write_index
from index.kinds import AUTO, FLAT_FP16, check_kind, choose_kind
from index.near import Before, with_near
from index.schemas import POPULARITY, column_popularity, column_vectors
from index.store import Store
from index.table_reads import ROW_VERSION
from index.tables import Table
from index.track_ids import TrackIds
from index.types import Float32Array, Int64Array, SnapshotRecord, SpaceRecord, utc_now

_log = logging.getLogger(__name__)

_ID_TIME = "%Y%m%dT%H%M%S.%fZ"  # of a snapshot's id

# Rows that are looked up one by one cost about 5 times what a scan pays for each: beyond this share all are read.
_PATCHED_SHARE = 0.2


@dataclass(frozen=True)
class BuildProgress:
    """How far `build_snapshot` is.

    Parameters
    ----------
    stage : str
        "fold", "read", "link" (of an approximate kind), "write" or "done".
    done, total : int
        Rows; of "read" those whose vectors have to be read.
    """

    stage: str
    done: int
    total: int


@dataclass(frozen=True, eq=False, kw_only=True)
class _Rows(IndexedRows):
    """Rows of a served table at a version."""

    order: Int64Array  # row r of the index is row order[r] of the table
    versions: Int64Array  # of the table that wrote row r of the index
    model_id: str  # that most rows come from


def build_snapshot(
    store: Store,
    space_id: str,
    *,
    kind: str = AUTO,
    device: str = "auto",
    on_progress: Callable[[BuildProgress], None] | None = None,
) -> SnapshotRecord:
    """Fold a space's fresh rows in, build the index of the result, and record both as a snapshot.

    Nothing of it is visible to queries before `Store.publish`. Withdrawn tracks stay in the index and are masked when
    it is searched, so that they are masked in every snapshot alike. Costs in proportion to what changed since the
    space's newest snapshot, beside a constant for each row. The built index stays in memory until a searcher of
    `store` has taken it over, or the next one is built.

    Parameters
    ----------
    kind : str
        One of `index.kinds.KINDS`. An approximate one is tuned as the space's snapshot before, else for recall@100 of
        0.99; "auto" takes the flat kind where that is not reached at less than its cost.
    device : {"auto", "cpu", "gpu"}
        Where it will be searched, for "auto" to go by.
    on_progress : callable, optional
        Called from this thread.

    Raises
    ------
    InvalidInputError
        There is no such kind.
    UnknownSpaceError
    DamagedHomeError
    HomeFullError, OSError
        The index could not be written.
    """

    def tell(stage: str, done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(BuildProgress(stage, done, total))

    store.layout.require_writable()
    check_kind(kind)
    space = store.space(space_id)
    tell("fold", 0, 0)
    served_version, fresh_version = store.space_tables.fold(space_id)
    table = store.space_tables.served(space_id)
    rows = _read_rows(table, served_version)
    count = len(rows.track_ids)
    patched = _patched(store, space, served_version, rows, lambda done, total: tell("read", done, total))
    if patched is None:
        base, before = _build(table, served_version, space, rows, lambda done: tell("read", done, count)), None
    else:
        base, before = patched
    wanted = choose_kind(kind, count, choose_device(device))
    if wanted != FLAT_FP16:
        tell("link", 0, count)
    base = with_near(store, space, base, wanted, before, optional=kind == AUTO)
    now = utc_now()
    record = SnapshotRecord(
        # Sorts by time; the random part keeps two builders of one moment apart.
        snapshot_id=f"{now:{_ID_TIME}}-{secrets.token_hex(3)}",
        space_id=space_id,
        served_version=served_version,
        fresh_version=fresh_version,
        index_kind=base.kind,
        row_count=count,
        model_id=rows.model_id,
        created_at=now,
    )
    tell("write", count, count)
    write_index(store.layout.files, store.layout.index_folder(record.snapshot_id), base, space, record)
    store.record_snapshot(record)
    store.bases.built(record.snapshot_id, base)
    tell("done", count, count)
    return record


def snapshot_time(snapshot_id: str) -> datetime:
    """Read from its id when a snapshot was built; raises ValueError where it is not one of ours."""
    return datetime.strptime(snapshot_id.rpartition("-")[0], _ID_TIME).replace(tzinfo=UTC)


def load_base(store: Store, snapshot: SnapshotRecord) -> BaseIndex:
    """Take over a snapshot's index from the building of it, or read it, see `read_base`.

    Raises
    ------
    DamagedHomeError
        The served table cannot be read.
    """
    return store.bases.take(snapshot.snapshot_id) or read_base(store, snapshot, read_rows(store, snapshot))


def read_rows(store: Store, snapshot: SnapshotRecord) -> IndexedRows:
    """Read what is known of a snapshot's rows beside their vectors.

    Raises
    ------
    DamagedHomeError
    """
    rows = _read_rows(store.space_tables.served(snapshot.space_id), snapshot.served_version)
    return IndexedRows(**{one.name: getattr(rows, one.name) for one in fields(IndexedRows)})


def read_base(store: Store, snapshot: SnapshotRecord, known: IndexedRows) -> BaseIndex:
    """Read a snapshot's index; build it anew where its files are damaged, and write it back.

    Parameters
    ----------
    known : IndexedRows
        From `read_rows`.

    Raises
    ------
    DamagedHomeError
        The served table cannot be read.
    """
    space = store.space(snapshot.space_id)
    try:
        base = _read(store, space, snapshot, known)
    except UnusableIndexError as error:
        _log.warning("index of snapshot %s: %s; building it anew from Lance", snapshot.snapshot_id, error)
        table = store.space_tables.served(snapshot.space_id)
        rows = _read_rows(table, snapshot.served_version)
        base = _build(table, snapshot.served_version, space, rows, lambda done: None)
        base = with_near(store, space, base, snapshot.index_kind, None, optional=False)
        try:
            if not store.layout.read_only:
                write_index(store.layout.files, store.layout.index_folder(snapshot.snapshot_id), base, space, snapshot)
        except (OSError, HomeFullError, HomeUnreachableError) as write_error:
            # A home without the right to write is served all the same; the next opening builds again.
            _log.warning("index of snapshot %s could not be written back: %s", snapshot.snapshot_id, write_error)
    store.bases.read(snapshot.snapshot_id, base)
    return base


def index_fault(store: Store, snapshot: SnapshotRecord) -> str:
    """Say what is wrong with the files of a snapshot's index; empty where they hold what they should.

    Raises
    ------
    DamagedHomeError
        The served table cannot be read.
    """
    try:
        _read(store, store.space(snapshot.space_id), snapshot, read_rows(store, snapshot))
    except UnusableIndexError as error:
        return str(error)
    return ""


def _read(store: Store, space: SpaceRecord, snapshot: SnapshotRecord, rows: IndexedRows) -> BaseIndex:
    folder = store.layout.index_folder(snapshot.snapshot_id)
    files, count, mapped = store.layout.files, len(rows.track_ids), store.layout.read_only
    found = read_index(files, folder, space, snapshot, rows.ids_sha256, count, mapped=mapped)
    return replace(BaseIndex.of(rows, found.index, found.scale), near=found.near, tuning=found.tuning)


def _read_rows(table: Table, version: int) -> _Rows:
    columns = ["track_id", "tier", "confidence", *POPULARITY, "model_id", ROW_VERSION]
    found = table.read(columns=columns, version=version)
    ids = _whole(found["track_id"])
    # By bytes of UTF-8, which is by code point, which is how Python compares strings.
    order = pc.array_sort_indices(ids)
    ids = ids.take(order)
    rows = np.asarray(order.to_numpy(), dtype=np.int64)
    return _Rows(
        track_ids=TrackIds(ids),
        order=rows,
        versions=np.asarray(found[ROW_VERSION].to_numpy(), dtype=np.int64)[rows],
        tiers=np.asarray(found["tier"].to_numpy(), dtype=np.int8)[rows],
        confidence=np.asarray(found["confidence"].to_numpy(), dtype=np.float32)[rows],
        popularity=column_popularity(found)[rows],
        ids_sha256=_ids_sha256(ids),
        model_id=_main_model(found["model_id"]),
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def _ids_sha256(ids: pa.Array) -> str:
    # Ids hold no control characters, so a line each is unambiguous.
    digest, last = hashlib.sha256(), len(ids) - 1
    for start in range(0, len(ids), _HASHED_ROWS):
        some = ids.slice(start, _HASHED_ROWS)
        lines = pa.LargeListArray.from_arrays(pa.array([0, len(some)], pa.int64()), some)
        digest.update(pc.binary_join(lines, "\n")[0].as_buffer())
        if start + len(some) <= last:
            digest.update(b"\n")
    return digest.hexdigest()


# Joined ids of so many rows stay far below the 2 GiB that one string of Arrow may hold.
_HASHED_ROWS = 1 << 20


def _main_model(model_ids: pa.ChunkedArray) -> str:
    counts: Counter[str] = Counter()
    for found in pc.value_counts(model_ids.combine_chunks()).to_pylist():
        counts[(found["values"] or "").removesuffix(FOLDED)] += found["counts"]
    counts.pop("", None)
    return max(sorted(counts), key=lambda model: counts[model], default="")


def _build(table: Table, version: int, space: SpaceRecord, rows: _Rows, on_rows: Callable[[int], None]) -> BaseIndex:
    def batches() -> Iterator[Float32Array]:
        done = 0
        for batch in table.batches(["vector"], version=version):
            vectors = column_vectors(batch["vector"])
            yield vectors
            done += len(vectors)
            on_rows(done)

    place = np.empty(len(rows.order), dtype=np.int64)
    place[rows.order] = np.arange(len(place))
    return BaseIndex.of(rows, *encode(batches, place, space.dim, space.metric))


def _patched(
    store: Store, space: SpaceRecord, version: int, rows: _Rows, on_rows: Callable[[int, int], None]
) -> tuple[BaseIndex, Before] | None:
    """Patch the newest snapshot's index whose files are in order; None where that cannot give what a build gives."""
    for snapshot in reversed(store.snapshots(space.space_id)):
        if snapshot.row_count == 0 or snapshot.served_version > version:
            continue
        changed = np.flatnonzero(rows.versions > snapshot.served_version)
        if len(changed) > _PATCHED_SHARE * len(rows.versions):
            return None  # and more of it since older snapshots
        before = _known(store, space, snapshot)
        if before is not None:
            return _patch(store.space_tables.served(space.space_id), version, space, rows, before, changed, on_rows)
    return None


def _known(store: Store, space: SpaceRecord, snapshot: SnapshotRecord) -> BaseIndex | None:
    held = store.bases.find(snapshot.snapshot_id)
    if held is not None:
        return held
    try:
        rows = _read_rows(store.space_tables.served(space.space_id), snapshot.served_version)
        return _read(store, space, snapshot, rows)
    except (UnusableIndexError, DamagedHomeError) as error:
        _log.info("index of snapshot %s is not patched: %s", snapshot.snapshot_id, error)
        return None


def _patch(
    table: Table,
    version: int,
    space: SpaceRecord,
    rows: _Rows,
    before: BaseIndex,
    changed: Int64Array,
    on_rows: Callable[[int, int], None],
) -> tuple[BaseIndex, Before] | None:
    kept = rows.track_ids.places_among(before.track_ids)
    kept[changed] = -1
    if np.count_nonzero(kept < 0) != len(changed):
        _log.warning("an index lacks rows that were there when it was built: the next one is built from all rows")
        return None
    on_rows(0, len(changed))
    vectors = column_vectors(table.take(rows.order[changed], ["vector"], version=version)["vector"])
    index = patch(codes_of(before.index), before.scale, kept, vectors, space.metric)
    on_rows(len(changed), len(changed))
    return (BaseIndex.of(rows, index, before.scale), Before(before, kept)) if index is not None else None
