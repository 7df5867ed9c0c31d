"""The command line, run in this process."""

from __future__ import annotations

import json
import sys

import pytest

from anacrusis.cli import main


class CommandLine:
    """Runs ``anacrusis`` in this process and keeps what came out."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.out = self.err = ""

    def __call__(self, *arguments: object) -> int:
        self._monkeypatch.setattr(sys, "argv", ["anacrusis", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        self.out, self.err = self._capsys.readouterr()
        return int(stopped.value.code or 0)

    def json(self, *arguments: object) -> dict[str, object]:
        self.code = self(*arguments, "--json", "-")
        return dict(json.loads(self.out))
