"""From one training of the recommender into the next: what is served and what was fitted go along, at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from index import Metric, NoSnapshotError, ServedRows, SpaceRecord, Store
from jobs.carried_rows import MOVED_MORE, OldRows, align, among, carried_rows, with_bases
from jobs.catalogue_basis import flat
from jobs.errors import BridgeError
from jobs.models import keep_model_after, newest_model_id
from jobs.progress import OnProgress, Progress, silent
from jobs.projector import choose_model

if TYPE_CHECKING:
    from artist_transfer import TransferModel
    from jobs.engine import Engine

_STEPS = 4


@dataclass(frozen=True)
class BridgeReport:
    """What was carried from one space into another; nothing of it is served before a publish.

    Attributes
    ----------
    space_id, from_space_id : str
    model_id, base_model_id : str
        The carried transfer, and the one that it carries; empty where none was fitted on the old space, or where the
        new one has one of its own. A transfer that an earlier bridge carried stays, once the new space was served.
    shared : int
        Tracks with a collaborative vector in both.
    residual, cosine : float
        Of the alignment, on tracks that it was not fitted on.
    moved : dict of str to float
        Quantiles of how far the new space has shared tracks from where the old one has them, as shares of their
        lengths; ``tolerance``, and ``beyond``, how many have moved more.
    carried : int
        Cold tracks that keep their place.
    fallen_back : int
        Stored tracks that the new training lacks: they are served from where the old one had them.
    dropped : int
        Tracks that the new training lacks and nobody ever delivered: nothing is known of them any more.
    graduated : int
        Cold tracks that the new training places itself.
    known : int
        Tracks that could have been carried, and were in the new space already.
    """

    space_id: str
    from_space_id: str
    model_id: str
    base_model_id: str
    shared: int
    residual: float
    cosine: float
    moved: dict[str, float]
    carried: int
    fallen_back: int
    dropped: int
    graduated: int
    known: int

    def as_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types."""
        return asdict(self)


def bridge_space(
    engine: Engine,
    space_id: str,
    *,
    from_space_id: str | None = None,
    tolerance: float = MOVED_MORE,
    on_progress: OnProgress = silent,
) -> BridgeReport:
    """Carry cold tracks, lost tracks and the fitted transfer of one space into another.

    The spaces are aligned on their shared warm tracks. Tracks that the new space has already, from its training or an
    earlier bridge, stay as they are, so that a bridge that was cut off anywhere is made by running it again. What is
    carried is touched by the next refresh only where its record, its feedback or its artists' catalogue differ from
    what it was projected from, or one of their tracks has moved; and everything is, once a transfer is fitted.

    A space with a transfer of its own gets no other: only tracks that were never heard, which no transfer can place,
    are carried there. A space that was bridged to before and has been served keeps the transfer that was carried then,
    because another way round would lose more; what it lacks is carried, and what was heard of that is projected by it.

    Parameters
    ----------
    engine : Engine
    space_id : str
        Which one; the newer training as a rule.
    from_space_id : str, optional
        The older one; the served space where None.
    tolerance : float
        See `MOVED_MORE`; above 0.
    on_progress : callable

    Returns
    -------
    BridgeReport

    Raises
    ------
    index.UnknownSpaceError, index.LeaseHeldError, index.LeaseLostError
    index.NoSnapshotError
        When no older space is named and none is served.
    BridgeError
        When the two cannot be bridged: too few shared tracks, nothing in common, lengths that mean nothing in the one
        and something in the other, or nothing to carry to one that has a transfer of its own.
    """
    from artist_transfer import carry_model

    store = engine.store
    to, before = _pair(store, space_id, from_space_id)
    if not tolerance > 0.0:
        raise BridgeError(f"The tolerance is {tolerance}; give a number above 0.", field="tolerance")
    encoder_id = engine.encoder.encoder_id
    with store.lease("refresh") as lease:
        on_progress(Progress("bridge", 0, _STEPS, "read"))
        newest_id = newest_model_id(engine.home, space_id)
        own = _transfer_of(engine, space_id)
        known, as_of = store.newest_rows(space_id, ["track_id"])
        old = OldRows.read(store, before.space_id)
        tracks = store.track_columns(["track_id", "basis", "artist_ids"])
        in_new, stored = among(old.ids, flat(known["track_id"])), among(old.ids, flat(tracks["track_id"]))
        heard = among(old.ids, flat(store.heard_ids(encoder_id)))
        missing = ~in_new & ~old.withdrawn
        dropped = int((missing & old.warm & ~stored).sum())
        missing &= stored | ~old.warm
        if _is_fitted(own) and not (missing & ~heard).any():
            gone = f"; {dropped} tracks that nobody ever delivered are gone with the old training" if dropped else ""
            raise BridgeError(
                f"Space {space_id!r} has a transfer of its own, which places cold tracks better than a bridge{gone}; "
                "refresh or publish it.",
                field="space_id",
            )
        warm = store.collaborative_rows(space_id)
        on_progress(Progress("bridge", 1, _STEPS, "align"))
        directions = to.metric is Metric.COSINE
        alignment, moved = align(old, warm, to, before, directions=directions)
        on_progress(Progress("bridge", 2, _STEPS, "carry"))
        chosen = choose_model(engine.home, before.space_id, encoder_id, device=engine.device)
        carried = None
        if chosen.model is not None and (own is None or not (_is_fitted(own) or store.snapshots(space_id))):
            carried = carry_model(chosen.model, alignment, space_id)
            if not keep_model_after(engine.home, carried, newest_id):  # a training has ended meanwhile
                carried, own = None, _transfer_of(engine, space_id)
        stamps = np.where(moved["moved"].to_numpy() > tolerance, before.space_id, "")
        if own is None or carried is not None:  # else what is there was not made by this alignment
            store.note_moved(space_id, moved.append_column("stamp", pa.array(stamps, pa.string())))
        if _is_fitted(own):
            missing &= ~heard
        serves = carried or (None if _is_fitted(own) else own)
        rows = carried_rows(
            store,
            old,
            tracks,
            (missing & ~old.warm, missing & old.warm),
            alignment,
            serves.model_id if serves is not None else "",
        )
        if serves is not None:
            made_by = chosen.model.model_id if carried is not None and chosen.model is not None else None
            spaces, models = (before.space_id, space_id), (made_by, serves.model_id)
            rows = with_bases(store, rows, old, tracks, encoder_id, spaces=spaces, models=models)
        if directions:
            rows = rows.filter(pa.array(ServedRows(rows).vectors.any(axis=1)))
        on_progress(Progress("bridge", 3, _STEPS, "write"))
        lease.check()
        store.stage_served(space_id, rows.drop_columns(["lost"]), as_of=as_of)
        on_progress(Progress("bridge", _STEPS, _STEPS))
    fallen_back = int(pc.sum(rows["lost"]).as_py() or 0)
    quantiles = np.quantile(moved["moved"].to_numpy(), (0.5, 0.95, 0.99, 0.999))
    return BridgeReport(
        space_id=space_id,
        from_space_id=before.space_id,
        model_id=carried.model_id if carried is not None else "",
        base_model_id=(chosen.model_id or "") if carried is not None else "",
        shared=moved.num_rows,
        residual=alignment.residual,
        cosine=alignment.cosine,
        moved=dict(zip(("q50", "q95", "q99", "q99.9"), quantiles.tolist(), strict=True))
        | {"tolerance": tolerance, "beyond": int((stamps != "").sum())},
        carried=rows.num_rows - fallen_back,
        fallen_back=fallen_back,
        dropped=dropped,
        graduated=int((~old.warm & ~old.withdrawn & among(old.ids, flat(warm.table["track_id"]))).sum()),
        known=int((~old.warm & ~old.withdrawn & in_new).sum()),
    )


def bridge_if_due(
    engine: Engine, space_id: str, *, on_progress: OnProgress = silent
) -> tuple[BridgeReport | None, str]:
    """Bridge to a space that is about to be published, where that is of use.

    Parameters
    ----------
    engine : Engine
    space_id : str
    on_progress : callable

    Returns
    -------
    report : BridgeReport or None
    why : str
        One sentence where nothing was carried, though another space is served; else empty.

    Raises
    ------
    index.UnknownSpaceError, index.LeaseHeldError, index.LeaseLostError
    """
    served = engine.store.published()
    engine.store.space(space_id)
    if served is None or served.space_id == space_id:
        return None, ""
    try:
        return bridge_space(engine, space_id, from_space_id=served.space_id, on_progress=on_progress), ""
    except BridgeError as error:  # the space is published all the same, as the first one was
        return None, f"Nothing was carried over: {error}"


def _transfer_of(engine: Engine, space_id: str) -> TransferModel | None:
    return choose_model(engine.home, space_id, engine.encoder.encoder_id, device="cpu").model


def _is_fitted(model: TransferModel | None) -> bool:
    """Tell whether a space's transfer is its own: one that was carried there is not."""
    from artist_transfer import CARRIED

    return model is not None and model.method != CARRIED


def _pair(store: Store, space_id: str, from_space_id: str | None) -> tuple[SpaceRecord, SpaceRecord]:
    if from_space_id is None:
        served = store.published()
        if served is None:
            raise NoSnapshotError(f"No space is served from which {space_id!r} could be bridged to; publish one first.")
        from_space_id = served.space_id
    to, before = store.space(space_id), store.space(from_space_id)
    if space_id == from_space_id:
        raise BridgeError(f"Space {space_id!r} would be bridged to itself; name an older one.", field="from_space_id")
    if before.metric is Metric.COSINE and to.metric is not Metric.COSINE:
        raise BridgeError(
            f"Space {from_space_id!r} compares directions alone and {space_id!r} lengths, too, which its cold tracks "
            "do not have; publish it without a bridge.",
            field="space_id",
        )
    return to, before
