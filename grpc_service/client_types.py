"""What several parts of the client take and give: plain, frozen, NumPy."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from grpc_service.pb.anacrusis.v1 import common_pb2 as common
from grpc_service.pb.anacrusis.v1 import embedding_service_pb2 as embedding_pb
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as neighbor_pb
from grpc_service.pb.anacrusis.v1 import release_service_pb2 as release_pb


def id_list(ids: Sequence[str], name: str) -> list[str]:
    """Take a list of ids; a single string, which Python would read letter by letter, is a mistake.

    Parameters
    ----------
    ids : sequence of str
    name : str
        The argument's name, for the error.

    Returns
    -------
    list of str

    Raises
    ------
    TypeError
        For a string.
    """
    if isinstance(ids, str):
        raise TypeError(f"{name} is the string {ids!r}; give a list of ids: [{ids!r}].")
    return list(ids)


class Tier(IntEnum):
    """Where a served vector comes from, best first; the wire's numbers."""

    COLLABORATIVE = 1
    ARTIST_TRANSFER = 2
    AUDIO_ONLY = 3


@dataclass(frozen=True)
class Filters:
    """Which tracks may be in an answer; what is left out excludes nothing.

    Attributes
    ----------
    released_from, released_to : datetime.date, str or None
        Both inclusive; a string is ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.
    artists_in, artists_out : sequence of str
        At least one of these, none of those.
    tiers : sequence of Tier
        Where the vectors may come from.
    market : str
        ISO 3166-1 alpha-2 code.
    """

    released_from: dt.date | str | None = None
    released_to: dt.date | str | None = None
    artists_in: Sequence[str] = ()
    artists_out: Sequence[str] = ()
    tiers: Sequence[Tier] = ()
    market: str = ""

    def message(self) -> common.Filters:
        """Return the same for the wire."""
        return common.Filters(
            released_from=str(self.released_from or ""),
            released_to=str(self.released_to or ""),
            artists_in=self.artists_in,
            artists_out=self.artists_out,
            tiers=[common.Tier.Name(tier) for tier in self.tiers],
            market=self.market,
        )


@dataclass(frozen=True)
class Popularity:
    """How much a track is listened to, or will be once it is as well known as the warm ones.

    Attributes
    ----------
    listens : float
        In the recommender's unit; of a cold track the median of what is predicted.
    low, high : float
        Nine of ten tracks lie between; of a warm track both are its listens.
    """

    listens: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Embedding:
    """A track's served vector and where it comes from.

    Attributes
    ----------
    track_id : str
    vector : ndarray of float32, shape (dim,)
    tier : Tier
    confidence : float
        In [0, 1].
    model_id : str
        Empty for collaborative vectors.
    catalogue_size : int
    leaned_on : tuple of (str, float)
    space_id, snapshot_id : str
    popularity : Popularity or None
        None where it is not known.
    """

    track_id: str
    vector: NDArray[np.float32]
    tier: Tier
    confidence: float
    model_id: str
    catalogue_size: int
    leaned_on: tuple[tuple[str, float], ...]
    space_id: str
    snapshot_id: str
    popularity: Popularity | None = None


def embedding_from(
    space_id: str, snapshot_id: str, row: NDArray[np.float32], origin: embedding_pb.Provenance
) -> Embedding:
    """Join a vector with its provenance."""
    return Embedding(
        track_id=origin.track_id,
        vector=row,
        tier=Tier(origin.tier),
        confidence=origin.confidence,
        model_id=origin.model_id,
        catalogue_size=origin.catalogue_size,
        leaned_on=tuple((one.track_id, one.weight) for one in origin.leaned_on),
        space_id=space_id,
        snapshot_id=snapshot_id,
        popularity=popularity_from(origin),
    )


def popularity_from(
    message: neighbor_pb.Hit | release_pb.IngestedTrack | embedding_pb.Provenance,
) -> Popularity | None:
    """Read a track's popularity; None where it is not known."""
    if not message.HasField("popularity"):
        return None
    known = message.popularity
    return Popularity(known.listens, known.low, known.high)
