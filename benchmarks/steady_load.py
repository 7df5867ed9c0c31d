"""Clients that ask at a steady rate, whether or not the answers keep up, and remember every one of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from benchmarks.reply_checks import Reply
from grpc_service.client import Client, ClientError

TIMEOUT_S = 30.0
_WORKERS = 32

Operation = Callable[[Client, np.random.Generator], Sequence[Reply | ClientError]]
"""One call: what it answered, item by item; a refusal of the whole call is raised."""


@dataclass(frozen=True)
class Call:
    """One call of the load.

    Attributes
    ----------
    name : str
        Of its operation.
    planned_s, sent_s, received_s : float
        When it was due, when it was sent, when the answer had come; `time.monotonic`.
    replies : tuple of Reply
    errors : tuple of ClientError
        Of the call, or of items in it.
    """

    name: str
    planned_s: float
    sent_s: float
    received_s: float
    replies: tuple[Reply, ...] = ()
    errors: tuple[ClientError, ...] = ()

    @property
    def latency_s(self) -> float:
        """Seconds from when it was due: a client that comes late because others wait counts, too."""
        return self.received_s - self.planned_s


@dataclass(frozen=True)
class Stream:
    """One kind of call and how often it is made.

    Attributes
    ----------
    name : str
    rate_per_s : float
    operation : Operation
    """

    name: str
    rate_per_s: float
    operation: Operation


@dataclass
class SteadyLoad:
    """Streams of calls to one server, from entering the block to leaving it.

    Attributes
    ----------
    address : str
    streams : sequence of Stream
    calls : list of Call
        What has been answered so far.
    unexpected : list of Exception
        What no answer of a server explains; the block ends with the first of them.
    """

    address: str
    streams: Sequence[Stream]
    calls: list[Call] = field(default_factory=list)
    unexpected: list[Exception] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        # No second try: a call that fails once counts as failed.
        self._client = Client(self.address, timeout_s=TIMEOUT_S, retries=0)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="load")
        self._clocks = [
            threading.Thread(target=self._run, args=(stream, seed)) for seed, stream in enumerate(self.streams)
        ]
        for clock in self._clocks:
            clock.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stop.set()
        for clock in self._clocks:
            clock.join()
        self._workers.shutdown()
        self._client.close()
        if self.unexpected and error is None:
            raise self.unexpected[0]

    def _run(self, stream: Stream, seed: int) -> None:
        rng = np.random.default_rng(seed)
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._workers.submit(self._call, stream, due, np.random.default_rng(rng.integers(1 << 63)))
            due += 1.0 / stream.rate_per_s

    def _call(self, stream: Stream, planned_s: float, rng: np.random.Generator) -> None:
        sent_s = time.monotonic()
        try:
            answers = stream.operation(self._client, rng)
        except ClientError as error:
            answers = [error]
        except Exception as error:
            self.unexpected.append(error)
            return
        replies = tuple(one for one in answers if isinstance(one, Reply))
        errors = tuple(one for one in answers if isinstance(one, ClientError))
        self.calls.append(Call(stream.name, planned_s, sent_s, time.monotonic(), replies, errors))
