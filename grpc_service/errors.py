"""What the transport itself refuses, and the one place where any error gets its gRPC status.

::

    TransportError
    ├── RequestError            a message's fields contradict each other     REQUEST_INVALID
    ├── VectorPayloadError      packed bytes that are no vectors             VECTOR_INVALID
    ├── FilterError             a filter that cannot be read                 FILTER_INVALID
    ├── UploadTooLargeError     an upload above the limit                    UPLOAD_TOO_LARGE
    ├── UploadStalledError      an upload that does not come on              UPLOAD_STALLED
    ├── UriNotAllowedError      a URI outside the allowed roots              URI_NOT_ALLOWED
    ├── UriMissingError         nothing readable at an allowed URI           AUDIO_FILE_MISSING
    ├── QueueFullError          as much is waiting as may wait               QUEUE_FULL
    ├── DrainingError           the server is being stopped                  DRAINING
    ├── WriterAwayError         the worker that writes is started again      WRITER_AWAY
    ├── TokenMissingError       a caller that the server cannot tell         TOKEN_MISSING
    ├── TokenInvalidError       a token that is none, or is over             TOKEN_INVALID
    ├── RoleTooLowError         a method above the caller's role             ROLE_TOO_LOW
    ├── RateLimitedError        more than a caller's share                   RATE_LIMITED
    └── DeadlineExpiredError    the caller's deadline has passed             DEADLINE_EXPIRED

The rooms below have trees of their own of the same shape: a stable `reason`, a sentence, perhaps a `field`. `to_status`
tells them apart by that reason; what is not in its table is a failure of ours and shows nothing of itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import Enum, auto

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "anacrusis"

MAX_SENTENCE_CHARACTERS = 500
MAX_SENTENCE_BYTES = 1000
"""In UTF-8. A status travels as metadata, of which gRPC lets 8 KiB through (16 KiB at the very most; beyond it the
caller sees a broken stream): there the sentence stands three times, in the status as base64, and percent-encoded."""

MAX_NAME_BYTES = 200  # of a field, a resource's name or an entry of ErrorInfo's metadata
_log = logging.getLogger(__name__)


class TransportError(Exception):
    """Base of what the transport refuses.

    Parameters
    ----------
    message : str
        One sentence that names the thing and the remedy.
    field : str, optional
        The request's field that is to blame.
    retry_after_s : float, optional
        When another try makes sense, in seconds; only where one does.
    """

    reason = "TRANSPORT_FAILED"

    def __init__(self, message: str, *, field: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.retry_after_s = retry_after_s


class RequestError(TransportError):
    """A message lacks a field, or its fields contradict each other."""

    reason = "REQUEST_INVALID"


class VectorPayloadError(TransportError):
    """Packed bytes are no whole number of vectors of the dimension given."""

    reason = "VECTOR_INVALID"


class FilterError(TransportError):
    """A filter's date or tier cannot be read."""

    reason = "FILTER_INVALID"


class UploadTooLargeError(TransportError):
    """An upload is longer than the server takes."""

    reason = "UPLOAD_TOO_LARGE"


class UploadStalledError(TransportError):
    """An upload sends nothing, or next to nothing, for longer than the server waits."""

    reason = "UPLOAD_STALLED"


class UriNotAllowedError(TransportError):
    """A URI does not lie below an allowed root, or is of another scheme than `file`."""

    reason = "URI_NOT_ALLOWED"


class UriMissingError(TransportError):
    """There is no regular file at an allowed URI."""

    reason = "AUDIO_FILE_MISSING"


class QueueFullError(TransportError):
    """A bounded queue or buffer is full."""

    reason = "QUEUE_FULL"


class DrainingError(TransportError):
    """The server finishes what it has and takes nothing new."""

    reason = "DRAINING"


class WriterAwayError(TransportError):
    """The worker that takes changes has ended, and is being started again."""

    reason = "WRITER_AWAY"


class TokenMissingError(TransportError):
    """Nothing says who the caller is, and the server wants to know."""

    reason = "TOKEN_MISSING"


class TokenInvalidError(TransportError):
    """The token is none that the server takes, or has expired."""

    reason = "TOKEN_INVALID"


class RoleTooLowError(TransportError):
    """The caller is known, and may not use the method."""

    reason = "ROLE_TOO_LOW"


class RateLimitedError(TransportError):
    """A caller asked for more than its share."""

    reason = "RATE_LIMITED"


class DeadlineExpiredError(TransportError):
    """The deadline passed before the work began, so it was not begun."""

    reason = "DEADLINE_EXPIRED"


class _Detail(Enum):
    """The standard detail message that goes beside ErrorInfo."""

    BAD_REQUEST = auto()
    RESOURCE = auto()
    PRECONDITION = auto()
    RETRY = auto()
    NONE = auto()


@dataclass(frozen=True)
class _Rule:
    """What a reason becomes: `subject` is the resource's type, the field to blame, or the precondition's subject."""

    code: grpc.StatusCode
    detail: _Detail
    subject: str = ""
    retry_after_s: float = 0.0


def _bad(field: str = "") -> _Rule:
    return _Rule(grpc.StatusCode.INVALID_ARGUMENT, _Detail.BAD_REQUEST, field)


def _missing(resource_type: str) -> _Rule:
    return _Rule(grpc.StatusCode.NOT_FOUND, _Detail.RESOURCE, resource_type)


def _unmet(subject: str) -> _Rule:
    return _Rule(grpc.StatusCode.FAILED_PRECONDITION, _Detail.PRECONDITION, subject)


RULES: dict[str, _Rule] = {
    # The caller's argument.
    "REQUEST_INVALID": _bad(),
    "RELEASE_INVALID": _bad("track"),
    "INPUT_INVALID": _bad(),
    "ID_INVALID": _bad("track_id"),
    "TRACK_INVALID": _bad("track"),
    "VECTOR_INVALID": _bad("vector"),
    "K_OUT_OF_RANGE": _bad("k"),
    "FILTER_INVALID": _bad("filters"),
    "QUERY_INVALID": _bad(),
    "UPLOAD_TOO_LARGE": _bad("chunk"),
    "FEEDBACK_INVALID": _bad("events"),
    # The caller's audio.
    "AUDIO_INVALID": _bad("audio"),
    "AUDIO_EMPTY": _bad("audio"),
    "AUDIO_NOT_AUDIO": _bad("audio"),
    "AUDIO_TRUNCATED": _bad("audio"),
    "AUDIO_TOO_SHORT": _bad("audio"),
    "AUDIO_TOO_LONG": _bad("audio"),
    "AUDIO_SILENT": _bad("audio"),
    "AUDIO_SAMPLE_RATE": _bad("audio"),
    "AUDIO_CHANNELS": _bad("audio"),
    "AUDIO_TOO_LARGE": _bad("audio"),
    "AUDIO_NOT_FINITE": _bad("audio"),
    "AUDIO_DECODING_TIME": _bad("audio"),
    "AUDIO_DECODING_MEMORY": _bad("audio"),
    "AUDIO_DECODER_DIED": _bad("audio"),
    "URI_NOT_ALLOWED": _Rule(grpc.StatusCode.PERMISSION_DENIED, _Detail.BAD_REQUEST, "uri"),
    # Who the caller is.
    "TOKEN_MISSING": _Rule(grpc.StatusCode.UNAUTHENTICATED, _Detail.NONE),
    "TOKEN_INVALID": _Rule(grpc.StatusCode.UNAUTHENTICATED, _Detail.NONE),
    "ROLE_TOO_LOW": _Rule(grpc.StatusCode.PERMISSION_DENIED, _Detail.NONE),
    # Things that are not there.
    "AUDIO_FILE_MISSING": _missing("audio"),
    "TRACK_NOT_FOUND": _missing("track"),
    "USER_NOT_FOUND": _missing("user"),
    "ARTIST_NOT_FOUND": _missing("artist"),
    "SPACE_NOT_FOUND": _missing("space"),
    "SNAPSHOT_NOT_FOUND": _missing("snapshot"),
    # The service's state is not the one the caller counts on; trying again does not help.
    "SPACE_MISMATCH": _unmet("space"),
    "TRACK_WITHDRAWN": _unmet("track"),
    "TRACK_COLLABORATIVE": _unmet("track"),
    "NOTHING_TO_SERVE": _unmet("space"),
    "NOT_ENOUGH_TRACKS": _unmet("space"),  # of the warm tracks, too few have content to fit a model
    "SPACE_EXISTS": _unmet("space"),
    "NO_ROLLBACK": _unmet("snapshot"),
    "HOME_DAMAGED": _unmet("home"),
    "HOME_NOT_FOUND": _unmet("home"),
    "READ_ONLY": _unmet("home"),
    # Trying again helps.
    "NO_SNAPSHOT": _Rule(grpc.StatusCode.UNAVAILABLE, _Detail.RETRY, retry_after_s=5.0),
    "HOME_UNREACHABLE": _Rule(grpc.StatusCode.UNAVAILABLE, _Detail.RETRY, retry_after_s=5.0),
    "HOME_FULL": _Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, _Detail.RETRY, retry_after_s=30.0),
    "DRAINING": _Rule(grpc.StatusCode.UNAVAILABLE, _Detail.RETRY, retry_after_s=1.0),
    "WRITER_AWAY": _Rule(grpc.StatusCode.UNAVAILABLE, _Detail.RETRY, retry_after_s=1.0),
    "DECODER_UNAVAILABLE": _Rule(grpc.StatusCode.UNAVAILABLE, _Detail.RETRY, retry_after_s=5.0),
    "STORE_CLOSED": _Rule(grpc.StatusCode.UNAVAILABLE, _Detail.RETRY, retry_after_s=1.0),
    "AUDIT_UNWRITABLE": _Rule(grpc.StatusCode.UNAVAILABLE, _Detail.RETRY, retry_after_s=5.0),
    "RATE_LIMITED": _Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, _Detail.RETRY, retry_after_s=1.0),
    "QUEUE_FULL": _Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, _Detail.RETRY, retry_after_s=0.1),
    "PUBLISHED_MEANWHILE": _Rule(grpc.StatusCode.ABORTED, _Detail.RETRY, retry_after_s=1.0),
    "HOME_BUSY": _Rule(grpc.StatusCode.ABORTED, _Detail.RETRY, retry_after_s=60.0),
    "LEASE_LOST": _Rule(grpc.StatusCode.ABORTED, _Detail.NONE),
    "REFRESH_STOPPED": _Rule(grpc.StatusCode.ABORTED, _Detail.NONE),
    "DEADLINE_EXPIRED": _Rule(grpc.StatusCode.DEADLINE_EXCEEDED, _Detail.NONE),
    "UPLOAD_STALLED": _Rule(grpc.StatusCode.DEADLINE_EXCEEDED, _Detail.NONE),
}
"""Reason to status; a reason that is not here becomes INTERNAL.

That holds for the model files (``MODEL_*``): no caller can mend them and their sentences name folders of the server.
It holds for the arrays and credits that the jobs hand to the transfer (``SHAPE_MISMATCH``, ``NOT_FINITE`` and so on),
too: what a caller sends was checked before, so that these are mistakes of ours.
"""

# Their sentences name files of the server, or its machines and processes; the caller gets these, the log gets theirs.
_HOME_SENTENCE = "The service's home folder cannot be read; ask whoever runs it to look into its log."
_HIDDEN_SENTENCES = dict.fromkeys(("HOME_DAMAGED", "HOME_NOT_FOUND", "HOME_UNREACHABLE"), _HOME_SENTENCE) | {
    "HOME_BUSY": "Another process refreshes or maintains the service's home: try again when it is done.",
    "HOME_FULL": "The service has no room to store anything; ask whoever runs it to free some, and send this again.",
    "LEASE_LOST": "Another process took the work over: nothing more was written here, try again when it is done.",
    "AUDIT_UNWRITABLE": "The service cannot write its audit log, and does nothing that is not in it: nothing was "
    "done; ask whoever runs it to look into its log.",
}


def reason_of(error: BaseException) -> str:
    """Give the reason that a caller is told of an error.

    Parameters
    ----------
    error : BaseException
        Anything a handler raised.

    Returns
    -------
    str
        Its own where `RULES` has it, else ``"INTERNAL"``.
    """
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, str) and reason in RULES else "INTERNAL"


def to_status(error: BaseException, request_id: str = "") -> status_pb2.Status:
    """Give an error its gRPC status: the only place where that is decided.

    Parameters
    ----------
    error : BaseException
        Anything a handler raised.
    request_id : str, optional
        Named in the status and in the log, so that one finds the other.

    Returns
    -------
    google.rpc.Status
        Code, sentence and details: exactly one `google.rpc.ErrorInfo` (reason, domain ``"anacrusis"``, request id)
        and, by the kind of error, BadRequest, ResourceInfo, PreconditionFailure or RetryInfo. An error that no caller
        can cause is logged with its traceback and becomes INTERNAL with a sentence that shows nothing of it.
    """
    reason = reason_of(error)
    rule = RULES.get(reason)
    if rule is None:
        _log.error("request %s failed", request_id, exc_info=error, extra={"request_id": request_id})
        sentence = f"The service failed; its log says why under request id {request_id!r}."
        return _status(_Rule(grpc.StatusCode.INTERNAL, _Detail.NONE), reason, sentence, request_id, error)
    sentence = _HIDDEN_SENTENCES.get(reason, "")
    if sentence:
        _log.error("request %s met %s", request_id, reason, exc_info=error, extra={"request_id": request_id})
    return _status(rule, reason, sentence or str(error), request_id, error)


def _status(rule: _Rule, reason: str, sentence: str, request_id: str, error: BaseException) -> status_pb2.Status:
    sentence = _cut(sentence, MAX_SENTENCE_CHARACTERS, MAX_SENTENCE_BYTES)
    status = status_pb2.Status(code=rule.code.value[0], message=sentence)
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata={"request_id": _name(request_id)})
    field = _name(getattr(error, "field", "") or rule.subject)
    if rule.detail is _Detail.BAD_REQUEST:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=sentence, reason=reason)
        _pack(status, error_details_pb2.BadRequest(field_violations=[violation]))
    elif rule.detail is _Detail.RESOURCE:
        name = _name(getattr(error, "resource_name", ""))
        _pack(
            status,
            error_details_pb2.ResourceInfo(resource_type=rule.subject, resource_name=name, description=sentence),
        )
    elif rule.detail is _Detail.PRECONDITION:
        unmet = error_details_pb2.PreconditionFailure.Violation(type=reason, subject=rule.subject, description=sentence)
        _pack(status, error_details_pb2.PreconditionFailure(violations=[unmet]))
        if reason == "SPACE_MISMATCH":
            info.metadata["served_space_id"] = _name(getattr(error, "served", ""))
    elif rule.detail is _Detail.RETRY:
        delay = Duration()
        delay.FromNanoseconds(round((getattr(error, "retry_after_s", None) or rule.retry_after_s) * 1e9))
        _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
    _pack(status, info)
    return status


def _cut(text: str, characters: int, size: int) -> str:
    """Take the middle out of a text that is too long: its beginning names the thing, its end the remedy."""
    text = text.encode(errors="backslashreplace").decode()  # a lone surrogate has no place in a proto's string
    if len(text) <= characters and len(text.encode()) <= size:
        return text
    mark = " ... "
    size -= len(mark)
    characters = min(characters - len(mark), size)
    start = text[: characters * 2 // 3].encode()[: size * 2 // 3].decode(errors="ignore")
    end = text[-(characters // 3) :].encode()[-(size // 3) :].decode(errors="ignore")
    return start + mark + end


def _name(value: object) -> str:
    return _cut(str(value), MAX_NAME_BYTES, MAX_NAME_BYTES)


def _pack(status: status_pb2.Status, detail: object) -> None:
    status.details.add().Pack(detail)
