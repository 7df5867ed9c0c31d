"""Which snapshots and spaces are kept, and which are retired: a pure function of the registry and the time.

Retiring has two phases. First a mark, a row of ``registry/retired.lance``: from then on lists and rollbacks leave the
thing out. After a while, `Retention.grace_s`, in which whoever still reads it is done, a later run deletes its files.
A mark on what is published nevertheless, by a rollback at the same moment, does not count, nor does one on a space of
which a snapshot is not retired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from index.errors import InvalidInputError
from index.history import rollback_stack, served_until
from index.types import PublishRecord, SnapshotRecord, SpaceRecord

_MOST_DAYS = 36_500.0


@dataclass(frozen=True)
class Retention:
    """How long snapshots, and spaces with them, are kept.

    Parameters
    ----------
    snapshots : int
        So many of the way back are kept however old they are, the published one among them; 1 or more.
    days : float
        What was built, served or imported within so many days is kept; 0 to 36500.
    grace_s : float
        What was served within so many seconds is not touched, nor what was retired within them: other processes may
        still read it, as they follow a publish only at their next look. 0 or more.

    Raises
    ------
    InvalidInputError
        A value out of its range.
    """

    snapshots: int = 5
    days: float = 14.0
    grace_s: float = 3600.0

    def __post_init__(self) -> None:
        if self.snapshots < 1:
            raise InvalidInputError(
                f"snapshots to keep are {self.snapshots}: keep 1, the published one, or more", field="snapshots"
            )
        if not 0 <= self.days <= _MOST_DAYS:
            raise InvalidInputError(f"days to keep are {self.days}: give 0 to {_MOST_DAYS:g}", field="days")
        if not self.grace_s >= 0:
            raise InvalidInputError(f"grace_s is {self.grace_s}: give 0 or more", field="grace_s")

    @property
    def grace(self) -> timedelta:
        """`grace_s` as a span of time."""
        return timedelta(seconds=self.grace_s)


@dataclass(frozen=True)
class RetentionPlan:
    """What a `Retention` says of a home at one moment.

    Parameters
    ----------
    kept, retired_snapshots : tuple of SnapshotRecord
        Of those that are not retired yet.
    retired_spaces : tuple of SpaceRecord
    """

    kept: tuple[SnapshotRecord, ...]
    retired_snapshots: tuple[SnapshotRecord, ...]
    retired_spaces: tuple[SpaceRecord, ...]


def plan_retention(
    spaces: Sequence[SpaceRecord],
    snapshots: Sequence[SnapshotRecord],
    history: Sequence[PublishRecord],
    retention: Retention,
    now: datetime,
) -> RetentionPlan:
    """Say what is to be retired.

    Parameters
    ----------
    spaces, snapshots
        That are not retired yet.
    history : sequence of PublishRecord
        Oldest first.

    Returns
    -------
    RetentionPlan
        Kept are the published snapshot, the way back behind it, whatever is young, and whatever was served lately. A
        space goes when none of its snapshots is kept, it is not young, and it is not the one imported last.
    """
    oldest = now - max(timedelta(days=retention.days), retention.grace)
    until = served_until(history, now)
    way_back = rollback_stack(history, {snapshot.snapshot_id for snapshot in snapshots})
    wanted = set(way_back[-retention.snapshots :])
    kept: list[SnapshotRecord] = []
    retired: list[SnapshotRecord] = []
    for snapshot in snapshots:
        last_used = max(snapshot.created_at, until.get(snapshot.snapshot_id, snapshot.created_at))
        (kept if snapshot.snapshot_id in wanted or last_used > oldest else retired).append(snapshot)
    in_use = {snapshot.space_id for snapshot in kept}
    newest = max(spaces, key=lambda space: space.created_at, default=None)
    gone = [
        space for space in spaces if space.space_id not in in_use and space.created_at <= oldest and space is not newest
    ]
    return RetentionPlan(tuple(kept), tuple(retired), tuple(gone))
