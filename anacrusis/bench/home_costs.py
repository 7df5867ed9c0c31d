"""What only a home has to answer for: filters, fresh rows, a crash. Orders as `anacrusis.bench.contending` has them."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.contenders import OURS
from anacrusis.bench.contending import WARM_UP, Contending
from anacrusis.bench.our_index import DAYS, SPACE_ID, OurIndex, days_of, released_since, track_id
from anacrusis.bench.processes import serve_orders
from anacrusis.bench.vectors import nearest, recall

FRESH_GROUP = 500  # rows a commit


class HomeCosts(Contending):
    """Measures a home that `anacrusis.bench.contending` has built.

    Parameters
    ----------
    folder : Path
        As `Contending` has it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(OURS, folder)
        assert isinstance(self._index, OurIndex)
        self._home = self._index

    def do_filters(self, k: int, shares: list[float], queries: int, repeats: int) -> list[dict[str, float]]:
        """Search behind filters that let a share of the tracks pass; each beside the unfiltered search, in turns."""
        asked = np.array(self._vectors.queries[:queries])
        tracks = self._vectors.tracks
        days = days_of(len(tracks))
        found = []
        for share in shares:
            passing = np.flatnonzero(days >= DAYS - round(share * DAYS))
            truth = passing[nearest(asked, np.ascontiguousarray(tracks[passing]), k)]
            filters = released_since(share)
            took: dict[str, list[float]] = {"unfiltered": [], "filtered": []}
            for _ in range(repeats):
                took["unfiltered"].append(self._timed(asked, k, None)[0])
                median_s, rows = self._timed(asked, k, filters)
                took["filtered"].append(median_s)
            medians = {kind: statistics.median(times) for kind, times in took.items()}
            found.append(
                {
                    "share": share,
                    "tracks": len(passing),
                    "recall": recall(rows, truth),
                    "p50_ms": 1e3 * medians["filtered"],
                    "times_unfiltered": medians["filtered"] / medians["unfiltered"],
                }
            )
        return found

    def _timed(self, queries: NDArray[np.float32], k: int, filters: Any) -> tuple[float, NDArray[np.int64]]:
        view = self._home.engine.searcher.view()
        for query in queries[:WARM_UP]:
            view.search(query[None], k, filters=filters)
        took, rows = [], np.full((len(queries), k), -1, dtype=np.int64)
        for at, query in enumerate(queries):
            start = time.perf_counter()
            answer = view.search(query[None], k, filters=filters)
            took.append(time.perf_counter() - start)
            own = self._home.rows(answer)
            rows[at, : len(own)] = own
        return statistics.median(took), rows

    def do_write_fresh(self, rows: int) -> dict[str, Any]:
        """Commit fresh rows, as ingesting new tracks does; what has answered is durable."""
        from index import ServedVector, Tier, TrackRecord, WriteBatch

        first = len(self._vectors.tracks)
        rng = np.random.default_rng(first)
        near = self._vectors.tracks[rng.integers(0, first, rows)]
        vectors = near + np.float32(0.1) * rng.standard_normal(near.shape, np.float32)
        start = time.perf_counter()
        for at in range(0, rows, FRESH_GROUP):
            some = range(at, min(at + FRESH_GROUP, rows))
            records = [TrackRecord(track_id(first + row), artist_ids=("artist-new",)) for row in some]
            served = [
                ServedVector(record.track_id, vectors[row], Tier.ARTIST_TRANSFER, 0.5, "made", basis=record.basis)
                for row, record in zip(some, records, strict=True)
            ]
            self._home.engine.store.commit(WriteBatch(tracks=records, fresh={SPACE_ID: served}))
        return {"write_s": time.perf_counter() - start, "last": vectors[-1].tolist(), "row": first + rows - 1}

    def do_find(self, vector: list[float], row: int) -> dict[str, Any]:
        """Say whether a row is found by its own vector, and how many fresh rows are searched."""
        answer = self._home.search(np.array(vector, dtype=np.float32), 0)
        return {"found": row in self._home.rows(answer), "fresh_rows": self._home.engine.status().fresh_rows}

    def do_kind(self) -> dict[str, str]:
        """Say which kind of index is served."""
        snapshot = self._home.engine.searcher.snapshot
        return {"kind": snapshot.index_kind if snapshot is not None else ""}


def main() -> None:
    """Serve orders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    serve_orders(HomeCosts(parser.parse_args().folder).carry_out)


if __name__ == "__main__":
    main()
