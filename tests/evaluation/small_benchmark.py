"""A benchmark folder whose right answers are obvious: artists are clusters, content says which one, users like some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ARTISTS, TRACKS_EACH, USERS, DIM = 36, 8, 90, 6
NEW_ARTISTS = 8  # the last ones: none of their tracks is warm


def tables(seed: int = 0) -> dict[str, dict[str, list[Any]]]:
    """The four files as columns; each track's split, artist and vector fit together."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(ARTISTS, DIM))
    to_content = rng.normal(size=(DIM, DIM))
    liked = np.stack([rng.permutation(ARTISTS)[:4] for _ in range(USERS)])
    users = centres[liked].mean(axis=1)
    columns: dict[str, dict[str, list[Any]]] = {
        "tracks": {name: [] for name in ("track_id", "artist_ids", "roles", "content", "split")},
        "interactions": {name: [] for name in ("user_id", "track_id", "split")},
        "item_factors": {"track_id": [], "vector": []},
        "user_factors": {"user_id": [f"u{user}" for user in range(USERS)], "vector": users.tolist()},
    }
    for row in range(ARTISTS * TRACKS_EACH):
        artist, number = divmod(row, TRACKS_EACH)
        if artist >= ARTISTS - NEW_ARTISTS:
            split = "cold_val" if artist % 2 else "cold_test"
        else:
            split = {6: "cold_val", 7: "cold_test"}.get(number, "warm")
        vector = centres[artist] + 0.1 * rng.normal(size=DIM)
        content = vector @ to_content + 0.1 * rng.normal(size=DIM)
        featured = [f"a{(artist + 1) % ARTISTS}"] if number % 6 == 5 else []
        track_id = f"t{row:03d}"
        columns["tracks"]["track_id"].append(track_id)
        columns["tracks"]["artist_ids"].append([f"a{artist}", *featured])
        columns["tracks"]["roles"].append(["primary", *("featured" for _ in featured)])
        columns["tracks"]["content"].append(content.tolist() if row % 5 else None)
        columns["tracks"]["split"].append(split)
        if split == "warm":
            columns["item_factors"]["track_id"].append(track_id)
            columns["item_factors"]["vector"].append(vector.tolist())
        for user in range(USERS):
            # Half of what is by an artist they like; and, so that every user is warm, everything of their first one.
            if artist in liked[user] and (rng.random() < 0.5 or artist == liked[user].min()):
                columns["interactions"]["user_id"].append(f"u{user}")
                columns["interactions"]["track_id"].append(track_id)
                columns["interactions"]["split"].append(split)
    return columns


def write_folder(folder: Path, columns: dict[str, dict[str, list[Any]]] | None = None) -> Path:
    """Write a folder; a table of None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (tables() if columns is None else columns).items():
        if table is not None:
            pq.write_table(pa.table(table), folder / f"{name}.parquet")
    return folder
