"""Tuning the index of a snapshot that is served already."""

from __future__ import annotations

from collections.abc import Callable

from index.backends import CpuFlat
from index.index_files import write_tuning
from index.near import held_back
from index.snapshots import load_base
from index.store import Store
from index.tuning import DEFAULT_K, DEFAULT_RECALL, QUERIES, Tried, Tuning, check_tuning, exact_rate, tune
from index.types import SnapshotRecord


def tune_snapshot(
    store: Store,
    snapshot: SnapshotRecord,
    *,
    recall: float = DEFAULT_RECALL,
    k: int = DEFAULT_K,
    queries: int = QUERIES,
    on_tried: Callable[[Tried], None] = lambda tried: None,
) -> tuple[Tuning, list[Tried], float] | None:
    """Tune a snapshot's index anew; whoever serves it follows, and the space's next ones are built for the same recall.

    Parameters
    ----------
    recall : float
        0.5 to 1; `tuning.tune` says when it counts as reached.
    k : int
        At how many neighbours.
    queries : int
        Of each kind: vectors of warm tracks, and of listeners.
    on_tried : callable

    Returns
    -------
    (tuning, tried, exact_queries_per_s) : Tuning, list of Tried, and float; or None
        None where the index is exact, so that there is nothing to tune.

    Raises
    ------
    InvalidInputError, ReadOnlyError, DamagedHomeError
    """
    check_tuning(recall, k, queries)
    store.layout.require_writable()
    base = store.bases.find(snapshot.snapshot_id) or load_base(store, snapshot)
    if base.near is None:
        return None
    exact = CpuFlat(base.index, base.scale)
    questions = held_back(store, store.space(snapshot.space_id), base, exact, queries)
    tuning, tried = tune(exact, base.near, questions, recall=recall, k=k, on_tried=on_tried)
    write_tuning(store.layout.files, store.layout.index_folder(snapshot.snapshot_id), tuning)
    return tuning, tried, exact_rate(exact, questions, tuning.k)
