"""Rounds of the soak: let it work, kill something at a random moment, look, go on."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anacrusis.bench.promises import at_least, at_most
from benchmarks.soak import world
from benchmarks.soak.journal import Journal
from benchmarks.soak.load import Load
from benchmarks.soak.processes import COMMAND_LINE, Process, Waiting, pause
from benchmarks.soak.verify import ask_all, settle, wait_for
from index import Store

MIXED = {"ingest": 4.0, "update": 3.0, "upload": 2.0, "feedback": 3.0, "withdraw": 1.0, "ask": 4.0, "refresh": 0.3}
CALM = {"ingest": 1.0, "update": 1.0, "feedback": 1.0, "ask": 6.0}
OF_THE_SERVER: dict[str, dict[str, float]] = {
    "ingest": {"ingest": 3.0, "update": 1.0},
    "upload": {"upload": 1.0},
    "feedback": {"feedback": 4.0, "ingest": 1.0},
    "withdraw": {"withdraw": 2.0, "ingest": 2.0},
    "refresh": {"refresh": 4.0, "ingest": 1.0, "update": 1.0},
    "mixed": MIXED,
}
"""Places where the server is killed, with what its clients do meanwhile."""
START = "start-up"
INGEST = "ingest by command"
OF_A_JOB = ("import", "publish", "refresh by command", "rollback", "compaction", INGEST)
"""Places where a command is killed, while the server answers."""
PLACES = (*OF_THE_SERVER, START, *OF_A_JOB)

LONGEST_LOAD_S = 1.0
LONGEST_REFRESH_S = 2.5  # longer than one takes, so that some are over when the kill comes
MANIFEST_TRACKS = 40
FIRST_GUESS_S = 1.0  # how long a start or a command takes
KINDS_OF_FAULT = ("lost", "duplicated", "half_published", "wrong_answer", "damaged", "failed")
_NOBODYS_FAULT = ("HOME_BUSY", "PUBLISHED_MEANWHILE", "LEASE_LOST")
_EXPECTED_CODES = (0, 2, 3)  # 2: nothing to go back to, or a space that a kill has left unrecorded


@dataclass(frozen=True)
class Options:
    """How much of it.

    Attributes
    ----------
    kills : int
    seed : int
        Of all choices; when a kill meets the work, the machine decides as well.
    places : tuple of str
        Taken in turns.
    waiting : int
        Processes begun in advance.
    module : str
        What they run: the command line, or one that is broken on purpose.
    """

    kills: int = 300
    seed: int = 0
    places: tuple[str, ...] = PLACES
    waiting: int = 2
    module: str = COMMAND_LINE


class _DoesNotStartError(Exception):
    """The server ended, or was silent, before it took calls."""


class Soak:
    """A home, the server on it, and what kills both.

    Parameters
    ----------
    folder : Path
        Empty; the home and the trainings' files lie there.
    options : Options
    """

    def __init__(self, folder: Path, options: Options) -> None:
        self.home = folder / "home"
        self.journal = Journal()
        self.kills: Counter[str] = Counter()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._options = options
        self._chance = random.Random(options.seed)
        self._waiting = Waiting(options.waiting, options.module)
        self._typical_s = dict.fromkeys((START, *OF_A_JOB), FIRST_GUESS_S)
        self._trainings = 1
        self._sent: dict[str, str] = {}  # by the last command that ingests, with their artists
        self._round = 0
        self._server: Process | None = None
        self._address = ""

    def run(self, on_kill: Callable[[str, int], object] = lambda place, done: None) -> dict[str, Any]:
        """Kill as often as asked for, and report; a server that cannot be started again ends it."""
        begun = time.perf_counter()
        try:
            world.make_home(self.home)
            self._start()
            while self.kills.total() < self._options.kills:
                place = self._options.places[self._round % len(self._options.places)]
                self._round += 1
                before = self.kills.total()
                try:
                    self._kill(place)
                except Exception as error:  # what was found until now is not to be lost with it
                    self.journal.fault("failed", f"{place}: {error!r}; the server's log: {self._end_of_log()}")
                    self._start_anew()
                if self.kills.total() > before:
                    on_kill(place, self.kills.total())
            assert self._server is not None
            code = self._server.stop()
            if code:
                self.journal.fault("failed", f"the server ended with {code}: {self._end_of_log()}")
            self._look_at_log()
        except _DoesNotStartError as error:
            self.journal.fault("failed", str(error))
        except KeyboardInterrupt:  # it is not as many kills as were asked for: the report says so
            self._look_at_log()
        finally:
            if self._server is not None:
                self._server.close()
            self._waiting.close()
        return self._report(time.perf_counter() - begun)

    def _report(self, seconds: float) -> dict[str, Any]:
        journal = self.journal
        faults = {kind: journal.faults[kind] for kind in KINDS_OF_FAULT}
        return {
            "seed": self._options.seed,
            "kills": dict(self.kills),
            "acknowledged": dict(journal.acknowledged),
            "answers_checked": journal.answers,
            "unanswered": dict(journal.unanswered),
            **faults,
            "examples": journal.examples,
            "seconds": round(seconds, 1),
            "checks": [
                at_least("kills", self.kills.total(), self._options.kills),
                at_least("places that were hit", len(self.kills), len(set(self._options.places))),
                at_most("calls that a living server left without an answer", journal.unanswered.total(), 0),
                *(at_most(f"behind kills: {kind.replace('_', ' ')}", count, 0) for kind, count in faults.items()),
            ],
        }

    def _kill(self, place: str) -> None:
        if place in OF_THE_SERVER:
            self._kill_server(place)
        elif place == START:
            self._kill_start()
        else:
            self._kill_job(place)
        ask_all(self.home, self._address, self.journal, self._round)

    # The server ------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._server = self._tell_server()
        begun = time.monotonic()
        self._address = self._server.address()
        if not self._address:
            raise _DoesNotStartError(f"the server did not start: {self._end_of_log()}")
        self._typical_s[START] = time.monotonic() - begun

    def _start_anew(self) -> None:
        assert self._server is not None
        self._server.close()
        self._look_at_log()
        self._start()

    def _look_at_log(self) -> None:
        """Find what no caller need have noticed: a thread that ended, a library that gave up."""
        log = self._server.log() if self._server is not None else ""
        for line in log.splitlines():
            if "panicked at" in line or line.startswith("Exception in thread"):
                self.journal.fault("failed", f"the server's log: {line}")

    def _end_of_log(self) -> str:
        return self._server.log()[-1000:] if self._server is not None else ""

    def _tell_server(self) -> Process:
        process = self._waiting.take()
        process.tell("--home", self.home, "serve", "--port", 0, "--json", "-")
        return process

    def _kill_server(self, place: str) -> None:
        with Load(self._address, self.journal, OF_THE_SERVER[place], self._round, ends=True):
            pause(self._chance.uniform(0.05, LONGEST_REFRESH_S if place == "refresh" else LONGEST_LOAD_S))
            assert self._server is not None
            if self._server.kill():
                self.kills[place] += 1
            else:
                self.journal.fault("failed", f"the server ended by itself: {self._end_of_log()}")
        settle(self.home, self.journal)
        self._start_anew()

    def _kill_start(self) -> None:
        """Leave work behind for the start to do, and kill it at that."""
        with Load(self._address, self.journal, MIXED, self._round, ends=True):
            pause(self._chance.uniform(0.05, LONGEST_LOAD_S / 2))
            assert self._server is not None
            self._server.close()
        starting = self._tell_server()
        pause(self._chance.uniform(0.0, 1.1 * self._typical_s[START]))
        if starting.kill():
            self.kills[START] += 1
        else:
            self.journal.fault("failed", f"the server ended by itself while it started: {starting.log()[-1000:]}")
        starting.close()
        settle(self.home, self.journal)
        self._start()

    # Commands --------------------------------------------------------------------------------------------------------

    def _kill_job(self, place: str) -> None:
        arguments = self._arguments(place)
        job = self._waiting.take()
        try:
            # While snapshots and spaces come and go, clients only ask and send.
            with Load(self._address, self.journal, CALM, self._round):
                begun = time.monotonic()
                job.tell("--home", self.home, *arguments)
                code = job.wait(self._chance.uniform(0.0, 1.1 * self._typical_s[place]))
                if code is None and job.kill():
                    self.kills[place] += 1
                elif code is not None:
                    self._typical_s[place] = max(time.monotonic() - begun, 0.1)
                    log = job.log()
                    if code not in _EXPECTED_CODES and not any(reason in log for reason in _NOBODYS_FAULT):
                        command = " ".join(map(str, arguments))
                        self.journal.fault("failed", f"{command} ended with {code}: {log[-1000:]}")
        finally:
            job.close()
        if code is None:
            self._typical_s[place] *= 1.05  # so that its end is reached now and then
        if place == INGEST and code == 0:
            for track_id, artist in self._sent.items():
                self.journal.take_in(track_id, artist, INGEST)
        settle(self.home, self.journal, goes_on=True)
        if place == INGEST:
            lives = [self.journal.life(track_id) for track_id in self._sent]
            for life in lives:
                life.possible.clear()  # whoever sent it has ended
            wait_for(self._address, [track_id for track_id in self._sent if self.journal.life(track_id).is_there])

    def _arguments(self, place: str) -> tuple[object, ...]:
        if place == "import":
            number, self._trainings = self._trainings, self._trainings + 1
            items, users = world.write_training(self._folder, number)
            return ("space", "import", world.space_id(number), items, "--users", users)
        if place == INGEST:
            names = [f"batch-{self._round}-{number}" for number in range(MANIFEST_TRACKS)]
            self._sent = {track_id: self._chance.choice(world.ARTISTS) for track_id in names}
            for track_id, artist in self._sent.items():
                self.journal.life(track_id).possible.add(artist)
            return ("ingest", world.write_manifest(self._folder, self._sent))
        if place == "publish":
            with Store.open(self.home, create=False, read_only=True) as store:
                return ("space", "publish", self._chance.choice([one.space_id for one in store.spaces()]))
        if place == "rollback":
            return ("space", "rollback")
        if place == "compaction":
            return ("maintain", "--keep-snapshots", 3, "--keep-days", 0)
        return ("refresh", "--all")
