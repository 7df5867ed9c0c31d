"""What an opened home folder can be asked without changing it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from index import (
    Searcher,
    SpaceMismatchError,
    SpaceRecord,
    Store,
    Tier,
    TrackRecord,
    UnknownSpaceError,
    set_search_threads,
)
from jobs.answers import EmbeddingAnswer, EngineStatus
from jobs.maintain import UpkeepFigures
from jobs.outcome import without_tracks
from jobs.query import Answer, Neighbors, Query, why_unplaced
from jobs.threads import Threads

if TYPE_CHECKING:
    from encoders import Encoder


class AskingEngine:
    """The half of a `jobs.engine.Engine`, which is what is opened, that changes nothing. Thread safe.

    Parameters
    ----------
    store : Store
    searcher : Searcher
    encoder : str
        Its name in the settings; loaded at the first use.
    device : {"auto", "cpu", "cuda"}
    threads : Threads, optional
        None leaves the choice to the libraries.
    """

    def __init__(
        self, store: Store, searcher: Searcher, *, encoder: str, device: str, threads: Threads | None = None
    ) -> None:
        self.home = store.layout
        self.store = store
        self.searcher = searcher
        self.device = device
        self._encoder_name = encoder
        self._encoder: Encoder | None = None
        self._threads = threads
        self._loading = threading.Lock()
        self._upkeep: UpkeepFigures | None = None
        self._neighbors = Neighbors(store, searcher)

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at the first use."""
        with self._loading:
            if self._encoder is None:
                from encoders import load_encoder

                if self._threads is not None:
                    import torch

                    torch.set_num_threads(self._threads.encoder)
                self._encoder = load_encoder(self._encoder_name, device=self.device)
            return self._encoder

    @property
    def is_encoding(self) -> bool:
        """Whether the encoder works at this moment."""
        return False

    @property
    def read_only(self) -> bool:
        """Whether nothing may be written to the home."""
        return self.home.read_only

    def require_writable(self) -> None:
        """Refuse what would change the home, before any work is done for it.

        Raises
        ------
        index.ReadOnlyError
        """
        self.home.require_writable()

    def search(self, queries: Sequence[Query]) -> list[Answer | Exception]:
        """Answer many queries of any mix; each one's error stands in its own place.

        Parameters
        ----------
        queries : sequence of Query

        Returns
        -------
        list of Answer or Exception
            In the same order; an `Answer` holds one `index.Hits`.
        """
        if self._threads is not None and queries:
            most = self._threads.search_beside_encoder if self.is_encoding else self._threads.search
            set_search_threads(most)
        return list(self._neighbors.answer(queries))

    def ask(self, query: Query) -> Answer:
        """Answer one query.

        Raises
        ------
        index.StoreError, JobError
            What `search` would have put in its place.
        """
        answer = self.search([query])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def describe(self, track_ids: Sequence[str]) -> list[TrackRecord | None]:
        """Return the metadata of tracks, None where a track is unknown.

        Parameters
        ----------
        track_ids : sequence of str

        Returns
        -------
        list of TrackRecord or None
            In the same order.
        """
        known = {record.track_id: record for record in self.store.tracks(list(track_ids))}
        return [known.get(track_id) for track_id in track_ids]

    def embeddings(self, track_ids: Sequence[str], *, space_id: str = "") -> EmbeddingAnswer:
        """Return served vectors as they are stored.

        Parameters
        ----------
        track_ids : sequence of str
        space_id : str
            The space the caller means; empty for the published one.

        Returns
        -------
        EmbeddingAnswer

        Raises
        ------
        index.NoSnapshotError, index.SpaceMismatchError
        """
        view = self.searcher.view()
        if space_id and space_id != view.space_id:
            raise SpaceMismatchError(space_id, view.space_id)
        withdrawn = self.store.withdrawn()
        rows = self.store.served_vectors(view.space_id, list(track_ids), snapshot=view.snapshot)
        found = {
            track_id: without_tracks(row, withdrawn) for track_id, row in rows.items() if track_id not in withdrawn
        }
        missing = why_unplaced(self.store, [one for one in track_ids if one not in found], view.space_id)
        return EmbeddingAnswer(
            view.space_id,
            view.snapshot_id,
            [found[track_id] if track_id in found else missing[track_id] for track_id in track_ids],
        )

    def warm_ids(self, track_ids: Sequence[str]) -> set[str]:
        """Return those of some tracks that have a collaborative vector in the published space."""
        snapshot = self.searcher.snapshot
        if snapshot is None:
            return set()
        found = self.store.served_vectors(snapshot.space_id, list(track_ids), snapshot=snapshot)
        return {track_id for track_id, row in found.items() if row.tier is Tier.COLLABORATIVE}

    def find_space(self, space_id: str = "") -> SpaceRecord:
        """Return a space by its id; empty for the one imported last.

        Raises
        ------
        index.UnknownSpaceError
            When there is none.
        """
        if space_id:
            return self.store.space(space_id)
        spaces = self.store.spaces()
        if not spaces:
            raise UnknownSpaceError(
                "No space was imported yet; bring one with `anacrusis space import`.", field="space_id"
            )
        return spaces[-1]

    def serving(self) -> tuple[str, str]:
        """Return the space and the snapshot that are served, empty where none is; cheap."""
        snapshot = self.searcher.snapshot
        return (snapshot.space_id, snapshot.snapshot_id) if snapshot is not None else ("", "")

    def status(self) -> EngineStatus:
        """Return what is served at the moment."""
        status = self.searcher.status()
        snapshot = self.searcher.snapshot
        return EngineStatus(
            space=self.store.space(snapshot.space_id) if snapshot is not None else None,
            snapshot=snapshot,
            tracks=status.tracks,
            tier_counts=status.tiers,
            fresh_rows=status.fresh_rows,
            withdrawn=status.withdrawn,
            encoder_id=self._encoder.encoder_id if self._encoder is not None else self._encoder_name,
            model_id=snapshot.model_id if snapshot is not None else "",
            device=status.device,
            read_only=self.read_only,
            upkeep=self._upkeep,
        )

    def count_upkeep(self) -> UpkeepFigures:
        """Count the alert figures of the home's tables, for `status` to tell until they are counted again.

        Costs some milliseconds a table, and some requests a table where the home lies on an object store.
        """
        self._upkeep = UpkeepFigures.count(self.store)
        return self._upkeep
