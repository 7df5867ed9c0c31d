"""What loads a server, and what it asks: processes of `anacrusis.bench.loads`, told and heard together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.processes import Worker

K = 100
BATCH = 256
CLIENT_PROCESSES, CALLERS = 2, 4
"""Callers in each process: eight clients."""

SEARCH = "/anacrusis.v1.NeighborService/SearchNeighbors"
BATCH_SEARCH = "/anacrusis.v1.NeighborService/BatchSearchNeighbors"


def write_requests(folder: Path, queries: NDArray[np.float32]) -> None:
    """Write what clients send: a message a line, `unary` one query each, `batch` `BATCH` of them."""
    from grpc_service.packing import pack_vectors
    from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as pb

    single = [pb.SearchNeighborsRequest(vector=pack_vectors(query), k=K) for query in queries]
    some = np.resize(queries, (BATCH, queries.shape[1]))
    batch = [pb.BatchSearchNeighborsRequest(vectors=pack_vectors(some), k=K)]
    for name, messages in (("unary", single), ("batch", batch)):
        lines = "\n".join(message.SerializeToString().hex() for message in messages)
        (folder / name).write_text(lines, encoding="ascii")


@contextmanager
def clients(
    address: str, method: str, requests: Path, processes: int = CLIENT_PROCESSES, *, ca: str = "", token: str = ""
) -> Iterator[list[Worker]]:
    """Connect some processes of clients; encrypted where the file of an authority is named, known where a token is."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker("anacrusis.bench.loads")) for _ in range(processes)]
        for worker in workers:
            worker.ask("connect", address=address, method=method, requests=str(requests), ca=ca, token=token)
        yield workers


def together(workers: Sequence[Worker], order: str, **arguments: Any) -> dict[str, Any]:
    """Have several processes load one server at once, and join what they found."""
    for number, worker in enumerate(workers):
        own = {"seed": number} if order == "offered" else {}
        worker.tell(order, **arguments, **own)
    found = [worker.answer() for worker in workers]
    took = np.array([one for each in found for one in each["latency_ms"]])
    late = np.array([one for each in found for one in each["late_ms"]])
    failed: dict[str, int] = {}
    for each in found:
        for code, count in each["failed"].items():
            failed[code] = failed.get(code, 0) + count
    return {
        "per_s": sum(len(each["latency_ms"]) / each["seconds"] for each in found),
        "answered": len(took),
        "p50_ms": float(np.quantile(took, 0.5)) if len(took) else None,
        "p90_ms": float(np.quantile(took, 0.9)) if len(took) else None,
        "p99_ms": float(np.quantile(took, 0.99)) if len(took) else None,
        "late_p99_ms": float(np.quantile(late, 0.99)) if len(late) else None,
        "failed": failed,
        "hinted": sum(each["hinted"] for each in found),
        "said": {code: words for each in found for code, words in each["said"].items()},
    }
