"""Neighbours from the published snapshot and everything written since, while both change underneath."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index.approximate import make_backend
from index.asked import Filters, SearcherStatus, SearchResult
from index.bases import IndexedRows
from index.damping import Lengths
from index.devices import choose_device
from index.errors import NoSnapshotError
from index.filters import CompiledFilters, unpacked
from index.memory import give_back
from index.near import newer_tuning
from index.rows import Columns, Vocabulary, aligned_columns, patched_columns
from index.schemas import track_records
from index.snapshots import read_base, read_rows
from index.state import Base, SearchState
from index.store import Store
from index.table_reads import ROW_VERSION
from index.types import (
    BoolArray,
    Committed,
    Float32Array,
    Metric,
    ServedVector,
    SnapshotRecord,
    SpaceRecord,
    Tier,
    TrackRecord,
)
from index.view import SearchView

_log = logging.getLogger(__name__)

# A track that is looked up by its id costs about 5 times what a pass pays for each: beyond this share all are read.
_PATCHED_SHARE = 0.2


class Searcher:
    """Searches one home. Any thread may call any method.

    A search works on one immutable state, taken at its beginning by one pointer read; whatever changes (commits of
    this process, which are shown before `Store.commit` returns; publishes and commits of other processes, which
    `sync` adopts) makes a new state aside and swaps the pointer.

    Use `Searcher.open`. `search` and `vectors` each take a view of their own, for single calls; what belongs together
    goes through one `view`.
    """

    def __init__(self, store: Store, *, device: str, threads: int | None) -> None:
        self._store = store
        self._device = choose_device(device)
        self._threads = threads
        self._state: SearchState | None = None
        # Versions of the fresh, the tracks and the withdrawn table up to which what others wrote is adopted.
        self._seen = (0, 0, 0)
        # Shared by all states, so that a view taken before a withdrawal keeps to it, too.
        self._withdrawn: set[str] = set()
        self._behind = False  # a commit could not be shown: no view before the state is mended
        self._syncing = threading.Lock()  # one sync at a time; may take long
        self._writing = threading.Lock()  # held to make a state from the newest one; short
        self._unsubscribe = store.subscribe(self._on_commit)

    @classmethod
    def open(cls, store: Store, *, device: str = "auto", threads: int | None = None) -> Searcher:
        """Load what is published; a home where nothing is gives a searcher that waits for the first publish.

        Parameters
        ----------
        device : {"auto", "cpu", "gpu"}
            "auto" takes a GPU where FAISS sees one.
        threads : int, optional
            OpenMP threads of one search on the CPU; None: OpenMP's own choice.

        Raises
        ------
        DeviceUnavailableError, DamagedHomeError
        """
        searcher = cls(store, device=device, threads=threads)
        searcher.sync()
        return searcher

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop following commits and release the device."""
        self._unsubscribe()
        with self._syncing, self._writing:
            state, self._state = self._state, None
        if state is not None:
            state.base.backend.close()

    @property
    def device(self) -> str:
        """Where it searches: "cpu" or "gpu"."""
        return self._device

    @property
    def snapshot(self) -> SnapshotRecord | None:
        """The snapshot that is served."""
        state = self._state
        return state.base.snapshot if state is not None else None

    @property
    def space(self) -> SpaceRecord | None:
        """The space that is served."""
        state = self._state
        return state.base.space if state is not None else None

    # Following the tables ------------------------------------------------------------------------------------------

    def sync(self) -> bool:
        """Adopt what was published, written or withdrawn, here or in other processes, since the last time.

        Switches where another snapshot is published, else does what `catch_up` does.

        Returns
        -------
        bool
            Whether anything was new.

        Raises
        ------
        DamagedHomeError
            A table cannot be read; what was served before is served on.
        """
        with self._syncing:
            published = self._store.published()
            if published is None:
                return False
            state = self._state
            if state is None or state.base.snapshot.snapshot_id != published.snapshot_id:
                self._adopt(self._load(published))
                return True
            tuned = self._adopt_tuning(state)
            return self._catch_up() or tuned

    def catch_up(self) -> bool:
        """Adopt what was written or withdrawn since the last time, here or in other processes, in the served snapshot.

        Never switches to another snapshot. Costs a fraction of a millisecond where nothing was written.

        Returns
        -------
        bool
            Whether the tracks, the withdrawn ids or the space's fresh rows were written to since the last time,
            even where nothing of it concerns what is served: a new track is perhaps yet to be projected. Commits of
            this process count only where others wrote in between: they are shown already.

        Raises
        ------
        DamagedHomeError
            A table cannot be read; what was served before is served on.
        """
        # Not under the lock of `sync`: what was withdrawn is not shown for as long as another snapshot takes to load.
        return self._catch_up()

    def _load(self, snapshot: SnapshotRecord) -> Base:
        built = self._store.bases.take(snapshot.snapshot_id)
        rows = built or read_rows(self._store, snapshot)
        columns, artists, markets, tracks_version = self._columns(rows)
        if built is None:
            give_back()  # what the join has let go, before the codes take as much and more
            built = read_base(self._store, snapshot, rows)
        space = self._store.space(snapshot.space_id)
        backend = make_backend(built, device=self._device, threads=self._threads)
        lengths = Lengths.of(built.index, built.scale) if space.metric is Metric.INNER_PRODUCT else None
        give_back()
        return Base(
            space=space,
            snapshot=snapshot,
            backend=backend,
            track_ids=built.track_ids,
            columns=columns,
            compiled=CompiledFilters(columns, artists, markets),
            artists=artists,
            markets=markets,
            tracks_version=tracks_version,
            lengths=lengths,
            built=built,
        )

    def _adopt_tuning(self, state: SearchState) -> bool:
        """Search as far as the snapshot was tuned to meanwhile."""
        tuning = newer_tuning(self._store, state.base.snapshot, state.base.built)
        if tuning is None or state.base.built is None:
            return False
        built = replace(state.base.built, tuning=tuning)
        backend = make_backend(built, device=self._device, threads=self._threads)
        with self._writing:
            state = self._state or state
            self._state = replace(state, base=replace(state.base, built=built, backend=backend))
        return True

    def _columns(self, built: IndexedRows) -> tuple[Columns, Vocabulary, Vocabulary, int]:
        ids = built.track_ids.array
        rows = (ids, built.tiers, built.confidence, built.popularity)
        state = self._state
        if state is not None and (before := state.base).built is not None:
            # The join with the tracks is mostly as it was: at a million rows that is two thirds of a switch.
            changed, version = self._store.tracks_table(since=before.tracks_version)
            kept = built.track_ids.places_among(before.built.track_ids)
            kept[pc.is_in(ids, value_set=changed["track_id"].combine_chunks()).to_numpy(False)] = -1
            missing = ids.filter(pa.array(kept < 0))
            if len(missing) <= _PATCHED_SHARE * len(kept):
                others = missing.filter(pc.invert(pc.is_in(missing, value_set=changed["track_id"].combine_chunks())))
                tracks = pa.concat_tables([changed, self._store.tracks_table(track_ids=others.to_pylist())[0]])
                columns = patched_columns(before.columns, kept, *rows, tracks, before.artists, before.markets)
                return columns, before.artists, before.markets, version
        artists, markets = Vocabulary(), Vocabulary()
        tracks, version = self._store.tracks_table()
        return aligned_columns(*rows, tracks, artists, markets), artists, markets, version

    def _adopt(self, base: Base) -> None:
        # From here on commits of this process wait until the new state is there: they must land in it.
        with self._writing:
            self._begin(base)
        # The old base goes when the last search on it has returned: states hold their backend.

    def _begin(self, base: Base) -> None:
        state = SearchState.of(base, self._withdrawn)
        self._state, self._seen = self._advanced(state, base.snapshot.fresh_version, base.tracks_version)
        self._behind = False

    def _catch_up(self) -> bool:
        with self._writing:
            state = self._state
            if state is None:
                return False
            if self._behind:
                self._begin(state.base)
                return True
            if self._seen == self._store.versions(state.base.space.space_id):
                return False
            self._state, self._seen = self._advanced(state, *self._seen[:2])
            return True

    def _advanced(
        self, state: SearchState, seen_fresh: int, seen_tracks: int
    ) -> tuple[SearchState, tuple[int, int, int]]:
        """Bring a state to what the tables hold, and say at which versions."""
        fresh, fresh_version = self._fresh_since(state.base.space.space_id, seen_fresh)
        tracks, tracks_version = self._tracks_since(seen_tracks)
        withdrawn, withdrawn_version = self._store.withdrawn_at()
        try:
            new = state.updated(vectors=fresh, tracks=tracks, withdrawn=withdrawn, find_tracks=self._find_tracks)
        except BaseException:
            self._behind = self._behind or state.fresh.torn
            raise
        return new, (fresh_version, tracks_version, withdrawn_version)

    def _fresh_since(self, space_id: str, version: int) -> tuple[dict[str, tuple[ServedVector, int]], int]:
        rows, latest = self._store.fresh_since(space_id, version)
        return {row.track_id: (row, at) for row, at in zip(rows.records(), rows.versions, strict=True)}, latest

    def _tracks_since(self, version: int) -> tuple[dict[str, tuple[TrackRecord, int]], int]:
        rows, latest = self._store.tracks_table(since=version)
        return _versioned(rows), latest

    def _find_tracks(self, track_ids: list[str]) -> Mapping[str, tuple[TrackRecord, int]]:
        return _versioned(self._store.tracks_table(track_ids=track_ids)[0])

    def _on_commit(self, committed: Committed) -> None:
        """Show a group of this process's commits; called by the committer, in order, before their callers return."""
        self._withdrawn.update(committed.withdrawn)
        with self._writing:
            state = self._state
            if state is None or self._behind:
                return  # whoever makes the state reads the group from the tables
            space_id = state.base.space.space_id
            version = committed.fresh_versions.get(space_id, 0)
            try:
                self._state = state.updated(
                    vectors={key: (row, version) for key, row in committed.fresh.get(space_id, {}).items()},
                    tracks={key: (track, committed.tracks_version) for key, track in committed.tracks.items()},
                    withdrawn=committed.withdrawn,
                    find_tracks=self._find_tracks,
                )
                fresh, tracks, withdrawn = self._seen
                self._seen = _next(fresh, version), _next(tracks, committed.tracks_version), withdrawn
            except Exception:
                # The group is durable and will be acknowledged: nothing is answered before it is shown.
                self._behind = True
                _log.exception("a commit could not be shown; the next query shows it")

    def _newest(self) -> SearchState | None:
        if self._behind:
            with self._writing:
                if self._behind and self._state is not None:
                    self._begin(self._state.base)
        return self._state

    # Searching -----------------------------------------------------------------------------------------------------

    def search(
        self,
        queries: Float32Array,
        k: int,
        *,
        filters: Filters | None = None,
        exclude: Sequence[Collection[str]] | None = None,
        max_per_artist: int | None = None,
        popularity_damping: float = 0.0,
        exact: bool = False,
    ) -> SearchResult:
        """Search what is served at this moment; see `SearchView.search`."""
        return self.view().search(
            queries,
            k,
            filters=filters,
            exclude=exclude,
            max_per_artist=max_per_artist,
            popularity_damping=popularity_damping,
            exact=exact,
        )

    def vectors(self, track_ids: Sequence[str]) -> tuple[BoolArray, Float32Array]:
        """Give vectors of what is served at this moment; see `SearchView.vectors`."""
        return self.view().vectors(track_ids)

    def view(self) -> SearchView:
        """Take hold of what is served at this moment, for calls that belong together.

        Raises
        ------
        NoSnapshotError
        DamagedHomeError
            A commit could not be shown when it was made, and the tables can still not be read.
        """
        state = self._newest()
        if state is None:
            raise NoSnapshotError("nothing is published yet: import a space and publish a snapshot of it first")
        return SearchView(state)

    def status(self) -> SearcherStatus:
        """Count what is served; empty ids and zero counts before the first publish."""
        state = self._newest()
        if state is None:
            withdrawn = len(self._store.withdrawn())
            return SearcherStatus("", "", "", self._device, 0, dict.fromkeys(Tier, 0), 0, withdrawn)
        base_tiers = state.base.columns.tiers
        if state.base_alive is not None:
            base_tiers = base_tiers[unpacked(state.base_alive, state.base.backend.count)]
        fresh_tiers = state.fresh_columns.tiers[state.fresh_alive]
        counts = np.bincount(base_tiers, minlength=4) + np.bincount(fresh_tiers, minlength=4)
        return SearcherStatus(
            space_id=state.base.space.space_id,
            snapshot_id=state.base.snapshot.snapshot_id,
            index_kind=state.base.snapshot.index_kind,
            device=state.base.backend.device,
            tracks=state.base_alive_count + len(fresh_tiers),
            tiers={tier: int(counts[tier]) for tier in Tier},
            fresh_rows=len(fresh_tiers),
            withdrawn=len(state.withdrawn),  # reads no table: whoever watches asks often, also while the home is away
        )


def _versioned(rows: pa.Table) -> dict[str, tuple[TrackRecord, int]]:
    versions: list[Any] = rows[ROW_VERSION].to_pylist()
    return {track.track_id: (track, at) for track, at in zip(track_records(rows), versions, strict=True)}


def _next(seen: int, written: int) -> int:
    """Say up to where a table is adopted when a commit of this process has been; others may have written before it."""
    return written if written == seen + 1 else seen
