"""Whether an answer fits the snapshot that it names: every score computed again, from what the home holds.

An answer that mixes two spaces (ids of the one, scores, vectors or names of the other) gives other scores than the
vectors of the space that it names; so does one that is of another space as a whole, unless that is a pure rotation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from index import ServedRows, Store
from index.table_reads import ROW_VERSION
from index.types import Float32Array, SnapshotRecord

# Query and row are each rounded to float16 (2**-11 of an element) and summed in float32; as much again for safety.
TOLERANCE = 2.0**-9

Row = tuple[Float32Array, int]
"""A vector and the number of its tier."""


@dataclass(frozen=True, eq=False)
class Reply:
    """The answer to one query, as a client got it.

    Attributes
    ----------
    sent_s, received_s : float
        By one clock for all replies and withdrawals.
    subject : str or ndarray of float32, shape (dim,)
        What was asked about: the id of a track or of a user, or a vector.
    kind : {"track", "user", "vector"}
    k : int
    asked_space_id : str
        The space that the client asked for; empty where it did not say.
    space_id, snapshot_id : str
        What the answer says that it is of.
    track_ids, scores, tiers : sequences of length n
    """

    sent_s: float
    received_s: float
    kind: str
    subject: str | Float32Array
    k: int
    asked_space_id: str
    space_id: str
    snapshot_id: str
    track_ids: Sequence[str]
    scores: Sequence[float]
    tiers: Sequence[int]


@dataclass(frozen=True)
class Withdrawal:
    """A track that was withdrawn: when that was sent, and when it was acknowledged."""

    track_id: str
    sent_s: float
    acknowledged_s: float


@dataclass
class Timeline:
    """Which spaces may have been served at which time.

    Attributes
    ----------
    changes : list of (float, frozenset of str)
        Ascending: from when on which ones.
    """

    changes: list[tuple[float, frozenset[str]]] = field(default_factory=list)

    def change(self, at_s: float, *space_ids: str) -> None:
        """Note that from a moment on only these may be served."""
        self.changes.append((at_s, frozenset(space_ids)))

    def during(self, start_s: float, end_s: float) -> frozenset[str]:
        """Give those that may have been served at some moment between two."""
        ends = [at for at, _ in self.changes[1:]] + [np.inf]
        found = [
            spaces for (begin, spaces), end in zip(self.changes, ends, strict=True) if begin <= end_s and end >= start_s
        ]
        return frozenset().union(*found)


class Truth:
    """What each snapshot of a home holds, with everything that was fresh to it at some time.

    Parameters
    ----------
    store : Store
        Read once the load has ended: rows that were written over are still there in older versions of their table.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: dict[str, SnapshotRecord] = {one.snapshot_id: one for one in store.snapshots()}
        self._served: dict[str, dict[str, Row]] = {}
        self._fresh: dict[str, dict[str, list[Row]]] = {}
        self._users: dict[str, dict[str, Float32Array]] = {}

    def space_of(self, snapshot_id: str) -> str:
        """Give the space of a snapshot; empty where there is no such snapshot."""
        found = self._snapshots.get(snapshot_id)
        return found.space_id if found is not None else ""

    def rows(self, snapshot_id: str, track_id: str) -> list[Row]:
        """Give every row of a track that an answer of a snapshot may rest on."""
        snapshot = self._snapshots[snapshot_id]
        if snapshot_id not in self._served:
            found = self._store.served_rows(snapshot.space_id, version=snapshot.served_version)
            self._served[snapshot_id] = {row[0]: row[1] for row in _rows(found)}
        if snapshot.space_id not in self._fresh:
            self._fresh[snapshot.space_id] = self._fresh_rows(snapshot.space_id)
        served = self._served[snapshot_id].get(track_id)
        return [*([served] if served is not None else []), *self._fresh[snapshot.space_id].get(track_id, [])]

    def user(self, space_id: str, user_id: str) -> Float32Array | None:
        """Give a user's vector in a space."""
        if space_id not in self._users:
            ids, vectors = self._store.user_vectors(space_id)
            self._users[space_id] = dict(zip(ids, vectors, strict=True))
        return self._users[space_id].get(user_id)

    def _fresh_rows(self, space_id: str) -> dict[str, list[Row]]:
        table = self._store.space_tables.fresh(space_id)
        found: dict[str, list[Row]] = defaultdict(list)
        for version in range(1, table.version + 1):
            columns = ["track_id", "vector", "tier", ROW_VERSION]
            for track_id, row in _rows(ServedRows(table.read(columns=columns, since=version - 1, version=version))):
                found[track_id].append(row)
        return found


def _rows(rows: ServedRows) -> list[tuple[str, Row]]:
    return [
        (track_id, (vector, int(tier)))
        for track_id, vector, tier in zip(rows.track_ids, rows.vectors, rows.tiers, strict=True)
    ]


def fault_of(reply: Reply, truth: Truth, timeline: Timeline, withdrawals: Sequence[Withdrawal]) -> str:
    """Say what is wrong with an answer.

    Returns
    -------
    str
        Empty where nothing is; else it begins with "mixed", "withdrawn" or "short".
    """
    space_id, found = reply.space_id, set(reply.track_ids)
    before = [one.track_id for one in withdrawals if one.acknowledged_s < reply.sent_s]
    if found.intersection(before):
        return f"withdrawn: {min(found.intersection(before))} was withdrawn before the query was sent"
    if truth.space_of(reply.snapshot_id) != space_id:
        return f"mixed: snapshot {reply.snapshot_id} is not of space {space_id}"
    if reply.asked_space_id and reply.asked_space_id != space_id:
        return f"mixed: space {reply.asked_space_id} was asked for and {space_id} answered"
    if space_id not in timeline.during(reply.sent_s, reply.received_s):
        return f"mixed: space {space_id} was not served at that time"
    # A track that is withdrawn while the query is under way may be taken out of its answer.
    meanwhile = sum(
        one.sent_s <= reply.received_s and one.acknowledged_s >= reply.sent_s and one.track_id not in found
        for one in withdrawals
    )
    if not reply.k - meanwhile <= len(found) <= reply.k or len(found) != len(reply.track_ids):
        return f"short: {len(found)} different tracks instead of {reply.k}"
    if list(reply.scores) != sorted(reply.scores, reverse=True):
        return "mixed: the scores do not descend"
    rows = [
        (truth.rows(reply.snapshot_id, track_id), tier)
        for track_id, tier in zip(reply.track_ids, reply.tiers, strict=True)
    ]
    for query in _queries(reply, truth):
        if all(
            any(tier == own and _agrees(query, vector, score) for vector, own in candidates)
            for (candidates, tier), score in zip(rows, reply.scores, strict=True)
        ):
            return ""
    return f"mixed: the scores are not those of {reply.kind} {str(reply.subject)[:20]} in space {space_id}"


def _queries(reply: Reply, truth: Truth) -> list[Float32Array]:
    if not isinstance(reply.subject, str):
        return [reply.subject]
    if reply.kind == "user":
        user = truth.user(reply.space_id, reply.subject)
        return [user] if user is not None else []
    return [vector for vector, _ in truth.rows(reply.snapshot_id, reply.subject)]


def _agrees(query: Float32Array, vector: Float32Array, score: float) -> bool:
    if len(query) != len(vector):
        return False
    wide, long = query.astype(np.float64), vector.astype(np.float64)
    return bool(abs(wide @ long - score) <= TOLERANCE * np.linalg.norm(wide) * np.linalg.norm(long))
