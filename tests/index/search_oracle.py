"""The plainest possible search, to hold the real one against, and catalogues whose scores are exact in float16."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

import numpy as np

from index import Filters, Metric, ServedVector, Tier, TrackRecord


@dataclass
class OracleRow:
    vector: np.ndarray
    tier: Tier
    confidence: float
    track: TrackRecord


def whole_vectors(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Whole numbers so small that float16 holds them, and float32 their inner products, exactly."""
    return rng.integers(-8, 9, size=(n, dim)).astype(np.float32)


def served(
    track_id: str, vector: np.ndarray, tier: Tier = Tier.ARTIST_TRANSFER, confidence: float = 0.5
) -> ServedVector:
    return ServedVector(
        track_id, np.asarray(vector, dtype=np.float32), tier, confidence, "model-1", 3, (("a", 0.75), ("b", 0.25))
    )


def passes(row: OracleRow, filters: Filters | None) -> bool:
    if filters is None:
        return True
    track, day = row.track, row.track.release_date
    if filters.released_from is not None and (day is None or day < filters.released_from):
        return False
    if filters.released_to is not None and (day is None or day > filters.released_to):
        return False
    if filters.artists_in and not filters.artists_in & set(track.artist_ids):
        return False
    if filters.artists_out & set(track.artist_ids):
        return False
    if filters.tiers and row.tier not in filters.tiers:
        return False
    return not (filters.market is not None and track.markets and filters.market not in track.markets)


def oracle_search(
    rows: dict[str, OracleRow],
    query: np.ndarray,
    k: int,
    *,
    filters: Filters | None = None,
    exclude: Collection[str] = (),
    max_per_artist: int | None = None,
    metric: Metric = Metric.INNER_PRODUCT,
    damping: float = 0.0,
    mean_length: float = 1.0,
) -> list[tuple[str, float]]:
    """Ids and scores, best first, ties by id; damped ones rounded as float32 rounds them."""
    scored = []
    for track_id, row in rows.items():
        if track_id in exclude or not passes(row, filters):
            continue
        score = float(row.vector @ query)
        if metric is Metric.COSINE:
            score /= float(np.linalg.norm(row.vector) * np.linalg.norm(query))
        if damping:
            score = float(np.float32(score) * damping_weight(row.vector, damping, mean_length))
        scored.append((-score, track_id))
    taken: dict[str, int] = {}
    hits = []
    for score, track_id in sorted(scored):
        track = rows[track_id].track
        if max_per_artist is not None and track.artist_ids:
            at = track.roles.index("primary") if "primary" in track.roles else 0
            artist = track.artist_ids[at]
            taken[artist] = taken.get(artist, 0) + 1
            if taken[artist] > max_per_artist:
                continue
        hits.append((track_id, -score))
    return hits[:k]


def damping_weight(vector: np.ndarray, damping: float, mean_length: float) -> np.float32:
    """``(1 - d) + d mu / |x|``; a vector of zeros has the score 0 whatever its weight."""
    length = np.sqrt(float((vector.astype(np.float64) ** 2).sum()))
    relative = np.float32(mean_length / length) if length else np.float32(0)
    return np.float32(1 - damping) + np.float32(damping) * relative


def day(number: int) -> date:
    return date.fromordinal(date(2020, 1, 1).toordinal() + number)
