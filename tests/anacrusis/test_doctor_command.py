"""``anacrusis doctor``: what it says and how it ends."""

from __future__ import annotations

from pathlib import Path

from command_line import CommandLine


def test_its_exit_code_says_who_has_to_do_something(anacrusis: CommandLine, home: Path) -> None:
    assert anacrusis("--home", home, "doctor") == 0
    assert "All is well." in anacrusis.out
    (index,) = (home / "indexes").glob("*/base.faiss")
    index.unlink()
    assert anacrusis("doctor", "--home", home) == 3
    assert "`anacrusis doctor --repair`" in anacrusis.out
    assert anacrusis("--home", home, "doctor", "--repair") == 0
    assert index.is_file()
    found = anacrusis.json("--home", home, "doctor")
    assert (anacrusis.code, found["healthy"], found["findings"]) == (0, True, [])
    for data in (home / "tracks.lance" / "data").iterdir():
        data.unlink()
    assert anacrusis("--home", home, "doctor", "--repair") == 1
    assert "only a person can repair" in anacrusis.out
    assert anacrusis("--home", home / "nowhere", "doctor") == 2
