"""Ingesting a whole manifest: decoding beside encoding, in groups that fit into memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from index import Tier
from jobs.ingest import Known, Prepared, StageClock
from jobs.manifest import Manifest, RefusedRow
from jobs.outcome import IngestOutcome, IngestState
from jobs.progress import OnProgress, Progress, silent
from jobs.release import Release

if TYPE_CHECKING:
    from jobs.engine import Engine

GROUP_TRACKS = 16  # tracks encoded and committed together; beyond that neither gets faster
GROUP_AUDIO_S = 1800.0  # ... and at most so many seconds of music, 115 MB of samples at 16 kHz
LOOK_UP_TRACKS = 1024
DECODE_THREADS = 2  # decoding keeps up with the encoder on two cores; with a GPU it is what to raise


@dataclass(frozen=True, eq=False)
class ManifestReport:
    """What became of a manifest.

    Attributes
    ----------
    outcomes : list of IngestOutcome
        Of the tracks that went in.
    refused : list of RefusedRow
        The rows that did not, in the file's order.
    wall_s : float
        From first to last, in seconds.
    stage_s : dict of str to float
        Seconds of work in each stage, over all threads; stages overlap, so they add up to more than `wall_s`.
    audio_s : float
        Seconds of music decoded.
    space_id : str
        The space they are served in; empty where none is published.
    note : str
        What the caller should know, or empty.
    """

    outcomes: list[IngestOutcome]
    refused: list[RefusedRow]
    wall_s: float
    stage_s: dict[str, float]
    audio_s: float
    space_id: str = ""
    note: str = ""

    @property
    def tracks_per_s(self) -> float:
        """Tracks that went in, each second."""
        return len(self.outcomes) / self.wall_s if self.wall_s > 0 else 0.0


@dataclass
class _Group:
    prepared: list[Prepared] = field(default_factory=list)
    audio_s: float = 0.0

    def add(self, one: Prepared) -> None:
        self.prepared.append(one)
        self.audio_s += one.waveform.duration_s if one.waveform is not None else 0.0

    @property
    def is_full(self) -> bool:
        return len(self.prepared) >= GROUP_TRACKS or self.audio_s >= GROUP_AUDIO_S


def ingest_manifest(engine: Engine, manifest: Manifest, *, on_progress: OnProgress = silent) -> ManifestReport:
    """Ingest every readable row of a manifest.

    Parameters
    ----------
    engine : Engine
        An opened home folder.
    manifest : Manifest
        What `jobs.manifest.read_manifest` returned.
    on_progress : callable
        Told after each group.

    Returns
    -------
    ManifestReport
        Good rows are in; wrong ones are listed.
    """
    start = time.perf_counter()
    clock = StageClock()
    row_of = {release.track_id: row for release, row in zip(manifest.releases, manifest.rows, strict=True)}
    outcomes: list[IngestOutcome] = []
    refused = list(manifest.refused)
    done = 0
    # Warm tracks first: the cold tracks of their artists then lean on the whole catalogue, whatever the rows' order.
    warm = engine.warm_ids([release.track_id for release in manifest.releases])
    ordered = sorted(manifest.releases, key=lambda release: release.track_id not in warm)
    with engine.ingester.holding(set(row_of)):
        for group in _groups(engine, ordered, clock):
            for outcome in engine.ingester.complete(group.prepared, clock):
                if outcome.state is IngestState.REFUSED and outcome.error is not None:
                    refused.append(
                        RefusedRow(
                            row_of[outcome.track_id],
                            outcome.track_id,
                            outcome.error.reason,
                            str(outcome.error),
                        )
                    )
                else:
                    outcomes.append(outcome)
            done += len(group.prepared)
            engine.sync()  # another process may have published meanwhile
            on_progress(Progress("ingest", done, len(ordered), group.prepared[-1].release.track_id))
    space_id = next((outcome.space_id for outcome in outcomes if outcome.space_id), "")
    return ManifestReport(
        outcomes=outcomes,
        refused=sorted(refused, key=lambda one: one.row),
        wall_s=time.perf_counter() - start,
        stage_s=clock.stage_s,
        audio_s=clock.audio_s,
        space_id=space_id,
        note=_note(outcomes),
    )


def _groups(engine: Engine, releases: list[Release], clock: StageClock) -> Iterator[_Group]:
    """Decode ahead on threads of their own, and hand out groups in order."""
    with ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode") as pool:
        waiting: deque[Future[Prepared]] = deque()
        remaining = _looked_up(engine, releases)
        group = _Group()
        try:
            while True:
                while len(waiting) < GROUP_TRACKS and (following := next(remaining, None)) is not None:
                    waiting.append(pool.submit(engine.ingester.prepare, *following, clock))
                if not waiting:
                    break
                group.add(waiting.popleft().result())
                if group.is_full:
                    yield group
                    group = _Group()
            if group.prepared:
                yield group
        finally:
            for future in waiting:  # an interrupted run does not decode the rest of the queue
                future.cancel()


def _looked_up(engine: Engine, releases: list[Release]) -> Iterator[tuple[Release, Known]]:
    """Pair each release with what is known of it, looked up for many at once."""
    for start in range(0, len(releases), LOOK_UP_TRACKS):
        some = releases[start : start + LOOK_UP_TRACKS]
        known = engine.ingester.look_up([release.track_id for release in some])
        for release in some:
            yield release, known


def _note(outcomes: list[IngestOutcome]) -> str:
    waiting = sum(not outcome.served for outcome in outcomes)
    if not waiting:
        projected = sum(outcome.tier is Tier.AUDIO_ONLY for outcome in outcomes)
        return (
            f"Placed by their audio alone, because no credited artist has a catalogue yet: {projected}."
            if projected
            else ""
        )
    return (
        f"Stored but not served, because no space with audio behind it is published: {waiting}. "
        "Import one (`anacrusis space import`) and publish it (`anacrusis space publish`)."
    )
