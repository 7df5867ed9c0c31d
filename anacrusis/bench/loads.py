"""Clients of a server in a process of their own, as cheap as Python has them: bytes out, bytes in, on one event loop.

``python -m anacrusis.bench.loads``; orders on standard input, see `anacrusis.bench.processes`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from anacrusis.bench.processes import serve_orders

TIMEOUT_S = 10.0
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
_HINT = b"google.rpc.RetryInfo"


class Loads:
    """Carries out orders to load a server."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._requests: list[bytes] = []

    def carry_out(self, order: str, **arguments: Any) -> Any:
        """Do what is ordered: connect, closed or offered."""
        return self._runner.run(getattr(self, f"do_{order}")(**arguments))

    async def do_connect(self, address: str, method: str, requests: str) -> int:
        """Connect to a server, and read what to ask: a file with a message a line, in hexadecimal digits."""
        self._requests = [bytes.fromhex(line) for line in Path(requests).read_text(encoding="ascii").split()]
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._call = self._channel.unary_unary(method)
        await self._call(self._requests[0], timeout=TIMEOUT_S, wait_for_ready=True)
        return len(self._requests)

    async def do_closed(self, seconds: float, callers: int) -> dict[str, Any]:
        """Have some callers ask, each again once it is answered."""
        found = _Found()
        start = time.perf_counter()

        async def caller(number: int) -> None:
            while time.perf_counter() - start < seconds:
                await self._ask(number, time.perf_counter(), found)
                number += callers

        await asyncio.gather(*(caller(number) for number in range(callers)))
        return found.report(time.perf_counter() - start)

    async def do_offered(self, per_s: float, seconds: float, seed: int) -> dict[str, Any]:
        """Ask at random moments (Poisson), whether or not answers keep up; latency counts from when a call was due."""
        found = _Found()
        rng = np.random.default_rng(seed)
        start = due = time.perf_counter()
        under_way: set[asyncio.Task[None]] = set()
        number = 0
        while due - start < seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.ensure_future(self._ask(number, due, found))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
            due += rng.exponential(1.0 / per_s)
        if under_way:
            await asyncio.wait(under_way)
        return found.report(time.perf_counter() - start)

    async def _ask(self, number: int, due: float, found: _Found) -> None:
        try:
            await self._call(self._requests[number % len(self._requests)], timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            found.failed[error.code().name] += 1
            found.said.setdefault(error.code().name, error.details() or "")
            metadata = dict(error.trailing_metadata() or ())
            found.hinted += _HINT in bytes(metadata.get("grpc-status-details-bin", b""))
        else:
            found.latency_ms.append(1e3 * (time.perf_counter() - due))


class _Found:
    def __init__(self) -> None:
        self.latency_ms: list[float] = []
        self.failed: Counter[str] = Counter()
        self.hinted = 0
        self.said: dict[str, str] = {}  # by the first of each code

    def report(self, took_s: float) -> dict[str, Any]:
        return {
            "seconds": took_s,
            "latency_ms": [round(one, 4) for one in self.latency_ms],
            "failed": dict(self.failed),
            "hinted": self.hinted,
            "said": self.said,
        }


if __name__ == "__main__":
    serve_orders(Loads().carry_out)
