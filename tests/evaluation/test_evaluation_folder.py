"""Benchmark folders: what is read out of a good one, and what is said about a bad one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_benchmark import tables, write_folder

from artist_transfer import NO_DATE
from jobs.errors import BenchmarkError
from jobs.evaluation.benchmark_folder import read_benchmark
from jobs.evaluation.parquet_columns import decade_column
from jobs.progress import Progress

Tables = dict[str, Any]


def test_a_folder_is_read_as_it_is(benchmark):
    columns = tables()
    split_of = dict(zip(columns["tracks"]["track_id"], columns["tracks"]["split"], strict=True))
    warm_ids = [one for one, split in split_of.items() if split == "warm"]
    assert benchmark.warm.track_ids.tolist() == warm_ids
    assert benchmark.factors == "given"
    np.testing.assert_allclose(benchmark.warm.collaborative, columns["item_factors"]["vector"], rtol=1e-6)
    assert sorted(benchmark.splits) == ["cold_test", "cold_val"]
    pairs = set(zip(columns["interactions"]["user_id"], columns["interactions"]["track_id"], strict=True))
    found = {
        (str(benchmark.user_ids[user]), str(tracks.track_ids[track]))
        for tracks, entries in [
            (benchmark.warm, benchmark.warm_entries),
            *((split.tracks, split.entries) for split in benchmark.splits.values()),
        ]
        for user, track in entries.tolist()
    }
    assert found == pairs
    known = [content is not None for content in columns["tracks"]["content"]]
    is_warm = [split == "warm" for split in columns["tracks"]["split"]]
    assert benchmark.warm.content_known.tolist() == [k for k, w in zip(known, is_warm, strict=True) if w]
    listeners = [sum(track == one for _, track in pairs) for one in warm_ids]
    assert benchmark.warm.popularity.tolist() == listeners


def test_order_of_files_does_not_matter(benchmark, tmp_path: Path):
    columns = tables()
    for name in ("interactions", "item_factors", "user_factors"):
        columns[name] = {key: values[::-1] for key, values in columns[name].items()}
    again = read_benchmark(write_folder(tmp_path, columns))
    np.testing.assert_array_equal(again.warm.collaborative, benchmark.warm.collaborative)
    np.testing.assert_array_equal(again.users, benchmark.users)
    np.testing.assert_array_equal(again.warm_entries, benchmark.warm_entries)


def test_a_track_twice_in_a_playlist_is_one_listener(benchmark, tmp_path: Path):
    columns = tables()
    for values in columns["interactions"].values():
        values.append(values[0])
    again = read_benchmark(write_folder(tmp_path, columns))
    np.testing.assert_array_equal(again.warm.popularity, benchmark.warm.popularity)


def test_without_factors_a_space_is_trained(tmp_path: Path):
    """Said aloud, the same for the same seed, and better than chance at what it was trained on."""
    columns = tables() | {"item_factors": None, "user_factors": None}
    write_folder(tmp_path, columns)
    told: list[Progress] = []
    found = read_benchmark(tmp_path, on_progress=told.append)
    assert found.factors == "trained"
    assert any("no factors" in one.detail for one in told)
    assert found.warm.dim == found.users.shape[1] == 128
    again = read_benchmark(tmp_path)
    np.testing.assert_array_equal(again.users, found.users)
    scores = found.users @ found.warm.collaborative.T
    heard = np.zeros(scores.shape, dtype=bool)
    heard[tuple(found.warm_entries.T)] = True
    assert scores[heard].mean() > scores[~heard].mean() + scores.std()


def test_other_cold_splits_and_missing_columns_are_taken(tmp_path: Path):
    columns = tables()
    for name in ("tracks", "interactions"):
        columns[name]["split"] = [split.replace("cold_test", "cold_later") for split in columns[name]["split"]]
    del columns["tracks"]["roles"], columns["tracks"]["content"]
    found = read_benchmark(write_folder(tmp_path, columns))
    assert sorted(found.splits) == ["cold_later", "cold_val"]
    assert not found.warm.content_known.any()


def _set(table: str, column: str, row: int, value: Any) -> Callable[[Tables], None]:
    def change(columns: Tables) -> None:
        columns[table][column][row] = value

    return change


def _drop_row(table: str, row: int) -> Callable[[Tables], None]:
    def change(columns: Tables) -> None:
        for values in columns[table].values():
            del values[row]

    return change


def _drop_column(table: str, column: str) -> Callable[[Tables], None]:
    def change(columns: Tables) -> None:
        del columns[table][column]

    return change


def _drop(table: str) -> Callable[[Tables], None]:
    def change(columns: Tables) -> None:
        columns[table] = None

    return change


def _all(table: str, column: str, of: Callable[[Any], Any]) -> Callable[[Tables], None]:
    def change(columns: Tables) -> None:
        columns[table][column] = [of(value) for value in columns[table][column]]

    return change


def _empty(table: str) -> Callable[[Tables], None]:
    def change(columns: Tables) -> None:
        columns[table] = {name: pa.array([], pa.string()) for name in columns[table]}

    return change


def _factor_of_a_cold_track(columns: Tables) -> None:
    cold = columns["tracks"]["split"].index("cold_test")
    columns["item_factors"]["track_id"].append(columns["tracks"]["track_id"][cold])
    columns["item_factors"]["vector"].append(columns["item_factors"]["vector"][0])


def _no_entries_of_val(columns: Tables) -> None:
    kept = [row for row, split in enumerate(columns["interactions"]["split"]) if split != "cold_val"]
    columns["interactions"] = {name: [values[row] for row in kept] for name, values in columns["interactions"].items()}


BAD = {
    "no tracks": (_drop("tracks"), "tracks.parquet", "needs it"),
    "no interactions": (_drop("interactions"), "interactions.parquet", "needs it"),
    "one factor file": (_drop("user_factors"), "user_factors.parquet", "or neither"),
    "no artists": (_drop_column("tracks", "artist_ids"), "tracks.parquet", "lacks the column artist_ids"),
    "no split of entries": (_drop_column("interactions", "split"), "interactions.parquet", "lacks the column split"),
    "no vectors": (_drop_column("item_factors", "vector"), "item_factors.parquet", "lacks the column vector"),
    "empty tracks": (_empty("tracks"), "tracks.parquet", "no rows"),
    "artists as text": (_all("tracks", "artist_ids", lambda _: "a1"), "tracks.parquet", "lists of texts"),
    "an empty artist": (_set("tracks", "artist_ids", 3, [""]), "tracks.parquet", "without an id"),
    "a gap among artists": (_set("tracks", "artist_ids", 3, ["a1", None]), "row 4", "empty place"),
    "unknown role": (_set("tracks", "roles", 0, ["singer"]), "tracks.parquet", "primary, featured"),
    "roles too short": (_set("tracks", "roles", 5, ["primary"]), "tracks.parquet", "one role for each artist"),
    "unknown split": (_set("tracks", "split", 0, "lukewarm"), "tracks.parquet", "'lukewarm' is not known"),
    "null split": (_set("tracks", "split", 1, None), "row 2", "split"),
    "no warm": (
        _all("tracks", "split", lambda one: "cold_val" if one == "warm" else one),
        "tracks.parquet",
        "no track of the split 'warm'",
    ),
    "no val": (
        _all("tracks", "split", lambda one: "cold_test" if one == "cold_val" else one),
        "tracks.parquet",
        "no track of the split 'cold_val'",
    ),
    "split of an entry": (_set("interactions", "split", 0, "cold_test"), "row 1", "write the track's split"),
    "a track twice": (_set("tracks", "track_id", 1, "t000"), "tracks.parquet", "more than once"),
    "an id that is empty": (_set("tracks", "track_id", 1, ""), "row 2", "track_id"),
    "unknown track": (_set("interactions", "track_id", 0, "nobody"), "interactions.parquet", "'nobody'"),
    "no entries": (_no_entries_of_val, "interactions.parquet", "no entry for any track of the split 'cold_val'"),
    "content of another length": (_set("tracks", "content", 1, [1.0]), "tracks.parquet", "same number"),
    "content not a number": (_set("tracks", "content", 1, [math.nan] * 6), "row 2", "NaN"),
    "content with a gap": (_set("tracks", "content", 1, [None, *[1.0] * 5]), "row 2", "gap"),
    "content as text": (_all("tracks", "content", lambda _: "loud"), "tracks.parquet", "lists of numbers"),
    "factor not finite": (_set("item_factors", "vector", 2, [math.inf] * 6), "item_factors.parquet", "infinity"),
    "factor twice": (_set("item_factors", "track_id", 1, "t000"), "item_factors.parquet", "rows 1 and 2"),
    "warm without factor": (_drop_row("item_factors", 0), "item_factors.parquet", "that of the warm track 't000'"),
    "cold with a factor": (_factor_of_a_cold_track, "item_factors.parquet", "no warm track"),
    "user without factor": (_drop_row("user_factors", 0), "user_factors.parquet", "that of the user 'u0'"),
    "two spaces": (_all("user_factors", "vector", lambda one: one[:5]), "user_factors.parquet", "of one training"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_named_with_its_remedy(case: str, tmp_path: Path):
    change, *said = BAD[case]
    columns = tables()
    change(columns)
    with pytest.raises(BenchmarkError) as raised:
        read_benchmark(write_folder(tmp_path, columns))
    for words in said:
        assert words in str(raised.value)


def test_no_folder_and_no_parquet(tmp_path: Path):
    with pytest.raises(BenchmarkError, match="no folder"):
        read_benchmark(tmp_path / "nothing")
    write_folder(tmp_path)
    (tmp_path / "tracks.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(BenchmarkError, match="no readable Parquet"):
        read_benchmark(tmp_path)


def test_ids_may_be_numbers_and_content_of_fixed_length(benchmark, tmp_path: Path):
    columns = tables()
    write_folder(tmp_path, columns)
    content = pa.array(columns["tracks"]["content"], pa.list_(pa.float32(), 6))
    table = pq.read_table(tmp_path / "tracks.parquet")
    pq.write_table(
        table.set_column(table.column_names.index("content"), "content", content), tmp_path / "tracks.parquet"
    )
    for name in ("interactions", "user_factors"):
        columns[name]["user_id"] = [int(one[1:]) for one in columns[name]["user_id"]]
        pq.write_table(pa.table(columns[name]), tmp_path / f"{name}.parquet")
    again = read_benchmark(tmp_path)
    np.testing.assert_array_equal(again.warm.content, benchmark.warm.content)
    assert set(again.user_ids) == {one[1:] for one in benchmark.user_ids}


@pytest.mark.parametrize("kind", [pa.int16(), pa.uint16(), pa.int64(), pa.uint64()])
def test_decades_of_any_whole_number_are_days_and_gaps_are_none(kind: pa.DataType):
    found = decade_column(Path("tracks.parquet"), "decade", pa.array([1970, None, 1980], kind))
    assert found.tolist() == [0, NO_DATE, 3652]


@pytest.mark.parametrize(("kind", "value"), [(pa.int8(), 90), (pa.uint8(), 90), (pa.uint64(), 2**64 - 1)])
def test_what_is_no_year_is_said_to_be_none_beside_a_gap(kind: pa.DataType, value: int):
    with pytest.raises(BenchmarkError, match=f"row 2: decade is {value}; give the first year of a decade"):
        decade_column(Path("tracks.parquet"), "decade", pa.array([None, value], kind))
