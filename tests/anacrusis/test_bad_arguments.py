"""What a person can get wrong on the command line: exit code 2 and a sentence, before any work is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from made_catalogue import DIM, audio_bytes

from anacrusis import cli
from encoders import EncoderError
from index import StoreError

LONG = "a" * 300  # longer than any file name may be


def words(text: str) -> str:
    """Undo the folding and the frame of usage errors."""
    return " ".join(text.replace("│", " ").split())


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys; sys.argv = ['anacrusis', '--help']\n"
        "from anacrusis.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as stopped:\n"
        "    print(stopped.code, [name for name in ('torch', 'faiss', 'lance') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "'PASSIVE'"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "'ACTIVE'"), ({"GOMP_SPINCOUNT": "5"}, "'5'")],
)
def test_waiting_threads_sleep_unless_told_otherwise(own: dict[str, str], expected: str) -> None:
    script = "import sys; sys.argv = ['anacrusis', '--version']\nfrom anacrusis.cli import main\n"
    script += "try:\n    main()\nexcept SystemExit:\n    import faiss"  # which loads OpenMP, which tells what it reads
    others = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=others | own | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = dict(line.strip().split(" = ") for line in done.stderr.splitlines() if line.count(" = ") == 1)
    assert told["GOMP_SPINCOUNT" if "GOMP_SPINCOUNT" in own else "OMP_WAIT_POLICY"] == expected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 1),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), 1),
        (OSError(5, "Input/output error", "/elsewhere"), 1),
        (EncoderError("a sentence"), 2),
        (StoreError("a sentence"), 2),
    ],
)
def test_only_the_rooms_own_errors_are_the_callers(
    anacrusis: CommandLine, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(config: Path | None) -> None:
        raise error

    monkeypatch.setattr(cli, "load_settings", fail)
    assert anacrusis("space", "list") == code
    assert ("a sentence" in anacrusis.err) == (code == 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--home", LONG, "space", "list"), "File name too long"),
        (("--home", LONG, "train"), "File name too long"),
        (("--home", "/proc/nowhere", "ingest", "m.csv"), "/proc/nowhere cannot be used"),
        (("--home", "/dev/null/x", "ingest", "m.csv"), "/dev/null/x cannot be used"),
        (("--config", LONG, "space", "list"), "File name too long"),
        (("--config", ".", "space", "list"), "no configuration file"),
        (("--home", "h", "ingest", f"{LONG}.csv"), "no manifest at"),
        (("--home", "h", "ingest", "."), "no manifest at"),
        (("--home", "h", "space", "import", "s", f"{LONG}.npy"), "no factor file at"),
        (("demo", "--keep", LONG), "File name too long"),
        (("demo", "--keep", "m.csv"), "m.csv cannot be used"),
        (("--home", "h", "withdraw", "x", "--reason", "\udcff"), "not valid Unicode"),
        (("--home", "h", "neighbors", "--track", "\udcff"), "not valid Unicode"),
        (("--home", "h", "train", "--seed", str(10**30)), "seed"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(
    anacrusis: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.csv").write_text("track_id,artist_ids,audio\nx,a,x.wav\n")
    assert anacrusis(*arguments) == 2
    assert sentence in words(anacrusis.err)
    assert "Traceback" not in anacrusis.err
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize("place", [".", "/proc/nowhere/x", "/dev/null/x", LONG, "nowhere/x"])
@pytest.mark.parametrize("command", [("space", "import", "s", "f.jsonl"), ("encode", "a.wav", "--out", "v.parquet")])
def test_a_report_that_cannot_be_written_stops_before_the_work(
    anacrusis: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.jsonl").write_text('{"track_id": "a", "vector": [1.0]}\n')
    (tmp_path / "a.wav").write_bytes(audio_bytes())
    assert anacrusis("--home", "h", *command, "--json", place) == 2
    assert f"{place} cannot be used" in anacrusis.err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.wav", "f.jsonl"]


@pytest.mark.parametrize("place", [".", "/proc/nowhere/x", "/dev/null/x", LONG])
def test_vectors_that_cannot_be_written_stop_before_the_work(
    anacrusis: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(audio_bytes())
    assert anacrusis("encode", "a.wav", "--encoder", "none is loaded", "--out", place) == 2
    assert f"{place} cannot be used" in anacrusis.err
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_report_holds_whatever_was_refused(anacrusis: CommandLine, tmp_path: Path) -> None:
    manifest, report = tmp_path / "m.jsonl", tmp_path / "report.json"
    manifest.write_text('{"track_id": "\\ud800", "artist_ids": ["a"], "audio": "ж.wav"}\n')
    for _ in range(2):  # also over an older report
        assert anacrusis("--home", tmp_path / "h", "ingest", manifest, "--json", report) == 3
        assert json.loads(report.read_text(encoding="utf-8"))["refused"][0]["track_id"] == "\ud800"
    printed = anacrusis.json("--home", tmp_path / "h", "ingest", manifest)
    assert printed["refused"][0]["track_id"] == "\ud800"  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--vector", "[" * 100_000), "lists within lists"),
        (("--vector", "[1" + "0" * 400 + "]"), "neither a list of numbers"),
        (("--vector", "[1" + "0" * 5000 + "]"), "neither a list of numbers"),
        (("--vector", '["1", "2"]'), "a list of numbers is needed"),
        (("--vector", "[true, false]"), "a list of numbers is needed"),
        (("--vector", "[1e300, 1, 1, 1, 1, 1, 1, 1]"), "VECTOR_INVALID"),
        (("--vector", "archive.npy"), "neither a list of numbers"),
        (("--vector", "matrix.npy"), "2 dimensions"),
        (("--vector", "texts.npy"), "it holds <U1"),
        (("--vector", "nowhere.npy"), "no such file"),
        (("--vector", LONG), "no such file"),
        (("--vector", "/dev/zero"), "no such file"),
        (("--track", "ada-0", "--market", "de"), "no ISO 3166-1"),
        (("--track", "ada-0", "--market", "DEU"), "no ISO 3166-1"),
        (("--track", "ada-0", "--released-to", "2024-13"), "is no date"),
        (("--track", "ada-0", "--released-from", "٢٠٢٤"), "is no date"),
        (("--track", "ada-0", "--artist", ""), "one is empty"),
        (("--track", "ada-0", "--without-artist", ""), "one is empty"),
    ],
)
def test_questions_that_make_no_sense(
    anacrusis: CommandLine,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "archive.npy").write_bytes(b"PK\x03\x04 and then nothing")
    np.save(tmp_path / "matrix.npy", np.ones((1, DIM)))
    np.save(tmp_path / "texts.npy", np.array(["x"] * DIM))
    assert anacrusis("--home", home, "neighbors", *arguments) == 2
    assert sentence in words(anacrusis.err)
    assert "Traceback" not in anacrusis.err


def test_a_vector_file_asks_like_a_list(anacrusis: CommandLine, home: Path, tmp_path: Path) -> None:
    vector = [1.0] * DIM
    np.save(tmp_path / "vector.npy", np.array(vector))
    (tmp_path / "vector.json").write_text(json.dumps(vector))
    answers = [
        anacrusis.json("--home", home, "neighbors", "--vector", given, "--released-to", "2024")["neighbors"]
        for given in (json.dumps(vector), tmp_path / "vector.npy", tmp_path / "vector.json")
    ]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("home = 3\n", "home"),
        ("home = ['x']\n", "home"),
        ("home = 2024-05-01\n", "home"),
        ('home = "x\\u0000y"\n', "null character"),
        ("[[audio]]\nmax_bytes = 1\n", "audio"),
        ("[audio.max_bytes]\nx = 1\n", "audio.max_bytes"),
        ("server = 3\n", "server"),
        ("[server]\nport = 12:00:00\n", "server.port"),
        ("[server]\nallowed_roots = [1]\n", "server.allowed_roots"),
        ("[server]\nport = 1" + "0" * 5000 + "\n", "is no TOML"),
        ("[server]\ngrace_s = nan\n", "grace_s"),
        ("log_level = ['info']\n", "log_level"),
        ("x = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("x" * 500 + " = '" + "y" * 5000 + "'\n", "there is no such key"),
    ],
)
def test_settings_of_a_wrong_kind(anacrusis: CommandLine, tmp_path: Path, setting: str, sentence: str) -> None:
    config = tmp_path / "anacrusis.toml"
    config.write_text(setting)
    assert anacrusis("--config", config, "space", "list") == 2
    assert sentence in anacrusis.err
    assert "Traceback" not in anacrusis.err


@pytest.mark.parametrize(
    ("home", "sentence", "code"),
    [
        ("s3://nowhere-at-all/home", "no such bucket", 1),  # HOME_UNREACHABLE
        ("gs://bucket/home", "write s3://BUCKET/PREFIX", 2),
        ("s3://anacrusis-tests/empty", "no home folder", 2),
    ],
)
def test_an_object_store_that_holds_no_home(
    anacrusis: CommandLine, s3: object, home: str, sentence: str, code: int
) -> None:
    assert anacrusis("--home", home, "space", "list") == code
    assert sentence in anacrusis.err
    assert "Traceback" not in anacrusis.err
    assert "a-secret-of-the-tests" not in anacrusis.err
