"""Who listened to what, on its way from a file into a training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_catalogue import warm_factors

from artist_transfer import FitOptions, Interactions, RankingOptions
from jobs import Engine
from jobs.errors import InteractionsError
from jobs.factors import Factors
from jobs.interactions_file import read_interactions
from jobs.projector import warm_tracks
from jobs.spaces import import_space
from jobs.train import train_space

Row = tuple[object, object]

# Three users have vectors; 7 is the second, and stranger and "" are none. new is no track of the space.
ROWS: list[Row] = [
    ("listener", "ada-0"),
    ("listener", "ben-2"),
    ("listener", "ada-0"),
    ("stranger", "ada-0"),
    ("7", "new"),
    ("07", "dana-1"),
    ("", "dana-1"),
]


def as_csv(path: Path, rows: list[Row]) -> Path:
    path = path.with_suffix(".csv")
    lines = ["timestamp,track_id,user_id", *(f'"a, b",{track},{user}' for user, track in rows)]
    path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def as_jsonl(path: Path, rows: list[Row]) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("\n\n".join(json.dumps({"user_id": user, "track_id": track, "x": []}) for user, track in rows))
    return path


def as_parquet(path: Path, rows: list[Row]) -> Path:
    path = path.with_suffix(".parquet")
    users, tracks = (pa.array([row[place] for row in rows], pa.string()) for place in (0, 1))
    pq.write_table(pa.table({"playlist_id": users.dictionary_encode(), "track_id": tracks, "weight": users}), path)
    return path


@pytest.fixture
def listened(engine: Engine) -> Engine:
    """A space in which three users have vectors."""
    factors = warm_factors()
    import_space(engine, "space-2", factors, Factors(np.array(["listener", "7", "07"]), factors.vectors[:3]))
    return engine


def read(engine: Engine, path: Path, space_id: str = "space-2") -> tuple[Interactions, dict[str, int]]:
    warm = warm_tracks(engine.store, space_id, engine.encoder.encoder_id)
    assert warm is not None
    interactions, report = read_interactions(path, engine.store, warm)
    return interactions, report.as_dict()


@pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet])
def test_what_can_be_learned_from_is_kept_and_the_rest_counted(
    listened: Engine, tmp_path: Path, write: Callable[[Path, list[Row]], Path]
) -> None:
    interactions, report = read(listened, write(tmp_path / "listens", ROWS))
    assert report == {"rows": 7, "unknown_users": 2, "not_warm": 1, "entries": 3, "listeners": 2, "tracks": 3}
    warm = warm_tracks(listened.store, "space-2", listened.encoder.encoder_id)
    ids, vectors = listened.store.user_vectors("space-2")
    heard = {
        (ids[int(np.argmin(np.abs(vectors - interactions.users[user]).sum(axis=1)))], str(warm.track_ids[track]))  # type: ignore[union-attr]
        for user, track in interactions.entries
    }
    assert heard == {("listener", "ada-0"), ("listener", "ben-2"), ("07", "dana-1")}


def test_whole_numbers_are_ids_too(listened: Engine, tmp_path: Path) -> None:
    path = tmp_path / "listens.parquet"
    pq.write_table(pa.table({"user_id": [7, 7, None], "track_id": ["ada-0", "ben-0", "ben-0"]}), path)
    assert read(listened, path)[1]["entries"] == 2
    (tmp_path / "listens.ndjson").write_text('{"user_id": 7, "track_id": "ada-0"}\n{"track_id": null}\n')
    assert read(listened, tmp_path / "listens.ndjson")[1]["unknown_users"] == 1


def content(path: Path, text: bytes) -> Path:
    path.write_bytes(text)
    return path


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("none.csv", None, "is not there"),
        ("empty.csv", b"", "is empty"),
        ("listens.txt", b"user_id", "has to end in"),
        ("header.csv", b"user_id,track_id\n", "has no rows"),
        ("header.csv", b"who,track_id\nx,y\n", "lacks the column user_id; it has who, track_id"),
        ("header.csv", b"user,track\nx,y\n", "lacks the columns user_id, track_id"),
        ("ragged.csv", b"user_id,track_id\nx,y,z\n", "no readable csv file"),
        ("latin.csv", b"user_id,track_id\n\xff,y\n", "no readable csv file"),
        ("broken.jsonl", b'{"user_id": "x", "track_id": "y"}\n{', "line 2"),
        ("list.jsonl", b'["x", "y"]', "line 1"),
        ("pairs.jsonl", b'[["user_id", "listener"], ["track_id", "ada-0"]]', "line 1: an object"),
        ("float.jsonl", b'{"user_id": 1.5, "track_id": "y"}', "line 1"),
        ("surrogate.jsonl", b'{"user_id": "\\ud800", "track_id": "y"}', "no readable jsonl file"),
        ("other.jsonl", b'{"user": "x"}', "lacks the columns user_id, track_id; it has user"),
        ("broken.parquet", b"PAR1 not at all", "no readable parquet file"),
        ("useless.csv", b"user_id,track_id\nstranger,ada-0\n7,new\n", "None of the 2 rows"),
    ],
)
def test_what_cannot_be_taken_is_named(
    listened: Engine, tmp_path: Path, name: str, text: bytes | None, sentence: str
) -> None:
    path = tmp_path / name if text is None else content(tmp_path / name, text)
    with pytest.raises(InteractionsError, match=sentence):
        read(listened, path)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pa.table({"user_id": [1.5], "track_id": ["x"]}), "of type double"),
        (pa.table([["x"], ["y"], ["z"]], names=["user_id", "track_id", "user_id"]), "no readable parquet"),
        (pa.table({"user_id": pa.array([], pa.string()), "track_id": pa.array([], pa.string())}), "has no rows"),
    ],
)
def test_tables_that_cannot_be_taken_are_named(
    listened: Engine, tmp_path: Path, table: pa.Table, sentence: str
) -> None:
    pq.write_table(table, tmp_path / "listens.parquet")
    with pytest.raises(InteractionsError, match=sentence):
        read(listened, tmp_path / "listens.parquet")


def test_a_space_without_users_says_how_to_bring_them(engine: Engine, tmp_path: Path) -> None:
    import_space(engine, "space-3", warm_factors())
    with pytest.raises(InteractionsError, match="--users"):
        read(engine, as_csv(tmp_path / "listens", ROWS), "space-3")


def test_a_training_learns_from_them(listened: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import artist_transfer

    # The default network has more steps than this test has time.
    quick = RankingOptions(steps=3, hidden=8)
    monkeypatch.setattr(artist_transfer, "FitOptions", lambda **given: FitOptions(**given, ranking=quick))
    path = as_csv(tmp_path / "listens", ROWS)
    done = train_space(listened, "space-2", method="ranking", interactions=path)
    without = train_space(listened, "space-2", method="ranking")
    assert done.interactions is not None
    assert done.interactions.entries == 3
    assert without.interactions is None
    assert done.model.method == without.model.method == "ranking"
    assert done.model.model_id != without.model.model_id
    assert Path(done.folder).name == done.model.model_id
    with pytest.raises(InteractionsError, match="acarec learns from no listener"):
        train_space(listened, "space-2", method="acarec", interactions=path)
