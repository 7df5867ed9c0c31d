"""The way of a release: hear it, project it, make it durable, make it findable.

Each release goes through `Ingester.prepare` (read, hash, decode; runs beside others on as many threads as one
likes) and `Ingester.complete` (encode, project, commit, add to the search; for a few releases together, because the
encoder and the store both like company). Whatever is wrong with one release comes back as its own outcome and
touches no other.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoders import DecodingPool
from index import (
    Searcher,
    SearchView,
    ServedVector,
    Store,
    Tier,
    TrackRecord,
    WithdrawnTrackError,
    WriteBatch,
    record_basis,
)
from jobs.errors import ReleaseError
from jobs.gate import Gate
from jobs.outcome import REFUSALS, IngestOutcome, IngestState, RefusalError, served_outcome, without_tracks
from jobs.projectors import Projectors
from jobs.release import Release
from jobs.release_audio import read_audio

if TYPE_CHECKING:
    from encoders import Encoder, Waveform


class StageClock:
    """Adds up the seconds of work that each stage took, over all threads.

    Parameters
    ----------
    on_stage : callable, optional
        Called behind each stretch of work, on its thread, with the stage and its seconds.
    """

    def __init__(self, on_stage: Callable[[str, float], object] = lambda stage, seconds: None) -> None:
        self._lock = threading.Lock()
        self._on_stage = on_stage
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
            seconds = time.perf_counter() - start
            with self._lock:
                self.stage_s[stage] += seconds
            self._on_stage(stage, seconds)

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
        return self.known is not None and self.record is not None and same_release(self.known, self.record)


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
    decoding : DecodingPool
        Decodes what comes, within its limits.
    gate : Gate
        Keeps ingests and publishes apart.

    Attributes
    ----------
    on_stage : callable
        Told of the stages of ingests that bring no clock of their own; see `StageClock`.
    """

    def __init__(
        self,
        store: Store,
        searcher: Searcher,
        encoder: Callable[[], Encoder],
        projectors: Projectors,
        decoding: DecodingPool,
        gate: Gate,
    ) -> None:
        self._store = store
        self._searcher = searcher
        self._encoder = encoder
        self._projectors = projectors
        self._decoding = decoding
        self._gate = gate
        self.on_stage: Callable[[str, float], object] = lambda stage, seconds: None
        self._encoding = threading.Lock()
        self._in_hand: set[str] = set()
        self._released = threading.Condition()

    @property
    def is_encoding(self) -> bool:
        """Whether the encoder works at this moment."""
        return self._encoding.locked()

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
        clock = clock or StageClock(self.on_stage)
        ids = {release.track_id for release in releases}
        with self.holding(ids):
            known = self.look_up(list(ids))
            seen: set[str] = set()
            prepared = []
            for release in releases:
                if release.track_id in seen:
                    prepared.append(Prepared(release, error=_twice(release.track_id)))
                else:
                    prepared.append(self.prepare(release, known, clock))
                seen.add(release.track_id)
            return self.complete(prepared, clock)

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
                raise withdrawn_error(release.track_id)
            with clock.time("read"):
                audio = read_audio(release, self._decoding.limits)
                record = release.record(hashlib.sha256(audio).hexdigest())
            before = known.records.get(release.track_id)
            waveform = None
            if before is None or before.audio_sha256 != record.audio_sha256 or before.track_id not in known.heard:
                with clock.time("decode"):
                    waveform = self._decoding.decode(audio, sample_rate_hz=self._encoder().sample_rate_hz)
                clock.hear(waveform.duration_s)
        except REFUSALS as error:
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
        try:
            self._fill_content(work, clock)
            with self._gate.shared():
                served = self._place(work, clock)
        except REFUSALS as error:
            if len(prepared) == 1:
                return [_outcome(replace(prepared[0], error=error), {})]
            # One of them cannot be taken; each by itself, so that it spoils no other.
            return [outcome for one in prepared for outcome in self.complete([one], clock)]
        return [_outcome(one, served) for one in prepared]

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
        batch = WriteBatch(
            tracks=[one.record for one in changed],
            content={self._encoder().encoder_id: heard} if heard else {},
        )
        if self._searcher.snapshot is None:
            self._write(batch, clock)
            return {}
        view = self._searcher.view()
        placed = self._placed(view, work)
        warm_ids = {track_id for track_id, row in placed.items() if row.tier is Tier.COLLABORATIVE}
        if any(one.record.track_id in warm_ids for one in changed):
            # The catalogue changes, and the cold tracks below may lean on it.
            self._write(batch, clock)
            batch = WriteBatch()
            self._projectors.forget()
        # A warm track keeps the place that its listeners gave it.
        cold = [
            one
            for one in work
            if one.record.track_id not in warm_ids
            and (
                one.prepared.waveform is not None
                or one.record.track_id not in placed
                or record_basis(placed[one.record.track_id].basis) != one.record.basis
            )
        ]
        rows: list[ServedVector] = []
        if cold:
            with clock.time("project"):
                projector = self._projectors.get(view.space_id, self._encoder().encoder_id)
                if projector is not None:
                    rows = projector.project([one.record for one in cold], np.stack([one.content for one in cold]))
        # With the tracks, and behind them: half the price of two commits. The searcher hears of every one.
        self._write(replace(batch, fresh={view.space_id: rows} if rows else {}), clock)
        placed |= {row.track_id: row for row in rows}
        withdrawn = self._store.withdrawn()
        return {
            track_id: served_outcome(without_tracks(row, withdrawn), view.space_id, view.snapshot_id)
            for track_id, row in placed.items()
            if track_id not in withdrawn
        }

    def _write(self, batch: WriteBatch, clock: StageClock) -> None:
        with clock.time("write"):
            self._store.commit(batch)

    def _placed(self, view: SearchView, work: Sequence[_Work]) -> dict[str, ServedVector]:
        """Find where tracks stand that are placed already; tracks that nobody knew need no look into the tables."""
        new = [one.record.track_id for one in work if one.prepared.known is None]
        shown = dict(zip(new, view.vectors(new)[0].tolist(), strict=True))
        looked_up = [one.record.track_id for one in work if shown.get(one.record.track_id, True)]
        return self._store.served_vectors(view.space_id, looked_up, snapshot=view.snapshot) if looked_up else {}


def _twice(track_id: str) -> ReleaseError:
    return ReleaseError(f"Track {track_id!r} stands twice in one call; send it once.", field="track_id")


def same_release(record: TrackRecord, other: TrackRecord) -> bool:
    """Return whether two records say the same of a track; where its audio came from does not count."""
    return replace(record, audio_uri=None) == replace(other, audio_uri=None)


def withdrawn_error(track_id: str) -> WithdrawnTrackError:
    """Say why a track that was taken down is refused."""
    return WithdrawnTrackError(
        f"Track {track_id!r} was withdrawn and is not taken in again; "
        "deliver it under a new id if its rights have been cleared.",
        field="track_id",
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
