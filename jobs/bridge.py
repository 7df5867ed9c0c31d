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
from jobs.models import keep_model
from jobs.progress import OnProgress, Progress, silent
from jobs.projector import choose_model

if TYPE_CHECKING:
    from jobs.engine import Engine

_STEPS = 4


@dataclass(frozen=True)
class BridgeReport:
    """What was carried from one space into another; nothing of it is served before a publish.

    Attributes
    ----------
    space_id, from_space_id : str
    model_id, base_model_id : str
        The carried transfer, and the one that it carries; empty where none was fitted on the old space.
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

    Parameters
    ----------
    engine : Engine
    space_id : str
        The newer training, without a transfer of its own.
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
        and something in the other, or a transfer that was fitted on the new one.
    """
    from artist_transfer import carry_model

    store = engine.store
    to, before = _pair(store, space_id, from_space_id)
    if not tolerance > 0.0:
        raise BridgeError(f"The tolerance is {tolerance}; give a number above 0.", field="tolerance")
    encoder_id = engine.encoder.encoder_id
    with store.lease("refresh") as lease:
        if has_own_transfer(engine, space_id):
            raise BridgeError(
                f"Space {space_id!r} has a transfer of its own, which places cold tracks better than a bridge; refresh "
                "or publish it.",
                field="space_id",
            )
        on_progress(Progress("bridge", 0, _STEPS, "read"))
        known, as_of = store.newest_rows(space_id, ["track_id"])
        old = OldRows.read(store, before.space_id)
        warm = store.collaborative_rows(space_id)
        on_progress(Progress("bridge", 1, _STEPS, "align"))
        directions = to.metric is Metric.COSINE
        alignment, moved = align(old, warm, to, before, directions=directions)
        on_progress(Progress("bridge", 2, _STEPS, "carry"))
        chosen = choose_model(engine.home, before.space_id, encoder_id, device=engine.device)
        carried = carry_model(chosen.model, alignment, space_id) if chosen.model is not None else None
        if carried is not None:
            keep_model(engine.home, carried)
        stamps = np.where(moved["moved"].to_numpy() > tolerance, before.space_id, "")
        store.note_moved(space_id, moved.append_column("stamp", pa.array(stamps, pa.string())))

        in_new = among(old.ids, flat(known["track_id"]))
        tracks = store.track_columns(["track_id", "basis", "artist_ids"])
        lost = old.warm & ~in_new & ~old.withdrawn & among(old.ids, flat(tracks["track_id"]))
        cold = ~old.warm & ~in_new & ~old.withdrawn
        rows = carried_rows(
            store, old, tracks, (cold, lost), alignment, carried.model_id if carried is not None else ""
        )
        if carried is not None and chosen.model is not None:
            spaces, models = (before.space_id, space_id), (chosen.model.model_id, carried.model_id)
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
        base_model_id=chosen.model_id or "",
        shared=moved.num_rows,
        residual=alignment.residual,
        cosine=alignment.cosine,
        moved=dict(zip(("q50", "q95", "q99", "q99.9"), quantiles.tolist(), strict=True))
        | {"tolerance": tolerance, "beyond": int((stamps != "").sum())},
        carried=rows.num_rows - fallen_back,
        fallen_back=fallen_back,
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
    if has_own_transfer(engine, space_id):
        return None, "Nothing was carried over, because the space has a transfer of its own."
    try:
        return bridge_space(engine, space_id, from_space_id=served.space_id, on_progress=on_progress), ""
    except BridgeError as error:  # the space is published all the same, as the first one was
        return None, f"Nothing was carried over: {error}"


def has_own_transfer(engine: Engine, space_id: str) -> bool:
    """Tell whether a transfer was fitted on a space that can be used: one that was carried there is not its own."""
    from artist_transfer import CARRIED

    model = choose_model(engine.home, space_id, engine.encoder.encoder_id, device="cpu").model
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
