"""What the publish history says: the way back, and until when a snapshot was served."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from index.types import PublishKind, PublishRecord


def rollback_stack(history: Sequence[PublishRecord], known: Collection[str]) -> list[str]:
    """Read the history as a stack of snapshot ids: a publish pushes, a rollback pops.

    Rolling back twice therefore goes two snapshots back, and never forward again to what was rolled back from. A
    rollback to a snapshot that does not stand in the stack puts it on top.

    Parameters
    ----------
    history : sequence of PublishRecord
        Oldest first.
    known : collection of str
        Snapshots that can be gone back to; others are passed over.

    Returns
    -------
    list of str
        The published one last; empty before the first publish. No two neighbours are the same.
    """
    stack: list[str] = []
    for record in history:
        if record.kind is PublishKind.ROLLBACK and record.snapshot_id in stack:
            while stack[-1] != record.snapshot_id:
                stack.pop()
        elif not stack or stack[-1] != record.snapshot_id:
            stack.append(record.snapshot_id)
    found = [snapshot_id for snapshot_id in stack if snapshot_id in known]
    return [one for place, one in enumerate(found) if found[place - 1 : place] != [one]]


def served_until(history: Sequence[PublishRecord], now: datetime) -> dict[str, datetime]:
    """Say until when each snapshot that was ever published was served last; `now` for the one that is."""
    ends = [record.published_at for record in history[1:]] + [now]
    return {record.snapshot_id: end for record, end in zip(history, ends, strict=False)}
