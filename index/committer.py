"""Group commit: one thread writes, callers that arrive meanwhile share the next write.

A one-row merge_insert costs about as much as one of a hundred rows, so merging the batches of concurrent callers is
what makes many small ingests cheap; and one writer per store never conflicts with itself.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from index.errors import StoreClosedError
from index.feedback import FeedbackEvent, Standing
from index.types import CommitReceipt, Float32Array, ServedVector, TrackRecord, WriteBatch

_log = logging.getLogger(__name__)

# Rows of one group: bounds how long the first caller waits for strangers' rows to be written with its own.
_GROUP_ROWS = 8192


class GroupCommitter:
    """Merges concurrent writes.

    Parameters
    ----------
    apply : callable
        Writes a group of batches durably, the later ones winning, and gives one receipt a batch. It may be called
        again with the same batches, so writing twice must do what writing once does.
    tidy : callable
        Called after each group, once its callers have their answers.
    """

    def __init__(
        self,
        apply: Callable[[Sequence[WriteBatch]], Sequence[CommitReceipt]],
        *,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        self._apply = apply
        self._tidy = tidy
        self._waiting: deque[tuple[WriteBatch, Future[CommitReceipt]]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.writing = threading.Lock()
        """Held while a group is written, until whoever follows commits has heard of it."""

    def commit(self, batch: WriteBatch) -> CommitReceipt:
        """Write a batch with whatever others want written, and return once it is durable.

        Raises
        ------
        StoreClosedError
        StoreError
            What writing this batch raised; other callers' batches are not concerned.
        """
        future: Future[CommitReceipt] = Future()
        with self._changed:
            if self._closed:
                raise StoreClosedError("the store is closed: open it again")
            self._waiting.append((batch, future))
            # Supervision: a thread that died (its group got the exception) is followed by another.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="index-committer", daemon=True)
                self._thread.start()
            self._changed.notify()
        return future.result()

    def close(self) -> None:
        """Write what is waiting, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                group = [self._waiting.popleft()]
                rows = group[0][0].row_count
                while self._waiting and rows + self._waiting[0][0].row_count <= _GROUP_ROWS:
                    rows += self._waiting[0][0].row_count
                    group.append(self._waiting.popleft())
            with self.writing:
                self._write(group)
            try:
                self._tidy()
            except Exception:
                # What was acknowledged stands; the next group tries again.
                _log.exception("tidying up after a commit failed")

    def _write(self, group: list[tuple[WriteBatch, Future[CommitReceipt]]]) -> None:
        try:
            receipts = self._apply([batch for batch, _ in group])
        except Exception as error:
            if len(group) == 1:
                group[0][1].set_exception(error)
                return
            _log.warning("a group of %d commits failed (%s); writing each by itself", len(group), error)
            for member in group:
                self._write([member])
        except BaseException as error:
            for _, future in group:
                future.set_exception(error)
            raise
        else:
            for (_, future), receipt in zip(group, receipts, strict=True):
                future.set_result(receipt)


@dataclass(frozen=True)
class MergedWrites:
    """A group's rows by table, one a key: of several with one key, the last. Tables without rows are left out."""

    content: dict[str, dict[str, Float32Array]] = field(default_factory=dict)
    tracks: dict[str, TrackRecord] = field(default_factory=dict)
    fresh: dict[str, dict[str, ServedVector]] = field(default_factory=dict)
    withdrawn: dict[str, str] = field(default_factory=dict)
    feedback: dict[str, FeedbackEvent] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)


def merge_batches(
    batches: Sequence[WriteBatch],
    withdrawn: Callable[[], Collection[str]],
    recorded: Callable[[Sequence[str]], Collection[str]],
) -> tuple[MergedWrites, list[CommitReceipt]]:
    """Merge a group's batches, and tell each which of its withdrawals and events are new.

    Parameters
    ----------
    withdrawn : callable
        Gives the ids that are withdrawn already; called only where the group withdraws something.
    recorded : callable
        Gives those of some event ids that are recorded already; called only where the group brings feedback.
    """
    merged = MergedWrites()
    receipts = []
    known = withdrawn() if any(batch.withdrawn for batch in batches) else ()
    event_ids = [event.event_id for batch in batches for event in batch.feedback]
    old_events = recorded(event_ids) if event_ids else ()
    for batch in batches:
        for encoder_id, rows in batch.content.items():
            if rows:
                merged.content.setdefault(encoder_id, {}).update(rows)
        merged.tracks.update((track.track_id, track) for track in batch.tracks)
        for space_id, served in batch.fresh.items():
            if served:
                merged.fresh.setdefault(space_id, {}).update((row.track_id, row) for row in served)
        new = {k: why for k, why in batch.withdrawn.items() if k not in known and k not in merged.withdrawn}
        merged.withdrawn.update(new)
        events = {
            event.event_id: event
            for event in reversed(batch.feedback)  # of one id, the first stands
            if event.event_id not in old_events and event.event_id not in merged.feedback
        }
        merged.feedback.update(events)
        merged.standings.update((standing.track_id, standing) for standing in batch.standings)
        receipts.append(CommitReceipt(newly_withdrawn=tuple(new), newly_recorded=frozenset(events)))
    return merged, receipts
