"""The part of the client that sends tracks in and takes them down."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grpc_service.client_calls import ServiceCalls
from grpc_service.client_types import Popularity, Tier, id_list, popularity_from
from grpc_service.packing import unpack_vectors
from grpc_service.pb.anacrusis.v1 import release_service_pb2 as release_pb

INLINE_BYTES = 4 << 20  # larger audio is streamed: below every server's message limit in use, and resent cheaply
CHUNK_BYTES = 256 << 10
_ROLES = {
    "primary": release_pb.ROLE_PRIMARY,
    "featured": release_pb.ROLE_FEATURED,
    "remixer": release_pb.ROLE_REMIXER,
}


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


class ReleaseCalls(ServiceCalls):
    """What a delivery pipeline asks; `grpc_service.client.Client` is made of this."""

    def ingest(
        self,
        track_id: str,
        *,
        artist_ids: Sequence[str],
        audio: bytes | Path | None = None,
        uri: str = "",
        title: str = "",
        roles: Sequence[str] = (),
        release_date: date | str | None = None,
        label: str = "",
        markets: Sequence[str] = (),
        isrc: str = "",
        include_vector: bool = False,
        timeout_s: float | None = None,
    ) -> Ingested:
        """Send a track in; may be sent again at any time.

        Parameters
        ----------
        track_id : str
            The platform's id.
        artist_ids : sequence of str
            Credited artists, the primary one first.
        audio : bytes or Path, optional
            The encoded file, or where it lies here; small ones travel in one message, large ones as a stream.
        uri : str, optional
            Instead of `audio`: where the file lies on the server, below one of its allowed roots.
        title, label, isrc : str, optional
            As delivered.
        roles : sequence of str, optional
            ``primary``, ``featured`` or ``remixer`` for each artist; default: the first primary, the others featured.
        release_date : datetime.date or str, optional
            ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.
        markets : sequence of str, optional
            ISO 3166-1 alpha-2 codes; default: everywhere.
        include_vector : bool, optional
            Whether the reply has the vector.
        timeout_s : float, optional
            Instead of the client's.

        Returns
        -------
        Ingested
            What became of it.

        Raises
        ------
        ValueError
            When not exactly one of `audio` and `uri` is given, or `roles` has the wrong length or an unknown role.
        OSError
            When the file cannot be read here.
        ClientError
            When the service refuses it.
        """
        if (audio is None) == (not uri):
            raise ValueError("Give either audio or uri.")
        if audio is not None and not isinstance(audio, bytes | Path):
            raise TypeError(
                f"audio is a {type(audio).__name__}; give the file's bytes, or its place as a pathlib.Path."
            )
        track = release_pb.TrackMetadata(
            track_id=track_id,
            title=title,
            credits=_credits(id_list(artist_ids, "artist_ids"), roles),
            release_date=str(release_date or ""),
            label=label,
            markets=id_list(markets, "markets"),
            isrc=isrc,
        )
        if isinstance(audio, Path):
            size = audio.stat().st_size
            if size <= INLINE_BYTES:
                audio = audio.read_bytes()
        else:
            size = len(audio or b"")
        if audio is None or (isinstance(audio, bytes) and size <= INLINE_BYTES):
            request = release_pb.IngestTrackRequest(track=track, include_vector=include_vector)
            if audio is None:
                request.uri = uri
            else:
                request.inline = audio
            return ingested_from(self._policy.unary(self._releases.IngestTrack, request, timeout_s))
        header = release_pb.UploadHeader(track=track, size_bytes=size, include_vector=include_vector)
        whole = audio
        response = self._policy.run(
            lambda left, metadata: self._releases.UploadTrack(_upload(header, whole), timeout=left, metadata=metadata),
            timeout_s=timeout_s,
        )
        return ingested_from(response)

    def withdraw(self, track_ids: Sequence[str], reason: str = "", *, timeout_s: float | None = None) -> list[str]:
        """Take tracks out of every answer for good.

        Parameters
        ----------
        track_ids : sequence of str
            Unknown ones are kept out, too.
        reason : str, optional
            For the record.
        timeout_s : float, optional
            Instead of the client's.

        Returns
        -------
        list of str
            Those that were not withdrawn before.
        """
        request = release_pb.WithdrawTracksRequest(track_ids=id_list(track_ids, "track_ids"), reason=reason)
        response = self._policy.unary(self._releases.WithdrawTracks, request, timeout_s)
        return list(response.newly_withdrawn_track_ids)


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
        popularity=popularity_from(track),
    )


def _credits(artist_ids: Sequence[str], roles: Sequence[str]) -> list[release_pb.Credit]:
    if roles and len(roles) != len(artist_ids):
        raise ValueError(f"There are {len(artist_ids)} artists and {len(roles)} roles; give one role for each.")
    unknown = set(roles) - _ROLES.keys()
    if unknown:
        raise ValueError(f"Role {sorted(unknown)[0]!r} is unknown; the roles are {', '.join(_ROLES)}.")
    numbers = [_ROLES[role] for role in roles] or [release_pb.ROLE_UNSPECIFIED] * len(artist_ids)
    return [
        release_pb.Credit(artist_id=artist_id, role=number)
        for artist_id, number in zip(artist_ids, numbers, strict=True)
    ]


def _upload(header: release_pb.UploadHeader, audio: bytes | Path) -> Iterator[release_pb.UploadTrackRequest]:
    """Yield the messages of an upload; made anew for every try."""
    yield release_pb.UploadTrackRequest(header=header)
    with io.BytesIO(audio) if isinstance(audio, bytes) else audio.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield release_pb.UploadTrackRequest(chunk=chunk)
