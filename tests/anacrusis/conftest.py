"""The command line without anybody's own settings."""

from __future__ import annotations

import pytest
from command_line import CommandLine


@pytest.fixture
def anacrusis(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    for variable in ("HOME", "CONFIG", "DEVICE", "ENCODER"):
        monkeypatch.delenv(f"ANACRUSIS_{variable}", raising=False)
    return CommandLine(capsys, monkeypatch)
