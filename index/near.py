"""What an approximate kind needs beside its codes: built or patched, and tuned."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from index.backends import CpuFlat
from index.bases import BaseIndex, UnusableIndexError
from index.codes import unit
from index.index_files import read_tuning
from index.kinds import FLAT_FP16, most_cost, stays_flat
from index.lists import Lists
from index.schemas import column_vectors
from index.store import Store
from index.tuning import DEFAULT_K, DEFAULT_RECALL, QUERIES, HeldBack, Tuning, still_holds, tune
from index.types import Float32Array, Int64Array, Metric, SnapshotRecord, SpaceRecord, Tier

# Where what was patched is only measured again: so many queries of each kind.
_QUERIES_AGAIN = 50
UNMEASURED_SHARE = 0.01
"""Of the rows, so many may come or go before the recall is measured again: if not one of them were ever found, recall
would fall by about as much, and each lies in the list that is nearest to it, as all others do."""

# Listeners are drawn from the first of the table, this many times as many as are wanted.
_FROM_LISTENERS = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Before:
    """An index that another one is patched from.

    Parameters
    ----------
    base : BaseIndex
    kept : ndarray of int64, shape (n,)
        Row of `base` for each row of the other one; -1: its vector is new.
    """

    base: BaseIndex
    kept: Int64Array


def with_near(
    store: Store, space: SpaceRecord, base: BaseIndex, kind: str, before: Before | None, *, optional: bool
) -> BaseIndex:
    """Add to codes what a kind needs beside them.

    Parameters
    ----------
    base : BaseIndex
        Of the flat kind.
    kind : str
        One of `index.kinds.KINDS` but "auto".
    before : Before or None
        Where `base` was patched.
    optional : bool
        Whether the flat kind will do, where `kind` reaches its recall at no less than what that costs.
    """
    if kind == FLAT_FP16 or (optional and _tried(before)):
        return base
    near = _near(base, kind, before)
    exact = CpuFlat(base.index, base.scale)
    asked, tuning = _asked(store, space.space_id), None
    if asked is not None and near.patched_rows and before is not None:
        tuning = _carried(asked, before, exact.count)
    if asked is not None and near.patched_rows and tuning is None:
        # The mean of few queries is below by chance now and then; tuning anew costs ten times what asking more of them
        # does, beside the queries that are being served.
        for queries in (_QUERIES_AGAIN, QUERIES):
            tuning = tuning or still_holds(exact, near, held_back(store, space, base, exact, queries), asked)
    if tuning is None:
        tuning, _ = tune(
            exact,
            near,
            held_back(store, space, base, exact, QUERIES),
            recall=asked.recall if asked is not None else DEFAULT_RECALL,
            k=asked.k if asked is not None else DEFAULT_K,
        )
    share = near.cost(tuning.effort) / exact.cost(exact.count, masked=False)
    wanted = most_cost(exact.count) if optional else 1.0
    if share >= wanted:
        told = (kind, space.space_id, tuning.k, tuning.recall, 100 * share, 100 * wanted)
        _log.log(
            logging.WARNING if share >= 1 else logging.INFO,
            "an index of kind %s of space %s reaches recall@%d of %g at %.0f%% of the cost of looking at all rows, "
            "which is not below %.0f%%",
            *told,
        )
        if optional:
            return base
    return replace(base, near=near, tuning=tuning)


def _carried(asked: Tuning, before: Before, count: int) -> Tuning | None:
    """Keep what was measured while next to nothing has changed since."""
    new = int(np.count_nonzero(before.kept < 0))
    gone = int(before.base.index.ntotal) - (len(before.kept) - new)
    unmeasured = asked.unmeasured + new + gone
    return replace(asked, unmeasured=unmeasured) if unmeasured <= UNMEASURED_SHARE * count else None


def _tried(before: Before | None) -> bool:
    """Whether lists were not worth it for a flat index that this one is patched from."""
    return (
        before is not None and before.base.near is None and stays_flat(int(before.base.index.ntotal), len(before.kept))
    )


def _asked(store: Store, space_id: str) -> Tuning | None:
    """Give the tuning of the space's newest snapshot that has one."""
    for snapshot in reversed(store.snapshots(space_id)):
        if snapshot.index_kind != FLAT_FP16:
            return tuning_of(store, snapshot)
    return None


def tuning_of(store: Store, snapshot: SnapshotRecord) -> Tuning | None:
    """Read how a snapshot's index is searched; None where that is not known, or its kind is exact."""
    if snapshot.index_kind == FLAT_FP16:
        return None
    try:
        return read_tuning(store.layout.files, store.layout.index_folder(snapshot.snapshot_id))
    except UnusableIndexError as error:
        _log.warning("index of snapshot %s: %s", snapshot.snapshot_id, error)
        return None


def newer_tuning(store: Store, snapshot: SnapshotRecord, built: BaseIndex | None) -> Tuning | None:
    """Read how a snapshot's index is searched, where that is not how it was when it was loaded."""
    if built is None or built.near is None:
        return None
    found = tuning_of(store, snapshot)
    return found if found != built.tuning else None


def _near(base: BaseIndex, kind: str, before: Before | None) -> Lists:
    if before is not None and before.base.near is not None and before.base.near.kind == kind:
        return before.base.near.patch(base.index, before.kept)
    return Lists.build(base.index)


def held_back(store: Store, space: SpaceRecord, base: BaseIndex, exact: CpuFlat, queries: int) -> HeldBack:
    """Draw queries to tune with: of the warm tracks, of all where none is warm, and of the listeners."""
    warm = base.tiers == Tier.COLLABORATIVE
    return HeldBack.of(exact, warm if warm.any() else ~warm, _listeners(store, space, queries), queries)


def _listeners(store: Store, space: SpaceRecord, most: int) -> Float32Array:
    found = [np.zeros((0, space.dim), dtype=np.float32)]
    count = 0
    for batch in store.space_tables.users(space.space_id).batches(["vector"]):
        found.append(column_vectors(batch["vector"]))
        count += len(found[-1])
        if count >= _FROM_LISTENERS * most:
            break
    vectors = np.concatenate(found)
    return unit(vectors) if space.metric is Metric.COSINE else vectors
