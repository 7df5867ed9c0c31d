"""Many clients at once, on one server and on two servers of one home: the rules hold in every reply."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from grpc_harness import Running, running, until

from anacrusis.bench.given_vectors import GivenVectorsEngine
from benchmarks.soak import world
from benchmarks.soak.journal import Journal
from benchmarks.soak.load import Load, fault_of
from benchmarks.soak.rounds import MIXED
from benchmarks.soak.verify import ask_all, settle
from grpc_service.client import Client, ClientError
from index import MAX_K
from jobs.bridge import bridge_if_due
from jobs.doctor import examine
from jobs.factors import Factors
from jobs.spaces import import_space, rollback_snapshot

CALLERS = 8
TOGETHER = 12


@pytest.fixture
def home(tmp_path: Path) -> Path:
    world.make_home(tmp_path / "home")
    return tmp_path / "home"


def served(home: Path, stack: ExitStack, **options: object) -> Running:
    engine = GivenVectorsEngine.open(home, device="cpu")
    return stack.enter_context(running(engine, poll_interval_s=0.05, **options))  # type: ignore[arg-type]


def at_once(calls: list[Callable[[], object]]) -> list[object]:
    """Make calls at one moment, from a thread each."""
    start = threading.Barrier(len(calls))

    def begin(call: Callable[[], object]) -> object:
        start.wait(20)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


def test_a_release_that_many_send_at_once_is_taken_in_once(home: Path) -> None:
    with ExitStack() as stack:
        server = served(home, stack)
        client = stack.enter_context(Client(server.address, timeout_s=60))
        sends = [lambda: client.ingest("same", artist_ids=["artist-00"], audio=world.audio("same")).state] * CALLERS
        assert Counter(at_once(sends)) == {"created": 1, "unchanged": CALLERS - 1}
        everybody = client.neighbors_of_vector(np.ones(world.dim_of(0)), k=MAX_K).track_ids
        assert sorted(everybody) == sorted([*world.WARM, "same"])


def test_a_withdrawal_among_ingests_of_the_same_track_wins(home: Path) -> None:
    """Whatever the order in which they come in, behind the withdrawal's reply nobody finds the track."""
    with ExitStack() as stack:
        client = stack.enter_context(Client(served(home, stack).address, timeout_s=60))

        def send() -> str:
            try:
                return client.ingest("doomed", artist_ids=["artist-00"], audio=world.audio("doomed")).state
            except ClientError as error:
                return error.reason

        def withdraw() -> tuple[str, ...]:
            client.withdraw(["doomed"])
            return tuple(client.neighbors_of_vector(np.ones(world.dim_of(0)), k=MAX_K).track_ids)

        *sent, behind = at_once([*[send] * (CALLERS - 1), withdraw])
        assert "doomed" not in behind  # type: ignore[operator]
        assert set(sent) <= {"created", "unchanged", "TRACK_WITHDRAWN"}
        assert "doomed" not in client.neighbors_of_vector(np.ones(world.dim_of(0)), k=MAX_K).track_ids


@pytest.mark.slow
def test_every_reply_keeps_the_rules_while_trainings_come_and_go(home: Path) -> None:
    journal = Journal()
    with ExitStack() as stack:
        server = served(home, stack)
        with Load(server.address, journal, MIXED, seed=5), GivenVectorsEngine.open(home, device="cpu") as other:
            for number in (1, 2):
                users = Factors(np.array(world.USERS), world.vectors(number, world.USERS))
                import_space(other, world.space_id(number), Factors(np.array(world.WARM), world.vectors(number)), users)
                bridge_if_due(other, world.space_id(number))
                patiently(lambda number=number: other.refresh(space_id=world.space_id(number), again=True))  # type: ignore[misc]
                before = journal.answers
                until(lambda before=before: journal.answers > before + 20)  # type: ignore[misc]
            rollback_snapshot(other)
            before = journal.answers
            until(lambda: journal.answers > before + 20)
        settle(home, journal)
        ask_all(home, server.address, journal, seed=5)
    assert dict(journal.faults) == {}, journal.examples
    assert {"ingest", "feedback", "withdraw"} <= journal.acknowledged.keys()


def patiently(work: Callable[[], object]) -> None:
    """Do what a refresh that another client began may keep from being done."""

    def done() -> bool:
        try:
            work()
        except Exception as error:
            if getattr(error, "reason", "") not in {"HOME_BUSY", "PUBLISHED_MEANWHILE"}:
                raise
            return False
        return True

    until(done)


def test_two_servers_of_one_home_store_nothing_twice(home: Path) -> None:
    names = [f"both-{number}" for number in range(TOGETHER)]
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(served(home, stack).address, timeout_s=60)) for _ in range(2)]
        order = [name for name in names for _ in clients]
        random.Random(3).shuffle(order)

        def send(place: int) -> None:
            for name in order[place::CALLERS]:
                clients[place % 2].ingest(name, artist_ids=["artist-01"], audio=world.audio(name))

        at_once([lambda place=place: send(place) for place in range(CALLERS)])
        query, wanted = np.ones(world.dim_of(0), np.float32), sorted([*world.WARM, *names])
        for client in clients:
            until(lambda client=client: sorted(client.neighbors_of_vector(query, k=MAX_K).track_ids) == wanted)  # type: ignore[misc]
            assert fault_of(client.neighbors_of_vector(query, k=12), query, 0, set(), {}) == ""
        assert [one.check for one in examine(home).problems if one.check != "space"] == []
