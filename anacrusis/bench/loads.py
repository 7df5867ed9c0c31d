"""Clients of a server in a process of their own, as cheap as Python has them: bytes out, bytes in, one thread.

Clients share the machine with the server that they load, so that what they cost is missing there. They stand on the
same core of gRPC as the server does (`grpc_service.core`): a call takes a third of what `grpc.aio` takes for it.

``python -m anacrusis.bench.loads``; orders on standard input, see `anacrusis.bench.processes`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc._cython import cygrpc

from anacrusis.bench.processes import serve_orders

TIMEOUT_S = 10.0
TICK_S = 0.002
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0))
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_DETAILS_KEY, _HINT = "grpc-status-details-bin", b"google.rpc.RetryInfo"
_WAIT_FOR_READY = 0x20 | 0x80  # GRPC_INITIAL_METADATA_WAIT_FOR_READY, and that it was set on purpose


class _Reply:
    """How a call ended."""

    def __init__(self, event: Any) -> None:
        *_, status = event.batch_operations
        self.code: int = status.code()
        self._status = status

    @property
    def details(self) -> str:
        return str(self._status.details())

    @property
    def hinted(self) -> bool:
        return _HINT in bytes(dict(self._status.trailing_metadata() or ()).get(_DETAILS_KEY, b""))


class Loads:
    """Carries out orders to load a server."""

    def carry_out(self, order: str, **arguments: Any) -> Any:
        """Do what is ordered: connect, closed or offered."""
        return getattr(self, f"do_{order}")(**arguments)

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close(cygrpc.StatusCode.cancelled, "closed")

    def do_connect(self, address: str, method: str, requests: str, ca: str = "", token: str = "") -> int:
        """Connect to a server, and read what to ask: a file with a message a line, in hexadecimal digits.

        With the file of an authority the connection is encrypted; a token is sent with each call.
        """
        credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes())._credentials if ca else None
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._requests = [bytes.fromhex(line) for line in Path(requests).read_text(encoding="ascii").split()]
        self._method = method.encode()
        self._channel = cygrpc.Channel(address.encode(), _OPTIONS, credentials)
        found = _Found()
        self._ask(0, found.add, flags=_WAIT_FOR_READY)
        self._take(found, lambda: 1)
        if found.failed:
            raise ConnectionError(f"The server does not answer: {found.said}")
        return len(self._requests)

    def do_closed(self, seconds: float, callers: int) -> dict[str, Any]:
        """Have some callers ask, each again once it is answered."""
        found = _Found()
        start = time.perf_counter()
        begun = 0

        def ask(number: int) -> None:
            nonlocal begun
            begun += 1
            asked = time.perf_counter()

            def answered(reply: _Reply) -> None:
                found.add(reply, asked)
                if time.perf_counter() - start < seconds:
                    ask(number + callers)

            self._ask(number, answered)

        for number in range(callers):
            ask(number)
        self._take(found, lambda: begun)
        return found.report(time.perf_counter() - start)

    def do_offered(self, per_s: float, seconds: float, seed: int) -> dict[str, Any]:
        """Ask at random moments (Poisson), whether or not answers keep up: nothing of the server's holds the sender up.

        What is due within `TICK_S` is sent together, because waking up for every call takes as much as sending it.
        Where the machine holds the sender up, calls are sent late. Latency counts from when they were sent; how late
        they were is told.
        """
        found = _Found()
        due = np.cumsum(np.random.default_rng(seed).exponential(1.0 / per_s, round(per_s * seconds)))
        start = time.perf_counter()
        due += start

        def send() -> None:
            for number, at in enumerate(due.tolist()):
                early_s = at - time.perf_counter()
                if early_s > TICK_S:
                    time.sleep(early_s)
                sent = time.perf_counter()
                self._ask(number, partial(found.add, since=sent))
                found.late_ms.append(1e3 * (sent - at))

        with ThreadPoolExecutor(1) as sender:
            sending = sender.submit(send)
            self._take(found, lambda: len(found.late_ms) if sending.done() else len(due))
            sending.result()
        return found.report(time.perf_counter() - start)

    def _ask(self, number: int, then: Callable[[_Reply], object], flags: int = 0) -> None:
        operations = (
            cygrpc.SendInitialMetadataOperation(self._metadata, flags),
            cygrpc.SendMessageOperation(self._requests[number % len(self._requests)], 0),
            cygrpc.SendCloseFromClientOperation(0),
            cygrpc.ReceiveInitialMetadataOperation(0),
            cygrpc.ReceiveMessageOperation(0),
            cygrpc.ReceiveStatusOnClientOperation(0),
        )
        self._channel.integrated_call(
            0, self._method, None, time.time() + TIMEOUT_S, (), None, ((operations, then),), None
        )

    def _take(self, found: _Found, count: Callable[[], int]) -> None:
        """Take replies until there are as many as calls."""
        while found.ended < count():
            event = self._channel.next_call_event()
            if event.completion_type != cygrpc.CompletionType.queue_timeout:
                event.tag(_Reply(event))


class _Found:
    def __init__(self) -> None:
        self.ended = 0
        self.latency_ms: list[float] = []
        self.late_ms: list[float] = []  # of calls that were due at a moment
        self.failed: Counter[str] = Counter()
        self.hinted = 0
        self.said: dict[str, str] = {}  # by the first of each code

    def add(self, reply: _Reply, since: float = 0.0) -> None:
        """Count a reply to a call that was sent then, on the clock of `time.perf_counter`."""
        self.ended += 1
        if reply.code:
            name = _NAMES[reply.code]
            self.failed[name] += 1
            self.said.setdefault(name, reply.details)
            self.hinted += reply.hinted
        else:
            self.latency_ms.append(1e3 * (time.perf_counter() - since))

    def report(self, took_s: float) -> dict[str, Any]:
        return {
            "seconds": took_s,
            "latency_ms": [round(one, 4) for one in self.latency_ms],
            "late_ms": [round(one, 4) for one in self.late_ms],
            "failed": dict(self.failed),
            "hinted": self.hinted,
            "said": self.said,
        }


if __name__ == "__main__":
    serve_orders(Loads().carry_out)
