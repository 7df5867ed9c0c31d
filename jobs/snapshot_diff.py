"""What lies between two snapshots: tracks that came, went, changed tier or moved. Columns all the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index import NoRollbackError, NoSnapshotError, ServedRows, SnapshotRecord, Store, Tier

if TYPE_CHECKING:
    from jobs.engine import Engine

EXAMPLES = 10
"""Ids that a report names of each kind, the first by name."""

QUANTILES = {"min": 0.0, "q05": 0.05, "q50": 0.5, "q95": 0.95}
"""Of the cosines between a track's two vectors."""

# float32 keeps 7 digits: the cosine of a vector with itself comes out a little below 1.
_UNMOVED = 1.0 - 1e-6
_ROWS = 65_536  # compared at once, in float64


@dataclass(frozen=True)
class Moves:
    """How vectors of the tracks that stand in both snapshots have moved.

    Attributes
    ----------
    compared, moved : int
        Tracks in both; those whose vector points elsewhere.
    cosine_of_moved : dict of str to float
        Quantiles of the cosines between the two vectors of those that moved; empty where none did.
    """

    compared: int
    moved: int
    cosine_of_moved: dict[str, float]


@dataclass(frozen=True)
class SnapshotDiff:
    """What one snapshot has that another has not.

    Attributes
    ----------
    before, after : SnapshotRecord
    added, gone : int
        Tracks that only the later, or only the earlier one has. Withdrawn ones are counted as long as they are stored;
        no answer shows them.
    graduated : int
        Tracks that were projected and have a collaborative vector now.
    fallen_back : int
        Tracks that had one and are projected now.
    tiers : dict of str to int
        Every change of tier, such as ``artist_transfer -> collaborative``.
    projected_anew : int
        Tracks, projected in both, by another model than before.
    moves : Moves or None
        None where the snapshots are of two spaces, whose vectors do not compare.
    examples : dict of str to list of str
        A few ids of each kind.
    """

    before: SnapshotRecord
    after: SnapshotRecord
    added: int
    gone: int
    graduated: int
    fallen_back: int
    tiers: dict[str, int]
    projected_anew: int
    moves: Moves | None
    examples: dict[str, list[str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures in JSON's types."""
        return {
            **asdict(self),
            **{
                name: {**asdict(one), "created_at": one.created_at.isoformat(timespec="seconds")}
                for name, one in (("before", self.before), ("after", self.after))
            },
        }


def diff_snapshots(engine: Engine, before_id: str = "", after_id: str = "") -> SnapshotDiff:
    """Compare two snapshots as they were built, without the rows that were fresh to them. Reads only.

    Parameters
    ----------
    engine : Engine
    before_id : str
        Empty: the one that a rollback would return to.
    after_id : str
        Empty: the one that is served.

    Returns
    -------
    SnapshotDiff

    Raises
    ------
    index.UnknownSnapshotError, index.NoSnapshotError, index.NoRollbackError
    """
    store = engine.store
    after = store.snapshot(after_id) if after_id else store.published()
    if after is None:
        raise NoSnapshotError("nothing is published yet: name two snapshots, or publish one first")
    if before_id:
        before = store.snapshot(before_id)
    else:
        try:
            before = store.rollback_target()
        except NoRollbackError as error:
            raise NoRollbackError(f"{error}, or name the snapshots to compare") from error
    columns = ["track_id", "tier", "model_id"]
    old, new = (store.snapshot_columns(one, columns).combine_chunks() for one in (before, after))
    at = _positions(new["track_id"], old["track_id"])
    in_both = at >= 0
    added = new["track_id"].filter(pa.array(~in_both))
    left = np.ones(old.num_rows, dtype=np.bool_)
    left[at[in_both]] = False
    gone = old["track_id"].filter(pa.array(left))
    shared = new.filter(pa.array(in_both))
    known = old.take(pa.array(at[in_both]))
    tier_before, tier_after = _ints(known["tier"]), _ints(shared["tier"])
    graduated = (tier_before != Tier.COLLABORATIVE) & (tier_after == Tier.COLLABORATIVE)
    fallen_back = (tier_before == Tier.COLLABORATIVE) & (tier_after != Tier.COLLABORATIVE)
    projected = (tier_before != Tier.COLLABORATIVE) & (tier_after != Tier.COLLABORATIVE)
    other_model = _bools(pc.not_equal(known["model_id"], shared["model_id"]))
    kinds = {
        "added": added,
        "gone": gone,
        "graduated": shared["track_id"].filter(pa.array(graduated)),
        "fallen_back": shared["track_id"].filter(pa.array(fallen_back)),
    }
    return SnapshotDiff(
        before=before,
        after=after,
        added=len(added),
        gone=len(gone),
        graduated=int(graduated.sum()),
        fallen_back=int(fallen_back.sum()),
        tiers=_tier_changes(tier_before, tier_after),
        projected_anew=int((projected & other_model).sum()),
        moves=_moves(store, before, after, len(shared)) if before.space_id == after.space_id else None,
        examples={name: _first(ids) for name, ids in kinds.items()},
    )


def _first(ids: pa.ChunkedArray) -> list[str]:
    return list(ids.take(pc.select_k_unstable(ids, EXAMPLES, [("", "ascending")])).to_pylist()) if len(ids) else []


def _positions(ids: pa.ChunkedArray, among: pa.ChunkedArray) -> NDArray[np.int64]:
    """Where each id stands among others, -1 where it does not."""
    found = pc.fill_null(pc.index_in(ids, value_set=pa.array(among.combine_chunks())), -1)
    return np.asarray(found.to_numpy(), dtype=np.int64)


def _ints(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _bools(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(column.to_numpy(), dtype=np.bool_)


def _tier_changes(before: NDArray[np.int64], after: NDArray[np.int64]) -> dict[str, int]:
    changes = {
        f"{old.name.lower()} -> {new.name.lower()}": int(((before == old) & (after == new)).sum())
        for old in Tier
        for new in Tier
        if old is not new
    }
    return {name: count for name, count in changes.items() if count}


def _moves(store: Store, before: SnapshotRecord, after: SnapshotRecord, shared: int) -> Moves:
    """Compare the vectors that were written between two snapshots of one space; all others are the same rows."""
    first, last = sorted((before, after), key=lambda one: one.served_version)
    columns = ["track_id", "vector"]
    new = store.snapshot_columns(last, columns, since=first)
    old = store.snapshot_columns(first, columns, track_ids=new["track_id"].to_pylist())
    new = new.take(pa.array(_positions(old["track_id"], new["track_id"])))
    cosines = _cosines(ServedRows(old).vectors, ServedRows(new).vectors)
    moved = cosines[cosines < _UNMOVED]
    quantiles = np.quantile(moved, list(QUANTILES.values())).tolist() if len(moved) else []
    return Moves(shared, len(moved), dict(zip(QUANTILES, quantiles, strict=False)))


def _cosines(old: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosines between the rows of two arrays of shape (n, dim); 1 where both are zero, 0 where one is."""
    found = np.empty(len(old))
    for start in range(0, len(old), _ROWS):
        one, other = (part[start : start + _ROWS].astype(np.float64) for part in (old, new))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        products = np.einsum("nd,nd->n", one, other)
        same = (one == other).all(axis=1)
        found[start : start + _ROWS] = np.where(same, 1.0, products / np.where(lengths > 0, lengths, 1.0))
    return found
