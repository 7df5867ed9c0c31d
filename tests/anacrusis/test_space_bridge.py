"""``anacrusis space publish`` of a retrain: it carries over what the served space serves, and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import CommandLine
from retrains import COLD, CONTENT_DIM, ENCODER_ID, WARM, first_training, open_engine, serve_first, turned

from jobs import Engine

Bring = Callable[[str, np.ndarray], None]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which 160 warm and 40 cold tracks are served; the command line hears by the made encoder."""
    home = tmp_path / "bridged"
    with open_engine(home, create=True) as engine:
        serve_first(engine)
    monkeypatch.setattr(Engine, "encoder", SimpleNamespace(encoder_id=ENCODER_ID, content_dim=CONTENT_DIM))
    return home


@pytest.fixture
def bring(anacrusis: CommandLine, served: Path, tmp_path: Path) -> Bring:
    """Import a retrain by the command line."""

    def made(space_id: str, vectors: np.ndarray) -> None:
        path = tmp_path / f"{space_id}.npy"
        np.save(path, vectors)
        path.with_suffix(".ids").write_text("\n".join(WARM))
        assert anacrusis("--home", served, "space", "import", space_id, path) == 0

    return made


def test_a_publish_carries_over_and_says_so(anacrusis: CommandLine, served: Path, bring: Bring) -> None:
    bring("new", turned(first_training(), noise=0.1))
    assert "anacrusis space publish new" in anacrusis.err
    assert "carries over what old serves" in anacrusis.err
    assert anacrusis("--home", served, "space", "publish", "new") == 0
    assert "carried from space old to new" in anacrusis.out
    assert "The alignment keeps a cosine of 0.9" in anacrusis.out
    assert "cold tracks projected by carried-" in anacrusis.out
    assert f": 0 of {len(COLD)}." in anacrusis.out
    again = anacrusis.json("--home", served, "space", "publish", "new")
    assert (again["bridge"], again["no_bridge"], again["published"]) == (None, "", False)


def test_without_a_bridge_everything_is_projected(anacrusis: CommandLine, served: Path, bring: Bring) -> None:
    bring("new", turned(first_training()))
    done = anacrusis.json("--home", served, "space", "publish", "new", "--no-bridge")
    assert (done["bridge"], done["projected"], done["method"]) == (None, len(COLD), "artist_mean")


def test_a_transfer_of_its_own_needs_no_bridge(anacrusis: CommandLine, served: Path, bring: Bring) -> None:
    bring("new", turned(first_training()))
    assert anacrusis("--home", served, "train", "--space", "new", "--method", "artist_mean") == 0
    done = anacrusis.json("--home", served, "space", "publish", "new")
    assert (done["bridge"], done["projected"]) == (None, len(COLD))
    assert "transfer of its own" in str(done["no_bridge"])


def test_what_cannot_be_bridged_is_published_all_the_same(anacrusis: CommandLine, served: Path, bring: Bring) -> None:
    bring("new", np.random.default_rng(5).normal(size=(len(WARM), 8)).astype(np.float32))
    assert anacrusis("--home", served, "space", "publish", "new") == 0
    assert "Nothing was carried over: Space 'new' cannot be bridged to from 'old'" in anacrusis.out
    found = anacrusis.json("--home", served, "space", "list")
    assert [one["space_id"] for one in found["spaces"] if one["published"]] == ["new"]  # type: ignore[attr-defined]
