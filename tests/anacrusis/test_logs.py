"""The log of a process, as its standard error gets it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from anacrusis import cli

LOGS = """
import logging
from anacrusis.logs import begin_logging
from grpc_service.request_ids import set_request_id
begin_logging("info", {form!r})
log = logging.getLogger("room")
log.debug("too little")
log.info("%d of them", 3)
set_request_id("some-id")
try:
    raise ValueError("line one\\nline two")
except ValueError:
    log.exception("broken")
"""


def logged(form: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", LOGS.format(form=form)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_is_an_object_a_line_with_traceback_and_request_id() -> None:
    first, second = map(json.loads, logged("json"))
    assert (first["level"], first["logger"], first["message"]) == ("info", "room", "3 of them")
    assert "request_id" not in first
    assert (second["level"], second["message"], second["request_id"]) == ("error", "broken", "some-id")
    assert "ValueError: line one\nline two" in second["exception"]


def test_text_names_the_call() -> None:
    first, second, *traceback = logged("text")
    assert first.endswith("INFO room: 3 of them")
    assert second.endswith("ERROR room: broken [request some-id]")
    assert traceback[0].startswith("Traceback")


def test_the_setting_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(cli, "begin_logging", lambda level, form: asked.append((level, form)))
    monkeypatch.setenv("ANACRUSIS_LOG_FORMAT", "json")
    monkeypatch.setenv("ANACRUSIS_LOG_LEVEL", "error")
    monkeypatch.setattr(sys, "argv", ["anacrusis", "token", "list", "--file", "/nowhere/tokens.json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert asked == [("error", "json")]
