"""The engines of a server's workers: the one that writes is followed by those that read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from grpc_service.lockstep import Followed, Follower, Followers
from grpc_service.ports import ServedEngine

if TYPE_CHECKING:
    from index import FeedbackEvent, TrackRecord
    from jobs import Answer, EngineStatus, FeedbackReport, IngestOutcome, Progress, Query, RefreshReport, Release
    from jobs.answers import EmbeddingAnswer


class FollowingEngine(ServedEngine, Followed, Protocol):
    """What a reading worker needs of its engine."""


class _WorkerEngine:
    """Another engine's calls, as they are; see `ServedEngine` for each."""

    def __init__(self, engine: ServedEngine) -> None:
        self._engine = engine

    def search(self, queries: Sequence[Query]) -> Sequence[Answer | Exception]:
        return self._engine.search(queries)

    def ingest(self, releases: Sequence[Release]) -> Sequence[IngestOutcome]:
        return self._engine.ingest(releases)

    def embeddings(self, track_ids: Sequence[str], *, space_id: str = "") -> EmbeddingAnswer:
        return self._engine.embeddings(track_ids, space_id=space_id)

    def describe(self, track_ids: Sequence[str]) -> Sequence[TrackRecord | None]:
        return self._engine.describe(track_ids)

    def withdraw(self, track_ids: Sequence[str], reason: str = "") -> Sequence[str]:
        return self._engine.withdraw(track_ids, reason)

    def record_feedback(self, events: Sequence[FeedbackEvent], *, space_id: str = "") -> FeedbackReport:
        return self._engine.record_feedback(events, space_id=space_id)

    def refresh(
        self,
        artist_ids: Sequence[str] | None = None,
        *,
        everything: bool = False,
        on_progress: Callable[[Progress], None] = lambda step: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> RefreshReport:
        return self._engine.refresh(artist_ids, everything=everything, on_progress=on_progress, should_stop=should_stop)

    def serving(self) -> tuple[str, str]:
        return self._engine.serving()

    def status(self) -> EngineStatus:
        return self._engine.status()

    def count_upkeep(self) -> object:
        return self._engine.count_upkeep()

    def sync(self) -> bool:
        return self._engine.sync()

    def require_writable(self) -> None:
        self._engine.require_writable()

    def watch_stages(self, on_stage: Callable[[str, float], None]) -> None:
        self._engine.watch_stages(on_stage)

    def close(self) -> None:
        self._engine.close()


class WritingEngine(_WorkerEngine):
    """The engine of the worker that writes: its calls return when every other worker shows what they did.

    Parameters
    ----------
    engine : ServedEngine
    followers : Followers
        Closed with it.
    """

    def __init__(self, engine: ServedEngine, followers: Followers) -> None:
        super().__init__(engine)
        self._followers = followers
        self._led = engine.serving()[
            1
        ]  # the snapshot that the others were led to: those that come are led by themselves

    # The others look also where nothing was new: an earlier call may have ended between its commit and their look.

    def ingest(self, releases: Sequence[Release]) -> Sequence[IngestOutcome]:
        """See `ServedEngine.ingest`."""
        outcomes = self._engine.ingest(releases)
        self._followers.look()
        return outcomes

    def withdraw(self, track_ids: Sequence[str], reason: str = "") -> Sequence[str]:
        """See `ServedEngine.withdraw`."""
        newly = self._engine.withdraw(track_ids, reason)
        self._followers.look()
        return newly

    def record_feedback(self, events: Sequence[FeedbackEvent], *, space_id: str = "") -> FeedbackReport:
        """See `ServedEngine.record_feedback`."""
        report = self._engine.record_feedback(events, space_id=space_id)
        self._followers.look()
        return report

    def refresh(
        self,
        artist_ids: Sequence[str] | None = None,
        *,
        everything: bool = False,
        on_progress: Callable[[Progress], None] = lambda step: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> RefreshReport:
        """See `ServedEngine.refresh`."""
        report = super().refresh(artist_ids, everything=everything, on_progress=on_progress, should_stop=should_stop)
        self._lead()
        return report

    def sync(self) -> bool:
        """See `ServedEngine.sync`; the others then follow."""
        changed = self._engine.sync()
        if self._engine.serving()[1] != self._led:
            self._lead()
        elif changed:
            self._followers.look()
        return changed

    def close(self) -> None:
        """See `ServedEngine.close`."""
        self._followers.close()
        self._engine.close()

    def _lead(self) -> None:
        snapshot_id = self._engine.serving()[1]
        self._followers.serve()
        self._led = snapshot_id


class ReadingEngine(_WorkerEngine):
    """The engine of a worker that reads: what would change anything goes to the one that writes before it comes here.

    Parameters
    ----------
    engine : FollowingEngine
        Opened to read only.
    follower : Follower
        Closed with it.
    """

    def __init__(self, engine: FollowingEngine, follower: Follower) -> None:
        super().__init__(engine)
        self._following = engine
        self._follower = follower

    def sync(self) -> bool:
        """Look for what was committed; another snapshot is switched to when the writing worker does."""
        return self._following.catch_up()

    def status(self) -> EngineStatus:
        """See `ServedEngine.status`; the server as a whole is no replica."""
        return replace(self._engine.status(), read_only=False)

    def close(self) -> None:
        """See `ServedEngine.close`."""
        self._follower.close()
        self._engine.close()
