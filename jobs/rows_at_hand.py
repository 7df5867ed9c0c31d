"""Rows of tracks that a snapshot lacks, without projecting: of newer snapshots, or carried from another space."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index import Metric, ServedRows, SnapshotRecord, Store, StoreError, Tier
from jobs.carried_rows import COLUMNS, OldRows, align, among, carried_rows
from jobs.catalogue_basis import flat
from jobs.errors import BridgeError

logger = logging.getLogger(__name__)

ALIGNED_ON = 50_000
"""At most so many shared tracks: enough to determine a rotation of a few hundred dimensions, and soon read."""

RowsOf = Callable[[Sequence[str]], pa.Table]
"""Gives rows of tracks, by their ids, as `index.Store.add_fresh` takes them; those that it has none of are left out."""


def rows_of_newest(store: Store, space_id: str) -> RowsOf:
    """Give what gives rows as a space's newest snapshot has them."""
    newest = store.snapshots(space_id)[-1]
    return lambda track_ids: store.snapshot_columns(newest, COLUMNS, track_ids=track_ids)


def rows_carried_from(store: Store, left: SnapshotRecord, space_id: str) -> RowsOf | None:
    """Give what carries rows of a snapshot that was served until now into another space, by the alignment of the two.

    They keep what they were made from, but for the catalogues, which are others there: the next refresh projects them.

    Parameters
    ----------
    store : Store
    left : SnapshotRecord
    space_id : str

    Returns
    -------
    callable or None
        None where they cannot be carried (`jobs.bridge`) or read; the log says why.
    """
    to, before = store.space(space_id), store.space(left.space_id)
    if before.metric is Metric.COSINE and to.metric is not Metric.COSINE:
        return None  # there are no lengths to carry
    withdrawn = pa.array(sorted(store.withdrawn()), pa.string())
    try:
        warm = store.collaborative_rows(space_id, _shared_warm(store, left, space_id))
        known = store.shown_rows(left, COLUMNS, warm.track_ids).combine_chunks()
        alignment, _ = align(_old_rows(known, withdrawn), warm, to, before, directions=to.metric is Metric.COSINE)
    except (BridgeError, StoreError) as error:
        logger.warning("nothing is carried from snapshot %s to space %s: %s", left.snapshot_id, space_id, error)
        return None
    tracks = store.track_columns(["track_id", "basis"])

    def rows_of(track_ids: Sequence[str]) -> pa.Table:
        old = _old_rows(store.shown_rows(left, COLUMNS, track_ids).combine_chunks(), withdrawn)
        rows = carried_rows(store, old, tracks, (~old.warm, old.warm), alignment, "").drop_columns(["lost"])
        return rows.filter(pa.array(ServedRows(rows).vectors.any(axis=1))) if to.metric is Metric.COSINE else rows

    return rows_of


def _shared_warm(store: Store, left: SnapshotRecord, space_id: str) -> list[str]:
    """Draw ids of tracks that have a collaborative vector in both spaces, the same ones at every call."""
    shown = store.shown_rows(left, ["track_id", "tier"])
    warm = flat(shown["track_id"].filter(pc.equal(shown["tier"], int(Tier.COLLABORATIVE))))
    there = store.newest_rows(space_id, ["track_id", "tier"])[0]
    also_warm = flat(there["track_id"].filter(pc.equal(there["tier"], int(Tier.COLLABORATIVE))))
    shared = np.array(sorted(warm.filter(pc.is_in(warm, value_set=also_warm)).to_pylist()), dtype=np.object_)
    drawn = np.random.default_rng(0).choice(len(shared), size=min(len(shared), ALIGNED_ON), replace=False)
    return [str(one) for one in shared[np.sort(drawn)]]


def _old_rows(rows: pa.Table, withdrawn: pa.Array) -> OldRows:
    ids = flat(rows["track_id"])
    return OldRows(rows, ids, np.asarray(rows["tier"].to_numpy() == Tier.COLLABORATIVE), among(ids, withdrawn))
