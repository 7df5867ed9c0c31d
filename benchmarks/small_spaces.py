"""From how many tracks on does a trained network beat the artist mean? The figures behind `min_train_tracks`.

Run it with ``python -m benchmarks.small_spaces FOLDER [--sizes 34 80 200] [--json FILE]``. FOLDER holds
``tracks.parquet`` (track_id, artist_ids, content) and ``item_factors.parquet`` (track_id, vector) of a real
recommender. Spaces of each size are cut out of it, whole artists at a time, reduced to 16 dimensions by principal
components as small platforms have them, a tenth of their tracks is left out of everything and projected, and the ten
neighbours of each projected vector are compared with those of the true one.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from artist_transfer import NO_DATE, Catalogue, Credits, FitOptions, WarmTracks, fit

DIM = 16
K = 10
MIN_ARTIST_TRACKS, MAX_ARTIST_TRACKS = 3, 8
SPACES = 12
METHODS = ("ranking", "acarec", "auto", "artist_mean")


def read(folder: Path) -> tuple[list[str], list[tuple[str, ...]], np.ndarray, np.ndarray]:
    """Ids, artists, content (standardised) and vectors of the tracks that have all of them."""
    vectors = pq.read_table(folder / "item_factors.parquet")
    row_of = {track_id: row for row, track_id in enumerate(vectors["track_id"].to_pylist())}
    rows = [
        row
        for row in pq.read_table(folder / "tracks.parquet", columns=["track_id", "artist_ids", "content"]).to_pylist()
        if row["track_id"] in row_of and row["content"] is not None and None not in row["content"]
    ]
    content = np.array([row["content"] for row in rows], np.float32)
    factors = np.stack(vectors["vector"].to_numpy(zero_copy_only=False))
    return (
        [row["track_id"] for row in rows],
        [tuple(row["artist_ids"]) for row in rows],
        (content - content.mean(axis=0)) / content.std(axis=0),
        factors[[row_of[row["track_id"]] for row in rows]].astype(np.float32),
    )


def cut(size: int, seed: int, data: tuple[list[str], list[tuple[str, ...]], np.ndarray, np.ndarray]) -> WarmTracks:
    """One small space: artists drawn at random until there are `size` tracks."""
    ids, artists, content, factors = data
    tracks_of: dict[str, list[int]] = {}
    for row, names in enumerate(artists):
        tracks_of.setdefault(names[0], []).append(row)
    candidates = [rows for rows in tracks_of.values() if len(rows) >= MIN_ARTIST_TRACKS]
    chosen: list[int] = []
    for place in np.random.default_rng(seed).permutation(len(candidates)):
        chosen += candidates[place][:MAX_ARTIST_TRACKS]
        if len(chosen) >= size:
            break
    centred = factors[chosen] - factors[chosen].mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:DIM]
    return WarmTracks(
        "small",
        "descriptors",
        np.array([ids[row] for row in chosen]),
        content[chosen],
        centred @ axes.T,
        Credits.from_lists([artists[row] for row in chosen]),
        np.full(len(chosen), NO_DATE, np.int32),
    )


def overlap(others: np.ndarray, projected: np.ndarray, true: np.ndarray) -> float:
    """Share of the true vector's K nearest (by cosine) among the projected one's."""
    directions = others / np.linalg.norm(others, axis=1, keepdims=True)
    found, wanted = (set(np.argsort(-(directions @ query))[:K].tolist()) for query in (projected, true))
    return len(found & wanted) / K


def measure(size: int, data: Any) -> dict[str, Any]:
    """Mean overlap of each method over spaces of one size, and how often `auto` took the network."""
    overlaps: dict[str, list[float]] = {method: [] for method in METHODS}
    networks = 0
    for seed in range(SPACES):
        space = cut(size, seed, data)
        left_out = np.random.default_rng(seed).permutation(len(space))[: max(6, len(space) // 10)]
        known, targets = space.without(left_out), space.as_cold(left_out)
        for method in METHODS:
            # With a small min_train_tracks, so that `auto` decides on held-out tracks also where it would not be asked.
            model = fit(known, replace(FitOptions(), method=method, min_train_tracks=16))
            networks += method == "auto" and model.method == "ranking"
            vectors = model.project(targets, Catalogue(known)).vectors
            overlaps[method] += [
                overlap(known.collaborative, vector, space.collaborative[row])
                for vector, row in zip(vectors, left_out, strict=True)
            ]
    figures = {method: {"mean": float(np.mean(v)), "tracks": len(v)} for method, v in overlaps.items()}
    return {"size": size, "spaces": SPACES, "auto_took_the_network": int(networks), "overlap_at_10": figures}


def main() -> None:
    """Print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[34, 80, 200])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = read(arguments.folder)
    results = []
    print(f"{'tracks':>6} " + " ".join(f"{method:>12}" for method in METHODS) + "  auto took the network")
    for size in arguments.sizes:
        result = measure(size, data)
        results.append(result)
        means = " ".join(f"{result['overlap_at_10'][method]['mean']:12.3f}" for method in METHODS)
        print(f"{size:6d} {means}  {result['auto_took_the_network']} of {SPACES} times", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
