"""The workers' parent: order, orders, starting again, ending; with small processes in the workers' places."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from anacrusis.worker_processes import WorkerProcesses, reserve_port

# Notes its place, whom it found and what it is told; ends when its input does, or at once where its place says so.
WORKER = """
import os, sys
place, living, folder = sys.argv[1:]
with open(os.path.join(folder, "log"), "a", buffering=1) as log:
    log.write(f"{place} found {living}\\n")
    if place == "9":
        sys.exit(3)
    print('{"place": %s, "pid": %d}' % (place, os.getpid()), flush=True)
    for line in sys.stdin:
        log.write(f"{place} {line}")
"""


class Run:
    """Some workers, run on a thread."""

    def __init__(self, folder: Path, places: Sequence[int]) -> None:
        self.folder = folder
        self.living: list[tuple[int, Mapping[int, int]]] = []
        self.told = threading.Event()
        self.first: dict[str, int] = {}
        self.code: int | None = None

        def command(place: int, living: Mapping[int, int]) -> Sequence[str]:
            found = ",".join(str(pid) for pid in living)
            assert all(os.fstat(process) for process in living.values())
            return [sys.executable, "-S", "-c", WORKER, str(places[place]), found or "nobody", str(folder)]

        self.processes = WorkerProcesses(command, len(places), grace_s=5.0)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.processes.run(self._ready, signals=())

    def _ready(self, first: dict[str, int]) -> None:
        self.first = first
        self.told.set()

    def pid(self, place: int) -> int:
        worker = self.processes._places[place].worker
        return worker.process.pid if worker is not None and worker.ready else 0

    def stop(self) -> int | None:
        self.processes._events.put(("stop", None))
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.code

    def log(self) -> list[str]:
        return (self.folder / "log").read_text(encoding="utf-8").splitlines()


def until(condition) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("the condition never came true")


def test_the_one_that_writes_is_started_first_and_all_are_told_when_all_are_there(tmp_path: Path):
    run = Run(tmp_path, [0, 1, 2])
    assert run.told.wait(30)
    assert run.first["place"] == 0
    until(lambda: len([line for line in run.log() if line.endswith("whole")]) == 3)
    assert run.log()[0] == "0 found nobody"
    pids = [run.pid(place) for place in range(3)]
    assert run.stop() == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_one_that_dies_is_started_again_and_the_writing_one_is_told_who_is_there(tmp_path: Path):
    run = Run(tmp_path, [0, 1])
    assert run.told.wait(30)
    for dying in (1, 0):
        before, other = run.pid(dying), run.pid(1 - dying)
        os.kill(before, signal.SIGKILL)
        until(lambda before=before, dying=dying: run.pid(dying) not in (0, before))
        until(lambda dying=dying: run.log()[-1].endswith("whole"))
        assert f"{1 - dying} broken" in run.log()
        assert run.log().count(f"0 found {other}") == (dying == 0)
    assert run.stop() == 0


def test_where_one_never_gets_ready_all_end_with_its_code(tmp_path: Path):
    run = Run(tmp_path, [0, 9, 2])
    run._thread.join(30)
    assert run.code == 3
    assert not run.told.is_set()
    assert all(
        place.worker is None or place.worker.process.poll() is not None for place in run.processes._places.values()
    )


def test_a_port_on_which_somebody_listens_is_not_shared():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            reserve_port("127.0.0.1", other.getsockname()[1])
    with reserve_port("127.0.0.1", 0) as reserved, socket.socket() as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(reserved.getsockname())
        worker.listen()
        with socket.create_connection(reserved.getsockname(), timeout=10):
            connection, _ = worker.accept()  # nobody who listens not gets a connection
            connection.close()
