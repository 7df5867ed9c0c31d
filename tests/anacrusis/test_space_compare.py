"""``anacrusis space compare``, and a publish with limits: what is said, and what is left alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from made_catalogue import SPACE_ID, warm_factors

from jobs import space_comparison

TRACKS = 200
IDS = [f"t{place:03d}" for place in range(TRACKS)]


def write_factors(folder: Path, ids: list[str], vectors: np.ndarray) -> Path:
    path = folder / "items.npy"
    np.save(path, vectors)
    path.with_suffix(".ids").write_text("\n".join(ids))
    return path


def made(seed: int, tracks: int = TRACKS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(tracks, 5)).astype(np.float32)


@pytest.fixture
def served(anacrusis: CommandLine, tmp_path: Path) -> Path:
    """A home that serves `old`; `same` is that training again, `new` an unrelated one of three quarters of the ids."""
    home = tmp_path / "two"
    for space_id, seed, tracks in (("old", 0, TRACKS), ("same", 0, TRACKS), ("new", 1, 150)):
        path = write_factors(tmp_path, IDS[:tracks], made(seed)[:tracks])
        assert anacrusis("--home", home, "space", "import", space_id, path) == 0
    assert anacrusis("--home", home, "space", "publish", "old") == 0
    return home


def state(home: Path) -> dict[str, int]:
    """Every file of a home, with its size; without the audit log, where what is refused stands, too."""
    files = (path for path in home.rglob("*") if path.is_file() and path.name != "audit.jsonl")
    return {str(path.relative_to(home)): path.stat().st_size for path in files}


def test_a_retrain_is_compared_and_nothing_changes(anacrusis: CommandLine, served: Path, tmp_path: Path) -> None:
    before = state(served)
    found = anacrusis.json("--home", served, "space", "compare", "new")
    assert anacrusis.code == 0
    assert found["space"]["space_id"] == "new"  # type: ignore[index]
    assert found["with_space"]["space_id"] == "old"  # type: ignore[index]
    assert (found["shared"], found["coverage"], found["missing"]) == (150, 0.75, 0.25)
    chance = found["overlap@10"]["chance"]  # type: ignore[index]
    assert chance == pytest.approx(10 / 149)
    assert found["overlap@10"]["mean"] == pytest.approx(chance, abs=0.05)  # type: ignore[index]
    assert found["alignment"]["residual"] == pytest.approx(1.0, abs=0.15)  # type: ignore[index]

    same = anacrusis.json("--home", served, "space", "compare", "same", "--with", "old")
    assert same["overlap@10"]["mean"] == same["overlap@100"]["mean"] == 1.0  # type: ignore[index]
    assert same["alignment"]["residual"] == pytest.approx(0.0, abs=1e-6)  # type: ignore[index]

    folder = tmp_path / "a" / "plots"
    assert anacrusis("--home", served, "space", "compare", "new", "--report", folder) == 0
    for word in ("new beside old", "coverage", "overlap@100", "alignment residual", "length q50"):
        assert word in anacrusis.out
    assert sorted(path.name for path in folder.iterdir()) == ["norms.png", "overlap.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.iterdir())
    assert state(served) == before


def test_an_import_shows_how_the_training_lies_beside_the_served_one(
    anacrusis: CommandLine, served: Path, tmp_path: Path
) -> None:
    path = write_factors(tmp_path, IDS, made(2))
    done = anacrusis.json("--home", served, "space", "import", "next", path)
    found = anacrusis.json("--home", served, "space", "compare", "next")
    assert (done["space_id"], done["track_count"]) == ("next", TRACKS)
    assert done["comparison"] == found
    folder = tmp_path / "report"
    assert anacrusis("--home", served, "space", "import", "last", path, "--report", folder) == 0
    for word in ("last beside old", "coverage", "overlap@10", "alignment residual"):
        assert word in anacrusis.out
    assert sorted(one.name for one in folder.iterdir()) == ["norms.png", "overlap.png"]
    assert anacrusis.json("--home", served, "space", "list")["snapshots"][-1]["space_id"] == "old"  # type: ignore[index]


def test_a_first_import_has_nothing_beside_it(anacrusis: CommandLine, tmp_path: Path) -> None:
    path = write_factors(tmp_path, IDS, made(0))
    assert anacrusis.json("--home", tmp_path / "h", "space", "import", "a", path)["comparison"] is None
    assert anacrusis("--home", tmp_path / "h", "space", "import", "b", path, "--report", tmp_path / "plots") == 0
    assert "no space is served" in anacrusis.err


def test_a_catalogue_too_small_to_tell_has_dashes(anacrusis: CommandLine, home: Path, tmp_path: Path) -> None:
    factors = warm_factors()
    path = write_factors(tmp_path, factors.ids[:4].tolist(), factors.vectors[:4])
    assert anacrusis("--home", home, "space", "import", "small", path) == 0
    found = anacrusis.json("--home", home, "space", "compare", "small", "--report", tmp_path / "plots")
    assert (found["newly_cold"], found["overlap@10"], found["alignment"]) == (8, None, None)
    assert (tmp_path / "plots" / "overlap.png").exists()
    assert anacrusis("--home", home, "space", "compare", "small") == 0
    (line,) = (line for line in anacrusis.out.splitlines() if "overlap@10 " in line)
    assert line.count(" - ") == 3


def test_a_publish_below_a_limit_is_refused_and_nothing_is_written(anacrusis: CommandLine, served: Path) -> None:
    before = state(served)
    publish = ("--home", served, "space", "publish", "new")
    assert anacrusis(*publish, "--min-overlap", 0.5, "--min-coverage", 0.9) == 2
    for word in ("'old' is served on", "overlap@10 is 0.", "0.5 is the least", "0.7500", "PUBLISH_REFUSED"):
        assert word in anacrusis.err
    assert state(served) == before
    assert anacrusis.json("--home", served, "space", "list")["snapshots"][0]["published"]  # type: ignore[index]

    done = anacrusis.json(*publish, "--min-coverage", 0.75)
    assert (anacrusis.code, done["space_id"]) == (0, "new")
    assert done["comparison"]["coverage"] == 0.75  # type: ignore[index]
    assert anacrusis(*publish, "--min-overlap", 1) == 0  # served already: nothing to compare with


def test_without_limits_nothing_is_compared(
    anacrusis: CommandLine, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(space_comparison, "compare_spaces")
    done = anacrusis.json("--home", served, "space", "publish", "new")
    assert (anacrusis.code, done["space_id"]) == (0, "new")
    assert "comparison" not in done


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("compare", SPACE_ID), "compared with itself"),
        (("compare", "nowhere"), "SPACE_NOT_FOUND"),
        (("compare", SPACE_ID, "--with", "nowhere"), "SPACE_NOT_FOUND"),
        (("compare", SPACE_ID, "--report", "/dev/null/x"), "cannot be used"),
        (("publish", SPACE_ID, "--min-overlap", "1.5"), "--min-overlap"),
        (("publish", SPACE_ID, "--min-coverage", "-1"), "--min-coverage"),
        (("publish", SPACE_ID, "--min-overlap", "nan"), "--min-overlap"),
        (("publish", "nowhere", "--min-overlap", "0.5"), "SPACE_NOT_FOUND"),
    ],
)
def test_what_cannot_be_compared_is_said(
    anacrusis: CommandLine, home: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    assert anacrusis("--home", home, "space", *arguments) == 2
    assert sentence in anacrusis.err
    assert "Traceback" not in anacrusis.err


def test_before_the_first_publish_a_space_has_to_be_named(anacrusis: CommandLine, tmp_path: Path) -> None:
    path = write_factors(tmp_path, IDS, made(0))
    for space_id in ("a", "b"):
        assert anacrusis("--home", tmp_path / "h", "space", "import", space_id, path) == 0
    assert anacrusis("--home", tmp_path / "h", "space", "compare", "a") == 2
    assert "NO_SNAPSHOT" in anacrusis.err
    assert anacrusis("--home", tmp_path / "h", "space", "compare", "a", "--with", "b") == 0


def test_plots_need_their_extra(
    anacrusis: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert anacrusis("--home", home, "space", "compare", "x", "--report", tmp_path / "plots") == 2
    assert "EXTRA_MISSING" in anacrusis.err
    path = write_factors(tmp_path, IDS, made(0))
    assert anacrusis("--home", home, "space", "import", "new", path, "--report", tmp_path / "plots") == 2
    assert "EXTRA_MISSING" in anacrusis.err
    assert len(anacrusis.json("--home", home, "space", "list")["spaces"]) == 1  # type: ignore[arg-type]
    assert not (tmp_path / "plots").exists()
