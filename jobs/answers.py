"""What an engine answers besides neighbours: served vectors, and what it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from index import ServedVector, SnapshotRecord, SpaceRecord, StoreError, Tier
from jobs.maintain import UpkeepFigures


@dataclass(frozen=True)
class EngineStatus:
    """What is served at the moment.

    Attributes
    ----------
    space : SpaceRecord or None
    snapshot : SnapshotRecord or None
        None while nothing is published.
    tracks : int
        Tracks that can be in an answer.
    tier_counts : mapping of Tier to int
        The same by tier.
    fresh_rows : int
        Those that are newer than the built index.
    withdrawn : int
        Ids that were taken down.
    encoder_id : str
        The encoder whose content vectors are used; its name in the settings as long as it has not been loaded.
    model_id : str
        The transfer behind the snapshot's projected vectors; empty where it has none.
    device : str
        Where the search runs.
    read_only : bool
        Whether this is a replica, which changes nothing.
    upkeep : UpkeepFigures or None
        As `Engine.count_upkeep` has counted them last; None before the first time.
    """

    space: SpaceRecord | None
    snapshot: SnapshotRecord | None
    tracks: int
    tier_counts: Mapping[Tier, int]
    fresh_rows: int
    withdrawn: int
    encoder_id: str
    model_id: str
    device: str
    read_only: bool
    upkeep: UpkeepFigures | None


@dataclass(frozen=True, eq=False)
class EmbeddingAnswer:
    """Served vectors of one state.

    Attributes
    ----------
    space_id, snapshot_id : str
        Where all of them belong.
    embeddings : list of ServedVector or Exception
        In the order asked; an error where a track is unknown, withdrawn, or has no vector in this space.
    """

    space_id: str
    snapshot_id: str
    embeddings: list[ServedVector | StoreError]
