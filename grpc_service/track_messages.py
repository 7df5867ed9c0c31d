"""Between the messages about tracks and the dataclasses of the rooms below. What is not checked here, they check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from grpc_service.errors import RequestError
from grpc_service.packing import pack_vectors
from grpc_service.pb.anacrusis.v1 import common_pb2 as common
from grpc_service.pb.anacrusis.v1 import embedding_service_pb2 as embedding_pb
from grpc_service.pb.anacrusis.v1 import release_service_pb2 as release_pb
from jobs import Release, parse_release_date

if TYPE_CHECKING:
    from pathlib import Path

    from index import Popularity, ServedVector
    from jobs import IngestOutcome

_ROLES = {
    release_pb.ROLE_PRIMARY: "primary",
    release_pb.ROLE_FEATURED: "featured",
    release_pb.ROLE_REMIXER: "remixer",
}


def release_of(track: release_pb.TrackMetadata, audio: bytes | Path, *, audio_uri: str | None = None) -> Release:
    """Read a release.

    Parameters
    ----------
    track : TrackMetadata
        As received.
    audio : bytes or Path
        The encoded file or where it lies.
    audio_uri : str, optional
        As the caller gave it; `audio` is then what `grpc_service.uris.resolve_uri` found.

    Returns
    -------
    jobs.Release
        Checked.

    Raises
    ------
    RequestError
        For a role that does not exist.
    jobs.ReleaseError
        For any other field.
    """
    roles = []
    for place, credit in enumerate(track.credits):
        unspecified = release_pb.ROLE_FEATURED if place else release_pb.ROLE_PRIMARY
        role = _ROLES.get(credit.role or unspecified)
        if role is None:
            raise RequestError(
                f"Role {credit.role} does not exist; use PRIMARY, FEATURED or REMIXER.",
                field="track.credits.role",
            )
        roles.append(role)
    return Release(
        track_id=track.track_id,
        artist_ids=tuple(credit.artist_id for credit in track.credits),
        audio=audio,
        title=track.title,
        roles=tuple(roles),
        release_date=parse_release_date(track.release_date),
        label=track.label or None,
        markets=tuple(track.markets),
        isrc=track.isrc or None,
        audio_uri=audio_uri,
        follow_links=audio_uri is None,
    )


def ingested_track(
    outcome: IngestOutcome, *, include_vector: bool, element_type: common.ElementType
) -> release_pb.IngestedTrack:
    """Write what became of a release.

    Parameters
    ----------
    outcome : jobs.IngestOutcome
        Not a refused one.
    include_vector : bool
        Whether the vector goes along.
    element_type : ElementType
        How it is stored.

    Returns
    -------
    IngestedTrack
        The same.
    """
    message = release_pb.IngestedTrack(
        track_id=outcome.track_id,
        state=f"INGEST_STATE_{outcome.state.name}",
        served=outcome.served,
        tier=common.Tier.Name(int(outcome.tier or 0)),
        confidence=outcome.confidence or 0.0,
        catalogue_size=outcome.catalogue_size,
        leaned_on=leaned_on(outcome.leaned_on),
        popularity=popularity(outcome.popularity),
    )
    if include_vector and outcome.vector is not None:
        message.vector.CopyFrom(pack_vectors(outcome.vector, element_type))
    return message


def provenance(embedding: ServedVector) -> embedding_pb.Provenance:
    """Write where a vector comes from.

    Parameters
    ----------
    embedding : index.ServedVector
        A served vector.

    Returns
    -------
    Provenance
        The same without the vector.
    """
    return embedding_pb.Provenance(
        track_id=embedding.track_id,
        tier=common.Tier.Name(int(embedding.tier)),
        confidence=float(embedding.confidence),
        model_id=embedding.model_id,
        catalogue_size=embedding.catalogue_size,
        leaned_on=leaned_on(embedding.leaned_on),
        popularity=popularity(embedding.popularity),
    )


def popularity(known: Popularity | None) -> common.Popularity | None:
    """Write a popularity.

    Parameters
    ----------
    known : index.Popularity or None
        None: not known.

    Returns
    -------
    Popularity or None
        The same; a field set to None is absent.
    """
    return None if known is None else common.Popularity(listens=known.listens, low=known.low, high=known.high)


def leaned_on(pairs: Sequence[tuple[str, float]]) -> list[common.LeanedOn]:
    """Write an explanation.

    Parameters
    ----------
    pairs : sequence of (str, float)
        Track ids and weights.

    Returns
    -------
    list of LeanedOn
        The same, in the same order.
    """
    return [common.LeanedOn(track_id=track_id, weight=weight) for track_id, weight in pairs]


def checked_element_type(element_type: common.ElementType) -> common.ElementType:
    """Refuse an element type that does not exist before any work is done.

    Parameters
    ----------
    element_type : ElementType
        As received.

    Returns
    -------
    ElementType
        The same.

    Raises
    ------
    RequestError
        When it is unknown.
    """
    if element_type not in common.ElementType.values():
        raise RequestError(f"Element type {element_type} does not exist; use FLOAT32 or FLOAT16.", field="element_type")
    return element_type
