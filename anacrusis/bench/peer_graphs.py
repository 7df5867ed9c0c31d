"""Peers that are a graph in memory: hnswlib, usearch and voyager, each by its own defaults but for the sizes below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.contenders import Listed

M = 16
EF_CONSTRUCTION = 200
EFFORTS: Sequence[int] = (100, 120, 150, 200, 300, 400, 600, 900, 1400, 2000)
"""How many candidates a search keeps; the sweep stops at the first that finds enough."""


class Hnswlib:
    """hnswlib, float32."""

    efforts = EFFORTS

    def build(self, vectors: NDArray[np.float32], folder: Path) -> None:
        """See `Contender.build`."""
        import hnswlib

        index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        index.init_index(max_elements=len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
        index.add_items(vectors)
        index.save_index(str(folder / "index"))
        np.save(folder / "dim.npy", np.array(vectors.shape[1]), allow_pickle=False)

    def open(self, folder: Path, k: int) -> None:
        """See `Contender.open`."""
        import hnswlib

        self._index = hnswlib.Index(space="ip", dim=int(np.load(folder / "dim.npy", allow_pickle=False)))
        self._index.load_index(str(folder / "index"))
        self._index.set_num_threads(1)
        self._k = k

    def search(self, query: NDArray[np.float32], effort: int) -> Any:
        """See `Contender.search`."""
        self._index.set_ef(effort)
        return self._index.knn_query(query, k=self._k)

    def rows(self, answer: Any) -> NDArray[np.int64]:
        """See `Contender.rows`."""
        return np.asarray(answer[0][0], dtype=np.int64)


class Usearch:
    """usearch, float16 as what it is compared with."""

    efforts = EFFORTS

    def build(self, vectors: NDArray[np.float32], folder: Path) -> None:
        """See `Contender.build`."""
        from usearch.index import Index

        index = Index(ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=M, expansion_add=EF_CONSTRUCTION)
        index.add(np.arange(len(vectors)), np.asarray(vectors))
        index.save(str(folder / "index"))

    def open(self, folder: Path, k: int) -> None:
        """See `Contender.open`."""
        from usearch.index import Index

        self._index: Any = Index.restore(str(folder / "index"))
        self._k = k

    def search(self, query: NDArray[np.float32], effort: int) -> Any:
        """See `Contender.search`."""
        self._index.expansion_search = effort
        return self._index.search(query, self._k, threads=1)

    def rows(self, answer: Any) -> NDArray[np.int64]:
        """See `Contender.rows`."""
        return np.asarray(answer.keys, dtype=np.int64)


class Voyager:
    """voyager, float32."""

    efforts = EFFORTS

    def build(self, vectors: NDArray[np.float32], folder: Path) -> None:
        """See `Contender.build`."""
        import voyager

        index = voyager.Index(
            voyager.Space.InnerProduct, num_dimensions=vectors.shape[1], M=M, ef_construction=EF_CONSTRUCTION
        )
        index.add_items(np.array(vectors))  # it takes no read-only array
        index.save(str(folder / "index"))

    def open(self, folder: Path, k: int) -> None:
        """See `Contender.open`."""
        import voyager

        self._index = voyager.Index.load(str(folder / "index"))
        self._k = k

    def search(self, query: NDArray[np.float32], effort: int) -> Any:
        """See `Contender.search`."""
        return self._index.query(query, k=self._k, query_ef=effort)

    def rows(self, answer: Any) -> NDArray[np.int64]:
        """See `Contender.rows`."""
        return np.asarray(answer[0], dtype=np.int64)


_GRAPH = f"HNSW, M {M}, ef_construction {EF_CONSTRUCTION}"
LISTED = (
    Listed("hnswlib", "hnswlib", "hnswlib", Hnswlib, f"{_GRAPH}, float32"),
    Listed("usearch", "usearch", "usearch", Usearch, f"{_GRAPH}, float16"),
    Listed("voyager", "voyager", "voyager", Voyager, f"{_GRAPH}, float32"),
)
