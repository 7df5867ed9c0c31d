"""Servers and commands as processes of their own, killed by their handles."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

from benchmarks.soak.command_line import READY

COMMAND_LINE = "benchmarks.soak.command_line"
_STEP_S = 0.25
ROOT = Path(__file__).parents[2]
# Long: whoever is at work on the machine may halt all of this for some minutes.
START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 600.0


class Process:
    """A command line that has imported everything and waits for its arguments.

    Parameters
    ----------
    module : str
        Name of the module that is run.
    """

    def __init__(self, module: str = COMMAND_LINE) -> None:
        self._logged = ""
        # A file: a pipe that nobody reads would stop it in the end.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `close` does
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
        )

    def tell(self, *arguments: object) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != READY:
            raise RuntimeError(f"A process ended before it was told anything:\n{self.log()}")
        self._process.stdin.write(json.dumps([str(one) for one in arguments]) + "\n")
        self._process.stdin.flush()

    def address(self) -> str:
        """Wait until a server takes calls, and give its address; empty where it ends before, or is silent for long."""
        assert self._process.stdout is not None
        text = ""
        too_long = threading.Timer(START_TIMEOUT_S, self._process.kill)
        too_long.start()
        try:
            for line in self._process.stdout:
                text += line
                if line.startswith("}"):
                    return str(json.loads(text)["address"])
        finally:
            too_long.cancel()
        return ""

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; None where it goes on."""
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> bool:
        """Kill it, and say whether it was still there to be killed."""
        self._process.kill()
        return self._process.wait() == -9

    def stop(self) -> int:
        """Tell it to stop (SIGTERM), and give its exit code; one that does not is made to log where it hangs (-6)."""
        self._process.terminate()
        code = self.wait(STOP_TIMEOUT_S)
        if code is None:
            self._process.send_signal(signal.SIGABRT)
            code = self._process.wait()
        return code

    def resident_bytes(self) -> int:
        """Give its resident memory; Linux alone tells."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def log(self) -> str:
        """Give what it has logged."""
        if not self._log.closed:
            self._log.seek(0)
            self._logged = self._log.read()
        return self._logged

    def close(self) -> None:
        """Kill it where it is still there, and let go of what belongs to it."""
        self.kill()
        self.log()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # what was buffered for it has no reader any more
                    continue


class Waiting:
    """A few processes that wait, so that nobody waits for imports.

    Parameters
    ----------
    count : int
    module : str
    """

    def __init__(self, count: int, module: str = COMMAND_LINE) -> None:
        self._ready = deque(Process(module) for _ in range(count))
        self._count = count
        self._module = module

    def take(self) -> Process:
        """Give one, and begin another one."""
        process = self._ready.popleft() if self._ready else Process(self._module)
        while len(self._ready) < self._count:
            self._ready.append(Process(self._module))
        return process

    def close(self) -> None:
        """End those that wait."""
        for process in self._ready:
            process.close()


def pause(seconds: float) -> None:
    """Let the load go on until the moment that chance has chosen; time in which all of this was halted is no load."""
    while seconds > 0:
        begun = time.monotonic()
        time.sleep(min(seconds, _STEP_S))
        seconds -= min(time.monotonic() - begun, 2 * _STEP_S)
