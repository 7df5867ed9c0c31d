"""Homes full of made tracks for the measurements, written through the doors that users use.

What is made is shaped like what a platform has, and says nothing about quality: vectors are clustered by artist, ids
are 22 characters long, catalogues follow a power law, a projected row leans on as many tracks as a real one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.vectors import TRACKS_AN_ARTIST
from artist_transfer.model import LEANED_ON
from index import FeedbackAction, FeedbackEvent, Popularity, ServedVector, Tier, TrackRecord
from jobs.factors import Factors

SPACE_ID = "made"
ID_CHARACTERS = 22
LABELS = 1000
FIRST_DAY = date(1990, 1, 1)
DAYS = 13_000


def made_id(kind: str, number: int) -> str:
    """Make an id as platforms have them: of even length, and of no order that would compress well."""
    return hashlib.blake2b(f"{kind}{number}".encode()).hexdigest()[:ID_CHARACTERS]


@dataclass(frozen=True, eq=False)
class MadeCatalogue:
    """Tracks, the first ones warm.

    Parameters
    ----------
    tracks : int
    warm : int
        How many of them have a collaborative vector.
    dim : int
    seed : int
    """

    tracks: int
    warm: int
    dim: int
    seed: int = 0

    def ids(self) -> list[str]:
        """Ids of all tracks."""
        return [made_id("track", number) for number in range(self.tracks)]

    def artist_numbers(self) -> NDArray[np.int64]:
        """Give the primary artist of each track: few artists have many tracks."""
        rng = np.random.default_rng(self.seed)
        artists = max(self.tracks // TRACKS_AN_ARTIST, 1)
        return np.minimum((artists * rng.random(self.tracks) ** 2).astype(np.int64), artists - 1)

    def vectors(self) -> NDArray[np.float32]:
        """Vectors of all tracks, float32 of shape (tracks, dim), an artist's lying together."""
        rng = np.random.default_rng(self.seed + 1)
        artist = self.artist_numbers()
        centres = rng.normal(size=(int(artist.max()) + 1, self.dim)).astype(np.float32)
        return np.asarray(0.7 * centres[artist] + 0.7 * rng.standard_normal((self.tracks, self.dim), np.float32))

    def factors(self) -> Factors:
        """Give the training of the warm tracks, with their listens."""
        listens = np.random.default_rng(self.seed + 2).zipf(1.5, self.warm).clip(max=10**9).astype(np.float32)
        return Factors(np.array(self.ids()[: self.warm], np.str_), self.vectors()[: self.warm], listens)

    def users(self, count: int) -> Factors:
        """Give some listeners' vectors."""
        rng = np.random.default_rng(self.seed + 3)
        ids = np.array([made_id("user", number) for number in range(count)], np.str_)
        return Factors(ids, rng.standard_normal((count, self.dim), np.float32))

    def records(self) -> list[TrackRecord]:
        """Metadata of all tracks: one artist each, and a guest on every third."""
        days = np.random.default_rng(self.seed + 4).integers(0, DAYS, self.tracks).tolist()
        artists = self.artist_numbers().tolist()
        records = []
        for number, (track_id, artist) in enumerate(zip(self.ids(), artists, strict=True)):
            guest = (
                (made_id("artist", artists[number - 1]),) if number % 3 == 0 and artists[number - 1] != artist else ()
            )
            records.append(
                TrackRecord(
                    track_id=track_id,
                    title=f"A Title of Common Length {number}",
                    artist_ids=(made_id("artist", artist), *guest),
                    roles=("primary", *("featured" for _ in guest)),
                    release_date=FIRST_DAY + timedelta(days=days[number]),
                    label=f"Label Number {artist % LABELS}",
                    isrc=f"XX{number:010d}",
                    audio_sha256=hashlib.sha256(track_id.encode()).hexdigest(),
                    audio_uri=f"file:///deliveries/{track_id}.flac",
                )
            )
        return records

    def projected(self, records: Sequence[TrackRecord], first: int) -> Iterator[ServedVector]:
        """Give rows as a projection of cold tracks makes them; `first` is the number of the first of `records`."""
        rng = np.random.default_rng([self.seed + 5, first])
        vectors = rng.standard_normal((len(records), self.dim), np.float32)
        leaned = rng.integers(0, max(self.warm, 1), (len(records), LEANED_ON)).tolist()
        weights = np.sort(rng.dirichlet(np.ones(LEANED_ON), len(records)))[:, ::-1].tolist()
        for row, record in enumerate(records):
            listens = float(rng.integers(1, 1000))
            yield ServedVector(
                track_id=record.track_id,
                vector=vectors[row],
                tier=Tier.ARTIST_TRANSFER,
                confidence=0.5,
                model_id="ranking-0123456789abcdef",
                catalogue_size=TRACKS_AN_ARTIST,
                leaned_on=tuple((made_id("track", n), w) for n, w in zip(leaned[row], weights[row], strict=True)),
                basis=record.basis,
                catalogue_basis=record.audio_sha256[:16],
                popularity=Popularity(listens, listens / 4, listens * 4),
            )

    def events(self, track_ids: Sequence[str], users: int, count: int, first: int) -> list[FeedbackEvent]:
        """Give plays and skips of some tracks by users of `users`; events of another `first` are other ones."""
        rng = np.random.default_rng([self.seed + 6, first])
        return [
            FeedbackEvent(
                track_id=track_ids[int(rng.integers(len(track_ids)))],
                user_id=made_id("user", int(rng.integers(users))),
                action=FeedbackAction.PLAY if rng.random() < 0.7 else FeedbackAction.SKIP,
                session_position=int(rng.integers(1, 30)),
                event_id=made_id("event", first + number),
            )
            for number in range(count)
        ]
