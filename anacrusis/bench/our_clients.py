"""Clients as users of the service have them: ``python -m anacrusis.bench.our_clients``, orders on standard input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anacrusis.bench.closed_loop import closed_loop
from anacrusis.bench.our_index import row_of
from anacrusis.bench.processes import serve_orders
from anacrusis.bench.vectors import recall
from grpc_service.client import Client

TIMEOUT_S = 30.0


class OurClients:
    """The same orders as those of `anacrusis.bench.milvus.Milvus`'s clients."""

    def carry_out(self, order: str, **arguments: Any) -> Any:
        """Do what is ordered: connect, recall or closed."""
        return getattr(self, f"do_{order}")(**arguments)

    def do_connect(self, address: str, folder: str, k: int, threads: int) -> int:
        """Connect some clients, a thread each."""
        self._clients = [Client(address, timeout_s=TIMEOUT_S, retries=0) for _ in range(threads)]
        for client in self._clients:
            client.wait_until_ready()
        self._queries = np.load(Path(folder) / "queries.npy", allow_pickle=False)
        self._k = k
        return threads

    def do_recall(self, folder: str) -> float:
        """Say which share of the true neighbours is found."""
        truth = np.load(Path(folder) / "truth.npy", allow_pickle=False)
        found = np.full(truth.shape, -1, dtype=np.int64)
        for at, query in enumerate(self._queries):
            ids = self._clients[0].neighbors_of_vector(query, k=self._k).track_ids
            found[at, : len(ids)] = [row_of(one) for one in ids]
        return recall(found, truth)

    def do_closed(self, seconds: float) -> list[float]:
        """Have every client ask again and again; gives the milliseconds of each call."""

        def asking(client: Client) -> Callable[[int], object]:
            return lambda call: client.neighbors_of_vector(self._queries[call % len(self._queries)], k=self._k)

        return closed_loop([asking(client) for client in self._clients], seconds)


if __name__ == "__main__":
    serve_orders(OurClients().carry_out)
