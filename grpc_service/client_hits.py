"""What the client gives of neighbours: plain, frozen, NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from grpc_service.client_types import Popularity, Tier, popularity_from
from grpc_service.packing import pack_ids, unpack_ids
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as neighbor_pb


@dataclass(frozen=True)
class Neighbor:
    """One hit.

    Attributes
    ----------
    track_id : str
    score : float
        Higher is nearer.
    tier : Tier
    confidence : float
        In [0, 1].
    title : str
    artist_ids : tuple of str
        Both empty unless asked for with ``titles=True``.
    popularity : Popularity or None
        None where it is not known.
    """

    track_id: str
    score: float
    tier: Tier
    confidence: float
    title: str = ""
    artist_ids: tuple[str, ...] = ()
    popularity: Popularity | None = None


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The answer to one query, best first; iterating gives `Neighbor`.

    Attributes
    ----------
    space_id, snapshot_id : str
        What was searched.
    packed_ids : tuple of (bytes, ndarray of uint32, shape (n,))
        The ids of the tracks in UTF-8, one behind the other, and how many bytes each has; `track_ids` are strings.
    scores : ndarray of float32, shape (n,)
    tiers : ndarray of int8, shape (n,)
        Numbers of `Tier`.
    confidence : ndarray of float32, shape (n,)
    popularity : ndarray of float32, shape (n, 3)
        Listens, low and high of each `Popularity`; NaN where it is not known.
    titles : tuple of str
    artist_ids : tuple of tuple of str
        Both of length n where asked for with ``titles=True``, else empty.
    """

    space_id: str
    snapshot_id: str
    packed_ids: tuple[bytes, NDArray[np.uint32]]
    scores: NDArray[np.float32]
    tiers: NDArray[np.int8]
    confidence: NDArray[np.float32]
    popularity: NDArray[np.float32]
    titles: tuple[str, ...] = ()
    artist_ids: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def track_ids(self) -> tuple[str, ...]:
        """The ids of the tracks, length n; strings are made of them when they are first asked for."""
        return unpack_ids(*self.packed_ids)

    def __iter__(self) -> Iterator[Neighbor]:
        for place, track_id in enumerate(self.track_ids):
            yield Neighbor(
                track_id,
                float(self.scores[place]),
                Tier(int(self.tiers[place])),
                float(self.confidence[place]),
                self.titles[place] if self.titles else "",
                self.artist_ids[place] if self.artist_ids else (),
                None if np.isnan(self.popularity[place]).any() else Popularity(*map(float, self.popularity[place])),
            )


def neighbors_from_packed(space_id: str, snapshot_id: str, packed: neighbor_pb.PackedHits) -> Neighbors:
    """Read packed hits; the arrays are read-only views of the message's bytes."""
    return Neighbors(
        space_id,
        snapshot_id,
        (packed.track_ids, np.frombuffer(packed.track_id_lengths, dtype="<u4")),
        np.frombuffer(packed.scores, dtype="<f4"),
        np.frombuffer(packed.tiers, dtype=np.int8),
        np.frombuffer(packed.confidences, dtype="<f4"),
        np.frombuffer(packed.popularities, dtype="<f4").reshape(-1, 3)
        if packed.popularities
        else np.full((len(packed.tiers), 3), np.nan, np.float32),
    )


def neighbors_from_results(reply: neighbor_pb.BatchSearchNeighborsResponse) -> list[Neighbors]:
    """Read the packed results of a batch; none for a query without an answer."""
    every = neighbors_from_packed(reply.space_id, reply.snapshot_id, reply.packed.hits)
    text, lengths = every.packed_ids
    places = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).tolist()
    ends = np.cumsum(np.frombuffer(reply.packed.counts, dtype="<u4"), dtype=np.int64).tolist()
    return [
        Neighbors(
            every.space_id,
            every.snapshot_id,
            (text[places[first] : places[end]], lengths[first:end]),
            every.scores[first:end],
            every.tiers[first:end],
            every.confidence[first:end],
            every.popularity[first:end],
        )
        for first, end in pairwise([0, *ends])
    ]


def neighbors_from_full(space_id: str, snapshot_id: str, hits: Sequence[neighbor_pb.Hit]) -> Neighbors:
    """Read hits with titles."""
    return Neighbors(
        space_id,
        snapshot_id,
        pack_ids([hit.track_id for hit in hits]),
        np.array([hit.score for hit in hits], np.float32),
        np.array([hit.tier for hit in hits], np.int8),
        np.array([hit.confidence for hit in hits], np.float32),
        np.array([_popularity_row(hit) for hit in hits], np.float32).reshape(-1, 3),
        tuple(hit.title for hit in hits),
        tuple(tuple(hit.artist_ids) for hit in hits),
    )


def _popularity_row(hit: neighbor_pb.Hit) -> tuple[float, float, float]:
    known = popularity_from(hit)
    return (known.listens, known.low, known.high) if known else (np.nan, np.nan, np.nan)
