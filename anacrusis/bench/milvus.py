"""milvus-lite behind its gRPC, as server and as clients; ``python -m anacrusis.bench.milvus`` takes orders.

It brings faiss-cpu, which cannot stand beside faiss-gpu in one environment, so another interpreter may run this module:
it imports nothing but NumPy, pymilvus and milvus-lite.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.closed_loop import closed_loop
from anacrusis.bench.processes import serve_orders

COLLECTION = "tracks"
M, EF_CONSTRUCTION = 16, 200
EFFORTS = (100, 120, 150, 200, 300, 400, 600, 900, 1400, 2000)
_PIECE = 5000


class Milvus:
    """A server that holds vectors, or a client of one."""

    def carry_out(self, order: str, **arguments: Any) -> Any:
        """Do what is ordered: serve, connect, tune or closed."""
        return getattr(self, f"do_{order}")(**arguments)

    def do_serve(self, folder: str) -> dict[str, Any]:
        """Start a server in this process and fill it with the folder's vectors."""
        import milvus_lite
        from milvus_lite.server_manager import server_manager_instance
        from pymilvus import MilvusClient

        vectors = np.load(Path(folder) / "tracks.npy", mmap_mode="r", allow_pickle=False)
        start = time.perf_counter()
        address = server_manager_instance.start_and_get_uri(str(Path(folder) / "milvus.db"))
        client = MilvusClient(uri=address)
        client.create_collection(COLLECTION, dimension=vectors.shape[1], metric_type="IP", auto_id=False)
        client.release_collection(COLLECTION)
        client.drop_index(COLLECTION, "vector")
        for at in range(0, len(vectors), _PIECE):
            rows = [
                {"id": at + row, "vector": vector} for row, vector in enumerate(np.array(vectors[at : at + _PIECE]))
            ]
            client.insert(COLLECTION, rows)
        client.flush(COLLECTION)
        index = client.prepare_index_params()
        index.add_index(
            "vector", index_type="HNSW", metric_type="IP", params={"M": M, "efConstruction": EF_CONSTRUCTION}
        )
        client.create_index(COLLECTION, index)
        client.load_collection(COLLECTION)
        return {
            "address": address,
            "version": getattr(milvus_lite, "__version__", ""),
            "build_s": time.perf_counter() - start,
        }

    def do_connect(self, address: str, folder: str, k: int, threads: int) -> int:
        """Connect some clients, a thread each."""
        from pymilvus import MilvusClient

        self._clients = [MilvusClient(uri=address) for _ in range(threads)]
        self._queries = np.load(Path(folder) / "queries.npy", allow_pickle=False)
        self._k = k
        return threads

    def do_tune(self, folder: str, least_recall: float) -> dict[str, float]:
        """Find the least effort that finds enough, on the queries for tuning."""
        tuning = np.load(Path(folder) / "tuning.npy", allow_pickle=False)
        truth = np.load(Path(folder) / "tuning_truth.npy", allow_pickle=False)
        found = 0.0
        for effort in EFFORTS:
            rows = [self._search(self._clients[0], query, effort) for query in tuning]
            found = float(np.mean([len(np.intersect1d(mine, best)) for mine, best in zip(rows, truth, strict=True)]))
            found /= truth.shape[1]
            if found >= least_recall:
                break
        return {"effort": effort, "recall": found}

    def do_closed(self, seconds: float, effort: int) -> list[float]:
        """Have every client ask again and again; gives the milliseconds of each call."""

        def asking(client: Any) -> Callable[[int], object]:
            return lambda call: self._search(client, self._queries[call % len(self._queries)], effort)

        return closed_loop([asking(client) for client in self._clients], seconds)

    def _search(self, client: Any, query: NDArray[np.float32], effort: int) -> list[int]:
        found = client.search(
            COLLECTION, [query], limit=self._k, search_params={"metric_type": "IP", "params": {"ef": effort}}
        )
        return [hit["id"] for hit in found[0]]


if __name__ == "__main__":
    serve_orders(Milvus().carry_out)
