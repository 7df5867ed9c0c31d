"""Server and jobs, processes of their own, killed at random moments: the short form of `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak.rounds import Options, Soak


def test_nothing_acknowledged_is_lost_behind_kills(tmp_path: Path) -> None:
    found = Soak(tmp_path, Options(kills=2, seed=2, places=("mixed", "publish"), waiting=1)).run()
    assert [check for check in found["checks"] if not check["holds"]] == [], found["examples"]
    assert found["answers_checked"] > 0
    assert sum(found["acknowledged"].values()) > 0


def test_a_store_that_acknowledges_before_it_commits_is_found_out(tmp_path: Path) -> None:
    broken = Options(kills=1, seed=2, places=("feedback",), waiting=1, module="tests.end_to_end.broken_command_line")
    found = Soak(tmp_path, broken).run()
    assert found["acknowledged"]["feedback"] > 0
    assert found["lost"] >= found["acknowledged"]["feedback"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_acknowledged_is_lost_behind_kills_at_every_place(tmp_path: Path) -> None:
    found = Soak(tmp_path, Options(kills=36, seed=11)).run()
    assert [check for check in found["checks"] if not check["holds"]] == [], found["examples"]
