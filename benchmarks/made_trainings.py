"""A made catalogue, trainings of one recommender on it, and a home folder in which the first of them is served."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from index import TrackRecord, WriteBatch
from index.schemas import vector_column
from jobs import Engine
from jobs.factors import Factors
from jobs.spaces import import_space
from jobs.train import train_space

ARTIST_TRACKS = 8
USERS = 200
SAMPLE_RATE_HZ = 16_000
# Two trainings differ by more than a rotation: by noise, by a scale, by tracks that come and go.
_NOISE = 0.1
_SCALE = 1.3
_GONE_SHARE = 0.05
_GRADUATED_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class Training:
    """One training of the recommender.

    Attributes
    ----------
    space_id : str
    items, users : Factors
    """

    space_id: str
    items: Factors
    users: Factors

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write the files that ``space import`` takes: of items, and of users."""
        paths = folder / f"{self.space_id}.parquet", folder / f"{self.space_id}-users.parquet"
        for path, key, factors in zip(paths, ("track_id", "user_id"), (self.items, self.users), strict=True):
            pq.write_table(pa.table({key: factors.ids, "vector": vector_column(factors.vectors)}), path)
        return paths


class MadeCatalogue:
    """Artists with eight tracks each, of which the last of every fifth artist are cold in the first training.

    Parameters
    ----------
    artists : int
    dim : int
        Of what the listeners' taste is made of.
    """

    def __init__(self, artists: int, dim: int) -> None:
        rng = np.random.default_rng(0)
        self._artists = np.repeat(np.arange(artists), ARTIST_TRACKS)
        centres = rng.normal(size=(artists, dim))
        self._tastes = centres[self._artists] + 0.4 * rng.normal(size=(len(self._artists), dim))
        self._tastes *= rng.lognormal(sigma=0.4, size=(len(self._artists), 1))
        self._listeners = centres[rng.integers(artists, size=USERS)] + 0.2 * rng.normal(size=(USERS, dim))
        place = np.arange(len(self._artists)) % ARTIST_TRACKS
        cold = (place >= ARTIST_TRACKS - 2) | ((self._artists % 5 == 0) & (place >= ARTIST_TRACKS // 2))
        self._ids = np.array([f"t{artist:05d}-{number}" for artist, number in zip(self._artists, place, strict=True)])
        self.warm_ids, self.cold_ids = self._ids[~cold], self._ids[cold]
        self.user_ids = np.array([f"u{number:04d}" for number in range(USERS)])

    def training(self, space_id: str, dim: int, seed: int) -> Training:
        """Train: seed 0 gives the first one, of all warm tracks; others rotate, change, drop some and add cold ones."""
        rng = np.random.default_rng(seed)
        warm = np.isin(self._ids, self.warm_ids)
        if seed:
            chance = rng.random(len(warm))
            warm = np.where(warm, chance >= _GONE_SHARE, chance < _GRADUATED_SHARE)
        tastes, listeners = self._tastes[warm], self._listeners
        if seed:
            tastes, listeners = (one + _NOISE * rng.normal(size=one.shape) for one in (tastes, listeners))
        size = max(dim, tastes.shape[1])
        rotation = np.linalg.qr(rng.normal(size=(size, size)))[0][: tastes.shape[1], :dim] * (_SCALE if seed else 1.0)
        return Training(
            space_id,
            Factors(self._ids[warm], (tastes @ rotation).astype(np.float32)),
            Factors(self.user_ids, (listeners @ rotation).astype(np.float32)),
        )

    def serve(self, home: Path, first: Training, method: str) -> None:
        """Make a home in which all tracks are heard and the first training is published, and fitted by a method."""
        with Engine.open(home, create=True, device="cpu") as engine:
            encoder = engine.encoder
            rng = np.random.default_rng(1)
            mixing = rng.normal(size=(self._tastes.shape[1], encoder.dim)) / np.sqrt(self._tastes.shape[1])
            heard = np.abs(self._tastes @ mixing + 0.5 * rng.normal(size=(len(self._ids), encoder.dim)))
            tracks = [
                TrackRecord(
                    track_id,
                    title=track_id,
                    artist_ids=(f"a{artist:05d}",),
                    audio_sha256=hashlib.sha256(track_id.encode()).hexdigest(),
                )
                for track_id, artist in zip(self._ids.tolist(), self._artists, strict=True)
            ]
            content = list(zip(self._ids.tolist(), heard.astype(np.float32), strict=True))
            engine.store.commit(WriteBatch(tracks=tracks, content={encoder.encoder_id: content}))
            import_space(engine, first.space_id, first.items, first.users)
            if method:
                train_space(engine, first.space_id, method=method)
            engine.refresh(space_id=first.space_id)


def audio_bytes(seed: int, seconds: float = 3.2) -> bytes:
    """Make a short piece of noise around a tone."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tone = np.sin(2 * np.pi * rng.uniform(100, 1000) * time_s)
    buffer = io.BytesIO()
    soundfile.write(buffer, (0.3 * tone + 0.05 * rng.normal(size=time_s.size)), SAMPLE_RATE_HZ, format="WAV")
    return buffer.getvalue()
