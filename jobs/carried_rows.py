"""The rows of one space as they go into the next: aligned, carried, and marked with what they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from index import FOLDED, ServedRows, SpaceRecord, Store, Tier, vector_column
from jobs.catalogue_basis import CatalogueBasis, catalogue_tracks, flat
from jobs.errors import BridgeError

if TYPE_CHECKING:
    from artist_transfer import Alignment

MOVED_MORE = 0.8
"""A warm track that the new training puts farther from where the old one has it, as a share of its length, has moved.

Two trainings on the same listens that differ by their seed alone put half of the tracks 0.45 away and 999 of 1,000
within 0.77 (`benchmarks.bridge`): farther than chance carries a track, listeners have.
"""

LEAST_COSINE = 0.5
"""An alignment that keeps less turns tracks by more than 60 degrees: the trainings do not tell of the same listens. Two
of the same listens and different seeds keep 0.89 (`benchmarks.bridge`)."""

COLUMNS = (
    *("track_id", "vector", "tier", "confidence", "model_id", "catalogue_size", "leaned_on_ids", "leaned_on_weights"),
    *("basis", "catalogue_basis", "popularity", "popularity_low", "popularity_high"),
)
"""What a row takes along."""

LOST = "carried"
"""Stands for the model of a track that the new training lacks, where no fitted transfer came along."""

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class OldRows:
    """The newest rows of the old space, staged, served or fresh.

    Attributes
    ----------
    rows : pyarrow.Table
        `COLUMNS`, n rows in one piece.
    ids : pyarrow.Array of string, length n
    warm, withdrawn : ndarray, shape (n,), bool
    """

    rows: pa.Table
    ids: pa.Array
    warm: BoolArray
    withdrawn: BoolArray

    @classmethod
    def read(cls, store: Store, space_id: str) -> OldRows:
        """Read them."""
        rows = store.newest_rows(space_id, COLUMNS)[0].combine_chunks()
        ids = flat(rows["track_id"])
        warm = np.asarray(rows["tier"].to_numpy() == Tier.COLLABORATIVE)
        return cls(rows, ids, warm, among(ids, pa.array(sorted(store.withdrawn()), pa.string())))


def movement(alignment: Alignment, old: FloatArray, new: FloatArray, *, directions: bool) -> FloatArray:
    """Measure how far a new training puts tracks from where the old one has them.

    Parameters
    ----------
    alignment : Alignment
    old, new : ndarray, shape (n, old_dim) and (n, new_dim), float32
        Of the same tracks, none of them zero.
    directions : bool
        Whether lengths mean nothing, so that all are brought to 1.

    Returns
    -------
    ndarray, shape (n,), float32
        |carried - new| / |new|, at least 0.
    """
    carried = alignment.carry(old)
    lengths = np.linalg.norm(new, axis=1)
    if directions:
        carried_lengths = np.linalg.norm(carried, axis=1)
        carried /= np.where(carried_lengths > 0.0, carried_lengths, 1.0)[:, None]
        new, lengths = new / lengths[:, None], np.ones_like(lengths)
    moved: FloatArray = np.linalg.norm(carried - new, axis=1) / lengths
    return moved


def align(
    old: OldRows, warm: ServedRows, to: SpaceRecord, before: SpaceRecord, *, directions: bool
) -> tuple[Alignment, pa.Table]:
    """Fit the map on the shared warm tracks that are not withdrawn, and measure how far each of them has moved.

    Parameters
    ----------
    old : OldRows
    warm : index.ServedRows
        What the new training brought.
    to, before : SpaceRecord
        The new space and the old one.
    directions : bool
        Whether the new one compares directions alone.

    Returns
    -------
    alignment : Alignment
    moved : pyarrow.Table
        Columns track_id and moved, see `movement`.

    Raises
    ------
    BridgeError
        When they share too few tracks, or too little.
    """
    from artist_transfer import JUDGED_FROM, Alignment, NotEnoughTracksError

    at = pc.index_in(old.ids, value_set=flat(warm.table["track_id"]))
    shared = np.flatnonzero(old.warm & ~old.withdrawn & at.is_valid().to_numpy(zero_copy_only=False))
    there = pc.fill_null(at, 0).to_numpy()[shared]
    vectors, new = ServedRows(old.rows).vectors[shared], warm.vectors[there]
    usable = vectors.any(axis=1) & new.any(axis=1)
    vectors, new, shared = vectors[usable], new[usable], shared[usable]
    refused = f"Space {to.space_id!r} cannot be bridged to from {before.space_id!r}:"
    remedy = "publish it without a bridge, or train a transfer on it first."
    try:
        alignment = Alignment.fit(vectors, new, directions=directions)
    except NotEnoughTracksError:
        alignment = None
    if alignment is None or alignment.held_out == 0:
        least = max(JUDGED_FROM, -(-min(to.dim, before.dim) * 10 // 9))
        raise BridgeError(
            f"{refused} they share {len(shared)} tracks with vectors, and {least} are needed to align them and to know "
            f"how well; {remedy}",
            field="space_id",
        )
    if alignment.cosine < LEAST_COSINE:
        raise BridgeError(
            f"{refused} of a direction a cosine of {alignment.cosine:.3f} would be kept, where {LEAST_COSINE:g} is the "
            f"least that is worth it; {remedy}",
            field="space_id",
        )
    moved = movement(alignment, vectors, new, directions=directions)
    return alignment, pa.table({"track_id": old.ids.take(pa.array(shared)), "moved": pa.array(moved, pa.float32())})


def carried_rows(
    store: Store,
    old: OldRows,
    tracks: pa.Table,
    chosen: tuple[BoolArray, BoolArray],
    alignment: Alignment,
    model_id: str,
) -> pa.Table:
    """Bring rows into the new space: they keep what they were made from, and lose what the alignment loses.

    Parameters
    ----------
    store : Store
    old : OldRows
    tracks : pyarrow.Table
        Columns track_id and basis of all tracks.
    chosen : tuple of two ndarray, shape (n,), bool
        Cold rows, and warm ones that the new training lacks.
    alignment : Alignment
    model_id : str
        The carried transfer; empty where there is none.

    Returns
    -------
    pyarrow.Table
        `COLUMNS`, and ``lost``: whether it is one that the new training lacks. The bases of catalogues are empty, so
        that a refresh touches every track; see `with_bases`.
    """
    cold, lost = chosen
    at = np.flatnonzero(cold | lost)
    rows = old.rows.take(pa.array(at))
    gone = pa.array(lost[at])
    own = flat(tracks["basis"]).take(flat(pc.index_in(rows["track_id"], value_set=flat(tracks["track_id"]))))
    heard_of = store.with_feedback_counts(pa.table({"track_id": rows["track_id"], "basis": own}))
    if model_id:
        named = pc.if_else(pc.ends_with(rows["model_id"], FOLDED), model_id + FOLDED, model_id)
    else:
        named = pc.if_else(gone, LOST, rows["model_id"])
    confidence = np.clip(rows["confidence"].to_numpy() * np.float32(alignment.cosine), 0.0, 1.0)
    changed = {
        "vector": vector_column(alignment.carry(ServedRows(rows).vectors)),
        "tier": pc.if_else(gone, pa.scalar(int(Tier.ARTIST_TRANSFER), pa.int8()), rows["tier"]),
        "confidence": pa.array(confidence, pa.float32()),
        "model_id": named,
        "basis": pc.if_else(gone, heard_of["basis"], rows["basis"]),
    }
    return _replaced(rows, changed | {"catalogue_basis": _none(rows)}).append_column("lost", gone)


def with_bases(
    store: Store,
    rows: pa.Table,
    old: OldRows,
    tracks: pa.Table,
    encoder_id: str,
    *,
    spaces: tuple[str, str],
    models: tuple[str | None, str],
) -> pa.Table:
    """Say what carried rows were made from, so that a refresh touches those alone for which it has changed.

    A cold row that was up to date in the old space was made from the catalogues there: where its artists' are the same
    in the new space, and none of their tracks has moved, it stays. One that was behind, or that has feedback, which
    counts by the users of the new training from now on, is left for the refresh. A track that the new training lacks
    stays where the old one had it as long as the carried transfer serves and its artists' catalogue stays as it is.

    Parameters
    ----------
    store : Store
        The new space's stamps are in it.
    rows : pyarrow.Table
        From `carried_rows`.
    old : OldRows
    tracks : pyarrow.Table
        Columns track_id, basis and artist_ids of all tracks.
    encoder_id : str
    spaces, models : tuple of two str
        The ids of the old space and of the new one; of the old transfer and of the one that serves in the new space,
        which carries it. None for the former where it carries another one: then a refresh touches every cold row.
    """
    at = flat(pc.index_in(rows["track_id"], value_set=flat(tracks["track_id"])))
    credited = flat(tracks["artist_ids"]).take(at)
    there, here = (catalogue_tracks(store, space_id, encoder_id, tracks=tracks) for space_id in spaces)
    alike = _replaced(there, {"stamp": _none(there)})
    was, stays, due = (
        _bases(CatalogueBasis.of(catalogue, model_id, encoder_id), credited)
        for catalogue, model_id in ((there, models[0]), (alike, models[1]), (here, models[1]))
    )
    before = flat(old.rows["catalogue_basis"]).take(pc.index_in(flat(rows["track_id"]), value_set=old.ids))
    listened = pc.is_in(rows["track_id"], value_set=pa.array(sorted(store.feedback_counts()), pa.string()))
    current = pc.and_(pc.and_(pc.equal(before, was), pc.invert(listened)), models[0] is not None)
    return _replaced(rows, {"catalogue_basis": pc.if_else(rows["lost"], due, pc.if_else(current, stays, ""))})


def among(ids: pa.Array, wanted: pa.Array) -> BoolArray:
    """Tell which of some ids are among others."""
    return np.asarray(pc.is_in(ids, value_set=wanted).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _bases(basis: CatalogueBasis, credited: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(basis.model, basis.of_credits(credited), "")


def _none(rows: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(""), rows.num_rows)


def _replaced(rows: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    for name, column in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows
