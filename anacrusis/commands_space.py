"""Commands on spaces: space import, list, compare, publish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anacrusis import commands_snapshots
from anacrusis.console import blaming, report, say, shown_progress, table
from anacrusis.context import Home, IndexKind, Json, shared
from anacrusis.shown_spaces import show_bridge, show_comparison, show_refresh

if TYPE_CHECKING:
    from jobs.space_comparison import SpaceComparison

FIRST_LOOK_TRACKS = 200
"""Whose neighbours an import compares: seconds at a hundred thousand tracks, with a standard error of at most 0.04."""

Report = Annotated[
    Path | None, typer.Option("--report", help="Write plots of lengths and of overlaps into this folder.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the front door."""
    space = typer.Typer(
        no_args_is_help=True,
        help="Spaces: one for each training of the recommender.",
        pretty_exceptions_enable=False,
    )
    space.command("import")(import_)
    space.command("list")(list_)
    space.command()(compare)
    space.command()(publish)
    commands_snapshots.register(app, space)
    app.add_typer(space, name="space")


def import_(
    context: typer.Context,
    space_id: Annotated[str, typer.Argument(help="A name for this training, e.g. als-2026-11-23.")],
    factors: Annotated[
        Path,
        typer.Argument(help="Item vectors: .parquet (track_id, vector), .npy with .ids beside it, or .jsonl."),
    ],
    users: Annotated[Path | None, typer.Option(help="User vectors, in the same layouts with user_id.")] = None,
    popularity_column: Annotated[
        str | None,
        typer.Option(
            help="The column of the item file that counts listens (default: popularity, where there is one). "
            "Beside a .npy file the counts stand in NAME.popularity.npy."
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="How the recommender compares items: inner_product or cosine.")
    ] = "inner_product",
    report_to: Report = None,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Import the vectors of a training as a new space beside the others; nothing is served from it yet.

    Where a space is served, the new one is compared with it, as `space compare` does, by fewer tracks.
    """
    from jobs.factors import read_factors
    from jobs.space_comparison import compare_spaces
    from jobs.spaces import import_space

    _require_plots(report_to)
    items = read_factors(factors, id_column="track_id", popularity_column=popularity_column)
    people = read_factors(users, id_column="user_id") if users is not None else None
    compared = None
    with shared(context).open_engine(home, create=True) as engine, shown_progress() as on_progress:
        done = import_space(engine, space_id, items, people, metric=metric, source=factors.name)
        served, _ = engine.serving()
        if served:
            compared = compare_spaces(engine, space_id, served, max_queries=FIRST_LOOK_TRACKS, on_progress=on_progress)
    if compared is not None:
        _plot(compared, report_to)
    elif report_to is not None:
        say(f"no space is served that {space_id} could be compared with: nothing is written to {report_to}")
    if not report(json_to, done.as_dict() | {"comparison": compared.as_dict() if compared is not None else None}):
        if compared is not None:
            show_comparison(compared)
        say(
            f"space {space_id}: {done.track_count} tracks of {done.dim} dimensions, {done.user_count} users; "
            f"{done.known_share:.0%} of the tracks were ingested before, "
            f"the popularity of {done.popularity_share:.0%} is known"
        )
        fit, serve = f"`anacrusis train --space {space_id}`", f"`anacrusis space publish {space_id}`"
        if served:
            say(f"next: {serve} carries over what {served} serves and switches; then {fit} and `anacrusis refresh`")
        else:
            say(f"next: {fit}, then {serve}")


def list_(context: typer.Context, home: Home = None, json_to: Json = None) -> None:
    """List spaces and snapshots, and which snapshot is served."""
    from jobs.spaces import list_spaces

    with shared(context).open_engine(home, read_only=True) as engine:
        spaces, snapshots = list_spaces(engine)
    if not report(json_to, {"spaces": spaces, "snapshots": snapshots}):
        table(
            "spaces",
            ("space", "#dim", "metric", "#tracks", "#users", "imported", "served"),
            [
                (
                    s["space_id"],
                    s["dim"],
                    s["metric"],
                    s["track_count"],
                    s["user_count"],
                    s["created_at"],
                    "yes" if s["published"] else "",
                )
                for s in spaces
            ],
        )
        table(
            "snapshots",
            ("snapshot", "space", "#tracks", "index", "model", "built", "served", "#steps back"),
            [
                (
                    s["snapshot_id"],
                    s["space_id"],
                    s["row_count"],
                    _index(s),
                    s["model_id"],
                    s["created_at"],
                    "yes" if s["published"] else "",
                    s["steps_back"] or "",
                )
                for s in snapshots
            ],
        )


def _index(snapshot: dict[str, Any]) -> str:
    tuning = snapshot["tuning"]
    if tuning is None:
        return str(snapshot["index_kind"])
    return f"{snapshot['index_kind']}, recall@{tuning['k']} {tuning['measured']:.4f} at nprobe {tuning['effort']}"


def compare(
    context: typer.Context,
    space_id: Annotated[str, typer.Argument(help="The training in question.")],
    with_space_id: Annotated[
        str | None, typer.Option("--with", help="What it is compared with (default: the served space).")
    ] = None,
    report_to: Report = None,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Compare a training with the served one: tracks, neighbours, alignment, lengths. Nothing is changed."""
    from jobs.space_comparison import compare_spaces

    _require_plots(report_to)
    with shared(context).open_engine(home, read_only=True) as engine, shown_progress() as on_progress:
        found = compare_spaces(engine, space_id, with_space_id, on_progress=on_progress)
    _plot(found, report_to)
    if not report(json_to, found.as_dict()):
        show_comparison(found)


def _require_plots(report_to: Path | None) -> None:
    """Refuse a report that could not be made, before any work is done."""
    if report_to is not None:
        from jobs.evaluation.report import require_plots

        require_plots()
        with blaming(report_to):
            report_to.mkdir(parents=True, exist_ok=True)


def _plot(found: SpaceComparison, report_to: Path | None) -> None:
    if report_to is not None:
        from jobs.space_plots import plot_comparison

        with blaming(report_to):
            written = plot_comparison(found, report_to)
        say(f"wrote {' and '.join(map(str, written))}")


def publish(
    context: typer.Context,
    space_id: Annotated[str, typer.Argument(help="The space to serve from now on.")],
    min_overlap: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Refuse where overlap@10 with another served space is less."),
    ] = None,
    min_coverage: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Refuse where it has a smaller share of another served space's tracks."),
    ] = None,
    bridge: Annotated[
        bool,
        typer.Option(
            help="Carry cold tracks, tracks that it lacks, and the fitted transfer over from another served space, "
            "where it has no transfer of its own."
        ),
    ] = True,
    index_kind: IndexKind = None,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Give every cold track its place in a space, build its index, and switch queries over to it in one step.

    From another served space the places are carried over, by the alignment of the tracks that both share; only what has
    changed is projected, by the transfer that was fitted there. `train --space` and `refresh` replace both.
    """
    from jobs.bridge import bridge_if_due
    from jobs.space_comparison import require_likeness

    opened = shared(context).open_engine(home, project_missing=False)
    recorded = shared(context).recording(home, "space publish", space_id=space_id)
    with opened as engine, shown_progress() as on_progress, recorded:
        after = engine.store.publish_sequence()  # what is compared, and carried over from: a rollback since stands
        compared = require_likeness(
            engine, space_id, min_overlap=min_overlap, min_coverage=min_coverage, on_progress=on_progress
        )
        carried, why = bridge_if_due(engine, space_id, on_progress=on_progress) if bridge else (None, "")
        done = engine.refresh(
            space_id=space_id, again=True, after=after, index_kind=index_kind, on_progress=on_progress
        )
    found: dict[str, Any] = {"comparison": compared.as_dict()} if compared is not None else {}
    found |= {"bridge": carried.as_dict() if carried is not None else None, "no_bridge": why}
    if report(json_to, done.as_dict() | found):
        return
    if compared is not None:
        show_comparison(compared)
    if carried is not None:
        show_bridge(carried)
    elif why:
        print(why)
    show_refresh(done)
