"""Manifests and factor files, in every layout and with everything that can be wrong with them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import FactorsError, ManifestError, ReleaseError, parse_release_date
from jobs.factors import read_factors
from jobs.manifest import read_manifest

ROW = {
    "track_id": "one",
    "title": "One",
    "artist_ids": ["ada", "ben"],
    "roles": ["primary", "remixer"],
    "release_date": "2024-05",
    "markets": ["DE", "FR"],
    "isrc": "de-abc-24-00001",
    "audio": "one.wav",
    "colour": "a column of their own",
}


def joined(row: dict[str, object]) -> dict[str, str]:
    return {key: ";".join(value) if isinstance(value, list) else str(value) for key, value in row.items()}


def write(folder: Path, layout: str, rows: list[dict[str, object]]) -> Path:
    path = folder / f"manifest.{layout}"
    if layout == "csv":
        lines = [",".join(rows[0]), *(",".join(joined(row).values()) for row in rows)]
        path.write_text("\n".join(lines), encoding="utf-8-sig")
    elif layout == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("layout", ["csv", "jsonl", "parquet"])
def test_every_layout_reads_the_same(tmp_path: Path, layout: str) -> None:
    manifest = read_manifest(write(tmp_path, layout, [ROW]))
    assert manifest.refused == []
    (release,) = manifest.releases
    assert (release.track_id, release.title, release.artist_ids) == ("one", "One", ("ada", "ben"))
    assert (release.roles, release.markets) == (("primary", "remixer"), ("DE", "FR"))
    assert (release.release_date, release.isrc) == (date(2024, 5, 1), "DEABC2400001")
    assert release.audio == tmp_path / "one.wav"
    assert release.audio_uri == "one.wav"
    assert manifest.left_alone == ("colour",)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"artist_ids": []}, "artist"),
        ({"artist_ids": ["ada", "ada"]}, "twice"),
        ({"roles": ["primary"]}, "roles"),
        ({"roles": ["primary", "drummer"]}, "drummer"),
        ({"markets": ["Germany", "FR"]}, "Germany"),
        ({"isrc": "X"}, "ISRC"),
        ({"release_date": "2024-02-30"}, "no date"),
        ({"audio": "https://example.org/one.wav"}, "file:///"),
        ({"audio": ""}, "audio"),
        ({"track_id": "a\x00b"}, "printable"),
        ({"track_id": "x" * 300}, "256"),
        ({"title": "x" * 2000}, "1024"),
        ({"title": "a\x00b"}, "null character"),
        ({"release_date": "2024 -"}, "no date"),
        ({"title": "\ud800"}, "title of track 'one' is not valid Unicode"),
        ({"label": "\ud800"}, "label of track 'one' is not valid Unicode"),
        ({"audio": "\ud800.wav"}, "not valid Unicode"),
        ({"track_id": "\ud800"}, "printable"),
        ({"track_id": True}, "bool"),
        ({"release_date": {"year": 2024}}, "dict"),
        ({"release_date": json.loads("[" * 600 + "]" * 600)}, "list"),
    ],
)
def test_a_wrong_row_is_refused_and_says_why(tmp_path: Path, wrong: dict[str, object], field: str) -> None:
    manifest = read_manifest(write(tmp_path, "jsonl", [{**ROW, **wrong}, {**ROW, "track_id": "two"}]))
    assert [release.track_id for release in manifest.releases] == ["two"]
    assert manifest.rows == [2]
    (refused,) = manifest.refused
    assert (refused.row, refused.reason) == (1, "RELEASE_INVALID")
    assert field in refused.message


def test_json_lines_that_are_none_are_refused_alone(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    lines = [b'{"track_id": ', b"[1]", b"\xff\xfe", json.dumps(ROW).encode(), b'{"track_id": "x"}']
    lines += [b'{"track_id": ' + b"1" * 5000 + b"}", b"[" * 100_000]
    path.write_bytes(b"\n".join(lines))
    manifest = read_manifest(path)
    assert [release.track_id for release in manifest.releases] == ["one"]
    assert [one.row for one in manifest.refused] == [1, 2, 3, 5, 6, 7]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("m.csv", b"", "empty"),
        ("m.csv", b"track_id,title\nx,y\n", "lacks the columns artist_ids, audio"),
        ("m.csv", b"track_id,artist_ids,audio\n\xff\xfe\x00,a,b\n", "UTF-8"),
        ("m.parquet", b"PAR1 and then nothing", "Parquet"),
        ("m.xlsx", b"x", "has to end in"),
    ],
)
def test_a_manifest_that_cannot_be_read_at_all(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=sentence):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize("name", ["nowhere.csv", "", "\x00.csv", "a" * 300 + ".csv", "m.csv/x.csv"])
def test_a_path_that_is_no_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.csv").write_text("x")
    with pytest.raises(ManifestError, match="no manifest at"):
        read_manifest(tmp_path / name)
    with pytest.raises(FactorsError, match="no factor file at"):
        read_factors(tmp_path / name, id_column="track_id")


NOT_UTF8 = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe"))
PARQUET_ROW = {"track_id": ["one"], "artist_ids": [["ada"]], "audio": ["one.wav"]}


@pytest.mark.parametrize(
    ("column", "day"),
    [
        (pa.array([date(2024, 5, 1)], pa.date32()), date(2024, 5, 1)),
        (pa.array([date(2024, 5, 1)], pa.date64()), date(2024, 5, 1)),
        (pa.array([1_714_608_000_000_000_001], pa.timestamp("ns")), date(2024, 5, 2)),
        (pa.array([1_714_521_599_999], pa.timestamp("ms", "UTC")), date(2024, 4, 30)),
        (pa.array([-1], pa.timestamp("us")), date(1969, 12, 31)),
        (pa.array([None], pa.timestamp("s")), None),
        (pa.array([2024]), date(2024, 1, 1)),
    ],
)
def test_dates_of_parquet_count_by_their_day(tmp_path: Path, column: pa.Array, day: date | None) -> None:
    path = tmp_path / "m.parquet"
    # A column of theirs holds a date that Python has none for.
    pq.write_table(pa.table({**PARQUET_ROW, "release_date": column, "theirs": pa.array([10**8], pa.date32())}), path)
    (release,) = read_manifest(path).releases
    assert release.release_date == day


@pytest.mark.parametrize(
    "column",
    [
        {"release_date": pa.array([10**8], pa.date32())},
        {"release_date": pa.array([10**18], pa.timestamp("ms"))},
        {"title": NOT_UTF8},
    ],
)
def test_parquet_that_holds_what_cannot_be_is_refused(tmp_path: Path, column: dict[str, pa.Array]) -> None:
    pq.write_table(pa.table({**PARQUET_ROW, **column}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="no readable Parquet"):
        read_manifest(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    ("text", "day"), [("2024", "2024-12-31"), ("2024-02", "2024-02-29"), ("2024-02-03", "2024-02-03")]
)
def test_the_end_of_a_range_is_the_last_day_of_its_period(text: str, day: str) -> None:
    assert str(parse_release_date(text, last=True)) == day


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_a_date_or_a_release_error(text: str) -> None:
    try:
        day = parse_release_date(text)
    except ReleaseError:
        return
    assert day is None or str(day).startswith(text.strip()[:4])


VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2)
IDS = ["a", "b", "c"]


@pytest.mark.parametrize("layout", ["parquet", "fixed.parquet", "npy", "jsonl"])
def test_factors_of_every_layout_read_the_same(tmp_path: Path, layout: str) -> None:
    path = tmp_path / f"items.{layout}"
    if layout == "npy":
        np.save(path, VECTORS.astype(np.float64))
        path.with_suffix(".ids").write_text("\n".join(IDS))
    elif layout == "jsonl":
        rows = zip(IDS, VECTORS.tolist(), strict=True)
        path.write_text("\n".join(json.dumps({"track_id": one, "vector": row}) for one, row in rows))
    else:
        kind = pa.list_(pa.float32(), 2) if layout.startswith("fixed") else pa.list_(pa.float64())
        pq.write_table(pa.table({"track_id": IDS, "vector": pa.array(VECTORS.tolist(), kind)}), path)
    factors = read_factors(path, id_column="track_id")
    assert factors.ids.tolist() == IDS
    np.testing.assert_array_equal(factors.vectors, VECTORS)


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "items.ids").write_text("a")
    with pytest.raises(FactorsError, match="cannot be read"):
        read_factors(tmp_path / "items.npy", id_column="track_id")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"track": IDS, "vector": VECTORS.tolist()}, "lacks the column track_id"),
        ({"track_id": IDS, "vector": [1.0, 2.0, 3.0]}, "lists of floats"),
        ({"track_id": IDS, "vector": [["x"], ["y"], ["z"]]}, "not numbers"),
        ({"track_id": [*IDS[:2], None], "vector": VECTORS.tolist()}, "1 empty ids"),
        ({"track_id": IDS, "vector": [[1e300, 1.0]] * 3}, "infinity"),
        ({"track_id": ["a", "", "c"], "vector": VECTORS.tolist()}, "row 2 has an empty id"),
        ({"track_id": ["a", "b\x00", "c"], "vector": VECTORS.tolist()}, "row 2 has 'b.x00' for an id"),
        ({"track_id": ["a", "b", "c" * 257], "vector": VECTORS.tolist()}, "row 3 has 'ccc"),
        ({"track_id": [True, False, True], "vector": VECTORS.tolist()}, "ids are of type bool"),
        ({"track_id": IDS, "vector": [[True, False]] * 3}, "not numbers"),
        ({"track_id": NOT_UTF8, "vector": [[1.0]]}, "no readable Parquet"),
    ],
)
def test_factors_that_cannot_be_taken(tmp_path: Path, table: dict[str, list[object]], sentence: str) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(FactorsError, match=sentence):
        read_factors(path, id_column="track_id")


@pytest.mark.parametrize(
    "line",
    [
        {"track_id": None, "vector": [1.0]},
        {"track_id": ["b"], "vector": [1.0]},
        {"track_id": True, "vector": [1.0]},
        {"track_id": "b", "vector": "123"},
        {"track_id": "b", "vector": [True]},
        {"track_id": "b", "vector": ["1"]},
        {"track_id": "b", "vector": [10**400]},
        {"track_id": "b", "vector": {"0": 1.0}},
        {"vector": [1.0]},
        ["b", [1.0]],
    ],
)
def test_a_line_that_is_no_id_and_vector_is_named(tmp_path: Path, line: object) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({"track_id": 7, "vector": [1]}) + "\n\n" + json.dumps(line))
    with pytest.raises(FactorsError, match="line 3"):
        read_factors(path, id_column="track_id")
    path.write_text(json.dumps({"track_id": 7, "vector": [1]}))
    assert read_factors(path, id_column="track_id").ids.tolist() == ["7"]


def test_one_endless_id_does_not_make_room_for_all(tmp_path: Path) -> None:
    path = tmp_path / "items.npy"
    np.save(path, np.ones((5_001, 2)))
    path.with_suffix(".ids").write_text("\n".join([*map(str, range(5_000)), "x" * 2_000_000]))
    with pytest.raises(FactorsError, match="row 5001 has 'xxx") as refused:
        read_factors(path, id_column="track_id")
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("what", ["archive", "truncated", "head", "nothing", "boast"])
def test_a_matrix_file_that_is_none(tmp_path: Path, what: str) -> None:
    path = tmp_path / "items.npy"
    path.with_suffix(".ids").write_text("a\nb\nc")
    np.save(path, VECTORS)
    whole = path.read_bytes()
    np.savez(tmp_path / "items.npz", VECTORS)
    contents = {
        "archive": (tmp_path / "items.npz").read_bytes(),
        "truncated": whole[:-4],
        "head": whole[:20],
        "nothing": b"",
        "boast": whole.replace(b"(3, 2)", b"(9" + b"9" * 25 + b", 2)").replace(b" " * 26, b"", 1),
    }
    path.write_bytes(contents[what])
    with pytest.raises(FactorsError, match="cannot be read"):
        read_factors(path, id_column="track_id")


def test_ids_beside_a_matrix_must_be_there_and_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", VECTORS)
    with pytest.raises(FactorsError, match="needs its ids"):
        read_factors(tmp_path / "items.npy", id_column="track_id")
    (tmp_path / "items.ids").write_text("a\nb")
    with pytest.raises(FactorsError, match="2 ids for 3 vectors"):
        read_factors(tmp_path / "items.npy", id_column="track_id")
