"""Everything that this room raises on purpose.

::

    StoreError
    ├── UnknownTrackError           TRACK_NOT_FOUND
    ├── WithdrawnTrackError         TRACK_WITHDRAWN
    ├── UnknownSpaceError           SPACE_NOT_FOUND
    ├── SpaceMismatchError          SPACE_MISMATCH
    ├── SpaceExistsError            SPACE_EXISTS
    ├── NoSnapshotError             NO_SNAPSHOT
    ├── UnknownSnapshotError        SNAPSHOT_NOT_FOUND
    ├── NoRollbackError             NO_ROLLBACK
    ├── PublishedMeanwhileError     PUBLISHED_MEANWHILE
    ├── InvalidInputError           INPUT_INVALID
    │   ├── InvalidIdError          ID_INVALID
    │   ├── InvalidTrackError       TRACK_INVALID
    │   ├── InvalidVectorError      VECTOR_INVALID
    │   └── InvalidQueryError       K_OUT_OF_RANGE, FILTER_INVALID, QUERY_INVALID
    ├── LeaseHeldError              HOME_BUSY
    ├── LeaseLostError              LEASE_LOST
    ├── DeviceUnavailableError      DEVICE_UNAVAILABLE
    ├── StoreClosedError            STORE_CLOSED
    ├── ReadOnlyError               READ_ONLY
    ├── HomeUnreachableError        HOME_UNREACHABLE
    ├── HomeFullError               HOME_FULL
    └── DamagedHomeError            HOME_DAMAGED, HOME_NOT_FOUND

``str(error)`` is one sentence that names the thing and the remedy; ``error.reason`` is stable and upper case;
``error.field`` names the argument at fault, or is empty.
"""

from __future__ import annotations

from datetime import UTC, datetime


class StoreError(Exception):
    """Base of all errors of this room.

    Parameters
    ----------
    sentence : str
        What is wrong with which thing, and what to do about it.
    reason : str, optional
        Stable upper-snake-case code; the class's own where it is left out.
    field : str, optional
        Name of the argument at fault.
    """

    default_reason = "STORE"

    def __init__(self, sentence: str, *, reason: str | None = None, field: str = "") -> None:
        super().__init__(sentence)
        self.reason: str = reason or self.default_reason
        self.field: str = field


class UnknownTrackError(StoreError):
    """No track of that id is stored."""

    default_reason = "TRACK_NOT_FOUND"


class WithdrawnTrackError(StoreError):
    """The track was taken down and is in no answer."""

    default_reason = "TRACK_WITHDRAWN"


class UnknownSpaceError(StoreError):
    """No space of that id was created."""

    default_reason = "SPACE_NOT_FOUND"


class SpaceMismatchError(StoreError):
    """A space was asked for that is not the one being served.

    Parameters
    ----------
    asked : str
        Space id of the request.
    served : str
        Space id that is published.
    """

    default_reason = "SPACE_MISMATCH"

    def __init__(self, asked: str, served: str) -> None:
        super().__init__(
            f"space {asked!r} was asked for but {served!r} is served: "
            f"send vectors of {served!r}, or publish a snapshot of {asked!r}",
            field="space_id",
        )
        self.asked = asked
        self.served = served


class SpaceExistsError(StoreError):
    """A space of that id was created before; spaces are never overwritten."""

    default_reason = "SPACE_EXISTS"


class NoSnapshotError(StoreError):
    """Nothing is published yet."""

    default_reason = "NO_SNAPSHOT"


class UnknownSnapshotError(StoreError):
    """No snapshot of that id is recorded."""

    default_reason = "SNAPSHOT_NOT_FOUND"


class NoRollbackError(StoreError):
    """No earlier snapshot stands behind the published one."""

    default_reason = "NO_ROLLBACK"


class PublishedMeanwhileError(StoreError):
    """Somebody published or rolled back while a snapshot was made; nothing was switched, and what was staged stays."""

    default_reason = "PUBLISHED_MEANWHILE"


class InvalidInputError(StoreError):
    """Something that was handed in breaks the contract of its argument."""

    default_reason = "INPUT_INVALID"


class InvalidIdError(InvalidInputError):
    """An id is empty, too long or holds characters that ids may not hold."""

    default_reason = "ID_INVALID"


class InvalidTrackError(InvalidInputError):
    """A track's metadata contradicts itself."""

    default_reason = "TRACK_INVALID"


class InvalidVectorError(InvalidInputError):
    """A vector has the wrong length, is not finite, is out of range, or is zero where the metric is cosine."""

    default_reason = "VECTOR_INVALID"


class InvalidQueryError(InvalidInputError):
    """A query's k, filters or options are out of range."""

    default_reason = "QUERY_INVALID"


class LeaseHeldError(StoreError):
    """Another process holds the lease that the work needs.

    Parameters
    ----------
    name : str
        The lease.
    holder : str
        Who holds it: ``host:pid``.
    expires_at : datetime
        When it becomes free unless its holder renews it, in UTC.
    """

    default_reason = "HOME_BUSY"

    def __init__(self, name: str, holder: str, expires_at: datetime) -> None:
        super().__init__(
            f"{holder!r} is at work on this home and holds the lease {name!r} until {expires_at:%H:%M:%S} UTC, "
            "or longer while it lives: try again when it is done",
            field="home",
        )
        self.holder = holder
        self.expires_at = expires_at
        # A living holder renews it: before it can be free there is no use in trying, and a minute later there is.
        self.retry_after_s = min(max((expires_at - datetime.now(UTC)).total_seconds(), 1.0), 60.0)


class LeaseLostError(StoreError):
    """A lease was taken over by another process because this one did not renew it in time."""

    default_reason = "LEASE_LOST"


class DeviceUnavailableError(StoreError):
    """The device that was asked for is not there."""

    default_reason = "DEVICE_UNAVAILABLE"


class StoreClosedError(StoreError):
    """The store was used after `close`."""

    default_reason = "STORE_CLOSED"


class ReadOnlyError(StoreError):
    """The home was opened for reading only, and something would have written to it."""

    default_reason = "READ_ONLY"


class HomeUnreachableError(StoreError):
    """The object store that holds the home does not answer, does not know the bucket, or refuses the credentials."""

    default_reason = "HOME_UNREACHABLE"


class HomeFullError(StoreError):
    """The disk that holds the home, or a quota on it, has no room for what is to be written."""

    default_reason = "HOME_FULL"


class DamagedHomeError(StoreError):
    """The home folder is no home, is of another format version, or one of its tables cannot be read."""

    default_reason = "HOME_DAMAGED"
