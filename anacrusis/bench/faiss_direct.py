"""FAISS called directly on the index that a home serves: ``python -m anacrusis.bench.faiss_direct FOLDER THREADS``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from anacrusis.bench.processes import serve_orders
from anacrusis.bench.vectors import BenchVectors


class FaissDirect:
    """The published index, without anything of ours around it.

    Parameters
    ----------
    folder : Path
        With the vectors and `home`.
    threads : int
        That FAISS searches with.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        import faiss

        from index import Store
        from index.snapshots import load_base

        faiss.omp_set_num_threads(threads)
        with Store.open(folder / "home", create=False, read_only=True) as store:
            published = store.published()
            assert published is not None  # the bench has published it
            base = load_base(store, published)
        self._index = base.index
        if base.near is not None and base.tuning is not None:
            self._index = base.near.index
            self._index.nprobe = base.tuning.effort
        self._base = base  # its arrays are what FAISS reads
        self._queries = np.array(BenchVectors(folder, "").queries)

    def carry_out(self, order: str, **arguments: Any) -> Any:
        """Do what is ordered: search."""
        return getattr(self, f"do_{order}")(**arguments)

    def do_search(self, batch: int, k: int, seconds: float) -> dict[str, float]:
        """Search in batches for some seconds."""
        queries = np.resize(self._queries, (batch, self._queries.shape[1]))
        self._index.search(queries, k)
        asked, start = 0, time.perf_counter()
        while (took := time.perf_counter() - start) < seconds:
            self._index.search(queries, k)
            asked += batch
        return {"queries_per_s": asked / took}


def main() -> None:
    """Serve orders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("threads", type=int)
    arguments = parser.parse_args()
    serve_orders(FaissDirect(arguments.folder, arguments.threads).carry_out)


if __name__ == "__main__":
    main()
