"""Projecting stored tracks into a space: where the store's rows meet the artist transfer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index import FeedbackEvent, Home, Metric, Popularity, ServedVector, Store, Tier, TrackRecord
from jobs.models import newest_model
from jobs.warming import Warming

if TYPE_CHECKING:
    from artist_transfer import Catalogue, ColdTracks, Projection, TransferModel, WarmTracks

logger = logging.getLogger(__name__)


def warm_tracks(store: Store, space_id: str, encoder_id: str) -> WarmTracks | None:
    """Gather the tracks that are known on both sides: heard by the encoder, placed by the recommender.

    Parameters
    ----------
    store : Store
        Where they lie.
    space_id, encoder_id : str
        Whose vectors.

    Returns
    -------
    WarmTracks or None
        In order of track id, without withdrawn tracks; None when there is not a single one.
    """
    from artist_transfer import Credits, WarmTracks, release_days

    served = store.served_rows(space_id)
    is_warm = served.tiers == Tier.COLLABORATIVE
    collaborative, listens = served.vectors, served.popularity[:, 0]
    row_of_warm = {track_id: row for row, track_id in enumerate(served.track_ids) if is_warm[row]}
    heard_ids, content = store.content(encoder_id, list(row_of_warm))
    withdrawn = store.withdrawn()
    row_of_heard = {track_id: row for row, track_id in enumerate(heard_ids) if track_id not in withdrawn}
    records = {record.track_id: record for record in store.tracks(list(row_of_heard))}
    ids = sorted(set(row_of_heard) & set(records))
    if not ids:
        return None
    kept = [records[track_id] for track_id in ids]
    return WarmTracks(
        space_id=space_id,
        encoder_id=encoder_id,
        track_ids=np.array(ids, dtype=np.str_),
        content=content[[row_of_heard[track_id] for track_id in ids]],
        collaborative=collaborative[[row_of_warm[track_id] for track_id in ids]],
        credits=Credits.from_lists([record.artist_ids for record in kept], [record.roles for record in kept]),
        release_day=release_days([record.release_date for record in kept]),
        popularity=listens[[row_of_warm[track_id] for track_id in ids]],
    )


def cold_tracks(records: Sequence[TrackRecord], content: NDArray[np.float32], encoder_id: str) -> ColdTracks:
    """Put stored records into the transfer's form.

    Parameters
    ----------
    records : sequence of TrackRecord, length n
    content : ndarray of float32, shape (n, content_dim)
    encoder_id : str

    Returns
    -------
    ColdTracks
    """
    from artist_transfer import ColdTracks, Credits, release_days

    return ColdTracks(
        track_ids=np.array([record.track_id for record in records], dtype=np.str_),
        content=content,
        credits=Credits.from_lists([record.artist_ids for record in records], [record.roles for record in records]),
        release_day=release_days([record.release_date for record in records]),
        encoder_id=encoder_id,
    )


@dataclass(frozen=True, eq=False)
class Projector:
    """A fitted transfer and the catalogue it reads, for one space.

    Attributes
    ----------
    model : TransferModel
    catalogue : Catalogue
        All warm tracks of the space that have been heard.
    why : str
        One sentence: why this model serves.
    cosine : bool
        Whether the space compares directions, so that a vector without one has no place in it.
    warming : Warming
        What listeners have said since of the tracks that it projects.
    """

    model: TransferModel
    catalogue: Catalogue
    why: str
    cosine: bool
    warming: Warming

    def reads(self, track_ids: Collection[str]) -> bool:
        """Return whether one of some tracks is in the catalogue."""
        wanted = np.array(sorted(track_ids), dtype=np.str_)
        return bool(wanted.size and (self.catalogue.rows_of(wanted) >= 0).any())

    def project(
        self,
        records: Sequence[TrackRecord],
        content: NDArray[np.float32],
        feedback: Sequence[FeedbackEvent] | None = None,
    ) -> list[ServedVector]:
        """Predict where cold tracks belong; what listeners have said of them since is folded in.

        Parameters
        ----------
        records : sequence of TrackRecord, length n
        content : ndarray of float32, shape (n, content_dim)
        feedback : sequence of FeedbackEvent, optional
            All that is stored on these tracks, where it was read already; it may hold that of other tracks, too.

        Returns
        -------
        list of ServedVector
            In the same order. Where catalogue and content point nowhere, because an artist's tracks cancel each other
            out, the content alone decides; a track that it cannot place either is left out.
        """
        if not records:
            return []
        targets = cold_tracks(records, content, self.model.encoder_id)
        projection = self.model.project(targets, self.catalogue)
        placed = _placeable(projection.vectors, cosine=self.cosine)
        rows = {row: self._row(records[row], projection, row) for row in np.flatnonzero(placed).tolist()}
        nowhere: list[int] = np.flatnonzero(~placed).tolist()
        if nowhere:
            alone = self.model.project(without_credits(targets.take(nowhere)), self.catalogue)
            for place, row in enumerate(nowhere):
                if _placeable(alone.vectors[place : place + 1], cosine=self.cosine)[0]:
                    rows[row] = self._row(records[row], alone, place)
                else:
                    logger.warning("track %r has no place in space %s", records[row].track_id, self.model.space_id)
        return self.warming.fold([rows[row] for row in sorted(rows)], feedback)

    def _row(self, record: TrackRecord, projection: Projection, row: int) -> ServedVector:
        return ServedVector(
            track_id=record.track_id,
            vector=projection.vectors[row],
            tier=Tier(int(projection.tiers[row])),
            confidence=float(projection.confidence[row]),
            model_id=self.model.model_id,
            catalogue_size=int(projection.catalogue_size[row]),
            leaned_on=projection.leaned_on[row],
            basis=record.basis,
            popularity=_popularity(projection, row),
        )


def _popularity(projection: Projection, row: int) -> Popularity | None:
    listens, low, high = (
        float(part[row]) for part in (projection.popularity, projection.popularity_low, projection.popularity_high)
    )
    return None if np.isnan(listens) else Popularity(listens, low, high)


def without_credits(tracks: ColdTracks) -> ColdTracks:
    """Return the same tracks as if nobody knew their artists: only their content is left to place them."""
    from artist_transfer import Credits

    return replace(tracks, credits=Credits.from_lists([[]] * len(tracks)))


def _placeable(vectors: NDArray[np.float32], *, cosine: bool) -> NDArray[np.bool_]:
    usable = np.isfinite(vectors).all(axis=1)
    if cosine:
        usable &= np.any(vectors != 0, axis=1)
    return np.asarray(usable)


def build_projector(
    store: Store, home: Home, space_id: str, encoder_id: str, *, device: str, warming: Warming | None = None
) -> Projector | None:
    """Join a space's newest transfer, or the artist mean where none can be used, with its catalogue.

    Parameters
    ----------
    store : Store
    home : Home
        Where the fitted models lie.
    space_id, encoder_id : str
    device : {"auto", "cpu", "cuda"}
    warming : Warming, optional
        Of the space, where there is one already: it has measured the space's users.

    Returns
    -------
    Projector or None
        None when no track of the space has been heard by this encoder: nothing relates audio to the space then.
    """
    from artist_transfer import Catalogue, FitOptions, ModelFileError, fit

    warm = warm_tracks(store, space_id, encoder_id)
    if warm is None:
        return None
    catalogue = Catalogue(warm)
    cosine = store.space(space_id).metric is Metric.COSINE
    warming = warming or Warming(store, space_id)
    why = f"The artist mean serves because no transfer was fitted for space {space_id!r}; `anacrusis train` fits one."
    try:
        model = newest_model(home, space_id, device=device)
        if model is not None and model.encoder_id == encoder_id:
            return Projector(model, catalogue, model.why, cosine, warming)
        if model is not None:
            why = (
                f"The artist mean serves because the transfer {model.model_id} was fitted on content of "
                f"{model.encoder_id}, not of {encoder_id}; `anacrusis train` fits another."
            )
            logger.warning(why)
    except ModelFileError as error:  # new releases go on being served, by the next best
        why = f"The artist mean serves because the fitted transfer cannot be loaded: {error}"
        logger.exception("space %s: %s", space_id, why)
    fallback = fit(warm, FitOptions(method="artist_mean", device=device))
    return Projector(fallback, catalogue, why, cosine, warming)


class Projectors:
    """Keeps the projector of the space that is being served.

    Parameters
    ----------
    store : Store
    home : Home
    device : {"auto", "cpu", "cuda"}

    Notes
    -----
    Rebuilding reads the whole catalogue, so it happens when a snapshot was published (a new training, a new fit), when
    a warm track was heard, changed or withdrawn, or when another process wrote to the home folder, and then only once
    a cold track needs it.
    """

    def __init__(self, store: Store, home: Home, *, device: str) -> None:
        self._store = store
        self._home = home
        self._device = device
        self._lock = threading.Lock()
        self._key: tuple[str, str] | None = None
        self._projector: Projector | None = None
        self._warming: tuple[str, Warming] | None = None  # outlives projectors: what it measured never changes
        self._withdrawn: frozenset[str] = frozenset()

    def get(self, space_id: str, encoder_id: str) -> Projector | None:
        """Return the projector of a space, built at the first call.

        Parameters
        ----------
        space_id, encoder_id : str

        Returns
        -------
        Projector or None
            None when the space has no warm track that was heard by this encoder.
        """
        with self._lock:
            withdrawn = self._store.withdrawn()
            newly = withdrawn - self._withdrawn
            if self._key != (space_id, encoder_id) or (self._projector and self._projector.reads(newly)):
                if self._warming is None or self._warming[0] != space_id:
                    self._warming = space_id, Warming(self._store, space_id)
                self._projector = build_projector(
                    self._store, self._home, space_id, encoder_id, device=self._device, warming=self._warming[1]
                )
                self._key = (space_id, encoder_id)
            self._withdrawn = withdrawn
            return self._projector

    def forget(self) -> None:
        """Build anew at the next call, because the catalogue or the model has changed."""
        with self._lock:
            self._key = None
            self._projector = None
