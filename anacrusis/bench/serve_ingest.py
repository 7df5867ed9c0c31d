"""Queries while releases pour in and a snapshot is published."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.given_vectors import CONTENT_DIM, GivenVectors, audio_of
from anacrusis.bench.load_clients import CALLERS, SEARCH, clients, together
from anacrusis.bench.our_index import ARTISTS_TRACKS, Content
from anacrusis.bench.promises import at_least, at_most
from grpc_service.client import Client, ClientError, Filters

TRACKS_PER_S = 50.0
HEARD = 2000  # tracks that new ones are projected from
MIN_THROUGHPUT = 0.8
KEPT_UP = 0.95  # the last ones are still under way when a turn ends
LONGER = 5.0  # times as long as other turns, so that a snapshot is published every ten seconds by default
PUBLISH_AFTER_S = 1.0  # when there is something new to publish
PUBLISH_TIMEOUT_S = 120.0
_SENDERS = 8


def given_content(vectors: NDArray[np.float32]) -> Content:
    """Make content vectors of the tracks with these collaborative ones, shape (n, dim), for `while_ingesting`."""
    content = np.zeros((len(vectors), CONTENT_DIM), dtype=np.float32)
    some = np.tanh(vectors[:, :CONTENT_DIM])
    content[:, : some.shape[1]] = some
    return Content(GivenVectors.encoder_id, content)


def while_ingesting(folder: Path, repeats: int, seconds: float) -> dict[str, Any]:
    """Measure queries alone and beside `TRACKS_PER_S` new tracks a second and a publish, in turns.

    Parameters
    ----------
    folder : Path
        With `home`, made with `given_content`, and the requests.
    repeats : int
    seconds : float
        Of other benches' turns; these last `LONGER`.

    Returns
    -------
    dict
        With `checks`.
    """
    window_s = LONGER * seconds
    quiet: list[dict[str, Any]] = []
    busy: list[dict[str, Any]] = []
    with _server(folder / "home") as address, clients(address, SEARCH, folder / "unary") as asking:
        for turn in range(repeats):
            quiet.append(together(asking, "closed", seconds=window_s, callers=CALLERS))
            with _Releases(address, turn) as releases:
                windows = [together(asking, "closed", seconds=window_s, callers=CALLERS)]
                while not releases.published_at_s:
                    windows.append(together(asking, "closed", seconds=window_s, callers=CALLERS))
            busy.append({**_joined(windows), **releases.report()})
    share = statistics.median(one["per_s"] / alone["per_s"] for one, alone in zip(busy, quiet, strict=True))
    per_s = statistics.median(one["ingested"] / one["ingesting_s"] for one in busy)
    failed = sum(sum(one["failed"].values()) for one in (*quiet, *busy))
    ingested, found = sum(one["ingested"] for one in busy), sum(one["found"] for one in busy)
    return {
        "quiet": quiet,
        "busy": busy,
        "share": share,
        "ingested_per_s": per_s,
        "checks": [
            at_most("while releases pour in: failed queries, ingests and publishes", failed + _errors(busy), 0),
            at_least(
                f"while releases pour in: of {TRACKS_PER_S:g} a second, the share that is acknowledged and looked for",
                per_s / TRACKS_PER_S,
                KEPT_UP,
            ),
            at_least("while releases pour in: queries a second beside those without", share, MIN_THROUGHPUT),
            at_least(
                "while releases pour in: share of new tracks that the first query after the acknowledgement finds",
                found / ingested if ingested else 0.0,
                1.0,
            ),
            at_least(
                "while releases pour in: snapshots published in each turn", min(one["published"] for one in busy), 1
            ),
        ],
    }


def _joined(windows: list[dict[str, Any]]) -> dict[str, Any]:
    """Join windows of the same length, one behind the other."""
    failed: Counter[str] = Counter()
    for one in windows:
        failed.update(one["failed"])
    return {
        "per_s": statistics.mean(one["per_s"] for one in windows),
        "p50_ms": statistics.median(one["p50_ms"] for one in windows),
        "p99_ms": max(one["p99_ms"] for one in windows),
        "failed": dict(failed),
        "windows": len(windows),
    }


def _errors(busy: list[dict[str, Any]]) -> int:
    return sum(len(one["errors"]) for one in busy)


class _Releases:
    """New tracks at a steady rate, each looked for at once, and a publish beside them; until the block ends.

    A track is looked for among those of an artist that nobody else has, so that it is found or is not there.
    """

    def __init__(self, address: str, turn: int) -> None:
        self._client = Client(address, timeout_s=30.0, retries=0)
        self._turn = turn
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="releases")
        self._rng = np.random.default_rng([turn, 9])
        self._dim = self._client.status().dim
        self._over = threading.Event()
        self.ingested = self.found = self.published = 0
        self.ingesting_s = self.published_at_s = 0.0
        self.errors: list[str] = []

    def __enter__(self) -> _Releases:
        self._threads = [threading.Thread(target=self._send_all), threading.Thread(target=self._publish)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._senders.shutdown()
        self._client.close()

    def report(self) -> dict[str, Any]:
        return {
            "ingested": self.ingested,
            "found": self.found,
            "ingesting_s": self.ingesting_s,
            "published": self.published,
            "publishing_s": self.published_at_s,
            "errors": self.errors,
        }

    def _send_all(self) -> None:
        sent, number, start = [], 0, time.perf_counter()
        while not self._over.wait(max(0.0, start + number / TRACKS_PER_S - time.perf_counter())):
            audio = audio_of(np.tanh(self._rng.standard_normal(CONTENT_DIM)))
            sent.append(self._senders.submit(self._send, number, audio))
            number += 1
        # What could not be sent by now shows in the rate: it is not waited for.
        for one in [one for one in sent if not one.cancel()]:
            try:
                was_found = one.result()
            except ClientError as error:
                self.errors.append(str(error))
            else:
                self.ingested += 1
                self.found += was_found
        self.ingesting_s = time.perf_counter() - start

    def _send(self, number: int, audio: bytes) -> bool:
        own = f"turn-{self._turn}-{number}"
        known = f"artist-{number % (HEARD // ARTISTS_TRACKS)}"
        self._client.ingest(f"new-{own}", artist_ids=[known, own], audio=audio)
        query = np.random.default_rng(number).standard_normal(self._dim, np.float32)
        answer = self._client.neighbors_of_vector(query, k=1, filters=Filters(artists_in=(own,)))
        return answer.track_ids == (f"new-{own}",)

    def _publish(self) -> None:
        self._over.wait(PUBLISH_AFTER_S)
        start = time.perf_counter()
        try:
            before = self._client.status().snapshot_id
            for _ in self._client.refresh(timeout_s=PUBLISH_TIMEOUT_S):
                pass
            self.published += self._client.status().snapshot_id != before
        except ClientError as error:
            self.errors.append(str(error))
        finally:
            self.published_at_s = time.perf_counter() - start


@contextmanager
def _server(home: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "anacrusis.bench.given_vectors", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # opened as a pipe above
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
