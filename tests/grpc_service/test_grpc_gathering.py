"""Releases that wait are ingested together, and none of them pays for another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from grpc_service import gathering
from grpc_service.errors import DeadlineExpiredError, DrainingError, QueueFullError
from grpc_service.gathering import GROUP_BYTES, IngestGatherer
from index import HomeUnreachableError
from jobs import IngestOutcome, IngestState, Release

LONG = bytes(GROUP_BYTES)


class Ingest:
    """Takes releases in; holds calls up while `hold` is clear."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.titles: list[tuple[str, str]] = []
        self.started = threading.Semaphore(0)
        self.hold = threading.Event()
        self.hold.set()
        self.error: Exception | None = None

    def __call__(self, releases: Sequence[Release]) -> list[IngestOutcome]:
        ids = [release.track_id for release in releases]
        self.groups.append(ids)
        self.titles += [(release.track_id, release.title) for release in releases]
        self.started.release()
        assert self.hold.wait(20)
        if self.error is not None:
            raise self.error
        if "unlucky" in ids:
            raise RuntimeError("unlucky")
        return [IngestOutcome(one, IngestState.CREATED) for one in ids]

    async def busy(self, gatherer: IngestGatherer, audio: bytes = b"music") -> asyncio.Task[IngestOutcome]:
        """Begin an ingest that stays in progress until `hold` is set."""
        self.hold.clear()
        return await self.begun(gatherer, "first", audio)

    async def begun(self, gatherer: IngestGatherer, track_id: str, audio: bytes) -> asyncio.Task[IngestOutcome]:
        task = await waiting(gatherer, track_id, audio)
        assert await asyncio.to_thread(self.started.acquire, timeout=20)
        return task


async def waiting(
    gatherer: IngestGatherer, track_id: str, audio: bytes = b"music", *, title: str = "", deadline: float | None = None
) -> asyncio.Task[IngestOutcome]:
    release = Release(track_id, ("someone",), audio, title=title)
    task = asyncio.ensure_future(gatherer.run(release, deadline=deadline))
    await asyncio.sleep(0)
    return task


@pytest.fixture
def ingest() -> Ingest:
    return Ingest()


@pytest.fixture
async def gatherer(ingest: Ingest) -> AsyncIterator[IngestGatherer]:
    gatherer = IngestGatherer(ingest, threads=2, queue_size=4)
    yield gatherer
    ingest.hold.set()
    gatherer.refuse()
    await asyncio.to_thread(gatherer.close)


async def test_what_comes_during_an_ingest_goes_in_together_and_each_has_its_own_outcome(
    ingest: Ingest, gatherer: IngestGatherer
) -> None:
    first = await ingest.busy(gatherer)
    others = [await waiting(gatherer, name) for name in "abc"]
    assert gatherer.held == 4
    ingest.hold.set()
    outcomes = await asyncio.gather(first, *others)
    assert [outcome.track_id for outcome in outcomes] == ["first", "a", "b", "c"]
    assert ingest.groups == [["first"], ["a", "b", "c"]]
    assert gatherer.held == 0


async def test_a_long_release_has_a_thread_of_its_own_and_company_waits_for_none(
    ingest: Ingest, gatherer: IngestGatherer
) -> None:
    first = await ingest.busy(gatherer)
    short = await waiting(gatherer, "short")
    long = await ingest.begun(gatherer, "long", LONG)
    assert ingest.groups == [["first"], ["long"]]
    ingest.hold.set()
    await asyncio.gather(first, short, long)


async def test_those_who_were_answered_together_go_in_together_again(
    ingest: Ingest, gatherer: IngestGatherer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "GATHER_S", 3600.0)  # nobody waits for time to pass
    first = await ingest.busy(gatherer)
    others = [await waiting(gatherer, name) for name in "ab"]
    ingest.hold.set()
    await first
    for turn in range(3):
        again = await waiting(gatherer, f"again-{turn}")
        await asyncio.gather(*others)
        others = [again, await waiting(gatherer, f"c{turn}"), await waiting(gatherer, f"d{turn}")]
    await asyncio.gather(await waiting(gatherer, "last"), *others)
    assert ingest.groups[0] == ["first"]
    assert [len(group) for group in ingest.groups[1:]] == [3] * 4


async def test_company_that_does_not_come_is_not_waited_for_long(ingest: Ingest, gatherer: IngestGatherer) -> None:
    first = await ingest.busy(gatherer)
    second = await waiting(gatherer, "second")
    ingest.hold.set()
    await asyncio.wait_for(asyncio.gather(first, second), 20)
    assert ingest.groups == [["first"], ["second"]]
    assert (await asyncio.wait_for(gatherer.run(Release("third", ("someone",), b"music")), 20)).track_id == "third"


async def test_the_trouble_of_one_is_not_that_of_its_neighbours(ingest: Ingest, gatherer: IngestGatherer) -> None:
    first = await ingest.busy(gatherer)
    others = [await waiting(gatherer, name) for name in ("a", "unlucky", "b")]
    ingest.hold.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(result) for result in results] == [IngestOutcome, IngestOutcome, RuntimeError, IngestOutcome]


async def test_a_home_out_of_reach_is_not_tried_for_each_of_a_group(ingest: Ingest, gatherer: IngestGatherer) -> None:
    first = await ingest.busy(gatherer)
    others = [await waiting(gatherer, name) for name in "abc"]
    ingest.error = HomeUnreachableError("the object store does not answer")
    ingest.hold.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert results == [ingest.error] * 4
    assert ingest.groups == [["first"], ["a", "b", "c"]]


async def test_releases_of_one_track_go_in_one_after_the_other_in_their_order(
    ingest: Ingest, gatherer: IngestGatherer
) -> None:
    first = await ingest.busy(gatherer)
    titles = ["one", "two", "three"]
    same = [await waiting(gatherer, "same", title=title) for title in titles]
    ingest.hold.set()
    await asyncio.gather(first, *same)
    assert [title for track_id, title in ingest.titles if track_id == "same"] == titles
    assert all(len(set(group)) == len(group) for group in ingest.groups)


async def test_who_left_or_is_late_is_not_ingested(ingest: Ingest, gatherer: IngestGatherer) -> None:
    first = await ingest.busy(gatherer)
    gone = await waiting(gatherer, "gone")
    late = await waiting(gatherer, "late", deadline=time.monotonic())
    kept = await waiting(gatherer, "kept", deadline=time.monotonic() + 60)
    gone.cancel()
    ingest.hold.set()
    with pytest.raises(DeadlineExpiredError):
        await late
    await asyncio.gather(first, kept)
    assert ingest.groups == [["first"], ["kept"]]


async def test_more_than_may_wait_is_refused_with_a_hint(ingest: Ingest, gatherer: IngestGatherer) -> None:
    tasks = [await ingest.busy(gatherer), *[await waiting(gatherer, name) for name in "abcd"]]
    with pytest.raises(QueueFullError) as caught:
        await gatherer.run(Release("e", ("someone",), b"music"))
    assert caught.value.retry_after_s
    ingest.hold.set()
    await asyncio.gather(*tasks)
    assert ingest.groups == [["first"], ["a", "b", "c", "d"]]


async def test_closing_finishes_what_was_begun_and_refuses_the_rest(ingest: Ingest, gatherer: IngestGatherer) -> None:
    first = await ingest.busy(gatherer)
    second = await waiting(gatherer, "second")
    gatherer.refuse()
    with pytest.raises(DrainingError):
        await second
    with pytest.raises(DrainingError):
        await gatherer.run(Release("third", ("someone",), b"music"))
    ingest.hold.set()
    await asyncio.to_thread(gatherer.close)
    assert (await first).track_id == "first"
    assert ingest.groups == [["first"]]
