"""What the transport needs of an engine: `jobs.Engine` has it, and so has the fake of the transport's tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from index import FeedbackEvent, TrackRecord
    from jobs import Answer, EngineStatus, FeedbackReport, IngestOutcome, Progress, Query, RefreshReport, Release
    from jobs.answers import EmbeddingAnswer


class ServedEngine(Protocol):
    """The calls that the servicers make; all of them block, all but `search` from any thread."""

    def search(self, queries: Sequence[Query]) -> Sequence[Answer | Exception]:
        """Answer many queries in one state; an `Answer` of one `Hits` or an error for each, in order."""

    def ingest(self, releases: Sequence[Release]) -> Sequence[IngestOutcome]:
        """Take releases in; what is wrong with one comes back as its outcome."""

    def embeddings(self, track_ids: Sequence[str], *, space_id: str = "") -> EmbeddingAnswer:
        """Look served vectors up."""

    def describe(self, track_ids: Sequence[str]) -> Sequence[TrackRecord | None]:
        """Look titles and credits up; None for tracks that no release told about."""

    def withdraw(self, track_ids: Sequence[str], reason: str = "") -> Sequence[str]:
        """Withdraw tracks; returns those that were not withdrawn before."""

    def record_feedback(self, events: Sequence[FeedbackEvent], *, space_id: str = "") -> FeedbackReport:
        """Record what listeners did; what is wrong with one event comes back as its outcome."""

    def refresh(
        self,
        artist_ids: Sequence[str] | None = None,
        *,
        everything: bool = False,
        on_progress: Callable[[Progress], None] = ...,
        should_stop: Callable[[], bool] = ...,
    ) -> RefreshReport:
        """Project what has changed (or everything), build a snapshot, publish it."""

    def serving(self) -> tuple[str, str]:
        """Space and snapshot that are served now, empty where none is; cheap."""

    def status(self) -> EngineStatus:
        """Count what is served."""

    def count_upkeep(self) -> object:
        """Count the alert figures of the home's tables, for `status` to tell."""

    def sync(self) -> bool:
        """Adopt what other processes did; True when something changed."""

    def require_writable(self) -> None:
        """Refuse what would change the home, where this is a replica."""

    def watch_stages(self, on_stage: Callable[[str, float], None]) -> None:
        """Have a function called behind each stage of an ingest, on its thread, with the stage and its seconds."""

    def close(self) -> None:
        """Let go of the home."""
