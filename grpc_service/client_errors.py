"""What the client raises.

::

    ClientError                     the call failed; carries `code`, `reason`, `request_id`
    ├── InvalidArgumentError        INVALID_ARGUMENT        the request; `field` names what to change
    ├── NotFoundError               NOT_FOUND               a track, user, artist or file
    ├── FailedPreconditionError     FAILED_PRECONDITION     another space, a withdrawn track
    ├── UnauthenticatedError        UNAUTHENTICATED         no token, or none that the service takes
    ├── PermissionDeniedError       PERMISSION_DENIED       a URI outside the allowed roots, or a role that is too low
    ├── ResourceExhaustedError      RESOURCE_EXHAUSTED      a full queue, until the deadline; or a message too large
    ├── UnavailableError            UNAVAILABLE             no server, or none that takes calls, until the deadline
    ├── DeadlineExceededError       DEADLINE_EXCEEDED       no answer in time
    └── ServiceFailureError         anything else           the service's log knows more under `request_id`
"""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"


class ClientError(Exception):
    """A call failed.

    Parameters
    ----------
    message : str
        The service's sentence.
    code : grpc.StatusCode
        The status.
    reason : str
        Stable UPPER_SNAKE word to switch on; the code's name where the service gave none.
    field : str
        The request's field that is to blame; may be empty.
    request_id : str
        Under which the service's log knows the call; may be empty.
    retry_after_s : float or None
        When the service thinks that another try makes sense.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str,
        field: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.field = field
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class InvalidArgumentError(ClientError):
    """The request cannot be answered as it is."""


class NotFoundError(ClientError):
    """What the request names is not there."""


class FailedPreconditionError(ClientError):
    """The service is not in the state that the request counts on."""


class UnauthenticatedError(ClientError):
    """The service does not know who calls."""


class PermissionDeniedError(ClientError):
    """The request names something that this caller may not use, or the caller may not make it."""


class ResourceExhaustedError(ClientError):
    """The service has too much to do, or the message is too large for it."""


class UnavailableError(ClientError):
    """Nobody takes the call."""


class DeadlineExceededError(ClientError):
    """The answer did not come in time."""


class ServiceFailureError(ClientError):
    """The service failed, or said something that the client does not understand."""


_CLASSES: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def error_of_call(error: grpc.RpcError) -> ClientError:
    """Turn gRPC's error into the client's.

    Parameters
    ----------
    error : grpc.RpcError
        As a stub raised it.

    Returns
    -------
    ClientError
        Of the code's class.
    """
    status = status_pb2.Status(code=error.code().value[0], message=error.details() or error.code().name)
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:  # another server's idea of details: the code and the sentence still stand
                break
    return error_of_status(status)


def error_of_status(status: status_pb2.Status) -> ClientError:
    """Turn a status into the client's error.

    Parameters
    ----------
    status : google.rpc.Status
        From a call's trailer, or out of a batch's or stream's reply.

    Returns
    -------
    ClientError
        Of the code's class.
    """
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    retry_after_s: float | None = None
    for detail in status.details:
        for message in (info, bad):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
        if detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    return _CLASSES.get(code, ServiceFailureError)(
        status.message,
        code=code,
        reason=info.reason or code.name,
        field=bad.field_violations[0].field if bad.field_violations else "",
        request_id=info.metadata.get("request_id", ""),
        retry_after_s=retry_after_s,
    )
