"""Projecting stored tracks into a space: where the store's rows meet the artist transfer."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from index import FeedbackEvent, Home, Metric, Popularity, ServedVector, Store, Tier, TrackRecord
from jobs.catalogue_basis import CatalogueBasis, catalogue_tracks
from jobs.models import newest_model
from jobs.warming import Warming

if TYPE_CHECKING:
    from artist_transfer import Catalogue, ColdTracks, Projection, TransferModel, WarmTracks

logger = logging.getLogger(__name__)


def warm_tracks(
    store: Store, space_id: str, encoder_id: str, track_ids: Sequence[str] | None = None
) -> WarmTracks | None:
    """Gather the tracks that are known on both sides: heard by the encoder, placed by the recommender.

    Parameters
    ----------
    store : Store
        Where they lie.
    space_id, encoder_id : str
        Whose vectors.
    track_ids : sequence of str, optional
        Only these.

    Returns
    -------
    WarmTracks or None
        In order of track id, without withdrawn tracks; None when there is not a single one.
    """
    from artist_transfer import Credits, WarmTracks, release_days

    served = store.collaborative_rows(space_id, track_ids)
    withdrawn = store.withdrawn()
    row_of_warm = {track_id: row for row, track_id in enumerate(served.track_ids) if track_id not in withdrawn}
    # Records before content, which is written first: never an older content than the record says.
    found = store.track_columns(["track_id", "artist_ids", "roles", "release_date"], list(row_of_warm))
    records = {str(row["track_id"]): row for row in found.to_pylist()}
    heard_ids, content = store.content(encoder_id, list(records))
    row_of_heard = {track_id: row for row, track_id in enumerate(heard_ids)}
    ids = sorted(row_of_heard)
    if not ids:
        return None
    kept = [records[track_id] for track_id in ids]
    warm_rows = [row_of_warm[track_id] for track_id in ids]
    return WarmTracks(
        space_id=space_id,
        encoder_id=encoder_id,
        track_ids=np.array(ids, dtype=np.str_),
        content=content[[row_of_heard[track_id] for track_id in ids]],
        collaborative=served.vectors[warm_rows],
        credits=Credits.from_lists([row["artist_ids"] or [] for row in kept], [row["roles"] or [] for row in kept]),
        release_day=release_days([row["release_date"] for row in kept]),
        popularity=served.popularity[warm_rows, 0],
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
        Warm tracks of the space that have been heard: all, or all by the artists of the tracks that it will project.
    basis : CatalogueBasis
        The catalogues' digests, read before the catalogue.
    why : str
        One sentence: why this model serves.
    cosine : bool
        Whether the space compares directions, so that a vector without one has no place in it.
    warming : Warming
        What listeners have said since of the tracks that it projects.
    """

    model: TransferModel
    catalogue: Catalogue
    basis: CatalogueBasis
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
            catalogue_basis=self.basis.of_record(record),
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


@dataclass(frozen=True)
class ChosenModel:
    """The transfer that serves a space.

    Attributes
    ----------
    model : TransferModel or None
        The newest that was fitted; None where the artist mean stands in for it.
    why : str
        One sentence: why it serves.
    """

    model: TransferModel | None
    why: str

    @property
    def model_id(self) -> str | None:
        """Of the fitted transfer."""
        return self.model.model_id if self.model is not None else None


def choose_model(
    home: Home, space_id: str, encoder_id: str, *, device: str, known: TransferModel | None = None
) -> ChosenModel:
    """Find a space's newest transfer, or say why the artist mean has to stand in for it.

    Parameters
    ----------
    home : Home
        Where the fitted models lie.
    space_id, encoder_id : str
    device : {"auto", "cpu", "cuda"}
    known : TransferModel, optional
        One that was loaded before for this device.
    """
    from artist_transfer import ModelFileError

    remedy = "`anacrusis train` fits one, which also lets a refresh project no more than what has changed."
    try:
        model = newest_model(home, space_id, device=device, known=known)
    except ModelFileError as error:  # new releases go on being served, by the next best
        logger.exception("space %s: the transfer cannot be loaded", space_id)
        return ChosenModel(None, f"The artist mean serves because the fitted transfer cannot be loaded: {error}")
    if model is None:
        return ChosenModel(
            None, f"The artist mean serves because no transfer was fitted for space {space_id!r}; {remedy}"
        )
    if model.encoder_id != encoder_id:
        why = (
            f"The artist mean serves because the transfer {model.model_id} was fitted on content of "
            f"{model.encoder_id}, not of {encoder_id}; {remedy}"
        )
        logger.warning(why)
        return ChosenModel(None, why)
    return ChosenModel(model, model.why)


def build_projector(
    store: Store,
    home: Home,
    space_id: str,
    encoder_id: str,
    *,
    device: str,
    warming: Warming | None = None,
    known: Projector | None = None,
) -> Projector | None:
    """Join a space's newest transfer, or the artist mean where none can be used, with its whole catalogue.

    Parameters
    ----------
    store : Store
    home : Home
        Where the fitted models lie.
    space_id, encoder_id : str
    device : {"auto", "cpu", "cuda"}
    warming : Warming, optional
        Of the space, where there is one already: it has measured the space's users.
    known : Projector, optional
        That was built before for this space, encoder and device: given back where model and catalogue are what it was
        built from. To tell so costs a twentieth of building it.

    Returns
    -------
    Projector or None
        None when no track of the space has been heard by this encoder: nothing relates audio to the space then.
    """
    tracks = catalogue_tracks(store, space_id, encoder_id)
    if tracks.num_rows == 0:
        return None
    chosen = choose_model(home, space_id, encoder_id, device=device, known=known.model if known is not None else None)
    basis = CatalogueBasis.of(tracks, chosen.model_id, encoder_id)
    if known is not None and basis.same(known.basis):
        return replace(known, why=chosen.why)
    known = None  # its catalogue is as large as the one that is read now
    return join_projector(store, space_id, encoder_id, chosen, basis, device=device, warming=warming)


def join_projector(
    store: Store,
    space_id: str,
    encoder_id: str,
    chosen: ChosenModel,
    basis: CatalogueBasis,
    *,
    device: str,
    warming: Warming | None = None,
    catalogue_ids: Sequence[str] | None = None,
) -> Projector | None:
    """Read a catalogue and join it with the transfer that reads it.

    Parameters
    ----------
    store : Store
    space_id, encoder_id : str
    chosen : ChosenModel
    basis : CatalogueBasis
        Of this space and model, read before this call.
    device : {"auto", "cpu", "cuda"}
    warming : Warming, optional
    catalogue_ids : sequence of str, optional
        The warm tracks of those artists whose tracks will be projected; None: all of the space. The artist mean that
        stands in for a transfer reads all, because it is fitted on them.

    Returns
    -------
    Projector or None
        None when no track of the space has been heard by this encoder.
    """
    from artist_transfer import Catalogue, FitOptions, fit

    model = chosen.model
    warm = warm_tracks(store, space_id, encoder_id, catalogue_ids if model is not None else None)
    if model is None:
        if warm is None:
            return None
        model = fit(warm, FitOptions(method="artist_mean", device=device))
    elif warm is None:
        if catalogue_ids is None:
            return None
        warm = _no_tracks(model)
    cosine = store.space(space_id).metric is Metric.COSINE
    return Projector(model, Catalogue(warm), basis, chosen.why, cosine, warming or Warming(store, space_id))


def _no_tracks(model: TransferModel) -> WarmTracks:
    from artist_transfer import Credits, WarmTracks

    return WarmTracks(
        space_id=model.space_id,
        encoder_id=model.encoder_id,
        track_ids=np.empty(0, dtype=np.str_),
        content=np.empty((0, model.content_dim), dtype=np.float32),
        collaborative=np.empty((0, model.dim), dtype=np.float32),
        credits=Credits.from_lists([]),
        release_day=np.empty(0, dtype=np.int32),
    )
