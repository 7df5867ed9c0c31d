"""The way of a release: hear it, project it, make it durable, make it findable.

Each release goes through `Ingester.prepare` (read, hash, decode; runs beside others on as many threads as one
likes) and `Ingester.complete` (encode, project, commit, add to the search; for a few releases together, because the
encoder and the store both like company). Whatever is wrong with one release comes back as its own outcome and
touches no other.
"""

from __future__ import annotations

import enum
import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoders import AudioFileError, AudioLimits, AudioTooLargeError, EncoderError, decode_audio
from index import (
    Searcher,
    ServedVector,
    Store,
    StoreError,
    Tier,
    TrackRecord,
    WithdrawnTrackError,
    WriteBatch,
)
from jobs.errors import JobError
from jobs.gate import Gate
from jobs.projector import Projectors
from jobs.release import Release

if TYPE_CHECKING:
    from encoders import Encoder, Waveform

RefusalError = EncoderError | StoreError | JobError


class IngestState(enum.Enum):
    """What became of a release."""

    CREATED = "created"  # the track is new
    UPDATED = "updated"  # its audio, credits or metadata have changed
    UNCHANGED = "unchanged"  # the same as before: nothing was written
    REFUSED = "refused"  # nothing was written; the outcome's error says why


@dataclass(frozen=True, eq=False)
class IngestOutcome:
    """What became of one release.

    Attributes
    ----------
    track_id : str
    state : IngestState
    served : bool
        Whether the next query can find it. A stored track is not served while no space is published.
    space_id, snapshot_id : str
        Where it is served; empty where it is not.
    tier : Tier or None
        Where its served vector comes from.
    confidence : float or None
        Expected cosine between its vector and the one that listeners would give it, 0 to 1.
    catalogue_size : int
        Number of catalogue tracks that the projection read.
    leaned_on : tuple of (str, float)
        The catalogue tracks that weighed most, with their weights.
    vector : ndarray of float32, shape (dim,), or None
        Its served vector.
    error : Exception or None
        Why it was refused.
    """

    track_id: str
    state: IngestState
    served: bool = False
    space_id: str = ""
    snapshot_id: str = ""
    tier: Tier | None = None
    confidence: float | None = None
    catalogue_size: int = 0
    leaned_on: tuple[tuple[str, float], ...] = ()
    vector: NDArray[np.float32] | None = None
    error: RefusalError | None = None


class StageClock:
    """Adds up the seconds of work that each stage took, over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.stage_s: dict[str, float] = {
            "read": 0.0,
            "decode": 0.0,
            "encode": 0.0,
            "project": 0.0,
            "write": 0.0,
        }
        self.audio_s = 0.0

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count what happens inside towards a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.stage_s[stage] += time.perf_counter() - start

    def hear(self, duration_s: float) -> None:
        """Count decoded audio, in seconds of music."""
        with self._lock:
            self.audio_s += duration_s


@dataclass(frozen=True)
class Known:
    """What the store holds of some tracks.

    Attributes
    ----------
    records : dict of str to TrackRecord
    heard : frozenset of str
        Those with a content vector of the encoder in use.
    """

    records: dict[str, TrackRecord]
    heard: frozenset[str]


@dataclass
class Prepared:
    """A release that was read, hashed and, where needed, decoded.

    Attributes
    ----------
    release : Release
    record : TrackRecord or None
        What will be stored; None where it was refused.
    known : TrackRecord or None
        What is stored already.
    waveform : Waveform or None
        None where the stored content vector still holds.
    error : Exception or None
        Why it was refused.
    """

    release: Release
    record: TrackRecord | None = None
    known: TrackRecord | None = None
    waveform: Waveform | None = None
    error: RefusalError | None = None

    @property
    def same(self) -> bool:
        """Whether the store holds this very release (where the audio came from does not count)."""
        return self.known is not None and self.record is not None and _identity(self.known) == _identity(self.record)


@dataclass
class _Work:
    """One release on its way through `Ingester.complete`."""

    prepared: Prepared
    record: TrackRecord
    content: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def is_new(self) -> bool:
        """Whether there is anything to store."""
        return not self.prepared.same or self.prepared.waveform is not None


class Ingester:
    """Takes releases in.

    Parameters
    ----------
    store, searcher
        Where tracks are kept, and where they are found.
    encoder : callable returning Encoder
        Called at the first audio, so that jobs that hear nothing load no network.
    projectors : Projectors
    limits : AudioLimits
        What audio is taken.
    gate : Gate
        Keeps ingests and publishes apart.
    """

    def __init__(
        self,
        store: Store,
        searcher: Searcher,
        encoder: Callable[[], Encoder],
        projectors: Projectors,
        limits: AudioLimits,
        gate: Gate,
    ) -> None:
        self._store = store
        self._searcher = searcher
        self._encoder = encoder
        self._projectors = projectors
        self._limits = limits
        self._gate = gate
        self._encoding = threading.Lock()
        self._in_hand: set[str] = set()
        self._released = threading.Condition()

    def ingest(self, releases: Sequence[Release], clock: StageClock | None = None) -> list[IngestOutcome]:
        """Take releases in; thread safe.

        Parameters
        ----------
        releases : sequence of Release
        clock : StageClock, optional
            Where to add up the time of each stage.

        Returns
        -------
        list of IngestOutcome
            In the same order. What is not refused is durable, and served where a space is published.
        """
        clock = clock or StageClock()
        with self.holding({release.track_id for release in releases}):
            known = self.look_up([release.track_id for release in releases])
            return self.complete([self.prepare(release, known, clock) for release in releases], clock)

    @contextmanager
    def holding(self, track_ids: set[str]) -> Iterator[None]:
        """Keep the same track from being ingested twice at once: the second call then finds it unchanged."""
        with self._released:
            self._released.wait_for(lambda: not track_ids & self._in_hand)
            self._in_hand |= track_ids
        try:
            yield
        finally:
            with self._released:
                self._in_hand -= track_ids
                self._released.notify_all()

    def look_up(self, track_ids: Sequence[str]) -> Known:
        """Find what the store holds of some tracks: many in one look-up, because each reads the tables' key columns."""
        records = {record.track_id: record for record in self._store.tracks(track_ids)}
        heard = self._store.content(self._encoder().encoder_id, list(records))[0] if records else []
        return Known(records, frozenset(heard))

    def prepare(self, release: Release, known: Known, clock: StageClock) -> Prepared:
        """Read, hash and decode one release.

        Parameters
        ----------
        release : Release
        known : Known
            What `look_up` found while the track was held.
        clock : StageClock

        Returns
        -------
        Prepared
            With the error inside where the release has to be refused.
        """
        try:
            if release.track_id in self._store.withdrawn():
                raise WithdrawnTrackError(
                    f"Track {release.track_id!r} was withdrawn and is not taken in again; "
                    "deliver it under a new id if its rights have been cleared.",
                    field="track_id",
                )
            with clock.time("read"):
                audio = self._read(release)
                record = release.record(hashlib.sha256(audio).hexdigest())
            before = known.records.get(release.track_id)
            waveform = None
            if before is None or before.audio_sha256 != record.audio_sha256 or before.track_id not in known.heard:
                with clock.time("decode"):
                    waveform = decode_audio(audio, sample_rate_hz=self._encoder().sample_rate_hz, limits=self._limits)
                clock.hear(waveform.duration_s)
        except (EncoderError, StoreError, JobError) as error:
            return Prepared(release, error=error)
        return Prepared(release, record, before, waveform)

    def complete(self, prepared: Sequence[Prepared], clock: StageClock) -> list[IngestOutcome]:
        """Encode, project, commit and serve what was prepared.

        Parameters
        ----------
        prepared : sequence of Prepared
        clock : StageClock

        Returns
        -------
        list of IngestOutcome
            In the same order.
        """
        work = [_Work(one, one.record) for one in prepared if one.error is None and one.record is not None]
        self._fill_content(work, clock)
        with self._gate.shared():
            served = self._place(work, clock)
        return [_outcome(one, served) for one in prepared]

    def _read(self, release: Release) -> bytes:
        if isinstance(release.audio, bytes):
            return release.audio
        try:
            size = release.audio.stat().st_size if release.audio.is_file() else -1
            if size < 0:
                raise AudioFileError(f"There is no audio file at {release.audio_uri or release.audio}.", field="audio")
            if size > self._limits.max_bytes:
                raise AudioTooLargeError(
                    f"The audio of track {release.track_id!r} has {size} bytes; at most "
                    f"{self._limits.max_bytes} are taken.",
                    field="audio",
                )
            return release.audio.read_bytes()
        except OSError as error:
            raise AudioFileError(
                f"The audio file {release.audio_uri or release.audio} cannot be read: {error.strerror}.",
                field="audio",
            ) from None

    def _fill_content(self, work: Sequence[_Work], clock: StageClock) -> None:
        """Give every release its content vector: from its waveform where it was decoded, else from the store."""
        fresh = [one for one in work if one.prepared.waveform is not None]
        if fresh:
            with self._encoding, clock.time("encode"):
                content = self._encoder().encode(
                    [one.prepared.waveform.samples for one in fresh if one.prepared.waveform is not None]
                )
            for one, row in zip(fresh, content, strict=True):
                one.content = row
        stored = {one.record.track_id: one for one in work if one.prepared.waveform is None}
        if stored:
            found, content = self._store.content(self._encoder().encoder_id, list(stored))
            for track_id, row in zip(found, content, strict=True):
                stored[str(track_id)].content = row

    def _place(self, work: Sequence[_Work], clock: StageClock) -> dict[str, IngestOutcome]:
        """Make what is new durable, then findable. Called inside the gate: no publish happens meanwhile."""
        changed = [one for one in work if one.is_new]
        heard = [(one.record.track_id, one.content) for one in changed if one.prepared.waveform is not None]
        if changed:
            with clock.time("write"):
                self._store.commit(
                    WriteBatch(
                        tracks=[one.record for one in changed],
                        content={self._encoder().encoder_id: heard} if heard else {},
                    )
                )
        if self._searcher.snapshot is None:
            return {}
        view = self._searcher.view()
        placed = self._store.served_vectors(
            view.space_id, [one.record.track_id for one in work], snapshot=view.snapshot
        )
        warm_ids = {track_id for track_id, row in placed.items() if row.tier is Tier.COLLABORATIVE}
        if any(track_id in warm_ids for track_id, _ in heard):
            self._projectors.forget()  # the catalogue has grown, and the cold tracks below may lean on it
        # A warm track keeps the place that its listeners gave it.
        cold = [
            one
            for one in work
            if one.record.track_id not in warm_ids and (one.is_new or one.record.track_id not in placed)
        ]
        rows: list[ServedVector] = []
        if cold:
            with clock.time("project"):
                projector = self._projectors.get(view.space_id, self._encoder().encoder_id)
                if projector is not None:
                    rows = projector.project([one.record for one in cold], np.stack([one.content for one in cold]))
        if rows:
            with clock.time("write"):
                self._store.commit(WriteBatch(fresh={view.space_id: rows}))  # the searcher hears of every commit
        placed |= {row.track_id: row for row in rows}
        withdrawn = self._store.withdrawn()
        return {
            track_id: _served(without_tracks(row, withdrawn), view.space_id, view.snapshot_id)
            for track_id, row in placed.items()
            if track_id not in withdrawn
        }


def without_tracks(row: ServedVector, withdrawn: Collection[str]) -> ServedVector:
    """Leave withdrawn tracks out of what a vector leaned on: they are in no answer, not even as an explanation."""
    kept = tuple((track_id, weight) for track_id, weight in row.leaned_on if track_id not in withdrawn)
    return row if len(kept) == len(row.leaned_on) else replace(row, leaned_on=kept)


def _identity(record: TrackRecord) -> TrackRecord:
    return replace(record, audio_uri=None)


def _served(row: ServedVector, space_id: str, snapshot_id: str) -> IngestOutcome:
    return IngestOutcome(
        track_id=row.track_id,
        state=IngestState.UNCHANGED,
        served=True,
        space_id=space_id,
        snapshot_id=snapshot_id,
        tier=row.tier,
        confidence=row.confidence,
        catalogue_size=row.catalogue_size,
        leaned_on=row.leaned_on,
        vector=row.vector,
    )


def _outcome(prepared: Prepared, served: dict[str, IngestOutcome]) -> IngestOutcome:
    track_id = prepared.release.track_id
    if prepared.error is not None:
        return IngestOutcome(track_id, IngestState.REFUSED, error=prepared.error)
    if prepared.known is None:
        state = IngestState.CREATED
    else:
        state = IngestState.UNCHANGED if prepared.same else IngestState.UPDATED
    return replace(served.get(track_id, IngestOutcome(track_id, state)), state=state)
