"""Commands on snapshots: space diff, space rollback; maintain."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anacrusis.console import report, say, shown_progress, table
from anacrusis.context import Home, Json, shared

if TYPE_CHECKING:
    from jobs.maintain import MaintenanceReport
    from jobs.snapshot_diff import SnapshotDiff


def register(app: typer.Typer, space: typer.Typer) -> None:
    """Add these commands to the front door, and to its commands on spaces."""
    space.command()(diff)
    space.command()(rollback)
    app.command()(maintain)


def diff(
    context: typer.Context,
    before: Annotated[
        str, typer.Argument(help="A snapshot of `space list` (default: what a rollback returns to).")
    ] = "",
    after: Annotated[str, typer.Argument(help="Another one (default: the served one).")] = "",
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Say what a snapshot has that another has not: tracks that came, went, changed tier, or moved. Reads only."""
    from jobs.snapshot_diff import diff_snapshots

    with shared(context).open_engine(home, read_only=True) as engine:
        found = diff_snapshots(engine, before, after)
    if not report(json_to, found.as_dict()):
        _show_diff(found)


def _show_diff(found: SnapshotDiff) -> None:
    table(
        f"from {found.before.snapshot_id} to {found.after.snapshot_id}",
        ("", "#tracks", "such as"),
        [
            *(
                (name.replace("_", " "), getattr(found, name), ", ".join(found.examples[name][:3]))
                for name in ("added", "gone", "graduated", "fallen_back")
            ),
            *((name.replace("_", " "), count, "") for name, count in found.tiers.items()),
            ("projected by another model", found.projected_anew, ""),
            *([("moved", found.moves.moved, "")] if found.moves is not None else []),
        ],
    )
    if found.moves is None:
        print(
            f"They are of the spaces {found.before.space_id} and {found.after.space_id}, whose vectors do not compare; "
            "`anacrusis space compare` compares their neighbours."
        )
    elif found.moves.cosine_of_moved:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in found.moves.cosine_of_moved.items())
        print(f"cosines between the two vectors of those that moved: {shown}")


def rollback(
    context: typer.Context,
    to: Annotated[
        str, typer.Option(help="Any snapshot of `space list` (default: the one served before this one).")
    ] = "",
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Serve an earlier snapshot again. Nothing is built, and nothing waits for a refresh that is under way.

    The snapshot that was served is not read, so that one which is damaged is left behind all the same.
    """
    recorded = shared(context).recording(home, "space rollback", to=to)
    with shared(context).open_store(home) as store, recorded:
        snapshot = store.snapshot(store.rollback(to or None).snapshot_id)
    if not report(json_to, {"space_id": snapshot.space_id, "snapshot_id": snapshot.snapshot_id}):
        say(f"serving snapshot {snapshot.snapshot_id} of space {snapshot.space_id} again")
    # Tracks that were ingested since, while another space was served, are projected into this one.
    with shared(context).open_engine(home) as engine, engine.gate.alone():
        engine.adopt()


def maintain(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and how it looks.")] = False,
    keep_snapshots: Annotated[
        int | None,
        typer.Option(min=1, help="Keep so many to go back to, however old (default: the setting, 5)."),
    ] = None,
    keep_days: Annotated[
        float | None,
        typer.Option(min=0.0, max=36_500.0, help="Keep what was built or served within (default: the setting, 14)."),
    ] = None,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Retire old snapshots and spaces, delete what nobody reads any more, compact and clean up the tables.

    Every refresh and publish does it at its end. What is served, or was within the last hour, is not touched.
    """
    from jobs.maintain import maintain as maintain_home

    chosen: dict[str, Any] = {"snapshots": keep_snapshots, "days": keep_days}
    recorded = nullcontext() if dry_run else shared(context).recording(home, "maintain", **chosen)
    with shared(context).open_engine(home, read_only=dry_run) as engine, shown_progress() as on_progress, recorded:
        retention = replace(engine.retention, **{name: one for name, one in chosen.items() if one is not None})
        done = maintain_home(engine, retention, dry_run=dry_run, on_progress=on_progress)
    if not report(json_to, done.as_dict()):
        _show_maintenance(done)


def _show_maintenance(done: MaintenanceReport) -> None:
    table(
        "tables",
        ("table", "#rows", "#bytes", "#fragments", "#small", "#deleted rows", "#versions"),
        [
            (one.name, one.rows, one.bytes, one.fragments, one.small_fragments, one.deleted_rows, one.versions)
            for one in done.tables
        ],
    )
    would = "would be " if done.dry_run else ""
    print(f"Of the snapshots {done.kept_snapshots} are kept.")
    for what, snapshots, spaces in (
        ("retired, to be deleted when nobody reads them any more", done.retired_snapshots, done.retired_spaces),
        ("deleted", done.deleted_snapshots, done.deleted_spaces),
    ):
        if snapshots or spaces:
            print(f"{len(snapshots)} snapshots and {len(spaces)} spaces {would}{what}: {', '.join(snapshots + spaces)}")
    if not done.dry_run:
        print(
            f"{done.fresh_rows_dropped} folded fresh rows, {done.versions_removed} versions "
            f"and {done.bytes_removed} bytes were removed."
        )
    for alert in done.alerts:
        print(f"ALERT: {alert}")
