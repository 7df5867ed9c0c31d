"""How the client calls: a deadline on everything, another try where that can help."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc

from grpc_service.client_errors import ClientError, error_of_call
from grpc_service.pb.anacrusis.v1.admin_service_pb2_grpc import AdminServiceStub
from grpc_service.pb.anacrusis.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from grpc_service.pb.anacrusis.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub

T = TypeVar("T")

RETRIED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 5.0

_REQUEST_ID_KEY = "x-request-id"


@dataclass(frozen=True)
class RetryPolicy:
    """When a call is made again.

    Attributes
    ----------
    timeout_s : float
        For all tries together, above 0.
    retries : int
        Tries after the first one, 0 or more.
    sleep : callable
        Waits so many seconds; tests replace it.
    metadata : tuple of (str, str)
        Sent with every call: who makes it.
    """

    timeout_s: float
    retries: int
    sleep: Callable[[float], None] = time.sleep
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def run(self, call: Callable[[float, tuple[tuple[str, str], ...]], T], *, timeout_s: float | None = None) -> T:
        """Make a call, again where the service is busy or away and the deadline allows it.

        The wait doubles from one try to the next, with jitter so that clients do not come back together, and is
        never shorter than what the service asks for. A message that is too large is not sent again.

        Parameters
        ----------
        call : callable
            Takes a timeout in seconds and metadata; raises grpc.RpcError. Must be safe to repeat.
        timeout_s : float, optional
            Instead of the policy's.

        Returns
        -------
        object
            What the call returned.

        Raises
        ------
        ClientError
            Of the last try.
        """
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        backoff_s = FIRST_BACKOFF_S
        left = self.retries
        request_id = uuid.uuid4().hex
        while True:
            try:
                return call(max(deadline - time.monotonic(), 1e-3), (*self.metadata, (_REQUEST_ID_KEY, request_id)))
            except grpc.RpcError as error:
                failure = error_of_call(error)
                failure.request_id = failure.request_id or request_id
            wait_s = max(backoff_s * random.uniform(0.5, 1.0), failure.retry_after_s or 0.0)  # noqa: S311 - jitter
            if not left or not _may_help(failure) or time.monotonic() + wait_s >= deadline:
                raise failure
            self.sleep(wait_s)
            left -= 1
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    def unary(self, method: Callable[..., Any], request: object, timeout_s: float | None) -> Any:
        """Make a call of one request and one reply; see `run`."""
        return self.run(lambda left, metadata: method(request, timeout=left, metadata=metadata), timeout_s=timeout_s)


class ServiceCalls:
    """One connection, and the services that are asked over it; the parts of the client are made of this.

    Parameters
    ----------
    channel : grpc.Channel
        The connection.
    policy : RetryPolicy
        Deadline and retries.
    """

    def __init__(self, channel: grpc.Channel, policy: RetryPolicy) -> None:
        self._policy = policy
        self._admin = AdminServiceStub(channel)  # type: ignore[no-untyped-call]
        self._embeddings = EmbeddingServiceStub(channel)  # type: ignore[no-untyped-call]
        self._feedback = FeedbackServiceStub(channel)  # type: ignore[no-untyped-call]
        self._neighbors = NeighborServiceStub(channel)  # type: ignore[no-untyped-call]
        self._releases = ReleaseServiceStub(channel)  # type: ignore[no-untyped-call]


def _may_help(failure: ClientError) -> bool:
    # gRPC itself says RESOURCE_EXHAUSTED to a message above the size limit; only its sentence tells that apart.
    return failure.code in RETRIED and "larger than max" not in str(failure)
