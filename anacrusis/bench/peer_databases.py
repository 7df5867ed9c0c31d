"""Peers that are databases in process: LanceDB and Qdrant Edge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.contenders import Listed
from anacrusis.bench.peer_graphs import EF_CONSTRUCTION, EFFORTS, M

REFINED = 2  # times as many candidates as asked for are compared again by the whole vectors
PARTITION_ROWS = 1_000_000  # one graph up to here, as the others have
_PIECE = 10_000


class LanceDb:
    """LanceDB's IVF_HNSW_SQ, re-ranked by the stored vectors."""

    efforts: Sequence[int] = tuple(REFINED * effort for effort in EFFORTS)  # it keeps at least those

    def build(self, vectors: NDArray[np.float32], folder: Path) -> None:
        """See `Contender.build`."""
        import lancedb
        import pyarrow as pa

        flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
        rows = pa.table(
            {"row": np.arange(len(vectors)), "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])}
        )
        table = lancedb.connect(str(folder / "database")).create_table("tracks", rows)
        self._partitions = max(1, len(vectors) // PARTITION_ROWS)
        table.create_index(
            metric="dot",
            vector_column_name="vector",
            index_type="IVF_HNSW_SQ",
            num_partitions=self._partitions,
            m=M,
            ef_construction=EF_CONSTRUCTION,
        )

    def open(self, folder: Path, k: int) -> None:
        """See `Contender.open`."""
        import lancedb

        self._table: Any = lancedb.connect(str(folder / "database")).open_table("tracks")
        self._k = k

    def search(self, query: NDArray[np.float32], effort: int) -> Any:
        """See `Contender.search`."""
        asked = self._table.search(query, vector_column_name="vector").distance_type("dot").select(["row", "_distance"])
        return asked.nprobes(16).ef(effort).refine_factor(REFINED).limit(self._k).to_arrow()

    def rows(self, answer: Any) -> NDArray[np.int64]:
        """See `Contender.rows`."""
        return np.asarray(answer["row"].to_numpy(), dtype=np.int64)


class QdrantEdge:
    """Qdrant Edge: HNSW of float32 in a shard of its own."""

    efforts: Sequence[int] = EFFORTS

    def build(self, vectors: NDArray[np.float32], folder: Path) -> None:
        """See `Contender.build`."""
        import qdrant_edge as qdrant

        (folder / "shard").mkdir()
        shard = qdrant.EdgeShard.create(str(folder / "shard"), _qdrant_config(vectors.shape[1]))
        for at in range(0, len(vectors), _PIECE):
            points = [
                qdrant.Point(id=row, vector=vectors[row].tolist(), payload={})
                for row in range(at, min(at + _PIECE, len(vectors)))
            ]
            shard.update(qdrant.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        shard.close()

    def open(self, folder: Path, k: int) -> None:
        """See `Contender.open`."""
        import qdrant_edge as qdrant

        self._shard: Any = qdrant.EdgeShard.load(str(folder / "shard"), None)
        self._qdrant: Any = qdrant
        self._k = k

    def search(self, query: NDArray[np.float32], effort: int) -> Any:
        """See `Contender.search`."""
        return self._shard.query(
            self._qdrant.QueryRequest(
                query=self._qdrant.Query.Nearest(query.tolist()),
                limit=self._k,
                params=self._qdrant.SearchParams(hnsw_ef=effort, exact=False),
                with_vector=False,
                with_payload=False,
            )
        )

    def rows(self, answer: Any) -> NDArray[np.int64]:
        """See `Contender.rows`."""
        return np.array([one.id for one in answer], dtype=np.int64)


def _qdrant_config(dim: int) -> Any:
    import qdrant_edge as qdrant

    return qdrant.EdgeConfig(
        vectors=qdrant.EdgeVectorParams(size=dim, distance=qdrant.Distance.Dot),
        hnsw_config=qdrant.HnswIndexConfig(m=M, ef_construct=EF_CONSTRUCTION, full_scan_threshold=1000),
    )


LISTED = (
    Listed(
        "lancedb",
        "lancedb",
        "lancedb",
        LanceDb,
        f"IVF_HNSW_SQ, M {M}, ef_construction {EF_CONSTRUCTION}, re-ranked",
    ),
    Listed(
        "qdrant-edge",
        "qdrant-edge-py",
        "qdrant_edge",
        QdrantEdge,
        f"HNSW, M {M}, ef_construction {EF_CONSTRUCTION}, float32",
    ),
)
