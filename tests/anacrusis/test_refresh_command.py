"""``anacrusis refresh``: what it projects, what it would project, and what that costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine
from made_home import ENCODER, fill_home, hear, open_engine, record, train


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which one artist's catalogue has grown since everything was projected."""
    monkeypatch.setattr("encoders.load_encoder", lambda *_, **__: ENCODER)
    home = tmp_path / "made"
    fill_home(home)
    with open_engine(home) as engine:
        train(engine)
        engine.refresh()
        hear(engine, record("warm-ada-3", "ada"), record("late", "ben"))  # stored, and not yet projected
    return home


def test_a_dry_run_says_what_a_refresh_then_does(anacrusis: CommandLine, made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    plan = anacrusis.json("--home", made, "refresh", "--dry-run")
    assert (plan["touched"], plan["cold"], plan["reasons"]["catalogue"]) == (3, 9, 2)  # type: ignore[index]
    assert anacrusis.json("--home", made, "refresh", "--dry-run", "--all")["touched"] == 9
    assert anacrusis.json("--home", made, "refresh", "--dry-run", "--artist", "cleo")["touched"] == 0
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    assert anacrusis("--home", made, "refresh", "--dry-run") == 0
    assert "3 of 9 cold tracks" in anacrusis.out

    done = anacrusis.json("--home", made, "refresh")
    assert (done["projected"], done["published"], done["reasons"]) == (3, True, plan["reasons"])
    assert anacrusis("--home", made, "refresh") == 0
    assert "nothing to do" in anacrusis.out
    assert anacrusis.json("--home", made, "refresh", "--all", "--artist", "ada")["projected"] == 2


@pytest.mark.slow
def test_the_bench_measures_both_kinds_of_refresh(anacrusis: CommandLine) -> None:
    found = anacrusis.json("bench", "refresh", "--tracks", "1000", "--repeats", "1")
    (size,) = found["sizes"]  # type: ignore[misc]
    assert size["median_everything"]["projected"] == size["tracks"] - size["warm"]
    assert 0 < size["median_changed"]["projected"] < size["median_everything"]["projected"] / 4
    assert set(size["median_changed"]["reasons"]) == {"new", "changed", "model", "catalogue", "feedback"}
    (check,) = found["checks"]  # type: ignore[misc]
    assert check["holds"] == (check["measured"] <= check["bound"])
    assert anacrusis("bench", "refresh", "--tracks", "1000", "--repeats", "1") == 0
    assert "refresh of 1 % of the artists" in anacrusis.out
