"""Projecting the cold tracks that something has touched, and publishing the result in one step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from index import (
    Lease,
    PublishedMeanwhileError,
    PublishKind,
    PublishRecord,
    ServedVector,
    SnapshotRecord,
    Store,
    Tier,
    build_snapshot,
)
from jobs.errors import NothingToServeError
from jobs.maintain import MaintenanceReport
from jobs.progress import OnProgress, Progress
from jobs.projecting import (
    ProjectTracks,
    RefreshStoppedError,
    project_here,
    read_heard,
    stage_projected,
)
from jobs.projector import Projector, join_projector
from jobs.refresh_plan import RefreshPlan, plan_refresh

if TYPE_CHECKING:
    from jobs.engine import Engine


@dataclass(frozen=True)
class RefreshReport:
    """What a refresh did.

    Attributes
    ----------
    space_id, snapshot_id : str
        What is served now.
    model_id : str
        The transfer that projects; empty where nothing could be projected.
    method, why : str
        Its method and the sentence that says why this one serves.
    projected : int
        Cold tracks projected in this run.
    row_count, row_count_before : int
        Tracks in the snapshot, and in the one that was served before.
    tiers : dict of str to int
        Tracks of each tier that can be in an answer.
    reasons : dict of str to int
        How many cold tracks were to be projected for which reason, see `jobs.refresh_plan.REASONS`.
    cold, unheard : int
        Cold tracks that were looked at; those that still wait for their audio.
    published : bool
        Whether something was switched to. False: nothing has changed since the newest snapshot was built, which is
        the served one, or `held_back`.
    held_back : str
        Id of the newest snapshot where somebody went back from it and nothing has changed since: the rollback stands.
        Else empty.
    stage_s : dict of str to float
        Seconds of each stage: plan, project, stage, index, publish.
    maintenance : MaintenanceReport or None
        The upkeep of the home that followed; None where it failed: the log says why, and the next one does it.
    """

    space_id: str
    snapshot_id: str
    model_id: str
    method: str
    why: str
    projected: int
    row_count: int
    row_count_before: int
    tiers: dict[str, int]
    reasons: dict[str, int] = field(default_factory=dict)
    cold: int = 0
    unheard: int = 0
    published: bool = True
    held_back: str = ""
    stage_s: dict[str, float] = field(default_factory=dict)
    maintenance: MaintenanceReport | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types."""
        return asdict(self)


class _Stages:
    """Adds up the seconds of each stage; an inner one is not counted in the outer one."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("plan", "project", "stage", "index", "publish"), 0.0)
        self._inner = 0.0

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        start, before = time.perf_counter(), self._inner
        self._inner = 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self.seconds[stage] += took - self._inner
            self._inner = before + took


def read_log(store: Store, after: int | None) -> Sequence[PublishRecord]:
    """Read the publish log once: what is served, and what a publish must follow, come from its one last row.

    Parameters
    ----------
    store : Store
    after : int, optional
        The sequence that the caller saw (`index.Store.publish_sequence`); None: whatever it is now.

    Raises
    ------
    index.PublishedMeanwhileError
        Somebody published or rolled back since.
    """
    log = store.publishes()
    if after is not None and (log[-1].sequence if log else 0) != after:
        raise _moved_on()
    return log


def _moved_on() -> PublishedMeanwhileError:
    return PublishedMeanwhileError(
        "another snapshot was published or rolled back to meanwhile, and is served on: "
        "start again if this is still wanted, what is done stays done"
    )


def refresh_space(
    engine: Engine,
    space_id: str,
    artist_ids: Sequence[str] | None,
    lease: Lease,
    log: Sequence[PublishRecord],
    *,
    everything: bool,
    again: bool,
    on_progress: OnProgress,
    should_stop: Callable[[], bool],
    project: Callable[[Projector], ProjectTracks] | None = None,
    index_kind: str = "auto",
) -> RefreshReport:
    """Project what has changed, build the index, publish; see `Engine.refresh`.

    Parameters
    ----------
    engine : Engine
    space_id : str
    artist_ids, everything
        See `plan_refresh`.
    lease : Lease
        That nobody else refreshes this home; checked before each write.
    log : sequence of PublishRecord
        What `read_log` gave, and `space_id` was chosen by.
    again : bool
        Whether a snapshot is published that somebody went back from.
    on_progress, should_stop : callable
    project : callable, optional
        Gives what projects tracks with a projector; None: this thread does.
    index_kind : str
        One of `index.KINDS`.
    """
    store, stages = engine.store, _Stages()
    sequence = log[-1].sequence if log else 0
    served = store.snapshot(log[-1].snapshot_id) if log else None
    with stages.time("plan"):
        on_progress(Progress("plan", 0, 0))
        plan = plan_refresh(
            store,
            engine.home,
            space_id,
            engine.encoder.encoder_id,
            device=engine.device,
            artist_ids=artist_ids,
            everything=everything,
            known=engine.last_refreshed_with,
        )
        engine.last_refreshed_with = plan.chosen.model
    with stages.time("project"):
        projector, projected = _project(engine, plan, lease, project, stages, on_progress, should_stop)
    with stages.time("index"):
        held_back = _held_back(store, space_id, log) if not (again or everything) else ""
        if held_back and served is not None:
            snapshot = served
        else:
            snapshot = newest_snapshot(
                store,
                space_id,
                staged=projected > 0,
                index_kind=index_kind,
                device=engine.searcher.device,
                on_progress=on_progress,
            )
    published = served is None or served.snapshot_id != snapshot.snapshot_id
    if not published:
        if store.publish_sequence() != sequence:  # else the report would name what is not served
            raise _moved_on()
    else:
        if should_stop():
            raise RefreshStoppedError("The refresh was stopped; what is served has not changed.")
        with stages.time("publish"):
            on_progress(Progress("publish", 0, 1))
            with engine.gate.alone():
                lease.check()
                store.publish(snapshot.snapshot_id, after=sequence)
                engine.adopt()
    model = projector.model if projector is not None else plan.chosen.model
    return RefreshReport(
        space_id=space_id,
        snapshot_id=snapshot.snapshot_id,
        model_id=model.model_id if model is not None else snapshot.model_id,
        method=model.method if model is not None else "" if plan.basis is None else "artist_mean",
        why=plan.why,
        projected=projected,
        row_count=snapshot.row_count,
        row_count_before=served.row_count if served is not None else 0,
        tiers=tier_counts(engine.status().tier_counts),
        reasons=plan.reasons,
        cold=plan.cold,
        unheard=plan.unheard,
        published=published,
        held_back=held_back,
        stage_s=stages.seconds,
    )


def _held_back(store: Store, space_id: str, log: Sequence[PublishRecord]) -> str:
    """Give the id of a space's newest snapshot where somebody went back from it, within the space, and nothing is new.

    One that was built since, because something was, has never been served and is none of these.
    """
    built = store.snapshots(space_id)
    if not log or log[-1].kind is not PublishKind.ROLLBACK or not built:
        return ""
    served, newest = log[-1].snapshot_id, built[-1].snapshot_id
    within = any(one.snapshot_id == served for one in built[:-1])
    went_back = within and any(record.snapshot_id == newest for record in log)
    return newest if went_back and not store.news_since(built[-1]) else ""


def _project(
    engine: Engine,
    plan: RefreshPlan,
    lease: Lease,
    project: Callable[[Projector], ProjectTracks] | None,
    stages: _Stages,
    on_progress: OnProgress,
    should_stop: Callable[[], bool],
) -> tuple[Projector | None, int]:
    if plan.basis is None or len(plan.touched) == 0:
        return None, 0
    store = engine.store
    with ThreadPoolExecutor(1, thread_name_prefix="read-heard") as beside:
        # Beside the catalogue's: both look up rows of the same tables, which keeps no core busy.
        first = beside.submit(read_heard, store, plan.encoder_id, plan.touched) if project is None else None
        projector = join_projector(
            store,
            plan.space_id,
            plan.encoder_id,
            plan.chosen,
            plan.basis,
            device=engine.device,
            catalogue_ids=plan.catalogue_ids.to_pylist(),
        )
    if projector is None:
        return None, 0
    batches = project(projector) if project is not None else project_here(store, projector, first)

    def stage(rows: Sequence[ServedVector]) -> None:
        with stages.time("stage"):
            lease.check()
            store.replace_served(plan.space_id, rows, as_of=plan.as_of)

    projected = stage_projected(batches(plan.touched), stage, len(plan.touched), on_progress, should_stop)
    return projector, projected


def newest_snapshot(
    store: Store, space_id: str, *, staged: bool = False, index_kind: str, device: str, on_progress: OnProgress
) -> SnapshotRecord:
    """Give a snapshot of what a space holds now: the last one where nothing has changed since, else a new one.

    Parameters
    ----------
    store : Store
    space_id : str
    staged : bool
        Whether the caller has just staged rows, so that nobody needs to look for changes.
    index_kind : str
        One of `index.KINDS`; "auto" takes the last snapshot's, whatever it is, where nothing has changed.
    device : {"cpu", "gpu"}
        Where it will be searched.
    on_progress : callable

    Returns
    -------
    SnapshotRecord
        To be published, unless it is served already.

    Raises
    ------
    NothingToServeError
        When the space has no track at all.
    """
    built = store.snapshots(space_id)
    same_kind = built and index_kind in ("auto", built[-1].index_kind)
    if same_kind and not staged and not store.changed_since(built[-1]):
        return built[-1]
    snapshot = build_snapshot(
        store,
        space_id,
        kind=index_kind,
        device=device,
        on_progress=lambda step: on_progress(Progress("index", step.done, step.total, step.stage)),
    )
    if snapshot.row_count == 0:
        raise NothingToServeError(f"Space {space_id!r} has no track to serve; import factors or ingest tracks first.")
    return snapshot


def tier_counts(counts: Mapping[Tier, int]) -> dict[str, int]:
    """Name the tiers of a count by the words that replies use."""
    return {tier.name.lower(): int(n) for tier, n in counts.items() if n}
