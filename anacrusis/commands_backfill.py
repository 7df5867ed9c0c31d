"""The command that hears a whole catalogue on Ray: backfill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from anacrusis.commands_catalogue import show_left_out
from anacrusis.console import report, shown_progress, table
from anacrusis.context import Home, Json, RayAddress, Workers, shared
from anacrusis.settings import keep_ray_quiet


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command()(backfill)


def backfill(
    context: typer.Context,
    manifest: Annotated[Path, typer.Argument(help="CSV, JSON Lines or Parquet, as for `ingest`.")],
    ray_address: RayAddress = "",
    workers: Workers = 0,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Ingest the tracks of a manifest that were never heard, on Ray; cut off and called again, it goes on."""
    from jobs.backfill import backfill_manifest
    from jobs.manifest import read_manifest
    from jobs.on_ray import RayOptions

    options = RayOptions(ray_address, workers)
    read = read_manifest(manifest)  # before a home folder is made for a manifest that cannot be read
    keep_ray_quiet()
    settings = shared(context).settings
    with (
        shared(context).open_engine(home, create=True, project_missing=False) as engine,
        shown_progress() as on_progress,
    ):
        done = backfill_manifest(
            engine, read, encoder=settings.encoder, limits=settings.audio, ray=options, on_progress=on_progress
        )
    states = {name: getattr(done, name) for name in ("created", "updated", "unchanged")}
    result: dict[str, Any] = {
        "manifest": str(manifest),
        "rows": len(read.releases) + len(read.refused),
        **states,
        "went_on": done.went_on,
        "refused": [vars(refused) for refused in done.refused],
        "columns_left_alone": list(read.left_alone),
        "space_id": done.space_id,
        "workers": done.workers,
        "gpus_each": done.gpus_each,
        "wall_s": done.wall_s,
        "tracks_per_s": done.tracks_per_s,
        "audio_s": done.audio_s,
        "stage_s": done.stage_s,
    }
    if not report(json_to, result):
        table(
            f"{result['rows']} rows in {done.wall_s:.1f} s by {done.workers} workers, "
            f"{done.tracks_per_s:.1f} tracks a second",
            ("outcome", "#tracks"),
            [*states.items(), ("refused", len(done.refused))],
        )
        table("", ("stage", "#seconds of work"), list(done.stage_s.items()))
        if done.went_on:
            print(f"Heard before an earlier backfill was cut off: {done.went_on}.")
        if done.space_id and done.created + done.updated:
            print(f"Stored; `anacrusis refresh`, on Ray with `--ray`, places them in space {done.space_id}.")
        if not done.space_id:
            print("Stored and not served, as no space is published (`anacrusis space import`, `space publish`).")
    show_left_out(read.left_alone, done.refused)
