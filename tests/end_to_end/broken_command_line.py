"""The soak's command line with a store that acknowledges before it commits: what the soak is there to find."""

from __future__ import annotations

import threading

from benchmarks.soak import command_line
from index.committer import GroupCommitter
from index.types import CommitReceipt, WriteBatch

LATE_BY_S = 30.0
_commit = GroupCommitter.commit


def _acknowledge_first(self: GroupCommitter, batch: WriteBatch) -> CommitReceipt:
    if not batch.feedback:
        return _commit(self, batch)
    late = threading.Timer(LATE_BY_S, _commit, (self, batch))
    late.daemon = True
    late.start()
    return CommitReceipt(newly_recorded=frozenset(event.event_id for event in batch.feedback))


if __name__ == "__main__":
    GroupCommitter.commit = _acknowledge_first  # type: ignore[method-assign]
    command_line.main()
