"""The servicer of AdminService."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from grpc_service.call_context import CallContext
from grpc_service.ids import checked_id
from grpc_service.pb.anacrusis.v1 import admin_service_pb2 as pb
from grpc_service.pb.anacrusis.v1 import admin_service_pb2_grpc as pb_grpc
from grpc_service.work import Work, deadline_of
from index import Tier

if TYPE_CHECKING:
    from jobs import Progress

PROGRESS_QUEUE = 64  # of messages; a caller that reads slowly misses steps and never holds the refresh up


class AdminServicer(pb_grpc.AdminServiceServicer):
    """Refreshes and reports; see the proto for each method.

    Parameters
    ----------
    work : Work
        The engine behind its queues.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    async def RefreshArtists(  # noqa: N802, D102 - the proto names and documents it
        self, request: pb.RefreshArtistsRequest, context: CallContext
    ) -> None:
        artist_ids = [checked_id(artist_id, "artist_ids") for artist_id in request.artist_ids]
        deadline_of(context)
        engine = self._work.engine
        loop = asyncio.get_running_loop()
        steps: asyncio.Queue[Progress | None] = asyncio.Queue(PROGRESS_QUEUE)
        stop = threading.Event()

        def put(step: Progress | None) -> None:
            if steps.full():
                steps.get_nowait()
            steps.put_nowait(step)

        def on_progress(step: Progress) -> None:
            if not stop.is_set():
                loop.call_soon_threadsafe(put, step)

        refresh = asyncio.ensure_future(
            self._work.refreshes.run(
                engine.refresh,
                artist_ids or None,
                everything=request.all,
                on_progress=on_progress,
                should_stop=stop.is_set,
            )
        )
        refresh.add_done_callback(lambda _: put(None))
        try:
            while (step := await steps.get()) is not None:
                space_id, snapshot_id = engine.serving()
                progress = pb.RefreshProgress(stage=step.stage, done=step.done, total=step.total, detail=step.detail)
                await context.write(
                    pb.RefreshArtistsResponse(space_id=space_id, snapshot_id=snapshot_id, progress=progress)
                )
            report = await refresh
        finally:
            stop.set()  # the caller has left, or nothing is left to stop
            refresh.cancel()
        await context.write(
            pb.RefreshArtistsResponse(
                space_id=report.space_id,
                snapshot_id=report.snapshot_id,
                report=pb.RefreshReport(
                    projected_count=report.projected,
                    row_count=report.row_count,
                    model_id=report.model_id,
                    method=report.method,
                    why=report.why,
                    reason_counts=report.reasons,
                    published=report.published,
                    held_back=report.held_back,
                ),
            ),
        )

    async def GetStatus(  # noqa: N802, D102
        self, request: pb.GetStatusRequest, context: CallContext
    ) -> pb.GetStatusResponse:
        status = await self._work.lookups.run(self._work.engine.status)
        response = pb.GetStatusResponse(
            collaborative_count=status.tier_counts.get(Tier.COLLABORATIVE, 0),
            artist_transfer_count=status.tier_counts.get(Tier.ARTIST_TRANSFER, 0),
            audio_only_count=status.tier_counts.get(Tier.AUDIO_ONLY, 0),
            track_count=status.tracks,
            fresh_count=status.fresh_rows,
            withdrawn_count=status.withdrawn,
            encoder_id=status.encoder_id,
            model_id=status.model_id,
            device=status.device,
            waiting_query_count=self._work.searches.waiting,
            waiting_job_count=self._work.ingests.held + self._work.refreshes.held,
            read_only=status.read_only,
            poll_interval_s=self._work.options.poll_interval_s,
        )
        if status.space is not None:
            response.space_id = status.space.space_id
            response.dim = status.space.dim
            response.metric = str(status.space.metric)
        if status.snapshot is not None:
            response.snapshot_id = status.snapshot.snapshot_id
            response.snapshot_time.FromDatetime(status.snapshot.created_at)
        if status.upkeep is not None:
            response.upkeep.small_fragment_count = status.upkeep.small_fragments
            response.upkeep.version_count = status.upkeep.versions
            response.upkeep.alerts.extend(status.upkeep.alerts)
            response.upkeep.counted_time.FromDatetime(status.upkeep.counted_at)
        return response
