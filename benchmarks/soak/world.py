"""The catalogue and the trainings that the soak works with: everything follows from a name and a number."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anacrusis.bench.given_vectors import CONTENT_DIM, GivenVectorsEngine, audio_of
from index.schemas import vector_column
from index.types import Float32Array
from jobs import Release
from jobs.factors import Factors
from jobs.spaces import import_space

ARTISTS = tuple(f"artist-{number:02d}" for number in range(8))
WARM = tuple(f"warm-{artist}-{number}" for artist in ARTISTS for number in range(5))
WARM_ARTISTS = {name: name.rpartition("-")[0].removeprefix("warm-") for name in WARM}
USERS = tuple(f"user-{number}" for number in range(16))
_TASTE_DIM = 12
_DIMS = (12, 10)  # by turns, so that no query of one space fits the next one


def _drawn(*names: object, dim: int) -> Float32Array:
    seed = int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=dim).astype(np.float32)


def audio(track_id: str) -> bytes:
    """Make the file of a track."""
    return audio_of(np.tanh(_drawn("content", track_id, dim=CONTENT_DIM)))


def space_id(number: int) -> str:
    """Name a training."""
    return f"space-{number}"


def number_of(space: str) -> int:
    """Give the number of a training by its name."""
    return int(space.removeprefix("space-"))


def dim_of(number: int) -> int:
    """Give the dimension of a training."""
    return _DIMS[number % len(_DIMS)]


def vectors(number: int, names: tuple[str, ...] = WARM) -> Float32Array:
    """Give what a training has for tracks or users, float32 of shape (len(names), `dim_of` it)."""
    tastes = np.stack([_drawn("taste", name.rpartition("-")[0], dim=_TASTE_DIM) for name in names])
    own = np.stack([_drawn("own", name, dim=_TASTE_DIM) for name in names])
    noise = np.stack([_drawn("noise", number, name, dim=_TASTE_DIM) for name in names])
    rng = np.random.default_rng(number)
    turn = np.linalg.qr(rng.normal(size=(_TASTE_DIM, _TASTE_DIM)))[0][:, : dim_of(number)]
    found: Float32Array = ((tastes + 0.5 * own + 0.05 * noise) @ turn).astype(np.float32)
    return found


def write_training(folder: Path, number: int) -> tuple[Path, Path]:
    """Write what `space import` takes: of items, and of users."""
    paths = folder / f"{space_id(number)}.parquet", folder / f"{space_id(number)}-users.parquet"
    for path, key, names in zip(paths, ("track_id", "user_id"), (WARM, USERS), strict=True):
        pq.write_table(pa.table({key: list(names), "vector": vector_column(vectors(number, names))}), path)
    return paths


def write_manifest(folder: Path, artists: Mapping[str, str]) -> Path:
    """Write what `ingest` takes, of tracks by their artists, with their audio beside it; over the last one."""
    sounds = folder / "audio"
    sounds.mkdir(exist_ok=True)
    lines = ["track_id,artist_ids,audio"]
    for place, (track_id, artist) in enumerate(artists.items()):
        (sounds / f"{place}.wav").write_bytes(audio(track_id))
        lines.append(f"{track_id},{artist},audio/{place}.wav")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


def make_home(home: Path) -> None:
    """Make a home in which the first training is served and all its tracks are heard."""
    with GivenVectorsEngine.open(home, create=True, device="cpu") as engine:
        releases = [Release(track_id, (artist,), audio(track_id)) for track_id, artist in WARM_ARTISTS.items()]
        assert all(outcome.error is None for outcome in engine.ingest(releases))
        users = Factors(np.array(USERS), vectors(0, USERS))
        import_space(engine, space_id(0), Factors(np.array(WARM), vectors(0)), users)
        engine.refresh(space_id=space_id(0))
