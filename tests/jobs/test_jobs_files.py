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
    path.write_bytes(b'{"track_id": \n[1]\n\xff\xfe\n' + json.dumps(ROW).encode() + b'\n{"track_id": "x"}\n')
    manifest = read_manifest(path)
    assert [release.track_id for release in manifest.releases] == ["one"]
    assert [one.row for one in manifest.refused] == [1, 2, 3, 5]


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


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no manifest at"):
        read_manifest(tmp_path / "nowhere.csv")


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
    ],
)
def test_factors_that_cannot_be_taken(tmp_path: Path, table: dict[str, list[object]], sentence: str) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(FactorsError, match=sentence):
        read_factors(path, id_column="track_id")


def test_ids_beside_a_matrix_must_be_there_and_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", VECTORS)
    with pytest.raises(FactorsError, match="needs its ids"):
        read_factors(tmp_path / "items.npy", id_column="track_id")
    (tmp_path / "items.ids").write_text("a\nb")
    with pytest.raises(FactorsError, match="2 ids for 3 vectors"):
        read_factors(tmp_path / "items.npy", id_column="track_id")
