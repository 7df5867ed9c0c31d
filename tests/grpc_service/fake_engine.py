"""An engine in memory for tests of the transport: exact search, no audio, every failure on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

import numpy as np

from encoders import AudioEmptyError
from index import (
    MAX_K,
    FeedbackEvent,
    Hits,
    InvalidQueryError,
    InvalidVectorError,
    Popularity,
    ServedVector,
    SnapshotRecord,
    SpaceMismatchError,
    SpaceRecord,
    Standing,
    Tier,
    TrackRecord,
    UnknownTrackError,
    WithdrawnTrackError,
)
from index.schemas import popularity_row
from jobs import (
    Answer,
    EngineStatus,
    FeedbackOutcome,
    FeedbackReport,
    FeedbackState,
    IngestOutcome,
    IngestState,
    Progress,
    Query,
    RefreshReport,
    RefreshStoppedError,
    Release,
    UnknownUserError,
    WarmedTrack,
)
from jobs.answers import EmbeddingAnswer
from jobs.maintain import UpkeepFigures

DIM = 4
SPACE = "space-1"
WHEN = datetime(2024, 5, 1, tzinfo=UTC)


class FakeEngine:
    """Serves five warm tracks on a half circle: neighbours by angle are obvious.

    Attributes
    ----------
    before : callable
        Called with a method's name before it does anything: where tests wait or raise.
    calls : list of (str, object)
        Method and first argument of every call, in order.
    """

    def __init__(self) -> None:
        self.snapshot = "snapshot-1"
        self.rows: dict[str, ServedVector] = {}
        self.tracks: dict[str, TrackRecord] = {}
        self.audio: dict[str, bytes] = {}
        self.gone: set[str] = set()
        self.users = {"ann": np.array([1, 0, 0, 0], np.float32)}
        self.before: Callable[[str], None] = lambda method: None
        self.calls: list[tuple[str, object]] = []
        self.lock = threading.Lock()
        self.closed = False
        self.search_threads: set[int] = set()
        self.refresh_steps = 3
        self.on_stage: Callable[[str, float], None] = lambda stage, seconds: None
        for number in range(5):
            angle = number * np.pi / 4
            vector = np.array([np.cos(angle), np.sin(angle), 0, 0], np.float32)
            self._put(f"warm-{number}", vector, Tier.COLLABORATIVE)

    def _put(self, track_id: str, vector: np.ndarray, tier: Tier) -> None:
        self.rows[track_id] = ServedVector(
            track_id,
            vector,
            tier,
            confidence=1.0 if tier is Tier.COLLABORATIVE else 0.5,
            model_id="" if tier is Tier.COLLABORATIVE else "model-1",
            catalogue_size=0 if tier is Tier.COLLABORATIVE else 2,
            leaned_on=() if tier is Tier.COLLABORATIVE else (("warm-0", 0.75), ("warm-1", 0.25)),
            popularity=Popularity(120, 120, 120) if tier is Tier.COLLABORATIVE else Popularity(40, 8, 200),
        )
        self.tracks.setdefault(
            track_id,
            TrackRecord(track_id, f"Title of {track_id}", (f"artist-{track_id}",), ("primary",), date(2024, 1, 1)),
        )

    def _note(self, method: str, argument: object = None) -> None:
        self.calls.append((method, argument))
        self.before(method)

    def search(self, queries: Sequence[Query]) -> list[Answer | Exception]:
        self.search_threads.add(threading.get_ident())
        self._note("search", list(queries))
        return [self._answer(query) for query in queries]

    def _answer(self, query: Query) -> Answer | Exception:
        if not 1 <= query.k <= MAX_K:
            return InvalidQueryError(f"k is {query.k}; ask for 1 to {MAX_K}.", reason="K_OUT_OF_RANGE", field="k")
        if query.space_id not in {"", SPACE}:
            return SpaceMismatchError(query.space_id, SPACE)
        exclude = set() if query.include_self else {query.track_id}
        if query.track_id is not None:
            if query.track_id not in self.rows:
                return self._unplaced(query.track_id)
            vector = self.rows[query.track_id].vector
        elif query.user_id is not None:
            if query.user_id not in self.users:
                return UnknownUserError(f"User {query.user_id!r} is unknown; import it.", field="user_id")
            vector = self.users[query.user_id]
        else:
            vector = query.vector
            assert vector is not None
            if vector.shape != (DIM,) or not np.isfinite(vector).all():
                return InvalidVectorError(f"The vector is not of {DIM} finite numbers.", field="vector")
        tiers = query.filters.tiers if query.filters else frozenset()
        rows = [row for row in self.rows.values() if row.track_id not in exclude and (not tiers or row.tier in tiers)]
        rows.sort(key=lambda row: (-float(row.vector @ vector), row.track_id))
        rows = rows[: query.k]
        hits = Hits.of(
            [row.track_id for row in rows],
            np.array([row.vector @ vector for row in rows], np.float32),
            np.array([row.tier for row in rows], np.int8),
            np.array([row.confidence for row in rows], np.float32),
            np.array([popularity_row(row.popularity) for row in rows], np.float32).reshape(-1, 3),
        )
        return Answer(SPACE, self.snapshot, [hits])

    def _unplaced(self, track_id: str) -> Exception:
        if track_id in self.gone:
            return WithdrawnTrackError(f"Track {track_id!r} was withdrawn.", field="track_id")
        return UnknownTrackError(f"Track {track_id!r} is unknown; ingest it first.", field="track_id")

    def ingest(self, releases: Sequence[Release]) -> list[IngestOutcome]:
        self._note("ingest", list(releases))
        self.on_stage("decode", 0.002)
        self.on_stage("write", 0.001)
        return [self._ingest(release) for release in releases]

    def _ingest(self, release: Release) -> IngestOutcome:
        audio = release.audio if isinstance(release.audio, bytes) else release.audio.read_bytes()
        if not audio:
            return IngestOutcome(
                release.track_id, IngestState.REFUSED, error=AudioEmptyError("The audio has no bytes; send the file.")
            )
        record = release.record("0" * 64)
        with self.lock:
            if release.track_id in self.gone:
                return IngestOutcome(
                    release.track_id,
                    IngestState.REFUSED,
                    error=WithdrawnTrackError("It was withdrawn.", field="track_id"),
                )
            known = self.tracks.get(release.track_id)
            if known == record and self.audio.get(release.track_id) == audio:
                state = IngestState.UNCHANGED
            else:
                state = IngestState.UPDATED if known else IngestState.CREATED
            self.tracks[release.track_id] = record
            self.audio[release.track_id] = audio
            vector = np.zeros(DIM, np.float32)
            vector[len(audio) % DIM] = 1
            self._put(release.track_id, vector, Tier.ARTIST_TRANSFER)
        row = self.rows[release.track_id]
        return IngestOutcome(
            release.track_id,
            state,
            served=True,
            space_id=SPACE,
            snapshot_id=self.snapshot,
            tier=row.tier,
            confidence=row.confidence,
            catalogue_size=row.catalogue_size,
            leaned_on=row.leaned_on,
            popularity=row.popularity,
            vector=row.vector,
        )

    def embeddings(self, track_ids: Sequence[str], *, space_id: str = "") -> EmbeddingAnswer:
        self._note("embeddings", list(track_ids))
        if space_id not in {"", SPACE}:
            raise SpaceMismatchError(space_id, SPACE)
        return EmbeddingAnswer(
            SPACE, self.snapshot, [self.rows.get(track_id) or self._unplaced(track_id) for track_id in track_ids]
        )

    def describe(self, track_ids: Sequence[str]) -> list[TrackRecord | None]:
        return [self.tracks.get(track_id) for track_id in track_ids]

    def withdraw(self, track_ids: Sequence[str], reason: str = "") -> list[str]:
        self._note("withdraw", reason)
        newly = [track_id for track_id in dict.fromkeys(track_ids) if track_id not in self.gone]
        for track_id in newly:
            self.gone.add(track_id)
            self.rows.pop(track_id, None)
        return newly

    def record_feedback(self, events: Sequence[FeedbackEvent], *, space_id: str = "") -> FeedbackReport:
        self._note("record_feedback", list(events))
        if space_id not in {"", SPACE}:
            raise SpaceMismatchError(space_id, SPACE)
        outcomes, tracks = [], {}
        for event in events:
            row = self.rows.get(event.track_id)
            if row is None:
                error = self._unplaced(event.track_id)
                outcomes.append(FeedbackOutcome(event.event_id, event.track_id, FeedbackState.REFUSED, error))
                continue
            known = event.user_id in self.users or event.user_vector is not None
            state = FeedbackState.COUNTED if known else FeedbackState.WAITING
            outcomes.append(FeedbackOutcome(event.event_id, event.track_id, state))
            tracks[event.track_id] = WarmedTrack(Standing(event.track_id, SPACE, 1.5, 0.25, True), True, row.tier)
        return FeedbackReport(SPACE, self.snapshot, outcomes, list(tracks.values()))

    def refresh(
        self,
        artist_ids: Sequence[str] | None = None,
        *,
        everything: bool = False,
        on_progress: Callable[[Progress], None] = lambda step: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> RefreshReport:
        self._note("refresh everything" if everything else "refresh", artist_ids)
        for step in range(self.refresh_steps):
            if should_stop():
                self.calls.append(("refresh stopped", step))
                raise RefreshStoppedError("The refresh was stopped.")
            on_progress(Progress("project", step + 1, self.refresh_steps))
            if self.refresh_steps > 100:
                time.sleep(0.01)
        self.snapshot = "snapshot-2"
        reasons = {"new": 1}
        return RefreshReport(
            space_id=SPACE,
            snapshot_id="snapshot-2",
            model_id="model-1",
            method="artist_mean",
            why="few tracks",
            projected=1,
            row_count=len(self.rows),
            row_count_before=0,
            tiers={},
            reasons=reasons,
            held_back="snapshot-3",
        )

    def serving(self) -> tuple[str, str]:
        return SPACE, self.snapshot

    def status(self) -> EngineStatus:
        self._note("status")
        return EngineStatus(
            space=SpaceRecord(SPACE, DIM),
            snapshot=SnapshotRecord(self.snapshot, SPACE, 1, 1, "flat", len(self.rows), "model-1", WHEN),
            tracks=len(self.rows),
            tier_counts={tier: sum(row.tier is tier for row in self.rows.values()) for tier in Tier},
            fresh_rows=1,
            withdrawn=len(self.gone),
            encoder_id="encoder-1",
            model_id="model-1",
            device="cpu",
            read_only=False,
            upkeep=UpkeepFigures(7, 42, ["table tracks has 200 small fragments"], WHEN),
        )

    def count_upkeep(self) -> None:
        """What it counts stands in its status."""

    def watch_stages(self, on_stage: Callable[[str, float], None]) -> None:
        self.on_stage = on_stage

    def require_writable(self) -> None:
        """A fake is never a replica."""

    def sync(self) -> bool:
        self._note("sync")
        return False

    def close(self) -> None:
        self.closed = True
