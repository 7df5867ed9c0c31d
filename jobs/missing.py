"""Which stored tracks a snapshot does not show as they are, and which of them cannot wait for a refresh. Reads only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from index import DamagedHomeError, SnapshotRecord, Store
from jobs.catalogue_basis import catalogue_tracks, flat

logger = logging.getLogger(__name__)

# More than this is a catalogue that was brought in at once. Every writer would project it, each in one thread, to rows
# that are scored exactly until a refresh folds them in: it is left to the refresh.
LEFT_TO_REFRESH = 4096


def many(track_ids: Sequence[str]) -> bool:
    """Tell whether nobody can wait until so many are projected."""
    return len(track_ids) > LEFT_TO_REFRESH


@dataclass(frozen=True, eq=False)
class Missing:
    """Stored tracks that a snapshot lacks, or knows as they were before their credits, audio or feedback.

    Attributes
    ----------
    track_ids : list of str
        Ascending; those that can be placed.
    due : list of str
        Ascending; those that are to be found now, the others wait for a refresh.
    in_newest : frozenset of str
        Those that a newer snapshot of the space has as they are.
    left : tuple of SnapshotRecord
        What was served since the snapshot was served last, newest first.
    """

    track_ids: list[str]
    due: list[str]
    in_newest: frozenset[str]
    left: tuple[SnapshotRecord, ...]


def missing_tracks(
    store: Store, snapshot: SnapshotRecord, stale: Sequence[str], encoder_id: str, serving: SnapshotRecord | None
) -> Missing:
    """Say which of the tracks that a snapshot does not show as they are can be placed, and which of these are due.

    Such tracks were ingested, changed or listened to while another snapshot was served, or their projection was cut
    off. Few are due. Of more than `LEFT_TO_REFRESH` those are that were found until now: in what was served since the
    snapshot was served last.

    Parameters
    ----------
    store : Store
    snapshot : SnapshotRecord
        The published one.
    stale : sequence of str
        `index.Store.stale_ids` of it.
    encoder_id : str
        Who has to have heard what is to be projected.
    serving : SnapshotRecord or None
        What this process serves so far.

    Raises
    ------
    index.DamagedHomeError
    """
    ids = pa.array(sorted(stale), pa.string())
    in_newest = _in_newest(store, snapshot, ids)
    placed = pc.is_in(ids, value_set=in_newest)
    if catalogue_tracks(store, snapshot.space_id, encoder_id).num_rows:  # else nothing relates audio to the space
        placed = pc.or_(placed, pc.is_in(ids, value_set=flat(store.heard_ids(encoder_id))))
    found = ids.filter(placed)
    due, left = found, _served_since(store, snapshot, serving)
    if many(found):
        shown = [_shown(store, one) for one in left]
        due = found.filter(pc.is_in(found, value_set=pa.concat_arrays([pa.array([], pa.string()), *shown])))
    return Missing(found.to_pylist(), due.to_pylist(), frozenset(in_newest.to_pylist()), left)


def _in_newest(store: Store, snapshot: SnapshotRecord, ids: pa.Array) -> pa.Array:
    """Give those of some ids that the space's newest snapshot has by their present basis."""
    newest = store.snapshots(snapshot.space_id)[-1]
    if newest.served_version <= snapshot.served_version:
        return ids.slice(0, 0)
    tracks = store.track_columns(["track_id", "basis"])
    due = store.with_feedback_counts(tracks.filter(pc.is_in(tracks["track_id"], value_set=ids)))
    rows = store.snapshot_columns(newest, ["track_id", "basis"])
    known = flat(rows["basis"]).take(pc.index_in(flat(due["track_id"]), value_set=flat(rows["track_id"])))
    return flat(due["track_id"].filter(pc.fill_null(pc.equal(known, flat(due["basis"])), False)))


def _served_since(store: Store, snapshot: SnapshotRecord, serving: SnapshotRecord | None) -> tuple[SnapshotRecord, ...]:
    """Give what was served since a snapshot was, as far as it is kept; where it was not before, what it replaced."""
    log = [one.snapshot_id for one in store.publishes()]
    while log and log[-1] == snapshot.snapshot_id:
        log.pop()
    since = log[::-1].index(snapshot.snapshot_id) if snapshot.snapshot_id in log else 1
    served = {*log[len(log) - since :], *([serving.snapshot_id] if serving is not None else [])}
    return tuple(
        one
        for one in reversed(store.snapshots())
        if one.snapshot_id in served
        # The rows of an earlier snapshot of the space are in the later ones.
        and not (one.space_id == snapshot.space_id and one.served_version <= snapshot.served_version)
    )


def _shown(store: Store, snapshot: SnapshotRecord) -> pa.Array:
    try:
        return flat(store.shown_rows(snapshot, ["track_id"])["track_id"])
    except DamagedHomeError:
        # It may be what the rollback leads away from: whatever it alone had has to wait.
        logger.warning("what snapshot %s had cannot be read", snapshot.snapshot_id, exc_info=True)
        return pa.array([], pa.string())
