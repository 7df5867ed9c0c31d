"""``anacrusis feedback``: what a person and a program are told, and the exit codes."""

from __future__ import annotations

from pathlib import Path

from command_line import CommandLine
from made_catalogue import release

from jobs import Engine


def _events(folder: Path, *rows: str) -> Path:
    path = folder / "events.csv"
    path.write_text("\n".join(["user_id,track_id,action,position", *rows]) + "\n")
    return path


def test_feedback_is_recorded_and_reported(anacrusis: CommandLine, home: Path, tmp_path: Path) -> None:
    with Engine.open(home) as engine:
        engine.ingest([release()])
    path = _events(tmp_path, "listener,new,play,1", "stranger,new,skip,")
    found = anacrusis.json("feedback", path, "--home", home)
    assert anacrusis.code == 0
    assert {name: found[name] for name in ("rows", "counted", "waiting", "unchanged", "refused")} == {
        "rows": 2,
        "counted": 1,
        "waiting": 1,
        "unchanged": 0,
        "refused": [],
    }
    (track,) = found["tracks"]  # type: ignore[misc]
    assert (track["track_id"], track["effective_listeners"], track["graduated"]) == ("new", 1.0, False)
    assert (track["served"], track["tier"]) == (True, "artist_transfer")
    assert anacrusis("feedback", path, "--home", home) == 0
    assert "unchanged" in anacrusis.out


def test_rows_that_cannot_be_taken_are_listed(anacrusis: CommandLine, home: Path, tmp_path: Path) -> None:
    assert anacrusis("feedback", _events(tmp_path, "listener,ada-0,play,1"), "--home", home) == 3
    assert "refused row 1 'ada-0' 'listener'" in anacrusis.err
    assert "TRACK_COLLABORATIVE" in anacrusis.err


def test_a_file_or_home_that_is_not_there_is_a_wrong_usage(anacrusis: CommandLine, home: Path, tmp_path: Path) -> None:
    assert anacrusis("feedback", tmp_path / "none.csv", "--home", home) == 2
    assert "FEEDBACK_FILE_INVALID" in anacrusis.err
    assert anacrusis("feedback", _events(tmp_path, "a,b,play,1"), "--home", tmp_path / "no-home") == 2
