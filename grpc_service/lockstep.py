"""What keeps the workers of one server in step: nothing is acknowledged before all of them show it.

One worker writes, the others read the same home. Each reading worker holds two connections to the writing one, over a
socket file that only this server's user can open, and is asked on them, a line of words with tabs between at a time:

- ``look SPACE SNAPSHOT``: adopt what was committed to the served snapshot. Answered in milliseconds.
- ``serve SPACE SNAPSHOT``: switch to what is published, too. Takes as long as an index takes to load.

Both are answered with the space and the snapshot that the worker then serves. A reading worker switches only when it is
asked to, so that a track that was placed in one space is not looked for in another. One that does not answer is killed:
the writing worker holds a handle of its process, and waits for no other proof that it answers no query any more.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TextIO

LOOK, SERVE = "look", "serve"
SILENCE_S = 30.0
"""A worker that says nothing for so long on being asked to look is killed, in seconds."""
SWITCH_S = 600.0
"""So is one that has not followed a switch to another snapshot after so long."""

# Of space and snapshot, how many have to be the same on both sides: a track is found in any snapshot of its space.
_MATTERS = {LOOK: 1, SERVE: 2}
_ASK_AGAIN_S = 0.02  # where a worker serves another space than the writing one, which is about to follow it
_CONNECT_AGAIN_S = 0.1  # where the writing worker is away
_LINE_CHARACTERS = 4096  # two ids and a word are far below it
_HELLO = "hello"
_log = logging.getLogger(__name__)

Serving = Callable[[], tuple[str, str]]


class Followed(Protocol):
    """What a reading worker does when it is asked."""

    def catch_up(self) -> bool:
        """Adopt what was committed to the served snapshot."""

    def sync(self) -> bool:
        """Switch to what is published, too."""

    def serving(self) -> tuple[str, str]:
        """Give space and snapshot that are served."""


class Followers:
    """The reading workers, as the writing one knows them.

    Parameters
    ----------
    path : Path
        Of the socket file; made here.
    serving : callable
        Gives space and snapshot that the writing worker serves.
    living : mapping of int to int
        Process id to pidfd of reading workers that were there before this writing one, which was started again: they
        are waited for.
    silence_s, switch_s : float, optional
        See `SILENCE_S` and `SWITCH_S`.
    """

    def __init__(
        self,
        path: Path,
        serving: Serving,
        *,
        living: Mapping[int, int] | None = None,
        silence_s: float = SILENCE_S,
        switch_s: float = SWITCH_S,
    ) -> None:
        self._serving = serving
        self._bounds = {LOOK: silence_s, SERVE: switch_s}
        self._changed = threading.Condition()
        self._awaited = {
            (pid, verb): os.dup(process) for pid, process in (living or {}).items() for verb in (LOOK, SERVE)
        }
        self._known: set[_Follower] = set()
        self._closed = False
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, name="followers", daemon=True).start()
        self._awaiting = threading.Thread(target=self._await_living, name="followers-living", daemon=True)
        self._awaiting.start()

    def look(self) -> None:
        """Return once every reading worker shows what was committed before, or has ended."""
        self._ask(LOOK)

    def serve(self) -> None:
        """Return once every reading worker serves the snapshot that this one serves, or has ended."""
        self._ask(SERVE)

    def close(self) -> None:
        """Let go of the workers: they go on as they are."""
        with self._changed:
            self._closed = True
            known, self._known = self._known, set()
            self._changed.notify_all()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for follower in known:
            follower.close()
        self._awaiting.join()

    def _ask(self, verb: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not any(kind == verb for _, kind in self._awaited))
            asked = [(follower, follower.want()) for follower in self._known if follower.verb == verb]
        for follower, turn in asked:
            follower.wait(turn)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._follow, args=(connection,), name="follower", daemon=True).start()

    def _follow(self, connection: socket.socket) -> None:
        """Ask one worker on one connection, until it ends."""
        try:
            follower = _Follower(connection, self._serving, self._bounds)
        except (OSError, ValueError) as error:
            _log.warning("a worker's connection broke off before it was known: %s", error)
            connection.close()
            return
        with self._changed:
            if self._closed:
                follower.close()
                return
            self._known.add(follower)
            self._forget((follower.pid, follower.verb))
        follower.run()
        with self._changed:
            self._known.discard(follower)

    def _await_living(self) -> None:
        """Wait for the workers that were there before; those that do not come are ended."""
        deadline = time.monotonic() + self._bounds[LOOK]
        with self._changed:
            while self._awaited and not self._closed:
                for key, process in list(self._awaited.items()):
                    if _has_ended(process):
                        self._forget(key)
                    elif time.monotonic() > deadline:
                        _log.error("worker process %d does not come back to the writing one, and is killed", key[0])
                        _end(process)
                        self._forget(key)
                self._changed.wait(0.05)

    def _forget(self, key: tuple[int, str]) -> None:
        process = self._awaited.pop(key, None)
        if process is not None:
            os.close(process)
            self._changed.notify_all()


class _Follower:
    """One connection of a reading worker: what was wanted of it, and up to where that is done."""

    def __init__(self, connection: socket.socket, serving: Serving, bounds: Mapping[str, float]) -> None:
        self._connection = connection
        self._serving = serving
        self._bounds = bounds
        self._changed = threading.Condition()
        self._wanted = 1  # a worker that has just come may serve something else: the first turn needs no caller
        self._done = 0
        self._gone = False
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        self.pid = struct.unpack("3i", credentials)[0]
        self._process = os.pidfd_open(self.pid)
        # It says something after the handle was opened: so the handle is that of the process that is connected.
        connection.settimeout(bounds[LOOK])
        self._lines = connection.makefile("rw", buffering=1, encoding="utf-8", newline="\n")
        self._lines.write(_line(_HELLO))
        said = _words(self._lines)
        if len(said) != 1 or said[0] not in bounds:
            raise ConnectionError("it did not say what it wants to be asked")
        (self.verb,) = said

    def want(self) -> int:
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()
            return self._wanted

    def wait(self, turn: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._done >= turn or self._gone)

    def close(self) -> None:
        with self._changed:
            self._gone = True
            self._changed.notify_all()
        with suppress(OSError):  # its other end has gone already
            self._connection.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Ask whenever something is wanted. Returns when the worker has ended, or this one closes."""
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._wanted > self._done or self._gone)
                    if self._gone:
                        return
                    turn = self._wanted
                self._exchange()
                with self._changed:
                    self._done = turn
                    self._changed.notify_all()
        except (OSError, ValueError) as error:
            with self._changed:
                closing = self._gone
            if not closing:
                _log.error("worker process %d did not %s (%s), and is killed", self.pid, self.verb, error)
                _end(self._process)
        finally:
            with self._changed:
                self._gone = True
                self._changed.notify_all()
            self._connection.close()
            os.close(self._process)

    def _exchange(self) -> None:
        """Ask until the worker serves what this one does."""
        deadline = time.monotonic() + self._bounds[SERVE]
        self._connection.settimeout(self._bounds[self.verb])
        while True:
            self._lines.write(_line(self.verb, *self._serving()))
            answer = _words(self._lines)
            if len(answer) != 2:
                raise ConnectionError("its connection ended")
            same = _MATTERS[self.verb]
            if answer[:same] == self._serving()[:same]:
                return
            if time.monotonic() > deadline:
                raise TimeoutError("it serves something else for too long")
            time.sleep(_ASK_AGAIN_S)


class Follower:
    """A reading worker's side: does what the writing one asks.

    Parameters
    ----------
    path : Path
        Of the writing worker's socket file.
    engine : Followed
    """

    def __init__(self, path: Path, engine: Followed) -> None:
        self._path = path
        self._engine = engine
        self._closed = threading.Event()
        self._in_step = {verb: threading.Event() for verb in (LOOK, SERVE)}
        self._threads = [
            threading.Thread(target=self._run, args=(verb,), name=f"follow-{verb}", daemon=True)
            for verb in (LOOK, SERVE)
        ]

    def start(self) -> None:
        """Connect, and return once this worker shows what the writing one does: it may answer queries from then on."""
        for thread in self._threads:
            thread.start()
        for in_step in self._in_step.values():
            in_step.wait()

    def close(self) -> None:
        """Do nothing more that is asked. The connections stay until the process ends: before, it is vouched for."""
        self._closed.set()

    def _run(self, verb: str) -> None:
        while not self._closed.is_set():
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.connect(str(self._path))
                    self._answer(connection, verb)
            except OSError as error:  # the writing worker is away: what is shown stays as it is until it is back
                _log.debug("the writing worker is away: %s", error)
            self._closed.wait(_CONNECT_AGAIN_S)

    def _answer(self, connection: socket.socket, verb: str) -> None:
        lines = connection.makefile("rw", buffering=1, encoding="utf-8", newline="\n")
        if _words(lines) != (_HELLO,):
            return
        lines.write(_line(verb))
        while wanted := _words(lines):
            self._do(verb)
            served = self._engine.serving()
            same = _MATTERS[verb]
            if served[:same] == wanted[1:][:same]:
                self._in_step[verb].set()
            lines.write(_line(*served))

    def _do(self, verb: str) -> None:
        """Do what is asked, again where it fails: no answer is given before, and the writing worker's patience ends."""
        while not self._closed.is_set():
            try:
                if verb == SERVE:
                    self._engine.sync()
                self._engine.catch_up()
                return
            except Exception:
                _log.exception("following the writing worker failed; trying again")
                self._closed.wait(0.5)


def _line(*words: str) -> str:
    """Write a line; ids hold no control characters, and may be empty."""
    return "\t".join(words) + "\n"


def _words(lines: TextIO) -> tuple[str, ...]:
    """Read a line; nothing where the connection has ended."""
    line = lines.readline(_LINE_CHARACTERS)
    return tuple(line[:-1].split("\t")) if line.endswith("\n") else ()


def _has_ended(process: int, *, wait: bool = False) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(None if wait else 0))


def _end(process: int) -> None:
    """Kill a process by its handle and return when it has ended."""
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:  # it has ended, and its parent knows
        return
    _has_ended(process, wait=True)
