"""What the client takes and gives: plain, frozen, NumPy."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from grpc_service.packing import unpack_vectors
from grpc_service.pb.anacrusis.v1 import admin_service_pb2 as admin_pb
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
    track_ids : tuple of str, length n
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
    track_ids: tuple[str, ...]
    scores: NDArray[np.float32]
    tiers: NDArray[np.int8]
    confidence: NDArray[np.float32]
    popularity: NDArray[np.float32]
    titles: tuple[str, ...] = ()
    artist_ids: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.track_ids)

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


@dataclass(frozen=True, eq=False)
class Ingested:
    """What became of a track that was sent in.

    Attributes
    ----------
    track_id : str
    state : str
        ``created``, ``updated`` or ``unchanged``.
    served : bool
        Whether queries find it now.
    tier : Tier or None
        None where it has no vector.
    confidence : float
        In [0, 1].
    catalogue_size : int
        Warm tracks of its artists that the projection could draw on.
    leaned_on : tuple of (str, float)
        Those that weighed most, heaviest first.
    space_id, snapshot_id : str
        Empty while none is published.
    vector : ndarray of float32, shape (dim,), or None
        Where it was asked for.
    popularity : Popularity or None
        None where it is not known.
    """

    track_id: str
    state: str
    served: bool
    tier: Tier | None
    confidence: float
    catalogue_size: int
    leaned_on: tuple[tuple[str, float], ...]
    space_id: str
    snapshot_id: str
    vector: NDArray[np.float32] | None = None
    popularity: Popularity | None = None


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


@dataclass(frozen=True)
class RefreshStep:
    """One message of a refresh: progress, and the report as the last.

    Attributes
    ----------
    stage : str
        What is being done; ``"done"`` for the report.
    done, total : int
        Units; with the report, tracks projected and tracks in the snapshot.
    detail : str
        A remark for a person.
    space_id, snapshot_id : str
        What is served.
    """

    stage: str
    done: int
    total: int
    detail: str
    space_id: str
    snapshot_id: str


@dataclass(frozen=True)
class ServiceStatus:
    """What the service serves; the counts are of tracks.

    Attributes
    ----------
    space_id, snapshot_id : str
        Empty while none is published.
    dim : int
    metric : str
    snapshot_time : datetime or None
        When the snapshot was built, in UTC.
    tier_counts : dict of Tier to int
    track_count, fresh_count, withdrawn_count : int
    encoder_id, model_id, device : str
    waiting_query_count, waiting_job_count : int
    read_only : bool
        Whether the server is a replica, which changes nothing.
    poll_interval_s : float
        Seconds between two looks for what other processes did.
    """

    space_id: str
    snapshot_id: str
    dim: int
    metric: str
    snapshot_time: dt.datetime | None
    tier_counts: dict[Tier, int]
    track_count: int
    fresh_count: int
    withdrawn_count: int
    encoder_id: str
    model_id: str
    device: str
    waiting_query_count: int
    waiting_job_count: int
    read_only: bool
    poll_interval_s: float


def neighbors_from_packed(space_id: str, snapshot_id: str, packed: neighbor_pb.PackedHits) -> Neighbors:
    """Read packed hits; the arrays are read-only views of the message's bytes."""
    return Neighbors(
        space_id,
        snapshot_id,
        tuple(packed.track_ids),
        np.frombuffer(packed.scores, dtype="<f4"),
        np.frombuffer(packed.tiers, dtype=np.int8),
        np.frombuffer(packed.confidences, dtype="<f4"),
        np.frombuffer(packed.popularities, dtype="<f4").reshape(-1, 3)
        if packed.popularities
        else np.full((len(packed.track_ids), 3), np.nan, np.float32),
    )


def neighbors_from_full(space_id: str, snapshot_id: str, hits: Sequence[neighbor_pb.Hit]) -> Neighbors:
    """Read hits with titles."""
    return Neighbors(
        space_id,
        snapshot_id,
        tuple(hit.track_id for hit in hits),
        np.array([hit.score for hit in hits], np.float32),
        np.array([hit.tier for hit in hits], np.int8),
        np.array([hit.confidence for hit in hits], np.float32),
        np.array([_popularity_row(hit) for hit in hits], np.float32).reshape(-1, 3),
        tuple(hit.title for hit in hits),
        tuple(tuple(hit.artist_ids) for hit in hits),
    )


def ingested_from(response: release_pb.IngestTrackResponse | release_pb.UploadTrackResponse) -> Ingested:
    """Read what became of a track."""
    track = response.track
    return Ingested(
        track_id=track.track_id,
        state=release_pb.IngestState.Name(track.state).removeprefix("INGEST_STATE_").lower(),
        served=track.served,
        tier=Tier(track.tier) if track.tier else None,
        confidence=track.confidence,
        catalogue_size=track.catalogue_size,
        leaned_on=tuple((one.track_id, one.weight) for one in track.leaned_on),
        space_id=response.space_id,
        snapshot_id=response.snapshot_id,
        vector=unpack_vectors(track.vector)[0] if track.HasField("vector") else None,
        popularity=_popularity(track),
    )


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
        popularity=_popularity(origin),
    )


def _popularity(
    message: neighbor_pb.Hit | release_pb.IngestedTrack | embedding_pb.Provenance,
) -> Popularity | None:
    if not message.HasField("popularity"):
        return None
    known = message.popularity
    return Popularity(known.listens, known.low, known.high)


def _popularity_row(hit: neighbor_pb.Hit) -> tuple[float, float, float]:
    known = _popularity(hit)
    return (known.listens, known.low, known.high) if known else (np.nan, np.nan, np.nan)


def refresh_step_from(reply: admin_pb.RefreshArtistsResponse) -> RefreshStep:
    """Read one message of a refresh."""
    if reply.WhichOneof("event") == "progress":
        step = reply.progress
        return RefreshStep(step.stage, step.done, step.total, step.detail, reply.space_id, reply.snapshot_id)
    report = reply.report
    return RefreshStep("done", report.projected_count, report.row_count, report.why, reply.space_id, reply.snapshot_id)


def status_from(reply: admin_pb.GetStatusResponse) -> ServiceStatus:
    """Read what is served."""
    return ServiceStatus(
        space_id=reply.space_id,
        snapshot_id=reply.snapshot_id,
        dim=reply.dim,
        metric=reply.metric,
        snapshot_time=reply.snapshot_time.ToDatetime(dt.UTC) if reply.HasField("snapshot_time") else None,
        tier_counts={
            Tier.COLLABORATIVE: reply.collaborative_count,
            Tier.ARTIST_TRANSFER: reply.artist_transfer_count,
            Tier.AUDIO_ONLY: reply.audio_only_count,
        },
        track_count=reply.track_count,
        fresh_count=reply.fresh_count,
        withdrawn_count=reply.withdrawn_count,
        encoder_id=reply.encoder_id,
        model_id=reply.model_id,
        device=reply.device,
        waiting_query_count=reply.waiting_query_count,
        waiting_job_count=reply.waiting_job_count,
        read_only=reply.read_only,
        poll_interval_s=reply.poll_interval_s,
    )
