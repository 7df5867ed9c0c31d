"""One opened home folder, and everything that can be done with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from encoders import AudioLimits, DecodingPool
from index import (
    AUTO,
    FeedbackEvent,
    Retention,
    Searcher,
    SpaceRecord,
    Store,
    WriteBatch,
    check_kind,
)
from jobs.asking import AskingEngine
from jobs.catch_up import CatchUp
from jobs.feedback import FeedbackRecorder, FeedbackReport
from jobs.gate import Gate
from jobs.ingest import Ingester
from jobs.maintain import maintain_after
from jobs.outcome import IngestOutcome
from jobs.progress import OnProgress, silent
from jobs.projecting import ProjectTracks
from jobs.projector import Projector
from jobs.projectors import Projectors
from jobs.refresh import RefreshReport, read_log, refresh_space
from jobs.refresh_plan import RefreshPlan, plan_refresh
from jobs.release import Release
from jobs.threads import Threads

if TYPE_CHECKING:
    from artist_transfer import TransferModel


logger = logging.getLogger(__name__)


class Engine(AskingEngine):
    """Composes the store, the search, the encoder and the transfer of one home folder. Thread safe.

    Use `Engine.open`.
    """

    def __init__(
        self,
        store: Store,
        searcher: Searcher,
        *,
        encoder: str,
        device: str,
        limits: AudioLimits,
        retention: Retention,
        index_kind: str = AUTO,
        threads: Threads | None = None,
    ) -> None:
        super().__init__(store, searcher, encoder=encoder, device=device, threads=threads)
        self.retention = retention
        self.index_kind = check_kind(index_kind)
        self.gate = Gate()
        self._closed = False
        self._refreshing = threading.Lock()
        self.last_refreshed_with: TransferModel | None = None  # by the refresh before, which loaded it
        self._projectors = Projectors(store, self.home, device=device)
        self._catch_up = CatchUp(store, searcher, self._projectors, lambda: self.encoder, self.gate)
        self._decoding = DecodingPool(limits)
        self.ingester = Ingester(store, searcher, lambda: self.encoder, self._projectors, self._decoding, self.gate)
        self._feedback = FeedbackRecorder(
            store, searcher, lambda: self.encoder, self._projectors, self.gate, self.ingester.holding
        )

    @classmethod
    def open(
        cls,
        home: str | Path,
        *,
        create: bool = False,
        encoder: str = "musicnn-msd",
        device: str = "auto",
        limits: AudioLimits | None = None,
        retention: Retention | None = None,
        index_kind: str = AUTO,
        read_only: bool = False,
        cache: Path | None = None,
        project_missing: bool = True,
        threads: Threads | None = None,
    ) -> Self:
        """Open a home folder.

        Parameters
        ----------
        home : str or Path
            A local folder, or ``s3://BUCKET/PREFIX`` on an object store, whose endpoint, region and credentials the
            environment names (``AWS_*``).
        create : bool
            Whether a folder that is missing or empty becomes a home.
        encoder : str
            ``musicnn-msd``, ``musicnn-mtt`` or ``transformers:FOLDER``; loaded when the first audio comes.
        device : {"auto", "cpu", "cuda"}
        limits : AudioLimits, optional
            What audio is taken.
        retention : index.Retention, optional
            Which snapshots and spaces a refresh keeps when it has published; the defaults where none is given.
        index_kind : str
            One of `index.KINDS`: what refreshes build.
        read_only : bool
            Whether nothing is written to the home, which has to be there, and every call that would is refused: a
            replica answers queries, and follows by `sync` what is published, ingested and withdrawn elsewhere.
        cache : Path, optional
            Where copies of an object store's indexes are kept from one opening to the next.
        project_missing : bool
            Whether tracks are projected that were stored but not yet projected, because a process ended between the
            two; not where a refresh follows, which projects them with all others.
        threads : Threads, optional
            How searches and the encoder share the cores, for a process that does both at once; None leaves the choice
            to the libraries, which take all cores each.

        Returns
        -------
        Engine
            To be closed, or used as a context manager. Such tracks are served from here on, unless there are more than
            `jobs.missing.LEFT_TO_REFRESH`; with `read_only`, once another one has opened the
            home and projected them.

        Raises
        ------
        index.DamagedHomeError
            When the folder is no home and may not become one, or cannot be read.
        index.HomeUnreachableError
            When the object store does not answer, has no such bucket, or refuses the credentials.
        """
        store = Store.open(home, create=create, read_only=read_only, cache=cache)
        try:
            searcher = Searcher.open(store, device={"cuda": "gpu"}.get(device, device))
            engine = cls(
                store,
                searcher,
                encoder=encoder,
                device=device,
                limits=limits or AudioLimits(),
                retention=retention or Retention(),
                index_kind=index_kind,
                threads=threads,
            )
            if project_missing and not read_only:
                engine._catch_up.serve_missing()
        except BaseException:
            store.close()
            raise
        return engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_encoding(self) -> bool:
        """Whether the encoder works at this moment."""
        return self.ingester.is_encoding

    def close(self) -> None:
        """Finish the commits under way and let go of the home folder; more than once does no harm."""
        with self._loading:
            if self._closed:
                return
            self._closed = True
        self._decoding.close()
        self._catch_up.close()
        self.searcher.close()
        self.store.close()

    def warm_up(self) -> None:
        """Load the encoder and the transfer, and start a process to decode in, before the first release comes."""
        self._decoding.warm_up()
        encoder_id = self.encoder.encoder_id
        if (snapshot := self.searcher.snapshot) is not None:
            self._projectors.get(snapshot.space_id, encoder_id)
            self.store.know_keys(encoder_id, snapshot.space_id)

    def ingest(self, releases: Sequence[Release]) -> list[IngestOutcome]:
        """Take releases in; what is not refused is durable, and found by the next query where a space is published.

        Parameters
        ----------
        releases : sequence of Release

        Returns
        -------
        list of IngestOutcome
            In the same order; a refused release's outcome holds the error.
        """
        self.require_writable()
        return self.ingester.ingest(releases)

    def watch_stages(self, on_stage: Callable[[str, float], None]) -> None:
        """Have a function called behind each stage of `ingest`, on its thread.

        Parameters
        ----------
        on_stage : callable
            Gets the stage (``read``, ``decode``, ``encode``, ``project`` or ``write``) and its seconds.
        """
        self.ingester.on_stage = on_stage

    def record_feedback(self, events: Sequence[FeedbackEvent], *, space_id: str = "") -> FeedbackReport:
        """Record what listeners did with cold tracks, and move the tracks; see `FeedbackRecorder.record`.

        Parameters
        ----------
        events : sequence of FeedbackEvent
        space_id : str
            The space the caller means; empty for the published one.

        Returns
        -------
        FeedbackReport
            What is not refused is durable, and the next query finds the tracks where they have moved to.

        Raises
        ------
        index.NoSnapshotError, index.SpaceMismatchError
        """
        self.require_writable()
        return self._feedback.record(events, space_id=space_id)

    def withdraw(self, track_ids: Sequence[str], reason: str = "") -> list[str]:
        """Take tracks out of every answer, from the moment this returns, for good.

        Parameters
        ----------
        track_ids : sequence of str
            Unknown ids are kept out as well, should they come later.
        reason : str
            For the record.

        Returns
        -------
        list of str
            Those that were not withdrawn before.
        """
        receipt = self.store.commit(WriteBatch(withdrawn=dict.fromkeys(track_ids, reason)))
        if receipt.newly_withdrawn:
            logger.info("withdrawn: %s", ", ".join(receipt.newly_withdrawn))
        return list(receipt.newly_withdrawn)

    def refresh(
        self,
        artist_ids: Sequence[str] | None = None,
        *,
        space_id: str = "",
        everything: bool = False,
        again: bool = False,
        after: int | None = None,
        on_progress: OnProgress = silent,
        should_stop: Callable[[], bool] = lambda: False,
        project: Callable[[Projector], ProjectTracks] | None = None,
        index_kind: str | None = None,
    ) -> RefreshReport:
        """Project the cold tracks that something has touched, build the index, and publish it in one step.

        Touched is what has another record, feedback, model or artists' catalogue than its vector was made from. Where
        nothing is, and the newest snapshot is served, or somebody went back from it, nothing is written.

        Parameters
        ----------
        artist_ids : sequence of str, optional
            Only tracks that credit one of these; None for all.
        space_id : str
            Empty for the published space, or the one imported last where none is published.
        everything : bool
            Project untouched tracks, too.
        again : bool
            Publish the newest snapshot also where somebody went back from it and nothing has changed since.
        after : int, optional
            The sequence of the publish log that must be, and stay, its last one (`index.Store.publish_sequence`), for a
            caller who has decided something by what was served; None: the last one when the refresh begins.
        on_progress : callable
        should_stop : callable returning bool
            Asked before each batch and before the publish.
        project : callable, optional
            Gives what projects tracks with a projector, such as `jobs.refresh_on_ray.projecting_on_ray`; None: this
            thread does.
        index_kind : str, optional
            Instead of the engine's own. Another one than the newest snapshot's is built also where nothing has
            changed; "auto" leaves that as it is.

        Returns
        -------
        RefreshReport

        Raises
        ------
        index.UnknownSpaceError, UnknownArtistError, NothingToServeError, RefreshStoppedError
        index.LeaseHeldError
            Another process refreshes or publishes; nothing was done.
        index.LeaseLostError
            Another process has taken over, because this one stood still for too long; nothing was switched.
        index.PublishedMeanwhileError
            Somebody published or rolled back since `after`, or while it ran; what was projected is staged, so that
            running it again is cheap.
        """
        self._to_refresh(space_id)  # what is unknown is refused before anything is waited for
        kind = check_kind(index_kind or self.index_kind)
        with self._refreshing, self.store.lease("refresh") as lease:
            log = read_log(self.store, after)
            space = self.find_space(space_id or (self.store.snapshot(log[-1].snapshot_id).space_id if log else ""))
            done = refresh_space(
                self,
                space.space_id,
                artist_ids,
                lease,
                log,
                everything=everything,
                again=again,
                on_progress=on_progress,
                should_stop=should_stop,
                project=project,
                index_kind=kind,
            )
            return replace(done, maintenance=maintain_after(self, lease, on_progress))

    def plan_refresh(
        self, artist_ids: Sequence[str] | None = None, *, space_id: str = "", everything: bool = False
    ) -> RefreshPlan:
        """Say what `refresh` would project with the same arguments; nothing is written.

        Returns
        -------
        RefreshPlan

        Raises
        ------
        index.UnknownSpaceError, UnknownArtistError
        """
        return plan_refresh(
            self.store,
            self.home,
            self._to_refresh(space_id).space_id,
            self.encoder.encoder_id,
            device=self.device,
            artist_ids=artist_ids,
            everything=everything,
        )

    def _to_refresh(self, space_id: str) -> SpaceRecord:
        served = self.store.published()
        return self.find_space(space_id or (served.space_id if served is not None else ""))

    def sync(self) -> bool:
        """Adopt what other processes have published, ingested or withdrawn.

        What they stored and did not project is projected here, some of it at each call; more than
        `jobs.missing.LEFT_TO_REFRESH` tracks are left to `refresh`.

        Returns
        -------
        bool
            Whether anything was new.
        """
        # A replica leaves the projecting of what is missing to those who write.
        return self.searcher.sync() if self.read_only else self._catch_up.sync()

    def catch_up(self) -> bool:
        """Adopt what was ingested or withdrawn in the served snapshot; projects nothing, and switches to no other one.

        Returns
        -------
        bool
            Whether anything was new.
        """
        return self.searcher.catch_up()

    def adopt(self) -> None:
        """Switch to the published snapshot. To be called inside `Gate.alone`, after publishing."""
        self._catch_up.adopt()
