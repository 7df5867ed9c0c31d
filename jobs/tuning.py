"""Tuning the published snapshot's index to a recall."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from index import NoSnapshotError, Tried, Tuning, tune_snapshot
from jobs.progress import OnProgress, Progress

if TYPE_CHECKING:
    from jobs.engine import Engine


@dataclass(frozen=True)
class TuningReport:
    """What a tuning found.

    Attributes
    ----------
    space_id, snapshot_id, index_kind : str
        What was tuned.
    tuning : index.Tuning or None
        What it is searched with from now on; None where the index is exact.
    tried : list of index.Tried
        Recall and rate of each effort that was tried, by effort.
    exact_queries_per_s : float or None
        The rate of exact search beside them.
    """

    space_id: str
    snapshot_id: str
    index_kind: str
    tuning: Tuning | None
    tried: list[Tried]
    exact_queries_per_s: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types."""
        return asdict(self)


def tune_index(engine: Engine, *, recall: float, k: int, queries: int, on_progress: OnProgress) -> TuningReport:
    """Find how far the published index has to look, and have it looked so far from now on.

    Parameters
    ----------
    engine : Engine
    recall : float
        recall@k that is wanted, 0.5 to 1.
    k : int
    queries : int
        Vectors of warm tracks, and of listeners, to measure with: so many of each, or all there are.
    on_progress : callable

    Returns
    -------
    TuningReport

    Raises
    ------
    index.NoSnapshotError, index.InvalidInputError
    """
    snapshot = engine.searcher.snapshot
    if snapshot is None:
        raise NoSnapshotError("nothing is published yet: publish a snapshot first, then tune its index")
    tried: list[Tried] = []

    def tell(one: Tried) -> None:
        tried.append(one)
        on_progress(Progress("tune", len(tried), 0))

    found = tune_snapshot(engine.store, snapshot, recall=recall, k=k, queries=queries, on_tried=tell)
    engine.sync()
    tuning, by_effort, exact = found if found is not None else (None, [], None)
    return TuningReport(snapshot.space_id, snapshot.snapshot_id, snapshot.index_kind, tuning, by_effort, exact)
