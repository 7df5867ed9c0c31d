"""Hearing a whole catalogue on Ray: many processes decode, encode and write; one commit takes in what they wrote."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from index import ContentBackfill, DamagedHomeError, HeardPart, Store, TrackRecord, WriteBatch
from jobs import backfill_stages as stages
from jobs.catalogue_basis import flat
from jobs.ingest import same_release, withdrawn_error
from jobs.manifest import Manifest, RefusedRow
from jobs.on_ray import Cluster, RayOptions, ray_cluster, results
from jobs.outcome import RefusalError
from jobs.progress import OnProgress, Progress, silent
from jobs.release import Release

if TYPE_CHECKING:
    from ray.data import Dataset

    from encoders import AudioLimits
    from jobs.engine import Engine

LEASE = "backfill"
# Tracks of a part, which is what a killed backfill has to hear again for each worker. Many parts show progress and keep
# all workers busy to the end; large ones make few fragments.
MAX_PART_TRACKS = 1024
MIN_PART_TRACKS = 16
PARTS = 64
PARTS_A_WORKER = 8
ENCODE_TRACKS = 8  # through a network together: three minutes each fill 60 windows, so that more brings nothing
LOOK_UP_TRACKS = 8192
GONE = "What was heard of it was deleted from the home before it was taken in; run the same command again."


@dataclass
class BackfillReport:
    """What a backfill did.

    Attributes
    ----------
    created, updated, unchanged : int
        Tracks that are new; that were known and not heard by this encoder; that had been heard before, and were left
        as they are without looking at their audio.
    went_on : int
        Of these, tracks that an earlier backfill had heard before it was cut off.
    refused : list of RefusedRow
        The rows that did not go in, in the file's order.
    workers : int
        Processes that encoded; 0 where there was nothing to hear.
    gpus_each : int
        GPUs of each of them.
    wall_s : float
        From first to last, in seconds; with the start of Ray.
    stage_s : dict of str to float
        Seconds of work in each stage, over all processes.
    audio_s : float
        Seconds of music decoded.
    space_id : str
        The space that they are served in; empty where none is published.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    went_on: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    workers: int = 0
    gpus_each: int = 0
    wall_s: float = 0.0
    stage_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(stages.STAGES, 0.0))
    audio_s: float = 0.0
    space_id: str = ""

    @property
    def tracks_per_s(self) -> float:
        """Tracks that were heard in this run, each second."""
        return max(0, self.created + self.updated - self.went_on) / self.wall_s if self.wall_s > 0 else 0.0


@dataclass
class _Plan:
    """What is to be done with the rows of a manifest."""

    release_of: dict[str, Release]
    noted: list[HeardPart]  # written by a backfill that was cut off
    to_hear: list[Release] = field(default_factory=list)
    done: set[str] = field(default_factory=set)  # stored and heard: left as they are, also where they were noted
    orphans: set[str] = field(default_factory=set)  # with a content vector and no track: of an ingest that was killed
    known: dict[str, TrackRecord] = field(default_factory=dict)  # of those without a content vector, what is stored
    unchanged: int = 0
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)  # reason and sentence

    def wanted(self, part: HeardPart) -> dict[str, str]:
        """Give the tracks of a part that were heard from the audio that the manifest names now, with its hash."""
        return {
            track_id: sha256
            for track_id, sha256, uri in zip(part.track_ids, part.audio_sha256, part.audio_uris, strict=True)
            if (release := self.release_of.get(track_id)) and (release.audio_uri or "") == uri
        }


def backfill_manifest(
    engine: Engine,
    manifest: Manifest,
    *,
    encoder: str,
    limits: AudioLimits,
    ray: RayOptions | None = None,
    part_tracks: int = 0,
    on_progress: OnProgress = silent,
) -> BackfillReport:
    """Hear the tracks of a manifest that have not been heard yet, on Ray, and take them in.

    Parameters
    ----------
    engine : Engine
        An opened home folder, which every machine of the cluster reaches at the same address.
    manifest : Manifest
        What `jobs.manifest.read_manifest` returned; every machine finds its audio at the same paths.
    encoder : str
        As `encoders.load_encoder` names it: the engine's.
    limits : AudioLimits
        What audio is taken.
    ray : RayOptions, optional
        Where it runs; by default a Ray of its own on this machine.
    part_tracks : int
        Tracks that are written together; 0 for what suits their number.
    on_progress : callable
        Told after each part.

    Returns
    -------
    BackfillReport
        Good rows are in; wrong ones are listed.

    Raises
    ------
    ExtraMissingError, RayError
        Nothing was taken in; what had been heard is kept, and the same command goes on from there.
    index.LeaseHeldError
        Another backfill or, at the end, a refresh works on this home; what was heard is kept as well.
    """
    start = time.perf_counter()
    report = BackfillReport()
    heard = engine.encoder
    with engine.store.lease(LEASE) as lease:
        backfill = engine.store.backfill(heard.encoder_id, heard.dim)
        plan = _plan(engine.store, backfill, manifest)  # after `backfill`, which counts what others hear from then on
        parts: list[HeardPart] = []
        if plan.to_hear:
            with ray_cluster(ray or RayOptions(), device=engine.device) as cluster:
                report.workers, report.gpus_each = cluster.workers, cluster.gpus_each
                size = part_tracks or _part_tracks(len(plan.to_hear), cluster.workers)
                pipeline = _pipeline(
                    [stages.to_hear(plan.to_hear[at : at + size]) for at in range(0, len(plan.to_hear), size)],
                    cluster,
                    decode={"sample_rate_hz": heard.sample_rate_hz, "limits": limits},
                    encode=(encoder, engine.device, heard.encoder_id),
                    write={"target": backfill.target},
                    part_tracks=size,
                )
                for part in _heard(pipeline, plan, report, on_progress):
                    lease.check()
                    backfill.note(part)
                    parts.append(part)
        with engine.store.lease("refresh"):
            _take_in(engine.store, backfill, plan, [*parts, *plan.noted], report)
    row_of = {release.track_id: row for release, row in zip(manifest.releases, manifest.rows, strict=True)}
    refused = [RefusedRow(row_of[track_id], track_id, *why) for track_id, why in plan.refused.items()]
    report.refused = sorted([*manifest.refused, *refused], key=lambda one: one.row)
    engine.sync()  # where a space is published, they are placed in it as if they had been ingested
    report.space_id = engine.serving()[0]
    report.wall_s = time.perf_counter() - start
    return report


def _plan(store: Store, backfill: ContentBackfill, manifest: Manifest) -> _Plan:
    """Find out which tracks have to be heard; what an earlier backfill noted counts where its audio is the same.

    A track with a record and a content vector is left as it is, also where it was noted: somebody has ingested it
    since, or it went in just before that backfill was cut off.
    """
    withdrawn = store.withdrawn()
    plan = _Plan({release.track_id: release for release in manifest.releases}, backfill.noted())
    noted = {track_id for part in plan.noted for track_id in plan.wanted(part)}
    ids = pa.array(list(plan.release_of), pa.string())
    heard = pc.is_in(ids, value_set=flat(store.heard_ids(backfill.target.encoder_id)))
    recorded = pc.is_in(ids, value_set=flat(store.track_columns(["track_id"])["track_id"]))
    plan.done = set(ids.filter(pc.and_(heard, recorded)).to_pylist())
    plan.orphans = set(ids.filter(pc.and_(heard, pc.invert(recorded))).to_pylist())
    for track_id, release in plan.release_of.items():
        if track_id in withdrawn:
            plan.refused[track_id] = _why(withdrawn_error(track_id))
        elif track_id in plan.done:
            plan.unchanged += 1
        elif track_id not in noted:
            plan.to_hear.append(release)
    known = ids.filter(pc.and_(recorded, pc.invert(heard))).to_pylist()
    plan.known = {record.track_id: record for record in store.tracks(known)}
    return plan


def _pipeline(
    tables: Sequence[pa.Table],
    cluster: Cluster,
    *,
    decode: dict[str, Any],
    encode: tuple[str, str, str],
    write: dict[str, Any],
    part_tracks: int,
) -> Dataset:
    """Put the stages behind each other. On CPUs, Ray Data runs the first two in one process, where nothing is sent."""
    import ray.data

    arrow: dict[str, Any] = {"batch_format": "pyarrow", "zero_copy_batch": True}
    rows = ray.data.from_arrow(list(tables))
    decoded = rows.map_batches(stages.read_and_decode, fn_kwargs=decode, batch_size=None, num_cpus=1, **arrow)
    encoded = decoded.map_batches(
        stages.Encode, fn_constructor_args=encode, batch_size=ENCODE_TRACKS, **cluster.actors(), **arrow
    )
    # No CPU of its own: where the encoders have taken all of them, it would wait for ever.
    return encoded.map_batches(stages.write_part, fn_kwargs=write, batch_size=part_tracks, num_cpus=0, **arrow)


def _heard(pipeline: Dataset, plan: _Plan, report: BackfillReport, on_progress: OnProgress) -> Iterator[HeardPart]:
    """Run the pipeline; give its parts as they come, and list what it refused."""
    done = 0
    on_progress(Progress("hear", done, len(plan.to_hear)))
    for table in results(pipeline):
        for row in table.to_pylist():
            for track_id, reason, message in zip(row["refused_ids"], row["reasons"], row["messages"], strict=True):
                plan.refused[track_id] = (reason, message)
            report.audio_s += row["duration_s"]
            for stage in stages.STAGES:
                report.stage_s[stage] += row[f"{stage}_s"]
            if row["fragment"] is not None:
                lists = (tuple(row[name]) for name in ("track_ids", "audio_sha256", "audio_uris"))
                yield HeardPart(row["fragment"], *lists)
            done += len(row["track_ids"]) + len(row["refused_ids"])
            on_progress(Progress("hear", done, len(plan.to_hear)))


def _take_in(
    store: Store, backfill: ContentBackfill, plan: _Plan, parts: Sequence[HeardPart], report: BackfillReport
) -> None:
    """Commit what was heard: all content vectors at once, then the tracks, so that whoever finds one can place it.

    What a service has ingested meanwhile is left as it is. Parts of this run stand before the noted ones: of a track
    that was heard twice, the first counts.
    """
    offered = {track_id for part in parts for track_id in plan.wanted(part)} - plan.done
    for track_id in offered & store.withdrawn():
        plan.refused[track_id] = _why(withdrawn_error(track_id))
    offered -= plan.refused.keys()
    theirs = backfill.heard_meanwhile(offered)
    offered -= theirs
    sha256_of: dict[str, str] = {}
    wanted_of: dict[HeardPart, set[str]] = {}
    for part in backfill.still_there(parts):  # a table that names a file which is gone cannot be read any more
        wanted = {one: sha256 for one, sha256 in plan.wanted(part).items() if one in offered and one not in sha256_of}
        wanted_of[part] = set(wanted)
        sha256_of.update(wanted)
    for track_id in offered - sha256_of.keys():
        plan.refused[track_id] = (DamagedHomeError.default_reason, GONE)
    orphans = plan.orphans & sha256_of.keys()
    backfill.take_in(wanted_of, orphans - {record.track_id for record in store.tracks(list(orphans))})
    ids = list(sha256_of)
    for start in range(0, len(ids), LOOK_UP_TRACKS):
        some = [
            plan.release_of[track_id].record(sha256_of[track_id]) for track_id in ids[start : start + LOOK_UP_TRACKS]
        ]
        report.created += store.add_tracks([record for record in some if record.track_id not in plan.known])
        known = [record for record in some if record.track_id in plan.known]
        now = {record.track_id: record for record in store.tracks([record.track_id for record in known])}
        changed = [record for record in known if _is_to_change(record, plan.known[record.track_id], now)]
        store.commit(WriteBatch(tracks=changed))
        report.updated += len(known)
    report.unchanged += plan.unchanged + len(theirs) + len(ids) - report.created - report.updated
    earlier = {track_id for part in plan.noted for track_id in plan.wanted(part)}
    earlier -= {one.track_id for one in plan.to_hear}
    report.went_on = len(earlier & sha256_of.keys())
    backfill.drop_twins()
    backfill.finish()


def _is_to_change(record: TrackRecord, planned: TrackRecord, now: dict[str, TrackRecord]) -> bool:
    """Whether a stored track is to become what the manifest says: not where somebody has changed it meanwhile."""
    return not same_release(record, planned) and now.get(record.track_id) == planned


def _part_tracks(tracks: int, workers: int) -> int:
    return min(MAX_PART_TRACKS, max(MIN_PART_TRACKS, math.ceil(tracks / max(PARTS, PARTS_A_WORKER * workers))))


def _why(error: RefusalError) -> tuple[str, str]:
    return error.reason, str(error)
