"""Our own search among the contenders: a home folder, opened as the server opens it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.contenders import OURS, Listed
from index.kinds import AUTO, FLAT_FP16, KINDS
from jobs.progress import silent

if TYPE_CHECKING:
    from index import Filters, SearchResult, TrackRecord
    from jobs import Engine

SPACE_ID = "bench"
FIRST_DAY = date(2000, 1, 1)
DAYS = 10_000
ARTISTS_TRACKS = 10
TUNED_ON = 200  # queries
_RECALLS = (0, 900, 950, 980, 990, 995, 999)
_COMMIT_TRACKS = 65_536


def track_id(row: int) -> str:
    """Name a row of the matrix."""
    return f"track-{row:010d}"


def row_of(track: str) -> int:
    """Give the row of the matrix that `track_id` named."""
    return int(track.removeprefix("track-"))


@dataclass(frozen=True, eq=False)
class Content:
    """What an encoder makes of the first tracks: vectors of shape (n, content_dim)."""

    encoder_id: str
    vectors: NDArray[np.float32]


def days_of(count: int) -> NDArray[np.int64]:
    """Give on which of `DAYS` each of some tracks was released, by row."""
    return np.random.default_rng(7).integers(0, DAYS, count)


def released_since(share: float) -> Filters:
    """Make the filter that about a share of the tracks pass: those released last."""
    from index import Filters

    return Filters(released_from=FIRST_DAY + timedelta(days=DAYS - round(share * DAYS)))


def build_home(
    home: Path,
    vectors: NDArray[np.float32],
    content: Content | None = None,
    *,
    kind: str = AUTO,
    records: bool = True,
) -> None:
    """Make a home that serves vectors.

    Parameters
    ----------
    home : Path
    vectors : ndarray of float32, shape (n, dim)
    content : Content, optional
        Of the first tracks, so that others can be projected from theirs.
    kind : str
        Of the index; one of `index.kinds.KINDS`.
    records : bool
        Whether every track has an artist and a release date, which filters ask for.
    """
    from index import Metric, SpaceRecord, WriteBatch, build_snapshot
    from jobs import Engine

    with Engine.open(home, create=True, device="cpu") as engine:
        for some in _records(len(vectors) if records else 0):
            engine.store.commit(WriteBatch(tracks=some))
        if content is not None:
            rows = [(track_id(row), vector) for row, vector in enumerate(content.vectors)]
            engine.store.commit(WriteBatch(content={content.encoder_id: rows}))
        ids = [track_id(row) for row in range(len(vectors))]
        engine.store.create_space(SpaceRecord(SPACE_ID, vectors.shape[1], Metric.INNER_PRODUCT), ids, vectors)
        engine.store.publish(build_snapshot(engine.store, SPACE_ID, kind=kind, device="cpu").snapshot_id)


class OurIndex:
    """A home with one published snapshot.

    Parameters
    ----------
    kind : str
        Of its index; "auto" is what is served by default.
    """

    def __init__(self, kind: str = AUTO) -> None:
        self.efforts: Sequence[int] = _RECALLS if kind not in (AUTO, FLAT_FP16) else (0,)
        self.engine: Engine
        self._kind = kind
        self._k = 0
        self._effort = 0

    def build(self, vectors: NDArray[np.float32], folder: Path) -> None:
        """See `Contender.build`."""
        build_home(folder / "home", vectors, kind=self._kind, records=self._kind == AUTO)

    def open(self, folder: Path, k: int) -> None:
        """See `Contender.open`."""
        from jobs import Engine

        self.engine = Engine.open(folder / "home", device="cpu")
        self._k = k

    def search(self, query: NDArray[np.float32], effort: int) -> SearchResult:
        """See `Contender.search`: through the view that every query of the service goes through.

        An effort is the recall, in thousandths, that the index is tuned for; 0: as it was built.
        """
        if effort != self._effort:
            from index.tuning import DEFAULT_RECALL
            from jobs.tuning import tune_index

            recall = effort / 1000 if effort else DEFAULT_RECALL
            tune_index(self.engine, recall=recall, k=self._k, queries=TUNED_ON, on_progress=silent)
            self.engine.sync()
            self._effort = effort
        return self.engine.searcher.view().search(query[None], self._k)

    def rows(self, answer: Any) -> NDArray[np.int64]:
        """See `Contender.rows`."""
        return np.array([row_of(one) for one in answer[0].track_ids], dtype=np.int64)


def _records(count: int) -> Iterator[list[TrackRecord]]:
    from index import TrackRecord

    days = days_of(count).tolist()
    for first in range(0, count, _COMMIT_TRACKS):
        yield [
            TrackRecord(
                track_id(row),
                artist_ids=(f"artist-{row // ARTISTS_TRACKS}",),
                release_date=FIRST_DAY + timedelta(days=days[row]),
            )
            for row in range(first, min(first + _COMMIT_TRACKS, count))
        ]


LISTED = (
    Listed(OURS, "anacrusis", "index", OurIndex, "what is served by default", peer=False),
    *(
        Listed(
            f"{OURS} {kind}", "anacrusis", "index", partial(OurIndex, kind), f"an index of the kind {kind}", peer=False
        )
        for kind in KINDS
        if kind != AUTO
    ),
)
