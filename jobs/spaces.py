"""Spaces: importing a training, listing what is there, going back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from index import InvalidInputError, Metric, SnapshotRecord, SpaceRecord, tuning_of
from jobs.errors import FactorsError
from jobs.factors import Factors

if TYPE_CHECKING:
    from jobs.engine import Engine


@dataclass(frozen=True)
class ImportReport:
    """What an import brought.

    Attributes
    ----------
    space_id : str
    dim, track_count, user_count : int
    metric : str
    known_share : float
        Share of its tracks whose metadata was ingested before, 0 to 1.
    popularity_share : float
        Share of its tracks whose listens the file counts, 0 to 1.
    """

    space_id: str
    dim: int
    metric: str
    track_count: int
    user_count: int
    known_share: float
    popularity_share: float

    def as_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types."""
        return asdict(self)


def import_space(
    engine: Engine,
    space_id: str,
    items: Factors,
    users: Factors | None = None,
    *,
    metric: str = Metric.INNER_PRODUCT.value,
    source: str = "",
) -> ImportReport:
    """Put a training's vectors beside the other spaces; nothing is served from it yet.

    Parameters
    ----------
    engine : Engine
    space_id : str
        A new name, safe as a file name.
    items, users : Factors
        Of the same dimension.
    metric : {"inner_product", "cosine"}
        How the recommender compares items.
    source : str
        Where the vectors came from, for the record.

    Returns
    -------
    ImportReport

    Raises
    ------
    FactorsError
        When users and items differ in dimension.
    index.SpaceExistsError, index.InvalidVectorError, index.InvalidIdError
        As the store has it.
    """
    try:
        chosen = Metric(metric)
    except ValueError:
        names = ", ".join(one.value for one in Metric)
        raise InvalidInputError(f"There is no metric {metric!r}; the metrics are {names}.", field="metric") from None
    dim = items.vectors.shape[1]
    if users is not None and users.vectors.shape[1] != dim:
        raise FactorsError(
            f"The user vectors have {users.vectors.shape[1]} dimensions and the item vectors {dim}; "
            "both have to come from the same training.",
            field="users",
        )
    engine.store.create_space(
        SpaceRecord(space_id=space_id, dim=dim, metric=chosen, source=source),
        items.ids.tolist(),
        items.vectors,
        user_ids=users.ids.tolist() if users is not None else None,
        user_vectors=users.vectors if users is not None else None,
        listens=items.popularity,
    )
    known = {record.track_id for record in engine.store.tracks()}
    return ImportReport(
        space_id=space_id,
        dim=dim,
        metric=chosen.value,
        track_count=len(items.ids),
        user_count=len(users.ids) if users is not None else 0,
        known_share=float(np.mean([track_id in known for track_id in items.ids.tolist()])),
        popularity_share=float(np.mean(~np.isnan(items.popularity))) if items.popularity is not None else 0.0,
    )


def list_spaces(engine: Engine) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Describe spaces and snapshots in JSON's types, the newest last.

    `published` marks what is served; `steps_back` says by how many rollbacks a snapshot is reached, None: by its name.
    """
    served = engine.store.published()
    spaces = [
        {**_plain(space), "published": served is not None and space.space_id == served.space_id}
        for space in engine.store.spaces()
    ]
    way_back = [snapshot.snapshot_id for snapshot in engine.store.rollback_stack()]
    steps = {snapshot_id: len(way_back) - 1 - place for place, snapshot_id in enumerate(way_back)}
    snapshots = [
        {
            **_plain(snapshot),
            "published": served is not None and snapshot.snapshot_id == served.snapshot_id,
            "steps_back": steps.get(snapshot.snapshot_id),
            "tuning": None if (tuning := tuning_of(engine.store, snapshot)) is None else asdict(tuning),
        }
        for snapshot in engine.store.snapshots()
    ]
    return spaces, snapshots


def rollback_snapshot(engine: Engine, snapshot_id: str = "") -> SnapshotRecord:
    """Serve an earlier snapshot again; tracks ingested since are projected into its space.

    Nothing is built, and no lease is waited for.

    Parameters
    ----------
    engine : Engine
    snapshot_id : str
        Any one that is kept, also one that was rolled back from; empty for the one that was served before this one.

    Raises
    ------
    index.NoRollbackError
        When nothing else was ever published.
    index.UnknownSnapshotError
    """
    with engine.gate.alone():
        snapshot_id = engine.store.rollback(snapshot_id or None).snapshot_id
        engine.adopt()
    return engine.store.snapshot(snapshot_id)


def _plain(record: Any) -> dict[str, Any]:
    fields = asdict(record)
    fields["created_at"] = record.created_at.isoformat(timespec="seconds")
    return fields
