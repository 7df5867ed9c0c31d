"""The page of the spaces says what the results say, and which promise does not hold."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import spaces_page


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(spaces_page.RESULTS, tmp_path / "results"))
    monkeypatch.setattr(spaces_page, "RESULTS", folder)
    monkeypatch.setattr(spaces_page, "ROOT", tmp_path)
    monkeypatch.setattr(spaces_page, "PAGE", tmp_path / "spaces.md")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["spaces_page", *arguments])
    return spaces_page.main()


def test_the_page_is_up_to_date_until_a_figure_changes(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--check") == 1
    assert run(monkeypatch) == 0
    assert run(monkeypatch, "--check") == 0
    load = json.loads((results / "retrain-under-load.json").read_text())
    load["checks"][0] |= {"measured": 7, "holds": False}
    (results / "retrain-under-load.json").write_text(json.dumps(load))
    assert run(monkeypatch, "--check") == 1
    assert f"| {load['checks'][0]['name']} | 7 | 0 | **no** |" in spaces_page.page()
