"""Workers in step: what is waited for, and what becomes of a worker that does not answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from grpc_harness import until

from grpc_service.lockstep import Follower, Followers

SERVED = ("space with a blank", "snapshot-1")

# A reading worker in a process of its own; "hang" answers the first look, and no other one.
WORKER = """
import sys, threading
from pathlib import Path
from grpc_service.lockstep import Follower

class Engine:
    looks = 0
    def catch_up(self):
        self.looks += 1
        if sys.argv[2] == "hang" and self.looks > 4:
            threading.Event().wait()
        return False
    def sync(self):
        return False
    def serving(self):
        return ("space with a blank", "snapshot-1")

Follower(Path(sys.argv[1]), Engine()).start()
print("ready", flush=True)
sys.stdin.read()
"""


class Engine:
    """Counts what it is asked to do."""

    def __init__(self) -> None:
        self.served = SERVED
        self.published = SERVED
        self.looks = 0
        self.before: Callable[[], None] = lambda: None

    def catch_up(self) -> bool:
        self.before()
        self.looks += 1
        return True

    def sync(self) -> bool:
        self.served = self.published
        return True

    def serving(self) -> tuple[str, str]:
        return self.served


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "followers"


@pytest.fixture
def writer() -> Engine:
    return Engine()


@pytest.fixture
def followers(path: Path, writer: Engine) -> Iterator[Followers]:
    followers = Followers(path, writer.serving, silence_s=20.0)
    yield followers
    followers.close()


@pytest.fixture
def follow(path: Path) -> Iterator[Callable[[Engine], Follower]]:
    made: list[Follower] = []

    def follow(engine: Engine) -> Follower:
        made.append(Follower(path, engine))
        made[-1].start()
        return made[-1]

    yield follow
    for follower in made:
        follower.close()


def process(path: Path, behaviour: str = "") -> subprocess.Popen[str]:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), behaviour], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    return worker


def test_a_look_returns_when_every_worker_has_looked(
    followers: Followers, follow: Callable[[Engine], Follower]
) -> None:
    engines = [Engine(), Engine()]
    for engine in engines:
        follow(engine)
    before = [engine.looks for engine in engines]
    followers.look()
    assert all(engine.looks > count for engine, count in zip(engines, before, strict=True))
    hold = threading.Event()
    engines[1].before = lambda: assert_waited(hold)
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(followers.look)
        until(lambda: engines[0].looks > before[0] + 1)
        assert not looking.done()
        hold.set()
        looking.result()


def assert_waited(event: threading.Event) -> None:
    assert event.wait(20)


def test_many_callers_share_looks(followers: Followers, follow: Callable[[Engine], Follower]) -> None:
    engine = Engine()
    follow(engine)
    hold = threading.Event()
    engine.before = lambda: assert_waited(hold)
    begun = threading.Semaphore(0)

    def look() -> None:
        begun.release()
        followers.look()

    before = engine.looks
    with ThreadPoolExecutor(20) as pool:
        looks = [pool.submit(look) for _ in range(20)]
        for _ in looks:
            begun.acquire()
        hold.set()
        for one in looks:
            one.result()
    assert engine.looks - before < 20


def test_a_worker_follows_the_writer_to_what_it_serves_and_no_further(
    writer: Engine, followers: Followers, follow: Callable[[Engine], Follower]
) -> None:
    engine = Engine()
    follow(engine)
    followers.serve()
    engine.published = ("space-2", "snapshot-2")
    followers.look()  # published, and not served by the writing worker yet
    assert engine.served == SERVED
    writer.served = engine.published
    followers.serve()
    assert engine.served == ("space-2", "snapshot-2")


def test_what_is_placed_in_another_space_is_waited_for(
    writer: Engine, followers: Followers, follow: Callable[[Engine], Follower]
) -> None:
    engine = Engine()
    follow(engine)
    followers.serve()
    writer.served = engine.published = ("space-2", "snapshot-2")
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(followers.look)
        before = engine.looks
        until(lambda: engine.looks > before + 2)  # it is asked again and again
        assert not looking.done()
        followers.serve()
        looking.result()


def test_a_worker_that_fails_to_look_tries_again_before_it_answers(
    followers: Followers, follow: Callable[[Engine], Follower]
) -> None:
    engine = Engine()
    follow(engine)
    followers.serve()
    failures = iter([True, False])

    def fail_once() -> None:
        if next(failures, False):
            raise OSError("the disk is away")

    engine.before = fail_once
    before = engine.looks
    followers.look()
    assert engine.looks > before


def test_a_worker_that_does_not_answer_is_dead_before_anything_is_acknowledged(path: Path) -> None:
    followers = Followers(path, lambda: SERVED, silence_s=5.0)
    try:
        with process(path) as good, process(path, "hang") as bad:
            followers._bounds["look"] = 0.3
            while bad.poll() is None:
                followers.look()
            assert bad.returncode == -signal.SIGKILL
            followers.look()
            assert good.poll() is None
            good.kill()
    finally:
        followers.close()


def test_a_worker_that_has_ended_is_not_waited_for(path: Path, followers: Followers) -> None:
    with process(path) as worker:
        worker.kill()
        worker.wait()
        followers.look()
        followers.serve()


def test_a_writer_that_was_started_again_waits_for_the_workers_that_are_there(path: Path) -> None:
    first = Followers(path, lambda: SERVED)
    with process(path) as there, subprocess.Popen(["sleep", "60"]) as never:
        handles = {one.pid: os.pidfd_open(one.pid) for one in (there, never)}
        first.close()
        second = Followers(path, lambda: SERVED, living=handles, silence_s=2.0)
        try:
            second.look()  # the one that does not come back is killed: it may answer queries all the same
            assert never.wait(20) == -signal.SIGKILL
            assert there.poll() is None
            assert {follower.pid for follower in second._known} == {there.pid}
        finally:
            second.close()
            for handle in handles.values():
                os.close(handle)
        there.kill()
