"""A server of its own process, started and ended by its handle: what a platform runs, in small."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class ServerProcess:
    """A server that takes calls.

    Attributes
    ----------
    address : str
        ``127.0.0.1:PORT``.
    process : subprocess.Popen
        Its handle.
    """

    address: str
    process: subprocess.Popen[str]


@contextmanager
def running_server(home: Path | str, *arguments: str, config: Path | None = None) -> Iterator[ServerProcess]:
    """Run ``anacrusis serve`` on a free loopback port.

    Parameters
    ----------
    home : Path or str
        The home folder to serve.
    *arguments : str
        Further arguments of ``serve``.
    config : Path, optional
        A configuration file, where it is not the environment's.

    Yields
    ------
    ServerProcess
        Once it takes calls; it is told to stop (SIGTERM) when the block ends.

    Raises
    ------
    RuntimeError
        When it ends before it is ready; what it printed is in the message.
    """
    configured = ["--config", str(config)] if config is not None else []
    command = [sys.executable, "-m", "anacrusis", "--home", str(home), *configured, "serve"]
    command += ["--host", "127.0.0.1", "--port", "0", "--json", "-", *arguments]
    # What it logs goes to a file: a pipe that nobody reads would fill up and stop the server.
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,  # noqa: S603
    ):
        try:
            yield ServerProcess(_address(process, log), process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str], log: IO[str]) -> str:
    """Read the report that the server prints once it is ready: one JSON object."""
    assert process.stdout is not None  # opened as a pipe above
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith("}"):
            return str(json.loads(text)["address"])
    process.wait()
    log.seek(0)
    raise RuntimeError(f"The server ended with exit code {process.returncode} before it was ready:\n{log.read()}")
