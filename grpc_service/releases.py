"""The servicer of ReleaseService."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from grpc_service import track_messages
from grpc_service.call_context import CallContext
from grpc_service.errors import RequestError, UploadStalledError, UploadTooLargeError, UriMissingError
from grpc_service.ids import CONTROL, checked_ids
from grpc_service.options import LEAST_UPLOAD_BYTES_PER_S
from grpc_service.pb.anacrusis.v1 import common_pb2 as common
from grpc_service.pb.anacrusis.v1 import release_service_pb2 as pb
from grpc_service.pb.anacrusis.v1 import release_service_pb2_grpc as pb_grpc
from grpc_service.uris import missing, resolve_uri
from grpc_service.work import Work, deadline_of

if TYPE_CHECKING:
    from jobs import IngestOutcome, Release

MAX_REASON_CHARACTERS = 1024


class ReleaseServicer(pb_grpc.ReleaseServiceServicer):
    """Takes tracks in and out; see the proto for each method.

    Parameters
    ----------
    work : Work
        The engine behind its queues.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    async def IngestTrack(  # noqa: N802, D102 - the proto names and documents it
        self, request: pb.IngestTrackRequest, context: CallContext
    ) -> pb.IngestTrackResponse:
        source = request.WhichOneof("audio")
        if source is None:
            raise RequestError("The request has no audio; give it inline, as a uri, or use UploadTrack.", field="audio")
        element_type = track_messages.checked_element_type(request.element_type)
        if source == "inline":
            release = track_messages.release_of(request.track, request.inline)
        else:
            # Links are followed on the disk, which may be a slow one.
            path = await asyncio.to_thread(resolve_uri, request.uri, self._work.options.allowed_roots)
            release = track_messages.release_of(request.track, path, audio_uri=request.uri)  # no link is left in it
        outcome = await self._ingest(release, context)
        return pb.IngestTrackResponse(
            space_id=outcome.space_id,
            snapshot_id=outcome.snapshot_id,
            track=track_messages.ingested_track(
                outcome, include_vector=request.include_vector, element_type=element_type
            ),
        )

    async def UploadTrack(  # noqa: N802, D102
        self, requests: AsyncIterator[pb.UploadTrackRequest], context: CallContext
    ) -> pb.UploadTrackResponse:
        begun = time.monotonic()
        first = await self._next_part(context, begun, 0)
        if first is grpc.aio.EOF or first.WhichOneof("part") != "header":
            raise RequestError("The upload does not begin with a header; send the track first.", field="header")
        header = first.header
        element_type: common.ElementType = track_messages.checked_element_type(header.element_type)
        track_messages.release_of(header.track, b"")  # refuses wrong metadata before the audio has travelled
        self._work.engine.require_writable()
        chunks: list[bytes] = []
        received = 0
        try:
            self._check_size(max(header.size_bytes, 0))
            while (message := await self._next_part(context, begun, received)) is not grpc.aio.EOF:
                if message.WhichOneof("part") != "chunk":
                    raise RequestError("Only the first message of an upload is a header.", field="header")
                self._check_size(received + len(message.chunk))
                self._work.uploads.take(len(message.chunk))
                received += len(message.chunk)
                if message.chunk:  # an empty one takes memory, too
                    chunks.append(message.chunk)
            if header.size_bytes and received != header.size_bytes:
                raise RequestError(
                    f"The header announces {header.size_bytes} bytes and {received} came; send the whole file.",
                    field="header.size_bytes",
                )
            release = track_messages.release_of(header.track, b"".join(chunks))
            chunks.clear()
            outcome = await self._ingest(release, context)
        finally:
            self._work.uploads.give_back(received)
        return pb.UploadTrackResponse(
            space_id=outcome.space_id,
            snapshot_id=outcome.snapshot_id,
            track=track_messages.ingested_track(
                outcome, include_vector=header.include_vector, element_type=element_type
            ),
        )

    async def WithdrawTracks(  # noqa: N802, D102
        self, request: pb.WithdrawTracksRequest, context: CallContext
    ) -> pb.WithdrawTracksResponse:
        ids = checked_ids(request.track_ids)
        if len(request.reason) > MAX_REASON_CHARACTERS:
            raise RequestError(
                f"The reason has {len(request.reason)} characters; at most {MAX_REASON_CHARACTERS} are kept.",
                field="reason",
            )
        if CONTROL.search(request.reason):
            raise RequestError("The reason holds control characters; write one line of text.", field="reason")
        deadline_of(context)
        newly = await self._work.lookups.run(self._work.engine.withdraw, ids, request.reason)
        space_id, snapshot_id = self._work.engine.serving()
        return pb.WithdrawTracksResponse(space_id=space_id, snapshot_id=snapshot_id, newly_withdrawn_track_ids=newly)

    async def _ingest(self, release: Release, context: CallContext) -> IngestOutcome:
        # Expired work is not begun; what has begun is finished and may be sent again.
        outcome = await self._work.ingests.run(release, deadline=deadline_of(context))
        if outcome.error is not None:
            if release.audio_uri and getattr(outcome.error, "reason", "") == UriMissingError.reason:
                raise missing(release.audio_uri) from outcome.error  # theirs may name where a link leads to
            raise outcome.error
        return outcome

    async def _next_part(self, context: CallContext, begun: float, received: int) -> Any:
        """Take the next message of an upload, unless it keeps us waiting: what has come takes up memory meanwhile."""
        idle_s = self._work.options.upload_idle_s
        in_all_s = begun + idle_s + received / LEAST_UPLOAD_BYTES_PER_S - time.monotonic()
        try:
            async with asyncio.timeout(min(idle_s, in_all_s)):
                return await context.read()
        except TimeoutError:
            raise UploadStalledError(
                f"The upload stood still: {received} bytes came, and then too few for {idle_s:g} s; send it again over "
                f"a line that brings {LEAST_UPLOAD_BYTES_PER_S} bytes a second at least."
            ) from None

    def _check_size(self, count: int) -> None:
        most = self._work.options.max_upload_bytes
        if count > most:
            raise UploadTooLargeError(f"The upload is longer than {most} bytes; send a compressed file.", field="chunk")
