"""Processes that take orders: a line of JSON each way, so that each measurement has a memory of its own.

A module that calls `serve_orders` is one end, `Worker` the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self

_LOG_CHARACTERS = 600  # of what a process that failed has printed last


def memory() -> dict[str, int]:
    """Resident bytes of this process, now and at most; Linux alone tells."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {
        "resident_bytes": int(lines["VmRSS"].split()[0]) * 1024,
        "peak_bytes": int(lines["VmHWM"].split()[0]) * 1024,
    }


@contextmanager
def _on_cores(count: int | None) -> Iterator[None]:
    """Have processes that are started meanwhile run on so many of this one's cores; None: on all.

    From their beginning, because OpenMP makes as many threads as there are cores when it is loaded.
    """
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(own)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


class Worker:
    """A process that carries out orders, one after the other; a context manager.

    Parameters
    ----------
    module : str
        Run with ``python -m``; calls `serve_orders`.
    *arguments : str
    cores : int, optional
        How many it may run on; None: all.
    python : str, optional
        The interpreter, where it is not this one.
    """

    def __init__(self, module: str, *arguments: str, cores: int | None = None, python: str = sys.executable) -> None:
        self._log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        with _on_cores(cores):
            self._process = subprocess.Popen(  # noqa: S603
                [python, "-m", module, *arguments],
                # An interpreter of another environment finds the module from here.
                cwd=Path(__file__).parents[2] if python != sys.executable else None,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()  # the end of its orders ends it
        self._log.close()

    def ask(self, order: str, **arguments: Any) -> Any:
        """Have an order carried out, and give the answer.

        Raises
        ------
        BenchError
            The process failed; the message ends with the last it printed.
        """
        self.tell(order, **arguments)
        return self.answer()

    def tell(self, order: str, **arguments: Any) -> None:
        """Give an order whose answer is read later, by `answer`."""
        assert self._process.stdin is not None  # opened as a pipe above
        try:
            self._process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._raise_end()

    def answer(self) -> Any:
        """Wait for the answer to the order before; raises as `ask`."""
        assert self._process.stdout is not None  # opened as a pipe above
        line = self._process.stdout.readline()
        if not line:
            self._raise_end()
        return json.loads(line)

    def _raise_end(self) -> NoReturn:
        from anacrusis.bench.errors import BenchError  # not where a peer's own environment runs this module

        self._process.wait()
        self._log.seek(0)
        said = self._log.read()[-_LOG_CHARACTERS:].strip()
        raise BenchError(f"a measuring process ended with exit code {self._process.returncode}: {said}")

    def killed(self) -> int:
        """Kill it as a failing machine would, and give its exit code."""
        self._process.kill()
        return self._process.wait()


def serve_orders(carry_out: Any) -> None:
    """Read orders until there are no more, and print an answer each.

    Parameters
    ----------
    carry_out : callable
        Takes an order's name and its arguments, and gives what JSON can say.
    """
    # Whatever a library prints goes where its warnings go: standard output is for answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(carry_out(order.pop("order"), **order)), file=answers, flush=True)
