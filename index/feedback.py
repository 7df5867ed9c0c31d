"""What listeners did with cold tracks, and how far each track has warmed up: two tables, made at the first write.

Events are only ever added: the number of a track's events says which of them a vector was made from, which is how a
vector that lacks the latest ones is told (`basis_with`).
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.errors import InvalidInputError, InvalidVectorError
from index.layout import Home
from index.schemas import key_field
from index.tables import Table
from index.types import Float32Array, utc_now
from index.validation import check_id, check_vectors

_TIME = pa.timestamp("us", tz="UTC")

EVENTS = pa.schema(
    [
        key_field("event_id"),
        pa.field("track_id", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("action", pa.int8()),
        pa.field("session_position", pa.int32()),
        pa.field("at", _TIME),
        pa.field("user_vector", pa.list_(pa.float32())),  # of any space, so of any length
        pa.field("space_id", pa.string()),
        pa.field("recorded_at", _TIME),
    ]
)

STANDINGS = pa.schema(
    [
        key_field("track_id"),
        pa.field("space_id", pa.string()),
        pa.field("listeners", pa.float64()),
        pa.field("evidence_share", pa.float64()),
        pa.field("graduated", pa.bool_()),
        pa.field("updated_at", _TIME),
    ]
)

FOLDED = "+feedback"
"""What stands behind the model's id of a served vector where listeners have moved what the model projected."""

# Whole years of what clocks show: no time zone carries them out of Python's years, and 1970 is where broken ones stop.
_FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_TIME = datetime(9999, 1, 1, tzinfo=UTC)

_EVENTS_MARK = "+"  # between a record's basis, which is hexadecimal, and a number of events


class FeedbackAction(enum.IntEnum):
    """What a listener did with a track."""

    PLAY = 1
    SKIP = 2


@dataclass(frozen=True, eq=False)
class FeedbackEvent:
    """One listener, one track, one action.

    Parameters
    ----------
    track_id, user_id : str
        1 to 256 characters, none of them a control character.
    action : FeedbackAction
    session_position : int, optional
        Place of the track in the listener's session, from 1; None: unknown.
    at : datetime, optional
        When, with its time zone, in the years 1970 to 9998. Kept in UTC, so that 14:00 in Paris is 12:00 in London.
    user_vector : ndarray of float32, shape (dim,), optional
        The listener's vector, for one that the space was imported without.
    space_id : str
        The space of `user_vector`; empty without one.
    event_id : str
        The event's name: an event of the same name is the same event. Empty: made from the other fields but the vector.
    """

    track_id: str
    user_id: str
    action: FeedbackAction
    session_position: int | None = None
    at: datetime | None = None
    user_vector: Float32Array | None = None
    space_id: str = ""
    event_id: str = ""

    def __post_init__(self) -> None:
        if self.at is not None and self.at.tzinfo is not None:
            with contextlib.suppress(OverflowError):  # no such time in UTC: `check_event` refuses it
                object.__setattr__(self, "at", self.at.astimezone(UTC))
        if not self.event_id:
            when = self.at.isoformat() if self.at is not None else None
            # JSON keeps the parts apart whatever they hold.
            parts = json.dumps([self.track_id, self.user_id, int(self.action), self.session_position, when])
            object.__setattr__(self, "event_id", hashlib.sha256(parts.encode()).hexdigest()[:32])


@dataclass(frozen=True)
class Standing:
    """How far a track has warmed up.

    Parameters
    ----------
    space_id : str
        The space whose user vectors were counted.
    listeners : float
        Effective listeners: distinct ones who played it and whose vector is known, discounted by session position.
    evidence_share : float
        In [0, 1): how far the projected vector has given way to what listeners say.
    graduated : bool
        Whether listeners alone would place it.
    """

    track_id: str
    space_id: str
    listeners: float
    evidence_share: float
    graduated: bool


def basis_with(basis: str, events: int) -> str:
    """Say that a vector was made from a record of this basis and so many events of its track; as it is for none."""
    return f"{basis}{_EVENTS_MARK}{events}" if events else basis


def record_basis(basis: str) -> str:
    """Give the record's part of a `basis_with`."""
    return basis.partition(_EVENTS_MARK)[0]


def record_basis_column(basis: pa.Array) -> pa.Array:
    """Give `record_basis` of many, of which none may be without one; null stays null."""
    return pc.list_element(pc.split_pattern(basis, _EVENTS_MARK, max_splits=1), 0)


class FeedbackTables:
    """The events and standings of a home.

    Parameters
    ----------
    home : Home
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._events: Table | None = None
        self._by_track: Table | None = None
        self._counting = threading.Lock()
        self._counted: tuple[int, dict[str, int]] = (0, {})  # the version of the events, and their numbers
        self._standings: Table | None = None

    def _event_table(self, *, create: bool = False) -> Table | None:
        address = self._home.feedback
        with self._lock:
            if self._events is None and (create or self._home.exists(address)):
                if not self._home.exists(address):
                    Table.create(address, "feedback", "event_id", EVENTS.empty_table())
                # The same rows, looked up by another column; either both are there or none.
                events = Table(address, "feedback", "event_id", ["track_id"])
                self._events, self._by_track = events, Table(address, "feedback", "track_id")
            return self._events

    def _standing_table(self, *, create: bool = False) -> Table | None:
        address = self._home.standings
        with self._lock:
            if self._standings is None and (create or self._home.exists(address)):
                if not self._home.exists(address):
                    Table.create(address, "standings", "track_id", STANDINGS.empty_table())
                self._standings = Table(address, "standings", "track_id")
            return self._standings

    def opened(self) -> list[Table]:
        """List the tables that are written to."""
        with self._lock:
            return [table for table in (self._events, self._standings) if table is not None]

    def all(self) -> list[Table]:
        """Open the tables that there are."""
        return [table for table in (self._event_table(), self._standing_table()) if table is not None]

    @property
    def version(self) -> int:
        """Latest version of the events; 0 where there are none."""
        table = self._event_table()
        return table.version if table is not None else 0

    def known(self, event_ids: Sequence[str]) -> frozenset[str]:
        """Give those of some event ids that are recorded."""
        table = self._event_table()
        if table is None or not event_ids:
            return frozenset()
        return frozenset(table.read(columns=["event_id"], keys=event_ids)["event_id"].to_pylist())

    def add(self, events: Iterable[FeedbackEvent]) -> int:
        """Record checked events of distinct ids durably; those that are known stay as they are.

        Returns
        -------
        int
            Version of the table that holds them.
        """
        rows = list(events)
        table = self._event_table(create=True)
        assert table is not None  # just created
        now = utc_now()
        table.insert(
            pa.table(
                {
                    "event_id": [event.event_id for event in rows],
                    "track_id": [event.track_id for event in rows],
                    "user_id": [event.user_id for event in rows],
                    "action": [int(event.action) for event in rows],
                    "session_position": [event.session_position for event in rows],
                    "at": [event.at for event in rows],
                    "user_vector": [
                        event.user_vector.tolist() if event.user_vector is not None else None for event in rows
                    ],
                    "space_id": [event.space_id for event in rows],
                    "recorded_at": [now] * len(rows),
                },
                schema=EVENTS,
            )
        )
        return table.version

    def events(self, track_ids: Sequence[str]) -> list[FeedbackEvent]:
        """Give all events of some tracks, in no order."""
        self._event_table()
        if self._by_track is None:
            return []
        rows = self._by_track.read(columns=[name for name in EVENTS.names if name != "recorded_at"], keys=track_ids)
        rows = rows.set_column(rows.schema.get_field_index("at"), "at", _readable_times(rows["at"]))
        return [
            FeedbackEvent(
                track_id=row["track_id"],
                user_id=row["user_id"],
                action=FeedbackAction(row["action"]),
                session_position=row["session_position"],
                at=row["at"],
                user_vector=None if row["user_vector"] is None else np.array(row["user_vector"], dtype=np.float32),
                space_id=row["space_id"],
                event_id=row["event_id"],
            )
            for row in rows.to_pylist()
        ]

    def counts(self) -> Mapping[str, int]:
        """Give the number of events of each track that has any."""
        self._event_table()
        if self._by_track is None:
            return {}
        with self._counting:  # a thread with an older handle would count twice what another has counted
            handle, (version, counts) = self._by_track.latest(), self._counted
            if handle.version > version:
                # Events are only added: what came since is counted on top, by Arrow and in one column.
                rows = self._by_track.read(columns=["track_id"], since=version, handle=handle)
                pairs = pc.value_counts(rows["track_id"].combine_chunks())
                new = dict(zip(pairs.field("values").to_pylist(), pairs.field("counts").to_pylist(), strict=True))
                counts = {**counts, **{track_id: counts.get(track_id, 0) + number for track_id, number in new.items()}}
                self._counted = int(handle.version), counts
            return counts

    def with_events(self, tracks: pa.Table) -> pa.Table:
        """Extend the column ``basis`` of a table of tracks by their numbers of events; see `basis_with`."""
        counts = self.counts()
        if not counts:
            return tracks
        names, numbers = pa.array(list(counts), pa.string()), pa.array(list(counts.values()), pa.int64())
        found = numbers.take(pc.index_in(tracks["track_id"].combine_chunks(), value_set=names))
        extended = pc.binary_join_element_wise(tracks["basis"].combine_chunks(), found.cast(pa.string()), _EVENTS_MARK)
        basis = pc.coalesce(extended, tracks["basis"].combine_chunks())  # null where a track has none
        return tracks.set_column(tracks.schema.get_field_index("basis"), "basis", basis)

    def put_standings(self, standings: Iterable[Standing]) -> None:
        """Record checked standings of distinct tracks durably, over those that are there."""
        rows = list(standings)
        table = self._standing_table(create=True)
        assert table is not None  # just created
        names = [name for name in STANDINGS.names if name != "updated_at"]
        columns = {name: [getattr(row, name) for row in rows] for name in names}
        table.upsert(pa.table({**columns, "updated_at": [utc_now()] * len(rows)}, schema=STANDINGS))

    def standings(self, track_ids: Sequence[str] | None = None) -> dict[str, Standing]:
        """Give the standings of some tracks, or of all; those without any are left out."""
        table = self._standing_table()
        if table is None:
            return {}
        rows = table.read(columns=[name for name in STANDINGS.names if name != "updated_at"], keys=track_ids)
        return {row["track_id"]: Standing(**row) for row in rows.to_pylist()}


def check_event(event: FeedbackEvent, dim: int | None) -> None:
    """Refuse an event that could not be stored.

    Parameters
    ----------
    event : FeedbackEvent
    dim : int or None
        Dimension of its space, where it brings a vector.

    Raises
    ------
    InvalidIdError, InvalidInputError, InvalidVectorError
    """
    for value, field in ((event.event_id, "event_id"), (event.track_id, "track_id"), (event.user_id, "user_id")):
        check_id(value, field)
    if event.action not in tuple(FeedbackAction):
        raise InvalidInputError(f"action {event.action!r} is none: use a FeedbackAction", field="action")
    if event.session_position is not None and not 1 <= event.session_position < 2**31:
        raise InvalidInputError(
            f"session_position is {event.session_position}: positions count from 1, or are left out",
            field="session_position",
        )
    if event.at is not None:
        if event.at.tzinfo is None:
            raise InvalidInputError("the event's time has no time zone: give one, such as UTC", field="at")
        if event.at.tzinfo is not UTC or not _FIRST_TIME <= event.at < _LAST_TIME:
            raise InvalidInputError(
                f"the event's time is {event.at.isoformat()}: give one of the years 1970 to 9998, or none", field="at"
            )
    if (event.user_vector is None) != (not event.space_id):
        raise InvalidVectorError(
            "a user_vector counts only in its own space: give its space_id, or neither", field="user_vector"
        )
    if event.user_vector is not None:
        check_vectors(np.asarray(event.user_vector)[None], dim=dim, names=[event.user_id], field="user_vector")


def _readable_times(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Take times that Python's years do not hold for unknown: one such row must not hide all others."""
    readable = pc.and_(pc.greater_equal(times, _FIRST_TIME), pc.less(times, _LAST_TIME))
    return pc.if_else(readable, times, pa.scalar(None, _TIME))


def check_standing(standing: Standing) -> None:
    """Refuse a standing that cannot be true.

    Raises
    ------
    InvalidIdError, InvalidInputError
    """
    check_id(standing.track_id)
    if not (standing.listeners >= 0.0 and 0.0 <= standing.evidence_share <= 1.0):
        raise InvalidInputError(
            f"the standing of track {standing.track_id!r} has {standing.listeners} listeners and the evidence share "
            f"{standing.evidence_share}: give 0 or more, and a share in [0, 1]",
            field="listeners",
        )
