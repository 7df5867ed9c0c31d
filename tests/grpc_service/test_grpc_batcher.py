"""The traps that kill micro-batchers: each must leave it alive."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from grpc_service.batcher import ENOUGH_QUERIES, MicroBatcher, QueryGroup
from grpc_service.errors import DeadlineExpiredError, DrainingError, QueueFullError


class Search:
    """Answers a query with its negative; holds searches up while `hold` is clear."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.started = threading.Semaphore(0)
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, queries: Sequence[int]) -> list[int]:
        self.batches.append(list(queries))
        self.threads.add(threading.get_ident())
        self.started.release()
        assert self.hold.wait(20)
        if 13 in queries:
            raise RuntimeError("unlucky")
        if 99 in queries:
            return []
        return [-query for query in queries]


@pytest.fixture
def search() -> Search:
    return Search()


@pytest.fixture
def make(search: Search):
    made: list[MicroBatcher] = []

    def make(**options: float) -> MicroBatcher:
        batcher = MicroBatcher(search, **({"queue_size": 100, "max_batch": 10} | options))  # type: ignore[arg-type]
        made.append(batcher)
        return batcher

    yield make
    search.hold.set()
    for batcher in made:
        batcher.close()


Make = Callable[..., MicroBatcher]


async def _busy(batcher: MicroBatcher, search: Search) -> asyncio.Task[Sequence[int]]:
    """Start a search that stays in progress until `search.hold` is set."""
    search.hold.clear()
    task = asyncio.ensure_future(batcher.submit([0]))
    assert await asyncio.to_thread(search.started.acquire, timeout=20)
    return task  # type: ignore[return-value]


async def _waiting(batcher: MicroBatcher, queries: Sequence[int], **options: float) -> asyncio.Task[Sequence[int]]:
    task = asyncio.ensure_future(batcher.submit(queries, **options))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return task  # type: ignore[return-value]


async def test_what_gathers_during_a_search_goes_into_the_next_one(make: Make, search: Search) -> None:
    batcher = make()
    first = await _busy(batcher, search)
    others = [await _waiting(batcher, [n, n + 1]) for n in (1, 3, 5)]
    assert batcher.waiting == 6
    search.hold.set()
    assert [list(await task) for task in (first, *others)] == [[0], [-1, -2], [-3, -4], [-5, -6]]
    assert search.batches == [[0], [1, 2, 3, 4, 5, 6]]
    assert len(search.threads) == 1
    assert search.threads != {threading.get_ident()}
    assert batcher.waiting == 0


async def test_a_search_takes_no_more_than_max_batch_and_splits_no_group(make: Make, search: Search) -> None:
    batcher = make(max_batch=4)
    first = await _busy(batcher, search)
    others = [await _waiting(batcher, list(range(1, 1 + n))) for n in (3, 2, 2, 6)]
    search.hold.set()
    await asyncio.gather(first, *others)
    assert [len(batch) for batch in search.batches] == [1, 3, 4, 6]


async def test_a_search_of_enough_queries_leaves_the_rest_to_the_next_one(make: Make, search: Search) -> None:
    batcher = make(max_batch=10 * ENOUGH_QUERIES, queue_size=10 * ENOUGH_QUERIES)
    first = await _busy(batcher, search)
    others = [await _waiting(batcher, [1] * n) for n in (ENOUGH_QUERIES - 1, 5, ENOUGH_QUERIES, 1)]
    search.hold.set()
    await asyncio.gather(first, *others)
    assert [len(batch) for batch in search.batches] == [1, ENOUGH_QUERIES + 4, ENOUGH_QUERIES, 1]


async def test_with_max_wait_the_first_query_waits_for_company(make: Make, search: Search) -> None:
    batcher = make(max_batch=2, max_wait_s=20.0)
    first = await _waiting(batcher, [1])
    second = await _waiting(batcher, [2])  # fills the batch, so that nobody waits 20 s
    assert [list(await first), list(await second)] == [[-1], [-2]]
    assert search.batches == [[1, 2]]


async def test_max_wait_ends_without_company(make: Make, search: Search) -> None:
    assert list(await make(max_wait_s=0.01).submit([1])) == [-1]


async def test_a_full_queue_refuses_and_counts_queries_not_calls(make: Make, search: Search) -> None:
    batcher = make(queue_size=5)
    first = await _busy(batcher, search)
    waiting = await _waiting(batcher, [1, 2, 3])
    with pytest.raises(QueueFullError) as caught:
        await batcher.submit([4, 5, 6])
    assert caught.value.retry_after_s
    fits = await _waiting(batcher, [4, 5])
    search.hold.set()
    assert [list(await task) for task in (first, waiting, fits)] == [[0], [-1, -2, -3], [-4, -5]]


async def test_cancelled_before_the_search_is_not_searched(make: Make, search: Search) -> None:
    batcher = make()
    first = await _busy(batcher, search)
    cancelled = await _waiting(batcher, [1])
    kept = await _waiting(batcher, [2])
    cancelled.cancel()
    await asyncio.sleep(0)
    search.hold.set()
    await first
    assert list(await kept) == [-2]
    assert search.batches == [[0], [2]]


async def test_cancelled_during_the_search_does_not_kill_the_thread(make: Make, search: Search) -> None:
    batcher = make()
    first = await _busy(batcher, search)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    search.hold.set()
    assert list(await batcher.submit([2])) == [-2]
    assert len(search.threads) == 1


async def test_cancelled_between_the_search_and_its_delivery(make: Make, search: Search) -> None:
    batcher = make()
    task = await _busy(batcher, search)
    search.hold.set()
    while batcher._thread.is_alive() and not search.batches:
        time.sleep(0.001)
    time.sleep(0.05)  # the loop is held here on purpose: the result lies ready in its queue when the caller leaves
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(await batcher.submit([2])) == [-2]


async def test_expired_while_waiting_is_not_searched(make: Make, search: Search) -> None:
    batcher = make()
    first = await _busy(batcher, search)
    late = await _waiting(batcher, [1], deadline=time.monotonic() - 1)
    timely = await _waiting(batcher, [2], deadline=time.monotonic() + 60)
    search.hold.set()
    with pytest.raises(DeadlineExpiredError):
        await late
    assert [list(await first), list(await timely)] == [[0], [-2]]
    assert search.batches == [[0], [2]]


@pytest.mark.parametrize("bad", [13, 99])
async def test_an_unexpected_failure_fails_its_batch_only(make: Make, search: Search, bad: int) -> None:
    batcher = make()
    with pytest.raises(RuntimeError):
        await batcher.submit([bad])
    assert list(await batcher.submit([2])) == [-2]


async def test_closing_fails_what_waits_and_lets_the_search_finish(make: Make, search: Search) -> None:
    batcher = make()
    first = await _busy(batcher, search)
    waiting = await _waiting(batcher, [1])
    closing = asyncio.ensure_future(asyncio.to_thread(batcher.close))
    with pytest.raises(DrainingError):
        await waiting
    with pytest.raises(DrainingError):
        await batcher.submit([2])
    search.hold.set()
    assert list(await first) == [0]
    await closing
    assert not batcher._thread.is_alive()
    assert search.batches == [[0]]


def test_a_closed_event_loop_does_not_kill_the_thread(make: Make, search: Search) -> None:
    batcher = make()

    async def leave() -> None:
        task = await _busy(batcher, search)
        task.cancel()

    asyncio.run(leave())
    search.hold.set()
    assert list(asyncio.run(_submit(batcher, [2]))) == [-2]


async def _submit(batcher: MicroBatcher, queries: Sequence[int]) -> Sequence[int]:
    return await batcher.submit(queries)  # type: ignore[arg-type,return-value]


class _Broken(QueryGroup):
    abandoned = False

    def settle(self, outcome: object) -> None:
        raise OSError("no way back")


async def test_a_reply_that_cannot_be_given_keeps_no_other_back(
    make: Make, search: Search, caplog: pytest.LogCaptureFixture
) -> None:
    batcher = make()
    first = await _busy(batcher, search)
    batcher.put(_Broken([1], None))  # type: ignore[list-item]
    behind = await _waiting(batcher, [2])
    search.hold.set()
    assert list(await behind) == [-2]
    assert list(await first) == [0]
    assert "no way back" in caplog.text
