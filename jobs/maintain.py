"""The upkeep of a home as a job: after every refresh, or by itself."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from index import Lease, Retention, Store, StoreError, TableFigures, Upkeep, alerts
from jobs.progress import OnProgress, Progress, silent

if TYPE_CHECKING:
    from jobs.engine import Engine

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaintenanceReport:
    """What the upkeep of a home did, or would do.

    Attributes
    ----------
    dry_run : bool
        True: it would; nothing was written.
    kept_snapshots : int
        That can be gone back to, the served one among them.
    retired_snapshots, retired_spaces : list of str
        Ids that are left out of lists and rollbacks from this run on; their files follow in a later run.
    deleted_snapshots, deleted_spaces : list of str
        Ids, retired earlier, whose files this run deleted; ``SPACE.CREATION`` of an import that was cut off.
    fresh_rows_dropped : int
        Fresh rows that every snapshot contains; not counted by a dry run.
    versions_removed, bytes_removed : int
        Of all tables; not counted by a dry run.
    tables : list of TableFigures
        As they are at the end; behind a refresh those that it was time to tidy.
    alerts : list of str
        Sentences about what somebody should look into; empty where all is well.
    seconds : float
    """

    dry_run: bool
    kept_snapshots: int
    retired_snapshots: list[str]
    retired_spaces: list[str]
    deleted_snapshots: list[str]
    deleted_spaces: list[str]
    fresh_rows_dropped: int
    versions_removed: int
    bytes_removed: int
    tables: list[TableFigures]
    alerts: list[str]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types."""
        return asdict(self)


@dataclass(frozen=True)
class UpkeepFigures:
    """Whether the upkeep keeps up with what is written.

    Attributes
    ----------
    small_fragments, versions : int
        Of the table that has most of them.
    alerts : list of str
        As in `MaintenanceReport`.
    counted_at : datetime
        In UTC.
    """

    small_fragments: int
    versions: int
    alerts: list[str]
    counted_at: datetime

    @classmethod
    def count(cls, store: Store) -> UpkeepFigures:
        """Count them; reads what the tables consist of, no rows."""
        tables = list(Upkeep(store, Retention()).figures())
        return cls(
            small_fragments=max(one.small_fragments for one in tables),
            versions=max(one.versions for one in tables),
            alerts=alerts(tables),
            counted_at=datetime.now(UTC),
        )


def maintain(
    engine: Engine,
    retention: Retention | None = None,
    *,
    dry_run: bool = False,
    all_tables: bool = True,
    lease: Lease | None = None,
    on_progress: OnProgress = silent,
) -> MaintenanceReport:
    """Retire what is no longer kept, delete what nobody reads any more, compact and clean up the tables.

    Nothing of it changes an answer, and what a query or another process may still read is not touched.

    Parameters
    ----------
    engine : Engine
    retention : Retention, optional
        What is kept; the engine's own where none is given.
    dry_run : bool
        Only say what would be done, and how the tables lie. Takes no lease.
    all_tables : bool
        Whether every table is tidied and told of; False: those that it is time for (`index.Upkeep.tidy`).
    lease : Lease, optional
        ``"refresh"``, where the caller holds it already.
    on_progress : callable

    Returns
    -------
    MaintenanceReport

    Raises
    ------
    index.LeaseHeldError
        Another process refreshes, publishes or maintains; nothing was done.
    index.LeaseLostError
        Another process took over; what is done stays done.
    index.DamagedHomeError
    """
    start, store = time.perf_counter(), engine.store
    upkeep = Upkeep(store, retention or engine.retention)
    if dry_run:
        plan, left, tables = upkeep.plan(), upkeep.leftovers(), list(upkeep.figures())
        dropped = versions = size = 0
    else:
        with nullcontext(lease) if lease is not None else store.lease("refresh") as held:
            plan = upkeep.plan()
            held.check()
            upkeep.retire(plan)
            left = upkeep.discard()
            held.check()
            dropped = upkeep.drop_folded()
            tables, versions, size = [], 0, 0
            for number, done in enumerate(upkeep.tidy(all_tables=all_tables), start=1):
                tables.append(done.after)
                versions += done.versions_removed
                size += done.bytes_removed
                on_progress(Progress("maintain", number, 0, done.after.name))
                held.check()
    return MaintenanceReport(
        dry_run=dry_run,
        kept_snapshots=len(plan.kept),
        retired_snapshots=[one.snapshot_id for one in plan.retired_snapshots],
        retired_spaces=[one.space_id for one in plan.retired_spaces],
        deleted_snapshots=left[0],
        deleted_spaces=left[1],
        fresh_rows_dropped=dropped,
        versions_removed=versions,
        bytes_removed=size,
        tables=tables,
        alerts=alerts(tables),
        seconds=time.perf_counter() - start,
    )


def maintain_after(engine: Engine, lease: Lease, on_progress: OnProgress) -> MaintenanceReport | None:
    """Do what `maintain` does behind a refresh, where it is time for it; it must not fail what is served already.

    Returns
    -------
    MaintenanceReport or None
        None where it failed.
    """
    try:
        return maintain(engine, all_tables=False, lease=lease, on_progress=on_progress)
    except (StoreError, OSError):
        logger.exception("the home could not be maintained; the next refresh, or `anacrusis maintain`, does it")
        return None
