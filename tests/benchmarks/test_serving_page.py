"""The page of the search says what the results say, and leaves out what was not measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import serving_page

TRANSFER = {
    "cold": 700,
    "artists": 100,
    "networks": 3,
    "repeats": 5,
    "methods": [{"method": "ranking", "together_per_s": 9000.0, "alone_per_s": 90.0, "speed_up": 100.0}],
    "checks": [{"name": "together", "measured": 100.0, "bound": 50.0, "holds": True}],
}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["serving_page", *arguments])
    return serving_page.main()


def test_the_page_is_up_to_date_until_a_figure_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_page, "RESULTS", tmp_path)
    monkeypatch.setattr(serving_page, "ROOT", tmp_path)
    monkeypatch.setattr(serving_page, "PAGE", tmp_path / "serving.md")
    result = tmp_path / "bench-transfer.json"
    result.write_text(json.dumps(TRANSFER))
    assert run(monkeypatch, "--check") == 1
    assert run(monkeypatch) == 0
    assert run(monkeypatch, "--check") == 0
    assert "| ranking | 9,000 | 90.0 | 100 |" in serving_page.page()
    assert "bench serve" not in serving_page.page()
    result.write_text(json.dumps({**TRANSFER, "checks": [{**TRANSFER["checks"][0], "measured": 7, "holds": False}]}))
    assert run(monkeypatch, "--check") == 1
    assert "| together | 7 | 50 | **no** |" in serving_page.page()
