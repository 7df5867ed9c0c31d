"""The command line as a person or a job uses it: what it prints, writes, and exits with."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import CommandLine
from hostile_audio import HOSTILE
from made_catalogue import DIM, audio_bytes, warm_factors, warm_releases

from artist_transfer import FitOptions, RankingOptions
from index import Store


def write_manifest(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_factors(folder: Path, vectors: np.ndarray, ids: list[str], name: str = "factors.parquet") -> Path:
    path = folder / name
    columns = {"track_id": pa.array(ids, pa.string()), "vector": pa.array(list(vectors), pa.list_(pa.float32()))}
    pq.write_table(pa.table(columns), path)
    return path


def test_from_a_manifest_and_factors_to_neighbours(anacrusis: CommandLine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    rows = []
    for one in warm_releases():
        (tmp_path / f"{one.track_id}.wav").write_bytes(one.audio)  # type: ignore[arg-type]
        rows.append({"track_id": one.track_id, "artist_ids": one.artist_ids[0], "audio": f"{one.track_id}.wav"})
    (tmp_path / "new.flac").write_bytes(audio_bytes(330.0, fmt="FLAC"))
    rows.append({"track_id": "new", "artist_ids": "ada;ben", "audio": "new.flac"})
    taken = anacrusis.json("ingest", write_manifest(tmp_path, rows), "--home", home)
    assert (anacrusis.code, taken["created"], taken["refused"]) == (0, 13, [])
    assert "Stored but not served" in str(taken["note"])

    factors = warm_factors()
    imported = anacrusis.json(
        "--home", home, "space", "import", "als-1", write_factors(tmp_path, factors.vectors, factors.ids.tolist())
    )
    assert (imported["track_count"], imported["dim"], imported["known_share"]) == (12, DIM, 1.0)
    trained = anacrusis.json("--home", home, "train", "--max-epochs", 2)
    assert trained["method"] == "artist_mean"
    assert trained["interactions"] is None
    published = anacrusis.json("--home", home, "space", "publish", "als-1")
    assert published["tiers"] == {"collaborative": 12, "artist_transfer": 1}
    assert published["model_id"] == trained["model_id"]

    asked = anacrusis.json("--home", home, "neighbors", "--track", "new", "-k", 3, "--tier", "collaborative")
    assert len(asked["neighbors"]) == 3  # type: ignore[arg-type]
    assert asked["snapshot_id"] == published["snapshot_id"]
    assert anacrusis("--home", home, "neighbors", "--track", "new") == 0
    assert "ada-0" in anacrusis.out

    again = anacrusis.json("ingest", tmp_path / "manifest.csv", "--home", home)
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 13)

    assert anacrusis("--home", home, "withdraw", "new", "--reason", "rights") == 0
    assert anacrusis("--home", home, "neighbors", "--track", "new") == 2
    assert "withdrawn" in anacrusis.err

    unchanged = anacrusis.json("--home", home, "refresh")
    assert (unchanged["published"], unchanged["snapshot_id"]) == (False, published["snapshot_id"])
    with Store.open(home) as store:  # as if the track had moved
        (row,) = store.served_vectors("als-1", ["ada-0"]).values()
        store.replace_served("als-1", [row], as_of=store.fresh_version("als-1"))
    anacrusis.json("--home", home, "refresh")
    listed = anacrusis.json("--home", home, "space", "list")
    assert [one["published"] for one in listed["snapshots"]] == [False, True]  # type: ignore[attr-defined]
    rolled_back = anacrusis.json("--home", home, "space", "rollback")
    assert rolled_back["snapshot_id"] == published["snapshot_id"]
    assert anacrusis("--home", home, "neighbors", "--track", "new") == 2
    assert anacrusis("--home", home, "space", "rollback") == 2
    assert "NO_ROLLBACK" in anacrusis.err


def test_popularity_is_imported_shown_and_damped(anacrusis: CommandLine, home: Path, tmp_path: Path) -> None:
    factors = warm_factors()
    path = write_factors(tmp_path, factors.vectors, factors.ids.tolist())
    plays = pa.array([None, *range(1000, 12_000, 1000)], pa.int64())
    pq.write_table(pq.read_table(path).append_column("plays", plays), path)
    imported = anacrusis.json("--home", home, "space", "import", "als-2", path, "--popularity-column", "plays")
    assert imported["popularity_share"] == pytest.approx(11 / 12)
    anacrusis.json("--home", home, "space", "publish", "als-2")
    asked = anacrusis.json("--home", home, "neighbors", "--track", "ben-0", "-k", 11)
    found = {one["track_id"]: one["popularity"] for one in asked["neighbors"]}  # type: ignore[attr-defined]
    assert found["ada-0"] is None
    assert found["ada-1"] == {"listens": 1000.0, "low": 1000.0, "high": 1000.0}
    assert anacrusis("--home", home, "neighbors", "--track", "ben-0", "-k", 11) == 0
    assert "11,000" in anacrusis.out
    damped = anacrusis.json("--home", home, "neighbors", "--track", "ben-0", "-k", 11, "--popularity-damping", 1)
    unit = factors.vectors / np.linalg.norm(factors.vectors, axis=1, keepdims=True)
    cosines = dict(zip(factors.ids.tolist(), (unit @ unit[3]).tolist(), strict=True))
    order = [one["track_id"] for one in damped["neighbors"]]  # type: ignore[attr-defined]
    assert order == sorted(set(cosines) - {"ben-0"}, key=lambda track_id: -cosines[track_id])
    assert anacrusis("--home", home, "space", "import", "als-3", path, "--popularity-column", "listens") == 2
    assert "lacks the column listens" in anacrusis.err
    assert anacrusis("--home", home, "space", "import", "cos", path, "--metric", "cosine") == 0
    assert "the popularity of 0% is known" in anacrusis.err
    assert anacrusis("--home", home, "space", "publish", "cos") == 0
    assert anacrusis("--home", home, "neighbors", "--track", "ben-0", "--popularity-damping", "0.5") == 2
    assert "compares by cosine" in anacrusis.err


@pytest.mark.parametrize("what", HOSTILE)
def test_bad_audio_in_a_manifest_is_listed_and_the_good_rows_go_in(
    anacrusis: CommandLine, home: Path, tmp_path: Path, what: str
) -> None:
    make, reason = HOSTILE[what]
    (tmp_path / "bad.wav").write_bytes(make())
    (tmp_path / "good.wav").write_bytes(audio_bytes(330.0))
    rows = [{"track_id": name, "artist_ids": "ada", "audio": f"{name}.wav"} for name in ("bad", "good")]
    result = anacrusis.json("--home", home, "ingest", write_manifest(tmp_path, rows))
    assert (anacrusis.code, result["created"]) == (3, 1)
    assert [(one["track_id"], one["reason"]) for one in result["refused"]] == [("bad", reason)]  # type: ignore[attr-defined]
    assert "refused row 1 'bad'" in anacrusis.err
    assert anacrusis("--home", home, "neighbors", "--track", "good") == 0
    assert anacrusis("--home", home, "neighbors", "--track", "bad") == 2


def test_duplicates_and_missing_files_are_listed(anacrusis: CommandLine, home: Path, tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(audio_bytes(330.0))
    rows = [
        {"track_id": "good", "artist_ids": "ada", "audio": "good.wav"},
        {"track_id": "good", "artist_ids": "ben", "audio": "good.wav"},
        {"track_id": "gone", "artist_ids": "ada", "audio": "gone.wav"},
        {"track_id": "", "artist_ids": "ada", "audio": "good.wav"},
    ]
    result = anacrusis.json("--home", home, "ingest", write_manifest(tmp_path, rows))
    assert (anacrusis.code, result["created"]) == (3, 1)
    assert [(one["row"], one["reason"]) for one in result["refused"]] == [  # type: ignore[attr-defined]
        (2, "RELEASE_INVALID"),
        (3, "AUDIO_FILE_MISSING"),
        (4, "RELEASE_INVALID"),
    ]


def test_what_is_probably_a_slip_is_said(anacrusis: CommandLine, home: Path, tmp_path: Path) -> None:
    (tmp_path / "new.wav").write_bytes(audio_bytes(330.0))
    rows = [{"track_id": "new", "artist_ids": "ada", "audio": "new.wav", "market": "DE"}]
    result = anacrusis.json("--home", home, "ingest", write_manifest(tmp_path, rows))
    assert result["columns_left_alone"] == ["market"]
    assert "columns left alone: 'market'; those that are read" in anacrusis.err
    result = anacrusis.json("--home", home, "withdraw", "new", "nwe")
    assert result == {"withdrawn": ["new", "nwe"], "never_ingested": ["nwe"], "already_withdrawn": []}
    assert "is each id spelt as you mean it?" in anacrusis.err
    factors = write_factors(tmp_path, np.eye(2, DIM, dtype=np.float32), ["x", "y"])
    assert anacrusis("--home", home, "space", "import", "tiny", factors) == 0
    assert anacrusis("--home", home, "space", "publish", "tiny") == 0
    assert "holds 2 tracks, the one before held 12" in anacrusis.out


def test_a_manifest_without_its_columns_makes_no_home(anacrusis: CommandLine, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, [{"track_id": "x", "artist_ids": "ada"}])
    assert anacrusis("--home", tmp_path / "home", "ingest", manifest) == 2
    assert "lacks the column audio" in anacrusis.err
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--track", "nobody's"), "TRACK_NOT_FOUND"),
        (("--track", "ada-0", "-k", "0"), "K_OUT_OF_RANGE"),
        (("--track", "ada-0", "-k", "10000000"), "K_OUT_OF_RANGE"),
        (("--track", "ada-0", "--space", "old"), "SPACE_MISMATCH"),
        (("--vector", "[1, 2]"), "VECTOR_INVALID"),
        (("--vector", "[NaN, 1, 1, 1, 1, 1, 1, 1]"), "VECTOR_INVALID"),
        (("--user", "nobody"), "USER_NOT_FOUND"),
        (("--track", "ada-0", "--max-per-artist", "0"), "QUERY_INVALID"),
        (("--track", "ada-0", "--popularity-damping", "1.1"), "QUERY_INVALID"),
        (("--track", "ada-0", "--popularity-damping", "nan"), "QUERY_INVALID"),
        (("--track", "ada-0", "--released-from", "2025-01-01", "--released-to", "2024-01-01"), "FILTER_INVALID"),
    ],
)
def test_bad_questions_exit_with_two_and_a_sentence(
    anacrusis: CommandLine, home: Path, arguments: tuple[str, ...], reason: str
) -> None:
    assert anacrusis("--home", home, "neighbors", *arguments) == 2
    assert f"[{reason}]" in anacrusis.err
    assert "Traceback" not in anacrusis.err


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda vectors, ids: (np.where(vectors == vectors[0, 0], np.nan, vectors), ids), "NaN"),
        (lambda vectors, ids: (vectors, [ids[0], ids[0], *ids[2:]]), "stands in rows 1 and 2"),
        (lambda vectors, ids: ([*vectors[:-1], vectors[-1][:-1]], ids), "dimensions"),
        (lambda vectors, ids: ([], []), "no vectors"),
    ],
)
def test_bad_factors_are_refused_whole(
    anacrusis: CommandLine, home: Path, tmp_path: Path, change: object, sentence: str
) -> None:
    factors = warm_factors()
    vectors, ids = change(factors.vectors, factors.ids.tolist())  # type: ignore[operator]
    assert anacrusis("--home", home, "space", "import", "als-2", write_factors(tmp_path, vectors, ids)) == 2
    assert sentence in anacrusis.err
    listed = anacrusis.json("--home", home, "space", "list")
    assert [one["space_id"] for one in listed["spaces"]] == ["space-1"]  # type: ignore[attr-defined]


def test_encode_writes_one_row_a_file_and_lists_what_it_refused(anacrusis: CommandLine, tmp_path: Path) -> None:
    good, bad, out = tmp_path / "good.wav", tmp_path / "bad.mp3", tmp_path / "vectors.parquet"
    good.write_bytes(audio_bytes(seconds=7.0))
    bad.write_bytes(b"no music")
    result = anacrusis.json("encode", good, bad, "--out", out, "--raw")
    assert (anacrusis.code, result["encoded"]) == (3, 1)
    table = pq.read_table(out)
    assert table["audio"].to_pylist() == [str(good)]
    widths = {name: len(table[name][0]) for name in table.column_names if name != "audio"}
    assert widths == {"content": 753, "sigmoid": 50, "penultimate": 200, "mean_pool": 753, "max_pool": 753}
    assert anacrusis("encode", good, "--out", out, "--max-seconds", 3.1) == 0
    assert not np.allclose(pq.read_table(out)["content"][0].as_py(), table["content"][0].as_py())


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("[server]\nprt = 1\n", "server.prt: there is no such key"),
        ("[server]\nport = 'x'\n", "server.port"),
        ("[server]\nport = 70000\n", "0 to 65535"),
        ("[audio]\nmax_duration_s = -1\n", "max_duration_s"),
        ("encoder =", "is no TOML"),
        ("colour = 'red'\n", "colour: there is no such key"),
    ],
)
def test_a_wrong_configuration_stops_with_a_sentence(
    anacrusis: CommandLine, home: Path, tmp_path: Path, setting: str, sentence: str
) -> None:
    config = tmp_path / "anacrusis.toml"
    config.write_text(setting)
    assert anacrusis("--config", config, "--home", home, "serve") == 2
    assert sentence in anacrusis.err


def test_the_environment_overrides_the_file(
    anacrusis: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "anacrusis.toml"
    config.write_text("encoder = 'musicnn-mtt'\n[server]\nport = 1\n")
    monkeypatch.setenv("ANACRUSIS_ENCODER", "no-such-encoder")
    assert anacrusis("--config", config, "--home", home, "train") == 2
    assert "no-such-encoder" in anacrusis.err
    monkeypatch.setenv("ANACRUSIS_SERVER__PORTT", "1")
    assert anacrusis("--config", config, "--home", home, "train") == 2
    assert "ANACRUSIS_SERVER__PORTT names no setting" in anacrusis.err


def test_a_folder_that_is_no_home_is_named(anacrusis: CommandLine, tmp_path: Path) -> None:
    assert anacrusis("--home", tmp_path / "nowhere", "neighbors", "--track", "x") == 2
    assert "nowhere" in anacrusis.err
    assert anacrusis("neighbors", "--track", "x") == 2
    assert "--home" in anacrusis.err


def test_the_encoder_bench_reports_each_stage(anacrusis: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    result = anacrusis.json("bench", "encode", "--tracks", 1, "--repeats", 1)
    assert [stage["stage"] for stage in result["stages"]] == ["decode", "encode", "together"]  # type: ignore[attr-defined]
    assert [part["part"] for part in result["parts"]] == ["decode", "front end", "network"]  # type: ignore[attr-defined]
    assert sum(part["share"] for part in result["parts"]) == pytest.approx(1.0)  # type: ignore[attr-defined]
    assert result["audio_s"] == pytest.approx(30.0, abs=0.1)
    monkeypatch.setattr("anacrusis.bench.encode.bench_encode", lambda *_, **__: result)  # once is enough
    assert anacrusis("bench", "encode", "--tracks", 1, "--repeats", 1) == 0
    assert "times real time" in anacrusis.out


def test_training_says_what_serves_and_why(anacrusis: CommandLine, home: Path) -> None:
    before = anacrusis.json("--home", home, "refresh")
    assert "no transfer was fitted" in str(before["why"])
    trained = anacrusis.json("--home", home, "train")
    assert (trained["method"], trained["space_id"]) == ("artist_mean", "space-1")
    assert "only 12 warm tracks" in str(trained["why"])
    assert anacrusis.json("--home", home, "refresh")["why"] == trained["why"]
    forced = anacrusis.json("--home", home, "train", "--method", "acarec", "--max-epochs", 2, "--seed", 1)
    assert forced["method"] == "acarec"
    assert "told to use it" in str(forced["why"])
    assert anacrusis("--home", home, "train", "--method", "magic") == 2
    assert "auto, ranking, acarec or artist_mean" in anacrusis.err
    assert anacrusis("--home", home, "train", "--space", "nowhere") == 2
    assert "SPACE_NOT_FOUND" in anacrusis.err


def test_training_learns_from_listeners(
    anacrusis: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = RankingOptions(steps=3, members=1, hidden=8, heads=2)
    monkeypatch.setattr("artist_transfer.FitOptions", partial(FitOptions, ranking=quick))
    listens = tmp_path / "listens.csv"
    listens.write_text("user_id,track_id\nlistener,ada-0\nlistener,ben-1\nlistener,nothing\nnobody,ada-0\n")
    command = ("--home", home, "train", "--interactions", listens)
    trained = anacrusis.json(*command, "--method", "ranking")
    assert trained["method"] == "ranking"
    assert trained["interactions"] == {
        "rows": 4,
        "unknown_users": 1,
        "not_warm": 1,
        "entries": 2,
        "listeners": 1,
        "tracks": 2,
    }
    assert anacrusis.json("--home", home, "refresh")["model_id"] == trained["model_id"]
    assert anacrusis(*command) == 0
    assert "2 different listens by 1 users" in anacrusis.out.replace("\n", " ")
    assert anacrusis(*command, "--method", "acarec") == 2
    assert "learns from no listener" in anacrusis.err
    listens.write_text("user_id,track_id\nnobody,ada-0\n")
    assert anacrusis(*command) == 2
    assert "None of the 1 rows" in anacrusis.err
    assert "INTERACTIONS_INVALID" in anacrusis.err
