"""One holder at a time, whatever happens to it: processes that race, die, stand still, or have another clock."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lance
import pytest

import index.lease
from index import InvalidInputError, LeaseHeldError, LeaseLostError, Store

ROOT = Path(__file__).parents[2]

_TAKER = """
import sys
from index import *
store = Store.open(sys.argv[1], create=False)
print("ready", flush=True)
while sys.stdin.readline():
    try:
        with store.lease("refresh") as lease:
            lease.check()
            print("won", lease.holder, flush=True); sys.stdin.readline()
    except LeaseHeldError as error:
        print("held", error.holder, flush=True); sys.stdin.readline()
    print("ready", flush=True)
"""


def _spawn(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _TAKER, str(home)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _go(child: subprocess.Popen[str]) -> None:
    child.stdin.write("go\n")
    child.stdin.flush()


def _clock_ahead(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(index.lease, "utc_now", lambda: datetime.now(UTC) + timedelta(seconds=seconds))


def test_of_processes_that_race_exactly_one_wins(store):
    children = [_spawn(store.home) for _ in range(4)]
    try:
        for turn in range(2):  # the first on a home without the table, the second on a row that was given back
            for child in children:
                assert child.stdout.readline() == "ready\n"
            for child in children:
                _go(child)
            answers = [child.stdout.readline().split() for child in children]
            assert sorted(word for word, _ in answers) == ["held", "held", "held", "won"], turn
            winner = next(holder for word, holder in answers if word == "won")
            assert {holder for _, holder in answers} == {winner}
            with pytest.raises(LeaseHeldError, match=winner):
                store.lease("refresh").__enter__()
            for child in children:
                _go(child)
        for child in children:
            child.communicate(timeout=30)
            assert child.returncode == 0
    finally:
        for child in children:
            child.kill()


def test_the_lease_of_a_killed_process_is_taken_over_when_it_expires(store, monkeypatch):
    with _spawn(store.home) as child:
        assert child.stdout.readline() == "ready\n"
        _go(child)
        word, holder = child.stdout.readline().split()
        assert word == "won"
        child.kill()
    with pytest.raises(LeaseHeldError, match=holder) as caught:
        store.lease("refresh").__enter__()
    assert caught.value.reason == "HOME_BUSY"
    assert timedelta(seconds=45) < caught.value.expires_at - datetime.now(UTC) < timedelta(seconds=75)
    assert 0 < caught.value.retry_after_s <= 60
    _clock_ahead(monkeypatch, 76)
    with store.lease("refresh") as lease:
        lease.check()


def test_a_clock_that_is_a_little_fast_takes_nothing_from_a_living_holder(store, monkeypatch):
    with store.lease("refresh", ttl_s=60.0) as lease:
        # A holder at the very end of what it counts on, and another machine whose clock is 14 s ahead.
        _clock_ahead(monkeypatch, 60 + 14)
        with Store.open(store.home) as other, pytest.raises(LeaseHeldError):
            other.lease("refresh").__enter__()
        lease.check()


def test_a_clock_that_is_slow_or_set_back_keeps_its_own_lease(store, monkeypatch):
    _clock_ahead(monkeypatch, -14)
    with store.lease("refresh", ttl_s=60.0) as lease:
        monkeypatch.undo()
        with Store.open(store.home) as other, pytest.raises(LeaseHeldError):
            other.lease("refresh").__enter__()
        lease.check()


def test_a_lost_lease_is_noticed_and_the_new_holder_keeps_it(store, monkeypatch):
    with Store.open(store.home) as other:
        mine = store.lease("refresh")
        lease = mine.__enter__()
        _clock_ahead(monkeypatch, 100)
        with other.lease("refresh") as theirs:
            monkeypatch.undo()
            with pytest.raises(LeaseLostError, match="taken over") as caught:
                lease.check()
            assert caught.value.reason == "LEASE_LOST"
            mine.__exit__(None, None, None)  # what is not ours is not given back
            theirs.check()
            with pytest.raises(LeaseHeldError):
                store.lease("refresh").__enter__()


def test_a_holder_that_stood_still_renews_what_nobody_took(store, monkeypatch):
    with store.lease("refresh", ttl_s=60.0) as lease:
        before = _expiry(store)
        still = time.monotonic() + 90
        monkeypatch.setattr(index.lease.time, "monotonic", lambda: still)
        lease.check()
        assert _expiry(store) > before


def test_a_thread_renews_it_while_the_work_lasts(store):
    with store.lease("refresh", ttl_s=0.3) as lease:
        first, deadline = _expiry(store), time.monotonic() + 30
        while _expiry(store) <= first and time.monotonic() < deadline:
            time.sleep(0.01)  # the table is all there is to watch
        assert _expiry(store) > first
        lease.check()


def test_it_is_given_back_after_success_and_after_failure(store):
    with pytest.raises(RuntimeError, match="of the work"), store.lease("refresh"):
        raise RuntimeError("of the work")
    with store.lease("refresh") as lease:
        pass
    with pytest.raises(LeaseLostError, match="given back"):
        lease.check()
    with store.lease("refresh"), store.lease("another"):
        pass


def test_a_home_of_before_the_leases_gets_their_table(store):
    with store.lease("refresh"):
        pass
    shutil.rmtree(store.home / "registry" / "leases.lance")
    with Store.open(store.home, create=False) as reopened, reopened.lease("refresh") as lease:
        lease.check()


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, float("nan")])
def test_a_lease_lasts_for_some_time(store, ttl_s):
    with pytest.raises(InvalidInputError, match="ttl_s"):
        store.lease("refresh", ttl_s=ttl_s).__enter__()


def _expiry(store: Store) -> datetime:
    rows = lance.dataset(str(store.home / "registry" / "leases.lance")).to_table().to_pylist()
    return next(row["expires_at"] for row in rows if row["name"] == "refresh")
