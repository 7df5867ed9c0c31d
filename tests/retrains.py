"""A home with a served training, and retrains of it: turned, longer, noisy; content that nobody had to hear."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from index import TrackRecord, WriteBatch
from jobs import Engine
from jobs.factors import Factors
from jobs.spaces import import_space
from jobs.train import train_space

ENCODER_ID = "made"
ARTISTS, WARM_EACH, COLD_EACH, DIM, CONTENT_DIM = 40, 4, 1, 8, 5
WARM = [f"a{artist:02d}-w{one}" for artist in range(ARTISTS) for one in range(WARM_EACH)]
COLD = [f"a{artist:02d}-c{one}" for artist in range(ARTISTS) for one in range(COLD_EACH)]
USERS = [f"u{one:02d}" for one in range(30)]


def artist_of(track_id: str) -> str:
    """The artist that a track credits."""
    return track_id.split("-")[0]


def record(track_id: str, **fields: Any) -> TrackRecord:
    """A stored track, as an ingest leaves it."""
    given = {"artist_ids": (artist_of(track_id),), "audio_sha256": f"{hash_of(track_id):064x}", **fields}
    return TrackRecord(track_id, title=track_id, **given)


def hash_of(track_id: str) -> int:
    """A number for a track, always the same."""
    return int.from_bytes(track_id.encode()) % 2**61


def content(track_id: str) -> np.ndarray:
    """What the encoder would have heard."""
    return np.random.default_rng(hash_of(track_id)).normal(size=CONTENT_DIM).astype(np.float32)


def hear(engine: Engine, track_ids: list[str], *, unheard: bool = False) -> None:
    """Store tracks with their content, or without."""
    heard = [] if unheard else [(one, content(one)) for one in track_ids]
    engine.store.commit(
        WriteBatch(tracks=[record(one) for one in track_ids], content={ENCODER_ID: heard} if heard else {})
    )


def first_training() -> np.ndarray:
    """An artist's tracks lie together; shape (len(WARM), DIM)."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(ARTISTS, DIM)), WARM_EACH, axis=0)
    return (centres + 0.4 * rng.normal(size=centres.shape)).astype(np.float32)


def turned(vectors: np.ndarray, *, dim: int = DIM, scale: float = 2.0, noise: float = 0.0, seed: int = 1) -> np.ndarray:
    """The same training in other coordinates."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(max(dim, vectors.shape[1]),) * 2))[0][: vectors.shape[1], :dim]
    after = scale * vectors @ rotation
    return (after + noise * rng.normal(size=after.shape)).astype(np.float32)


def bring(
    engine: Engine,
    space_id: str,
    vectors: np.ndarray,
    track_ids: list[str] | None = None,
    *,
    metric: str = "inner_product",
    seed: int = 0,
) -> None:
    """Import a training with users of its own."""
    ids = np.array(WARM if track_ids is None else track_ids)
    users = np.random.default_rng(seed).normal(size=(len(USERS), vectors.shape[1])).astype(np.float32)
    import_space(engine, space_id, Factors(ids, vectors), Factors(np.array(USERS), users), metric=metric)


def open_engine(home: Path, *, create: bool = False) -> Engine:
    """Open a home with the made encoder, which hears nothing more."""
    engine = Engine.open(home, create=create, device="cpu")
    engine._encoder = SimpleNamespace(encoder_id=ENCODER_ID, content_dim=CONTENT_DIM)  # type: ignore[assignment]
    return engine


def serve_first(engine: Engine, *, metric: str = "inner_product", method: str = "artist_mean") -> None:
    """Hear everything, bring the first training, fit a transfer, publish."""
    hear(engine, WARM + COLD)
    bring(engine, "old", first_training(), metric=metric)
    if method:
        train_space(engine, "old", method=method)
    engine.refresh(space_id="old")
