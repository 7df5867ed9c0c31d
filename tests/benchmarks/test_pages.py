"""What is written of results is what their commands write of them now."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    "command",
    [
        "benchmarks.readme_results",
        "benchmarks.spaces_page",
        "benchmarks.serving_page",
        "benchmarks.scale.__main__",
        "benchmarks.trust_page",
    ],
)
def test_a_page_is_as_its_command_writes_it(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [command, "--check"])
    assert importlib.import_module(command).main() == 0, capsys.readouterr().out
