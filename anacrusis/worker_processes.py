"""The processes of a server that answer on one port: started, watched, started again, ended."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from grpc_service.worker_orders import BROKEN, WHOLE

KILL_AFTER_S = 10.0  # beyond the grace that calls in progress get
FIRST_BACK_OFF_S, MOST_BACK_OFF_S = 0.5, 30.0
STEADY_S = 60.0  # a worker that took calls for so long begins with the first back-off again

_log = logging.getLogger(__name__)

Command = Callable[[int, Mapping[int, int]], Sequence[str]]


@dataclass(eq=False)
class _Worker:
    """A process, and what it said."""

    place: int
    process: subprocess.Popen[bytes]
    ready: dict[str, Any] | None = None
    ready_at: float = 0.0
    over: bool = False  # its end was taken note of

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None  # opened as a pipe
        with suppress(BrokenPipeError):  # it has just ended
            self.process.stdin.write(f"{word}\n".encode())
            self.process.stdin.flush()

    def close(self) -> None:
        """Let go of the pipes of a process that has ended."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None  # opened as pipes
            pipe.close()


@dataclass
class _Place:
    """What one of the workers stands for, through all its processes."""

    worker: _Worker | None = None
    failures: int = 0
    due: float | None = field(default=None)


class WorkerProcesses:
    """A server's workers. The first one is started first; the others, once it takes calls.

    Parameters
    ----------
    command : callable
        Gives the command of a worker from its place, counted from 0, and from the living ones beside it: process id to
        pidfd, which it inherits. The process prints one line of JSON when it takes calls, and reads orders from its
        standard input; see `grpc_service.worker_orders`.
    count : int
        2 or more.
    grace_s : float
        What calls in progress get when the workers are told to stop.
    """

    def __init__(self, command: Command, count: int, *, grace_s: float) -> None:
        self._command = command
        self._places = {place: _Place() for place in range(count)}
        self._grace_s = grace_s
        self._events: queue.SimpleQueue[tuple[str, _Worker | None]] = queue.SimpleQueue()
        self._whole = False

    def run(
        self,
        on_ready: Callable[[dict[str, Any]], None],
        *,
        signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
    ) -> int:
        """Serve until a signal comes, then have all workers drain. A second signal ends them at once.

        Parameters
        ----------
        on_ready : callable
            Called with what the first worker printed, once all of them take calls for the first time.
        signals : sequence of signal.Signals, optional
            What means "stop".

        Returns
        -------
        int
            An exit code: 0, or that of a worker that ended before all of them were ready for the first time.
        """

        def on_signal(number: int, frame: FrameType | None) -> None:
            self._events.put(("stop", None))

        before = {number: signal.signal(number, on_signal) for number in signals}
        try:
            self._start(0)
            return self._watch(on_ready)
        finally:
            self._stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _watch(self, on_ready: Callable[[dict[str, Any]], None]) -> int:
        told = False
        while True:
            kind, worker = self._next_event()
            if kind == "stop":
                return 0
            if kind == "ready" and worker is not None:
                self._start_missing()
            if kind == "ended" and worker is not None:
                worker.over = True
                code = worker.process.returncode
                if not told:
                    return code if code > 0 else 1
                self._restart_later(worker)
            self._start_due()
            self._say_whether_whole()
            if self._whole and not told:
                told = True
                first = self._places[0].worker
                assert first is not None  # all of them are ready
                on_ready(first.ready or {})

    def _next_event(self) -> tuple[str, _Worker | None]:
        due = [place.due for place in self._places.values() if place.due is not None]
        try:
            return self._events.get(timeout=max(min(due) - time.monotonic(), 0.0) if due else None)
        except queue.Empty:
            return "due", None

    def _start_missing(self) -> None:
        for number, place in self._places.items():
            if place.worker is None and place.due is None:
                self._start(number)

    def _start_due(self) -> None:
        for number, place in self._places.items():
            if place.due is not None and place.due <= time.monotonic():
                place.due = None
                self._start(number)

    def _start(self, number: int) -> None:
        living = self._living() if number == 0 else {}
        try:
            process = subprocess.Popen(  # noqa: S603 - our own command
                self._command(number, living),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=list(living.values()),
                process_group=0,  # an interrupt from the terminal is for this process, which tells them
            )
        finally:
            for descriptor in living.values():
                os.close(descriptor)
        self._places[number].worker = worker = _Worker(number, process)
        threading.Thread(target=self._listen, args=(worker,), name=f"worker-{number}", daemon=True).start()

    def _living(self) -> dict[int, int]:
        """Give the process id and a handle of each worker that takes calls."""
        living = {}
        for place in self._places.values():
            if place.worker is not None and place.worker.ready is not None:
                process = place.worker.process
                with suppress(ProcessLookupError):
                    living[process.pid] = os.pidfd_open(process.pid)
                    if process.poll() is not None:  # and its id may be another's already
                        os.close(living.pop(process.pid))
        return living

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None  # opened as a pipe above
        for line in worker.process.stdout:
            worker.ready, worker.ready_at = json.loads(line), time.monotonic()
            self._events.put(("ready", worker))
        worker.process.wait()
        self._events.put(("ended", worker))

    def _restart_later(self, worker: _Worker) -> None:
        worker.close()
        place = self._places[worker.place]
        steady = worker.ready is not None and time.monotonic() - worker.ready_at >= STEADY_S
        place.failures = 0 if steady else place.failures
        wait_s = min(FIRST_BACK_OFF_S * 2**place.failures, MOST_BACK_OFF_S)
        place.worker, place.failures, place.due = None, place.failures + 1, time.monotonic() + wait_s
        code = worker.process.returncode
        _log.error("worker %d ended with %d and is started again in %.1f s", worker.place, code, wait_s)

    def _say_whether_whole(self) -> None:
        workers = [place.worker for place in self._places.values() if place.worker is not None]
        ready = [worker for worker in workers if worker.ready is not None]
        whole = len(ready) == len(self._places)
        if whole != self._whole:
            self._whole = whole
            for worker in ready:
                worker.tell(WHOLE if whole else BROKEN)

    def _stop(self) -> None:
        workers = [place.worker for place in self._places.values() if place.worker is not None]
        for worker in workers:
            worker.process.send_signal(signal.SIGTERM)  # through the handle, which knows whether it has ended
        deadline = time.monotonic() + self._grace_s + KILL_AFTER_S
        running = {worker for worker in workers if not worker.over}
        while running:
            try:
                kind, ended = self._events.get(timeout=max(deadline - time.monotonic(), 0.0))
            except queue.Empty:
                kind, ended = "stop", None
            if kind == "ended" and ended is not None:
                running.discard(ended)
            elif kind == "stop":
                for each in running:
                    each.process.kill()
                deadline = time.monotonic() + KILL_AFTER_S
        for worker in workers:
            worker.close()


def reserve_port(host: str, port: int) -> socket.socket:
    """Take a port that several processes are going to listen on, and that nobody listens on yet.

    Parameters
    ----------
    host : str
        A name or an address.
    port : int
        0 for a free one.

    Returns
    -------
    socket.socket
        Bound, and not listening; keeps others from the port until it is closed.

    Raises
    ------
    OSError
        When the address cannot be had.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if port:
        # Who shares a port takes part in it without a question: that somebody else listens has to be found out before.
        with socket.socket(family, kind) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
    reserved = socket.socket(family, kind)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError:
        reserved.close()
        raise
    return reserved
