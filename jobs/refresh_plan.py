"""Working out which cold tracks a refresh has to project anew, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index import Home, Store, Tier, record_basis_column
from jobs.catalogue_basis import CatalogueBasis, artists_of, credited_any, flat, with_stamps
from jobs.errors import UnknownArtistError
from jobs.projector import ChosenModel, choose_model

if TYPE_CHECKING:
    from artist_transfer import TransferModel

REASONS = ("new", "changed", "model", "catalogue", "feedback")
"""Why a track is touched, the first that holds: it has no vector; its credits, date or audio have changed; another
model serves; its artists' catalogue has changed; listeners have been heard of since."""


@dataclass(frozen=True, eq=False)
class RefreshPlan:
    """What a refresh would project.

    Attributes
    ----------
    space_id, encoder_id : str
    touched : pyarrow.Array of string
        The cold tracks to project, those of one primary artist one behind the other: tracks that are projected
        together then read the same catalogues.
    reasons : dict of str to int
        How many of them for which of `REASONS`; ``unchanged`` are those that are projected because all were asked for.
    cold : int
        Cold tracks that could be projected: heard by the encoder, and of the named artists where some were named.
    unheard : int
        Cold tracks that wait for their audio.
    chosen : ChosenModel
        What projects them.
    basis : CatalogueBasis or None
        The catalogues as they are; None where no track of the space has been heard, so that nothing can be projected.
    catalogue_ids : pyarrow.Array of string
        The warm tracks that the touched ones may lean on.
    as_of : int
        The fresh rows' version before anything was read, for `index.Store.replace_served`.
    """

    space_id: str
    encoder_id: str
    touched: pa.Array
    reasons: dict[str, int]
    cold: int
    unheard: int
    chosen: ChosenModel
    basis: CatalogueBasis | None
    catalogue_ids: pa.Array
    as_of: int

    @property
    def why(self) -> str:
        """One sentence: why this model serves, or why nothing can be projected."""
        if self.basis is None:
            return f"No track of space {self.space_id!r} has been heard, so that nothing could be projected."
        return self.chosen.why

    def as_dict(self) -> dict[str, Any]:
        """Return the plan's figures in JSON's types."""
        return {
            "space_id": self.space_id,
            "encoder_id": self.encoder_id,
            "model_id": self.chosen.model_id or "",
            "why": self.why,
            "touched": len(self.touched),
            "reasons": self.reasons,
            "cold": self.cold,
            "unheard": self.unheard,
        }


def plan_refresh(
    store: Store,
    home: Home,
    space_id: str,
    encoder_id: str,
    *,
    device: str,
    artist_ids: Sequence[str] | None = None,
    everything: bool = False,
    known: TransferModel | None = None,
) -> RefreshPlan:
    """Compare what each cold track's row was made from with what is stored now. Reads only.

    What counts is the newest row of a track, staged, served or fresh, whatever is published: a refresh that was cut
    off goes on where it ended.

    Parameters
    ----------
    store : Store
    home : Home
        Where the fitted models lie.
    space_id, encoder_id : str
    device : {"auto", "cpu", "cuda"}
    artist_ids : sequence of str, optional
        Only tracks that credit one of these.
    everything : bool
        Also tracks that nothing has touched.
    known : TransferModel, optional
        One that was loaded before for this device.

    Raises
    ------
    index.UnknownSpaceError
    UnknownArtistError
        When a named artist is credited on no stored track.
    """
    # Rows first, then what they depend on: whatever is stored in between makes a newer row, or is found next time.
    rows, as_of = store.newest_rows(space_id, ["track_id", "tier", "basis", "catalogue_basis"])
    tracks = store.track_columns(["track_id", "basis", "artist_ids"])
    if artist_ids is not None:
        _check_artists(tracks["artist_ids"], artist_ids)
    ids = flat(tracks["track_id"])
    at = pc.index_in(ids, value_set=flat(rows["track_id"]))
    is_warm = pc.fill_null(pc.equal(flat(rows["tier"]).take(at), int(Tier.COLLABORATIVE)), False)
    is_heard = pc.is_in(ids, value_set=flat(store.heard_ids(encoder_id)))
    is_there = pc.invert(pc.is_in(ids, value_set=pa.array(sorted(store.withdrawn()), pa.string())))
    catalogue = with_stamps(store, space_id, tracks.filter(pc.and_(pc.and_(is_warm, is_heard), is_there)))
    chosen = choose_model(home, space_id, encoder_id, device=device, known=known)
    basis = CatalogueBasis.of(catalogue, chosen.model_id, encoder_id) if catalogue.num_rows else None

    is_cold = pc.and_(pc.invert(is_warm), is_there)
    if artist_ids is not None:
        credited = credited_any(tracks["artist_ids"], pa.array(list(artist_ids), pa.string()))
        is_cold = pc.and_(is_cold, pa.array(credited))
    unheard = int(pc.sum(pc.and_(is_cold, pc.invert(is_heard))).as_py() or 0)
    is_cold = pc.and_(is_cold, is_heard)
    cold, at = tracks.filter(is_cold), at.filter(is_cold)

    touched, reasons = np.zeros(cold.num_rows, dtype=np.bool_), dict.fromkeys(REASONS, 0)
    if basis is not None:
        for reason, holds in _differences(store, cold, rows.take(at), basis).items():
            reasons[reason] = int((holds & ~touched).sum())
            touched |= holds
        if everything:
            reasons["unchanged"] = int((~touched).sum())
            touched[:] = True
    chosen_tracks = cold.filter(pa.array(touched)).take(_by_artist(cold["artist_ids"].filter(pa.array(touched))))
    leant_on = credited_any(catalogue["artist_ids"], artists_of(chosen_tracks["artist_ids"]))
    return RefreshPlan(
        space_id=space_id,
        encoder_id=encoder_id,
        touched=flat(chosen_tracks["track_id"]),
        reasons=reasons,
        cold=cold.num_rows,
        unheard=unheard,
        chosen=chosen,
        basis=basis,
        catalogue_ids=flat(catalogue["track_id"].filter(pa.array(leant_on))),
        as_of=as_of,
    )


def _by_artist(artist_ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Order tracks by their primary artist; those without any stand together."""
    credited = pc.greater(pc.list_value_length(artist_ids), 0)
    primary = pc.list_element(pc.if_else(credited, artist_ids, pa.scalar([""], artist_ids.type)), 0)
    codes = flat(primary).dictionary_encode().indices.to_numpy()
    return np.argsort(codes, kind="stable").astype(np.int64)


def _differences(store: Store, cold: pa.Table, rows: pa.Table, basis: CatalogueBasis) -> dict[str, NDArray[np.bool_]]:
    """Say for each cold track which of `REASONS` hold, in that order, by its row; one of nulls where it has none."""
    known = flat(rows["basis"])
    known_model, known_catalogue = basis.parts(flat(rows["catalogue_basis"]))
    wanted = store.with_feedback_counts(cold.select(["track_id", "basis"]))

    def differs(found: pa.Array, due: Any) -> NDArray[np.bool_]:
        different = pc.fill_null(pc.not_equal(found, due), True)
        return np.asarray(flat(different).to_numpy(zero_copy_only=False), dtype=np.bool_)

    return {
        "new": np.asarray(flat(pc.is_null(rows["track_id"])).to_numpy(zero_copy_only=False), dtype=np.bool_),
        "changed": differs(record_basis_column(known), cold["basis"]),
        "model": differs(known_model, basis.model),
        "catalogue": differs(known_catalogue, basis.of_credits(cold["artist_ids"])),
        "feedback": differs(known, wanted["basis"]),
    }


def _check_artists(artist_ids: pa.ChunkedArray, wanted: Sequence[str]) -> None:
    known = set(artists_of(artist_ids).filter(pc.is_in(artists_of(artist_ids), value_set=pa.array(wanted))).to_pylist())
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise UnknownArtistError(
            f"No stored track credits the artist{'s' if len(unknown) > 1 else ''} "
            f"{', '.join(map(repr, unknown[:5]))}; check the ids.",
            field="artist_ids",
        )
