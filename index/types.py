"""The records that cross this room's door: plain, frozen, made of arrays and ids; a search's are in `index.asked`."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from index.feedback import FeedbackEvent, Standing

Float32Array = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Bitmap = npt.NDArray[np.uint8]
"""One bit a row, least significant bit first: what `faiss.IDSelectorBitmap` reads."""

MAX_K = 2048
"""Largest k of a query: where the GPU's top-k selection stops (FAISS, ``getMaxKSelection``), on both devices alike."""

NO_DATE = int(np.iinfo(np.int32).min)
"""``release_day`` of a track whose release date is unknown; else days since 1970-01-01."""


class Tier(enum.IntEnum):
    """Where a served vector comes from, best first."""

    COLLABORATIVE = 1
    ARTIST_TRANSFER = 2
    AUDIO_ONLY = 3


class Metric(enum.StrEnum):
    """How a space compares vectors; scores are inner products, of unit vectors where the metric is cosine."""

    INNER_PRODUCT = "inner_product"
    COSINE = "cosine"


class PublishKind(enum.StrEnum):
    """Whether a row of the publish history went forward or back."""

    PUBLISH = "publish"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class TrackRecord:
    """A track's metadata.

    Parameters
    ----------
    track_id : str
        1 to 256 characters, none of them a control character.
    artist_ids, roles : tuple of str
        Credits, primary first; roles are "primary", "featured" or "remixer", as many as artists, or none at all
        (then the first artist counts as primary).
    release_date : date, optional
        None: unknown.
    markets : tuple of str
        Where the track may be played; empty: no restriction is known, so every market.
    audio_sha256 : str
        Hex digest of the audio bytes that the content vector was made from; empty where there was no audio.
    """

    track_id: str
    title: str = ""
    artist_ids: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    release_date: date | None = None
    label: str | None = None
    markets: tuple[str, ...] = ()
    isrc: str | None = None
    audio_sha256: str = ""
    audio_uri: str | None = None

    @property
    def basis(self) -> str:
        """Digest of what a projection of the track depends on: credits, release date, audio.

        Two records of one basis have one projection, whatever else differs in them.

        Returns
        -------
        str
            16 hexadecimal characters.
        """
        roles = self.roles or ("primary", *["featured"] * (len(self.artist_ids) - 1))[: len(self.artist_ids)]
        day = self.release_date.isoformat() if self.release_date is not None else None
        # JSON keeps the parts apart whatever they hold.
        parts = json.dumps([self.artist_ids, roles, day, self.audio_sha256])
        return hashlib.sha256(parts.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Popularity:
    """How much a track is listened to, or will be, apart from where it lies in the space.

    Parameters
    ----------
    listens : float
        At least 0, in whatever the recommender counted: listens, listeners, playlists. Of a warm track the count that
        was imported with its space; of a cold one the median of what is predicted.
    low, high : float
        ``low <= listens <= high``: nine of ten tracks lie between; of a warm track both are its count.
    """

    listens: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class ServedVector:
    """A track's vector in a space, with where it comes from.

    Parameters
    ----------
    vector : ndarray of float32, shape (dim,)
    confidence : float
        In [0, 1]; 1 for a collaborative vector.
    model_id : str
        The transfer model that predicted the vector; empty for a collaborative one.
    catalogue_size : int
        How many catalogue tracks the prediction could lean on.
    leaned_on : tuple of (track_id, weight)
        The catalogue tracks with the largest weights, descending.
    basis : str
        `TrackRecord.basis` of the record that the vector was projected from, and how much feedback it takes into
        account (`index.feedback.basis_with`); empty for a collaborative one.
    catalogue_basis : str
        Digest of what else the projection read: the model, and the catalogue tracks of the credited artists. Empty for
        a collaborative vector, and where it is not known.
    popularity : Popularity or None
        None: not known.
    """

    track_id: str
    vector: Float32Array
    tier: Tier
    confidence: float = 1.0
    model_id: str = ""
    catalogue_size: int = 0
    leaned_on: tuple[tuple[str, float], ...] = ()
    basis: str = ""
    catalogue_basis: str = ""
    popularity: Popularity | None = None


def utc_now() -> datetime:
    """Time stamp of a record: now, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class SpaceRecord:
    """One training of the recommender.

    Parameters
    ----------
    space_id : str
        ``[A-Za-z0-9][A-Za-z0-9._-]{0,63}``.
    dim : int
        Length of its vectors.
    track_count, user_count : int
        Vectors that the training brought; `Store.create_space` fills them in.
    source : str
        Free text: where the training came from.
    """

    space_id: str
    dim: int
    metric: Metric = Metric.INNER_PRODUCT
    created_at: datetime = field(default_factory=utc_now)
    track_count: int = 0
    user_count: int = 0
    source: str = ""


@dataclass(frozen=True)
class SnapshotRecord:
    """A version of a space's served vectors and the index built from it.

    Parameters
    ----------
    served_version : int
        Lance version of the served table.
    fresh_version : int
        Lance version of the fresh table up to which its rows are contained in `served_version`; rows written
        later are fresh to this snapshot.
    model_id : str
        The transfer model behind most of its projected vectors; empty where there are none.
    """

    snapshot_id: str
    space_id: str
    served_version: int
    fresh_version: int
    index_kind: str
    row_count: int
    model_id: str
    created_at: datetime


@dataclass(frozen=True)
class PublishRecord:
    """One row of the publish history; the one with the highest sequence says what is served."""

    sequence: int
    snapshot_id: str
    kind: PublishKind
    published_at: datetime


@dataclass(frozen=True)
class WriteBatch:
    """What one caller wants to be durable together.

    Parameters
    ----------
    tracks : sequence of TrackRecord
    content : mapping of encoder id to a sequence of (track_id, vector of shape (content_dim,) float32)
    fresh : mapping of space id to a sequence of ServedVector
    withdrawn : mapping of track id to reason
    feedback : sequence of FeedbackEvent
        Those whose ids are recorded already stay as they are.
    standings : sequence of Standing
    """

    tracks: Sequence[TrackRecord] = ()
    content: Mapping[str, Sequence[tuple[str, Float32Array]]] = field(default_factory=dict)
    fresh: Mapping[str, Sequence[ServedVector]] = field(default_factory=dict)
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    feedback: Sequence[FeedbackEvent] = ()
    standings: Sequence[Standing] = ()

    @property
    def row_count(self) -> int:
        """Rows over all tables."""
        vectors = sum(map(len, self.content.values())) + sum(map(len, self.fresh.values()))
        return len(self.tracks) + vectors + len(self.withdrawn) + len(self.feedback) + len(self.standings)


@dataclass(frozen=True)
class CommitReceipt:
    """What a commit did.

    Parameters
    ----------
    newly_withdrawn : tuple of str
        Ids of this batch that were not withdrawn before.
    newly_recorded : frozenset of str
        Ids of the feedback events of this batch that were not recorded before.
    """

    newly_withdrawn: tuple[str, ...] = ()
    newly_recorded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Committed:
    """What one group commit made durable, for those that keep a picture of the tables in memory.

    Parameters
    ----------
    tracks : dict of track id to TrackRecord
    tracks_version : int
        Version of the tracks table that holds them; 0 where there are none.
    fresh : dict of space id to a dict of track id to ServedVector
    fresh_versions : dict of space id to int
        Version of each space's fresh table that holds them.
    withdrawn : frozenset of str
    feedback_version : int
        Version of the feedback that holds its events; 0 where there are none.
    """

    tracks: dict[str, TrackRecord] = field(default_factory=dict)
    tracks_version: int = 0
    fresh: dict[str, dict[str, ServedVector]] = field(default_factory=dict)
    fresh_versions: dict[str, int] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()
    feedback_version: int = 0
