"""Projecting the tracks that a refresh has to, and bringing the rows into the served table, many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index import ServedVector, Store, TrackRecord
from jobs.progress import OnProgress, Progress
from jobs.projector import Projector

BATCH_TRACKS = 1024
# Staged by one merge, and read by one look-up each of records and content. Each of the three goes through all keys of
# its table: at a million tracks they take a second together, as long as projecting some thousand tracks.
STAGE_TRACKS = 32_768

Projected = Iterator[tuple[int, Sequence[ServedVector]]]
"""Batches of projected rows, each with the number of tracks that were looked at for it."""
ProjectTracks = Callable[[pa.Array], Projected]
"""Projects tracks, given by their ids; those that cannot be placed are left out."""
Heard = tuple[list[TrackRecord], NDArray[np.float32]]
"""Records of n tracks and their content, float32 of shape (n, content_dim)."""


class RefreshStoppedError(Exception):
    """The caller asked to stop before anything was published; what is served has not changed."""

    reason = "REFRESH_STOPPED"


def read_heard(store: Store, encoder_id: str, track_ids: pa.Array, start: int = 0) -> Heard:
    """Read what `STAGE_TRACKS` of some tracks are projected from, those from `start` on.

    Unknown ones, and those that this encoder has not heard, are left out.
    """
    wanted = track_ids.slice(start, STAGE_TRACKS).to_pylist()
    # Records before content, which is written first: never an older content than the row's basis says.
    record_of = {record.track_id: record for record in store.tracks(wanted)}
    found, content = store.content(encoder_id, list(record_of))
    return [record_of[track_id] for track_id in found], content


def project_here(store: Store, projector: Projector, first: Future[Heard] | None = None) -> ProjectTracks:
    """Project tracks in this thread.

    Parameters
    ----------
    store : Store
    projector : Projector
        Its catalogue holds those of the tracks' artists.
    first : Future of Heard, optional
        What `read_heard` gives of the tracks' beginning, where somebody reads that already.
    """

    def project(track_ids: pa.Array) -> Projected:
        at_hand = first
        for start in range(0, len(track_ids), STAGE_TRACKS):
            if at_hand is None:
                records, content = read_heard(store, projector.model.encoder_id, track_ids, start)
            else:
                records, content = at_hand.result()
                at_hand = None
            yield min(STAGE_TRACKS, len(track_ids) - start) - len(records), []
            for row in range(0, len(records), BATCH_TRACKS):
                batch = slice(row, row + BATCH_TRACKS)
                yield len(records[batch]), projector.project(records[batch], content[batch])

    return project


def stage_projected(
    batches: Projected,
    stage: Callable[[Sequence[ServedVector]], None],
    total: int,
    on_progress: OnProgress,
    should_stop: Callable[[], bool],
) -> int:
    """Bring projected rows into the served table, many at once. Queries do not see them before a publish.

    Parameters
    ----------
    batches : iterator
        See `Projected`.
    stage : callable
        Writes rows durably.
    total : int
        Tracks in all, for the progress.
    on_progress, should_stop : callable

    Returns
    -------
    int
        How many rows were staged.

    Raises
    ------
    RefreshStoppedError
        When `should_stop` said so; what was staged stays, and the next refresh goes on behind it.
    """
    looked_at, staged = 0, 0
    waiting: list[ServedVector] = []
    on_progress(Progress("project", 0, total))
    for tracks, rows in batches:
        if should_stop():
            raise RefreshStoppedError("The refresh was stopped; what is served has not changed.")
        waiting += rows
        looked_at += tracks
        if len(waiting) >= STAGE_TRACKS or (waiting and looked_at == total):
            stage(waiting)
            staged += len(waiting)
            waiting = []
        on_progress(Progress("project", looked_at, total))
    if waiting:
        stage(waiting)
        staged += len(waiting)
    return staged
