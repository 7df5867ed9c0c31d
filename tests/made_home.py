"""A home folder without audio: records and vectors are stored as an ingest would have stored them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from index import TrackRecord, WriteBatch
from jobs import Engine
from jobs.factors import Factors
from jobs.spaces import import_space

SPACE_ID = "space-1"
ENCODER = SimpleNamespace(encoder_id="made")  # all that a refresh wants of an encoder is its id
CONTENT_DIM, DIM = 4, 6
ARTISTS = ("ada", "ben", "cleo", "dana")
WARM = tuple(f"warm-{artist}-{number}" for artist in ARTISTS for number in range(4))
USERS = ("u0", "u1", "u2")


def drawn(name: str, dim: int) -> np.ndarray:
    """A vector that follows from a name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=dim).astype(np.float32)


def record(track_id: str, *artists: str, audio: str = "") -> TrackRecord:
    """A track's metadata; `audio` stands for the hash of its audio."""
    return TrackRecord(track_id, title=track_id.title(), artist_ids=artists, audio_sha256=audio or track_id)


def hear(engine: Engine, *records: TrackRecord) -> None:
    """Store tracks and what the encoder makes of their audio, and project none of them."""
    content = [(one.track_id, drawn(f"content of {one.audio_sha256}", CONTENT_DIM)) for one in records]
    engine.store.commit(WriteBatch(tracks=records, content={ENCODER.encoder_id: content}))


def open_engine(home: Path, *, create: bool = False) -> Engine:
    """Open a home; whoever calls this has put `ENCODER` in the place of `encoders.load_encoder`'s answer."""
    return Engine.open(home, create=create, encoder="made", device="cpu")


def import_training(engine: Engine, space_id: str = SPACE_ID, seed: str = "first") -> None:
    """A training that places all of `WARM`, whether they were heard or not, and three users."""
    items = Factors(np.array(WARM), np.stack([drawn(f"{seed} {track_id}", DIM) for track_id in WARM]))
    users = Factors(np.array(USERS), np.stack([drawn(f"{seed} {user_id}", DIM) for user_id in USERS]))
    import_space(engine, space_id, items, users)


def fill_home(home: Path) -> None:
    """Three warm tracks of each artist are heard, the fourth is not; two cold tracks each; all of it published."""
    with open_engine(home, create=True) as engine:
        hear(engine, *(record(track_id, track_id.split("-")[1]) for track_id in WARM if not track_id.endswith("-3")))
        hear(engine, *(record(f"cold-{artist}-{number}", artist) for artist in ARTISTS for number in range(2)))
        import_training(engine)
        engine.refresh()


def train(engine: Engine, space_id: str = SPACE_ID) -> str:
    """Fit the artist mean on what is warm now, and keep it; gives its id."""
    from jobs.train import train_space

    return train_space(engine, space_id, method="artist_mean").model.model_id
