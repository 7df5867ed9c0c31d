"""The synchronous Python client: needs grpc, NumPy and the generated code, and nothing of the server.

::

    with Client("localhost:50051") as client:
        client.ingest("new-1", artist_ids=["a7"], audio=Path("new-1.flac"), title="First Light")
        for neighbor in client.neighbors_of_track("new-1", k=10, titles=True):
            print(neighbor.track_id, neighbor.title, neighbor.score)
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_service.client_calls import RetryPolicy
from grpc_service.client_errors import (
    ClientError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ServiceFailureError,
    UnavailableError,
    error_of_call,
    error_of_status,
)
from grpc_service.client_feedback import (
    Feedback,
    FeedbackReport,
    FeedbackResult,
    WarmedTrack,
    feedback_report_from,
    feedback_request,
)
from grpc_service.client_neighbors import NeighborQueries, SearchOptions
from grpc_service.client_types import (
    Embedding,
    Filters,
    Ingested,
    Neighbor,
    Neighbors,
    Popularity,
    RefreshStep,
    ServiceStatus,
    Tier,
    embedding_from,
    id_list,
    ingested_from,
    refresh_step_from,
    status_from,
)
from grpc_service.packing import unpack_vectors
from grpc_service.pb.anacrusis.v1 import admin_service_pb2 as admin_pb
from grpc_service.pb.anacrusis.v1 import embedding_service_pb2 as embedding_pb
from grpc_service.pb.anacrusis.v1 import release_service_pb2 as release_pb
from grpc_service.pb.anacrusis.v1.admin_service_pb2_grpc import AdminServiceStub
from grpc_service.pb.anacrusis.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from grpc_service.pb.anacrusis.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub

__all__ = [
    "Client",
    "ClientError",
    "DeadlineExceededError",
    "Embedding",
    "FailedPreconditionError",
    "Feedback",
    "FeedbackReport",
    "FeedbackResult",
    "Filters",
    "Ingested",
    "InvalidArgumentError",
    "Neighbor",
    "Neighbors",
    "NotFoundError",
    "PermissionDeniedError",
    "Popularity",
    "RefreshStep",
    "ResourceExhaustedError",
    "SearchOptions",
    "ServiceFailureError",
    "ServiceStatus",
    "Tier",
    "UnavailableError",
    "WarmedTrack",
]

INLINE_BYTES = 4 << 20  # larger audio is streamed: below every server's message limit in use, and resent cheaply
CHUNK_BYTES = 256 << 10
POLL_S = 0.1
_ROLES = {
    "primary": release_pb.ROLE_PRIMARY,
    "featured": release_pb.ROLE_FEATURED,
    "remixer": release_pb.ROLE_REMIXER,
}
REFRESH_TIMEOUT_S = 24 * 3600.0


class Client(NeighborQueries):
    """A connection to a server, or one to each of several; thread safe; a context manager.

    Parameters
    ----------
    address : str
        ``host:port``; of several servers ``ipv4:HOST:PORT,HOST:PORT``, or ``dns:///NAME:PORT`` where a name has several
        addresses. Those that can be reached are asked in turn.
    timeout_s : float, optional
        Deadline of each call, all its tries together, in seconds. Every method takes another one for itself.
    retries : int, optional
        Further tries where the server is busy or away; all calls are safe to repeat.

    Raises
    ------
    ClientError
        By every method; see `grpc_service.client_errors` for the tree.
    """

    def __init__(self, address: str, *, timeout_s: float = 10.0, retries: int = 4) -> None:
        if timeout_s <= 0 or retries < 0:
            raise ValueError(f"timeout_s is {timeout_s} and retries {retries}; give above 0 and 0 or more.")
        self._channel = grpc.insecure_channel(
            address,
            options=[
                # Replies are as large as what was asked for: the server's own limits bound them.
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # A proxy for the web (http_proxy) knows no way to a service inside, let alone to the loopback.
                ("grpc.enable_http_proxy", 0),
                # One after the other; with one server, that one.
                ("grpc.lb_policy_name", "round_robin"),
            ],
        )
        super().__init__(self._channel, RetryPolicy(timeout_s, retries))
        self._releases = ReleaseServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._embeddings = EmbeddingServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._feedback = FeedbackServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._admin = AdminServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def wait_until_ready(self, timeout_s: float = 30.0) -> None:
        """Wait until the server says that it serves.

        Parameters
        ----------
        timeout_s : float, optional
            How long, in seconds.

        Raises
        ------
        ClientError
            The last answer, when it did not within that time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left = max(deadline - time.monotonic(), 1e-3)
            try:
                reply = self._health.Check(health_pb2.HealthCheckRequest(), timeout=left, wait_for_ready=True)
            except grpc.RpcError as error:
                failure = error_of_call(error)
            else:
                if reply.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                failure = UnavailableError(
                    "The server answers but does not serve.",
                    code=grpc.StatusCode.UNAVAILABLE,
                    reason="NOT_SERVING",
                )
            if time.monotonic() + POLL_S >= deadline:
                raise failure
            time.sleep(POLL_S)

    def ingest(
        self,
        track_id: str,
        *,
        artist_ids: Sequence[str],
        audio: bytes | Path | None = None,
        uri: str = "",
        title: str = "",
        roles: Sequence[str] = (),
        release_date: date | str | None = None,
        label: str = "",
        markets: Sequence[str] = (),
        isrc: str = "",
        include_vector: bool = False,
        timeout_s: float | None = None,
    ) -> Ingested:
        """Send a track in; may be sent again at any time.

        Parameters
        ----------
        track_id : str
            The platform's id.
        artist_ids : sequence of str
            Credited artists, the primary one first.
        audio : bytes or Path, optional
            The encoded file, or where it lies here; small ones travel in one message, large ones as a stream.
        uri : str, optional
            Instead of `audio`: where the file lies on the server, below one of its allowed roots.
        title, label, isrc : str, optional
            As delivered.
        roles : sequence of str, optional
            ``primary``, ``featured`` or ``remixer`` for each artist; default: the first primary, the others featured.
        release_date : datetime.date or str, optional
            ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.
        markets : sequence of str, optional
            ISO 3166-1 alpha-2 codes; default: everywhere.
        include_vector : bool, optional
            Whether the reply has the vector.
        timeout_s : float, optional
            Instead of the client's.

        Returns
        -------
        Ingested
            What became of it.

        Raises
        ------
        ValueError
            When not exactly one of `audio` and `uri` is given, or `roles` has the wrong length or an unknown role.
        OSError
            When the file cannot be read here.
        ClientError
            When the service refuses it.
        """
        if (audio is None) == (not uri):
            raise ValueError("Give either audio or uri.")
        if audio is not None and not isinstance(audio, bytes | Path):
            raise TypeError(
                f"audio is a {type(audio).__name__}; give the file's bytes, or its place as a pathlib.Path."
            )
        track = release_pb.TrackMetadata(
            track_id=track_id,
            title=title,
            credits=_credits(id_list(artist_ids, "artist_ids"), roles),
            release_date=str(release_date or ""),
            label=label,
            markets=id_list(markets, "markets"),
            isrc=isrc,
        )
        if isinstance(audio, Path):
            size = audio.stat().st_size
            if size <= INLINE_BYTES:
                audio = audio.read_bytes()
        else:
            size = len(audio or b"")
        if audio is None or (isinstance(audio, bytes) and size <= INLINE_BYTES):
            request = release_pb.IngestTrackRequest(track=track, include_vector=include_vector)
            if audio is None:
                request.uri = uri
            else:
                request.inline = audio
            return ingested_from(self._policy.unary(self._releases.IngestTrack, request, timeout_s))
        header = release_pb.UploadHeader(track=track, size_bytes=size, include_vector=include_vector)
        whole = audio
        response = self._policy.run(
            lambda left, metadata: self._releases.UploadTrack(_upload(header, whole), timeout=left, metadata=metadata),
            timeout_s=timeout_s,
        )
        return ingested_from(response)

    def withdraw(self, track_ids: Sequence[str], reason: str = "", *, timeout_s: float | None = None) -> list[str]:
        """Take tracks out of every answer for good.

        Parameters
        ----------
        track_ids : sequence of str
            Unknown ones are kept out, too.
        reason : str, optional
            For the record.
        timeout_s : float, optional
            Instead of the client's.

        Returns
        -------
        list of str
            Those that were not withdrawn before.
        """
        request = release_pb.WithdrawTracksRequest(track_ids=id_list(track_ids, "track_ids"), reason=reason)
        response = self._policy.unary(self._releases.WithdrawTracks, request, timeout_s)
        return list(response.newly_withdrawn_track_ids)

    def record_feedback(
        self, events: Sequence[Feedback], *, space_id: str = "", timeout_s: float | None = None
    ) -> FeedbackReport:
        """Tell what listeners did with cold tracks; may be sent again at any time.

        Parameters
        ----------
        events : sequence of Feedback
            1 to 10,000.
        space_id : str, optional
            Refuse to record for another space; needed where an event brings a user's vector, which is of one space.
        timeout_s : float, optional
            Instead of the client's.

        Returns
        -------
        FeedbackReport
            What became of each event, and how far each track has warmed up.

        Raises
        ------
        ValueError
            When an action is neither ``play`` nor ``skip``, or a time has no zone.
        ClientError
            When the service takes none of them.
        """
        request = feedback_request(events, space_id)
        return feedback_report_from(self._policy.unary(self._feedback.RecordFeedback, request, timeout_s))

    def get_embedding(self, track_id: str, *, space_id: str = "", timeout_s: float | None = None) -> Embedding:
        """Get a track's served vector.

        Parameters
        ----------
        track_id : str
            A served track.
        space_id : str, optional
            Refuse to answer for another space.
        timeout_s : float, optional
            Instead of the client's.

        Returns
        -------
        Embedding
            Vector and provenance.
        """
        request = embedding_pb.GetEmbeddingRequest(track_id=track_id, space_id=space_id)
        reply = self._policy.unary(self._embeddings.GetEmbedding, request, timeout_s)
        return embedding_from(reply.space_id, reply.snapshot_id, unpack_vectors(reply.vector)[0], reply.provenance)

    def get_embeddings(
        self, track_ids: Sequence[str], *, space_id: str = "", timeout_s: float | None = None
    ) -> tuple[list[Embedding], dict[str, ClientError]]:
        """Get many tracks' served vectors in one call.

        Parameters
        ----------
        track_ids : sequence of str
            1 to 10,000.
        space_id : str, optional
            Refuse to answer for another space.
        timeout_s : float, optional
            Instead of the client's.

        Returns
        -------
        found : list of Embedding
            In the order asked.
        failed : dict of str to ClientError
            Why the others have none.
        """
        request = embedding_pb.BatchGetEmbeddingsRequest(track_ids=id_list(track_ids, "track_ids"), space_id=space_id)
        reply = self._policy.unary(self._embeddings.BatchGetEmbeddings, request, timeout_s)
        rows = unpack_vectors(reply.vectors) if reply.provenances else ()
        found = [
            embedding_from(reply.space_id, reply.snapshot_id, row, origin)
            for row, origin in zip(rows, reply.provenances, strict=True)
        ]
        return found, {failure.track_id: error_of_status(failure.error) for failure in reply.failures}

    def refresh(
        self, artist_ids: Sequence[str] = (), *, everything: bool = False, timeout_s: float = REFRESH_TIMEOUT_S
    ) -> Iterator[RefreshStep]:
        """Project what has changed and publish; stopping to iterate stops the refresh before it publishes.

        Parameters
        ----------
        artist_ids : sequence of str, optional
            Only tracks that credit one of these artists. Default: whoever they are by.
        everything : bool, optional
            Project tracks that nothing has touched, too.
        timeout_s : float, optional
            For the whole refresh.

        Yields
        ------
        RefreshStep
            Progress, then the report.
        """
        request = admin_pb.RefreshArtistsRequest(artist_ids=id_list(artist_ids, "artist_ids"), all=everything)
        call = self._admin.RefreshArtists(request, timeout=timeout_s)
        try:
            for reply in call:
                yield refresh_step_from(reply)
        except grpc.RpcError as error:
            raise error_of_call(error) from None
        finally:
            call.cancel()

    def status(self, *, timeout_s: float | None = None) -> ServiceStatus:
        """Ask what is served and how much of it.

        Parameters
        ----------
        timeout_s : float, optional
            Instead of the client's.

        Returns
        -------
        ServiceStatus
            At this moment.
        """
        reply = self._policy.unary(self._admin.GetStatus, admin_pb.GetStatusRequest(), timeout_s)
        return status_from(reply)


def _credits(artist_ids: Sequence[str], roles: Sequence[str]) -> list[release_pb.Credit]:
    if roles and len(roles) != len(artist_ids):
        raise ValueError(f"There are {len(artist_ids)} artists and {len(roles)} roles; give one role for each.")
    unknown = set(roles) - _ROLES.keys()
    if unknown:
        raise ValueError(f"Role {sorted(unknown)[0]!r} is unknown; the roles are {', '.join(_ROLES)}.")
    numbers = [_ROLES[role] for role in roles] or [release_pb.ROLE_UNSPECIFIED] * len(artist_ids)
    return [
        release_pb.Credit(artist_id=artist_id, role=number)
        for artist_id, number in zip(artist_ids, numbers, strict=True)
    ]


def _upload(header: release_pb.UploadHeader, audio: bytes | Path) -> Iterator[release_pb.UploadTrackRequest]:
    """Yield the messages of an upload; made anew for every try."""
    yield release_pb.UploadTrackRequest(header=header)
    with io.BytesIO(audio) if isinstance(audio, bytes) else audio.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield release_pb.UploadTrackRequest(chunk=chunk)
