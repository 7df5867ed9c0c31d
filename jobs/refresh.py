"""Projecting cold tracks anew and publishing the result in one step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from index import Home, ServedVector, SnapshotRecord, Store, Tier, TrackRecord, build_snapshot
from jobs.errors import NothingToServeError, UnknownArtistError
from jobs.progress import OnProgress, Progress
from jobs.projector import Projector, build_projector

logger = logging.getLogger(__name__)

BATCH_TRACKS = 1024


@dataclass(frozen=True)
class RefreshReport:
    """What a refresh did.

    Attributes
    ----------
    space_id, snapshot_id : str
        What is served now.
    model_id : str
        The transfer that projected; empty where nothing could be projected.
    method, why : str
        Its method and the sentence that says why this one serves.
    projected : int
        Cold tracks projected in this run.
    row_count, row_count_before : int
        Tracks in the snapshot, and in the one that was served before.
    tiers : dict of str to int
        Tracks of each tier that can be in an answer.
    """

    space_id: str
    snapshot_id: str
    model_id: str
    method: str
    why: str
    projected: int
    row_count: int
    row_count_before: int
    tiers: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types."""
        return asdict(self)


class RefreshStoppedError(Exception):
    """The caller asked to stop before anything was published; what is served has not changed."""

    reason = "REFRESH_STOPPED"


def project_cold_tracks(
    store: Store,
    home: Home,
    space_id: str,
    encoder_id: str,
    *,
    device: str,
    artist_ids: Sequence[str] | None,
    on_progress: OnProgress,
    should_stop: Callable[[], bool],
) -> tuple[Projector | None, int]:
    """Project cold tracks with the space's newest transfer and stage them in its served table.

    Parameters
    ----------
    store : Store
    home : Home
    space_id, encoder_id : str
    device : {"auto", "cpu", "cuda"}
    artist_ids : sequence of str or None
        Only tracks that credit one of these; None for all.
    on_progress, should_stop : callable

    Returns
    -------
    projector : Projector or None
        What projected them; None where the space has no warm track with audio.
    projected : int
        How many were staged. Queries do not see them before a snapshot is published.

    Raises
    ------
    UnknownArtistError
        When a named artist is credited on no stored track.
    RefreshStoppedError
        When `should_stop` said so.
    """
    as_of = store.fresh_version(space_id)  # whatever is ingested after this line is newer than what we project
    targets = _cold_records(store, space_id, artist_ids)
    projector = build_projector(store, home, space_id, encoder_id, device=device)
    if projector is None:
        return None, 0
    projected = 0
    on_progress(Progress("project", 0, len(targets)))
    for start in range(0, len(targets), BATCH_TRACKS):
        if should_stop():
            raise RefreshStoppedError("The refresh was stopped; what is served has not changed.")
        batch = targets[start : start + BATCH_TRACKS]
        rows = list(_projected(store, projector, batch, encoder_id))
        if rows:
            store.replace_served(space_id, rows, as_of=as_of)
        projected += len(rows)
        on_progress(Progress("project", start + len(batch), len(targets)))
    return projector, projected


def stage_snapshot(store: Store, space_id: str, *, on_progress: OnProgress) -> SnapshotRecord:
    """Build the index of a space's served table; it is not served yet.

    Returns
    -------
    SnapshotRecord
        To be published.

    Raises
    ------
    NothingToServeError
        When the space has no track at all.
    """
    snapshot = build_snapshot(
        store, space_id, on_progress=lambda step: on_progress(Progress("index", step.done, step.total, step.stage))
    )
    if snapshot.row_count == 0:
        raise NothingToServeError(f"Space {space_id!r} has no track to serve; import factors or ingest tracks first.")
    return snapshot


def tier_counts(counts: Mapping[Tier, int]) -> dict[str, int]:
    """Name the tiers of a count by the words that replies use."""
    return {tier.name.lower(): int(n) for tier, n in counts.items() if n}


def _cold_records(store: Store, space_id: str, artist_ids: Sequence[str] | None) -> list[TrackRecord]:
    served = store.served_rows(space_id)
    is_warm = served.tiers == Tier.COLLABORATIVE
    warm = {track_id for row, track_id in enumerate(served.track_ids) if is_warm[row]}
    withdrawn = store.withdrawn()
    records = store.tracks()
    if artist_ids is not None:
        wanted = set(artist_ids)
        unknown = wanted - {artist for record in records for artist in record.artist_ids}
        if unknown:
            raise UnknownArtistError(
                f"No stored track credits the artist{'s' if len(unknown) > 1 else ''} "
                f"{', '.join(map(repr, sorted(unknown)[:5]))}; check the ids.",
                field="artist_ids",
            )
        records = [record for record in records if wanted.intersection(record.artist_ids)]
    return sorted(
        (record for record in records if record.track_id not in warm and record.track_id not in withdrawn),
        key=lambda record: record.track_id,
    )


def _projected(
    store: Store, projector: Projector, batch: Sequence[TrackRecord], encoder_id: str
) -> Iterator[ServedVector]:
    """Project those of a batch that were heard by this encoder; the others wait for their audio."""
    found, content = store.content(encoder_id, [record.track_id for record in batch])
    record_of = {record.track_id: record for record in batch}
    if len(found) < len(batch):
        logger.warning(
            "%d tracks have no content vector of %s and are not projected",
            len(batch) - len(found),
            encoder_id,
        )
    yield from projector.project([record_of[str(track_id)] for track_id in found], content)
