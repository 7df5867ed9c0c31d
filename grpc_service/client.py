"""The synchronous Python client: needs grpc, NumPy and the generated code, and nothing of the server.

::

    with Client("localhost:50051") as client:
        client.ingest("new-1", artist_ids=["a7"], audio=Path("new-1.flac"), title="First Light")
        for neighbor in client.neighbors_of_track("new-1", k=10, titles=True):
            print(neighbor.track_id, neighbor.title, neighbor.score)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_service.client_admin import AdminCalls, RefreshStep, ServiceStatus, Upkeep
from grpc_service.client_calls import RetryPolicy
from grpc_service.client_channel import connect, require_secrecy
from grpc_service.client_errors import (
    ClientError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ServiceFailureError,
    UnauthenticatedError,
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
from grpc_service.client_hits import Neighbor, Neighbors
from grpc_service.client_neighbors import NeighborQueries, SearchOptions
from grpc_service.client_releases import Ingested, ReleaseCalls
from grpc_service.client_types import Embedding, Filters, Popularity, Tier, embedding_from, id_list
from grpc_service.packing import unpack_vectors
from grpc_service.pb.anacrusis.v1 import embedding_service_pb2 as embedding_pb

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
    "UnauthenticatedError",
    "UnavailableError",
    "Upkeep",
    "WarmedTrack",
]

POLL_S = 0.1


class Client(NeighborQueries, ReleaseCalls, AdminCalls):
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
    token : str, optional
        Says who calls; the line that `anacrusis token add` printed. Only sent encrypted, or to this machine.
    tls : bool, optional
        Encrypt also where none of the following is given; the server's certificate is then checked by the authorities
        that gRPC brings along.
    ca : Path or str, optional
        PEM file of the authorities that the server's certificate is checked by.
    certificate, key : Path or str, optional
        PEM files of the client's own certificate and key, for a server that asks for them.
    server_name : str, optional
        The name that the server's certificate is for, where it is not the address's.

    Raises
    ------
    ClientError
        By every method; see `grpc_service.client_errors` for the tree.
    ValueError
        For options that contradict each other, and for a token that would be sent to another machine in plain text.
    OSError
        When one of the files cannot be read.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 10.0,
        retries: int = 4,
        token: str | None = None,
        tls: bool = False,
        ca: Path | str | None = None,
        certificate: Path | str | None = None,
        key: Path | str | None = None,
        server_name: str = "",
    ) -> None:
        if timeout_s <= 0 or retries < 0:
            raise ValueError(f"timeout_s is {timeout_s} and retries {retries}; give above 0 and 0 or more.")
        require_secrecy(address, token, encrypted=bool(tls or ca or certificate))
        self._address = address
        self._channel = connect(address, tls=tls, ca=ca, certificate=certificate, key=key, server_name=server_name)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        super().__init__(self._channel, RetryPolicy(timeout_s, retries, metadata=metadata))
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def __repr__(self) -> str:
        return f"Client({self._address!r})"  # and never the token

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
