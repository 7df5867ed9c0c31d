"""What becomes of a release, and what a release can be refused for."""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from artist_transfer import TransferError
from encoders import EncoderError
from index import Popularity, ServedVector, StoreError, Tier
from jobs.errors import JobError

RefusalError = EncoderError | StoreError | TransferError | JobError
REFUSALS = (EncoderError, StoreError, TransferError, JobError)


class IngestState(enum.Enum):
    """What became of a release."""

    CREATED = "created"  # the track is new
    UPDATED = "updated"  # its audio, credits or metadata have changed
    UNCHANGED = "unchanged"  # the same as before: nothing was written
    REFUSED = "refused"  # nothing was written; the outcome's error says why


@dataclass(frozen=True, eq=False)
class IngestOutcome:
    """What became of one release.

    Attributes
    ----------
    track_id : str
    state : IngestState
    served : bool
        Whether the next query can find it. A stored track is not served while no space is published.
    space_id, snapshot_id : str
        Where it is served; empty where it is not.
    tier : Tier or None
        Where its served vector comes from.
    confidence : float or None
        Expected cosine between its vector and the one that listeners would give it, 0 to 1.
    catalogue_size : int
        Number of catalogue tracks that the projection read.
    leaned_on : tuple of (str, float)
        The catalogue tracks that weighed most, with their weights.
    popularity : Popularity or None
        How much it will be listened to; None where that is not known.
    vector : ndarray of float32, shape (dim,), or None
        Its served vector.
    error : Exception or None
        Why it was refused.
    """

    track_id: str
    state: IngestState
    served: bool = False
    space_id: str = ""
    snapshot_id: str = ""
    tier: Tier | None = None
    confidence: float | None = None
    catalogue_size: int = 0
    leaned_on: tuple[tuple[str, float], ...] = ()
    popularity: Popularity | None = None
    vector: NDArray[np.float32] | None = None
    error: RefusalError | None = None


def served_outcome(row: ServedVector, space_id: str, snapshot_id: str) -> IngestOutcome:
    """Tell where a track is served; its state is for the caller to say."""
    return IngestOutcome(
        track_id=row.track_id,
        state=IngestState.UNCHANGED,
        served=True,
        space_id=space_id,
        snapshot_id=snapshot_id,
        tier=row.tier,
        confidence=row.confidence,
        catalogue_size=row.catalogue_size,
        leaned_on=row.leaned_on,
        popularity=row.popularity,
        vector=row.vector,
    )


def without_tracks(row: ServedVector, withdrawn: Collection[str]) -> ServedVector:
    """Leave withdrawn tracks out of what a vector leaned on: they are in no answer, not even as an explanation."""
    kept = tuple((track_id, weight) for track_id, weight in row.leaned_on if track_id not in withdrawn)
    return row if len(kept) == len(row.leaned_on) else replace(row, leaned_on=kept)
