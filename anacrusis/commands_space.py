"""Commands on spaces: space import, list, compare, publish; train; refresh."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anacrusis import commands_snapshots
from anacrusis.console import blaming, report, say, shown_progress, table
from anacrusis.context import MAX_SEED, Home, IndexKind, Json, RayAddress, Workers, shared
from anacrusis.settings import keep_ray_quiet

if TYPE_CHECKING:
    from jobs import RefreshReport
    from jobs.bridge import BridgeReport
    from jobs.space_comparison import SpaceComparison


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
    app.command()(train)
    app.command()(refresh)


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
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Import the vectors of a training as a new space beside the others; nothing is served from it yet."""
    from jobs.factors import read_factors
    from jobs.spaces import import_space

    items = read_factors(factors, id_column="track_id", popularity_column=popularity_column)
    people = read_factors(users, id_column="user_id") if users is not None else None
    with shared(context).open_engine(home, create=True) as engine:
        done = import_space(engine, space_id, items, people, metric=metric, source=factors.name)
        served, _ = engine.serving()
    if not report(json_to, done.as_dict()):
        say(
            f"space {space_id}: {done.track_count} tracks of {done.dim} dimensions, {done.user_count} users; "
            f"{done.known_share:.0%} of the tracks were ingested before, "
            f"the popularity of {done.popularity_share:.0%} is known"
        )
        fit, serve = f"`anacrusis train --space {space_id}`", f"`anacrusis space publish {space_id}`"
        if served:
            say(
                f"next: `anacrusis space compare {space_id}`; {serve} carries over what {served} serves and switches; "
                f"then {fit} and `anacrusis refresh`"
            )
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
    return f"{snapshot['index_kind']}, recall@{tuning['k']} {tuning['measured']:.4f} at {tuning['effort']}"


def compare(
    context: typer.Context,
    space_id: Annotated[str, typer.Argument(help="The training in question.")],
    with_space_id: Annotated[
        str | None, typer.Option("--with", help="What it is compared with (default: the served space).")
    ] = None,
    report_to: Annotated[
        Path | None, typer.Option("--report", help="Write plots of lengths and of overlaps into this folder.")
    ] = None,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Compare a training with the served one: tracks, neighbours, alignment, lengths. Nothing is changed."""
    from jobs.space_comparison import compare_spaces

    if report_to is not None:
        from jobs.evaluation.report import require_plots

        require_plots()
        with blaming(report_to):
            report_to.mkdir(parents=True, exist_ok=True)
    with shared(context).open_engine(home, read_only=True) as engine, shown_progress() as on_progress:
        found = compare_spaces(engine, space_id, with_space_id, on_progress=on_progress)
    if report_to is not None:
        from jobs.space_plots import plot_comparison

        with blaming(report_to):
            written = plot_comparison(found, report_to)
        say(f"wrote {' and '.join(map(str, written))}")
    if not report(json_to, found.as_dict()):
        _show_comparison(found)


def _show_comparison(found: SpaceComparison) -> None:
    figures = found.as_dict()
    pair = figures["space"], figures["with_space"]
    table(
        f"{found.space.space_id} beside {found.with_space.space_id}",
        ("", *(f"#{one['space_id']}" for one in pair)),
        [
            *((name, *(one[name] for one in pair)) for name in ("tracks", "dim", "metric")),
            *((f"length {name}", *(_figure(one["norms"][name]) for one in pair)) for name in pair[0]["norms"]),
        ],
    )
    overlaps = {name: one for name, one in figures.items() if name.startswith("overlap@")}
    alignment = figures["alignment"] or {}
    table(
        "",
        ("figure", "#value", "#standard error", "#chance"),
        [
            ("shared tracks", found.shared, "", ""),
            ("coverage", _figure(found.coverage), "", ""),
            ("missing", _figure(found.missing), "", ""),
            ("newly warm", found.newly_warm, "", ""),
            ("newly cold", found.newly_cold, "", ""),
            *(
                (name, *(_figure(one[column] if one else None) for column in ("mean", "standard_error", "chance")))
                for name, one in overlaps.items()
            ),
            ("alignment residual", _figure(alignment.get("residual")), "", ""),
            ("alignment cosine", _figure(alignment.get("cosine")), "", ""),
            ("alignment scale", _figure(alignment.get("scale")), "", ""),
            ("tracks aligned", alignment.get("fitted", "-"), "", ""),
            ("tracks held out", alignment.get("held_out", "-"), "", ""),
        ],
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


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
    with opened as engine, shown_progress() as on_progress:
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
        _show_comparison(compared)
    if carried is not None:
        _show_bridge(carried)
    elif why:
        print(why)
    _show_refresh(done)


def train(
    context: typer.Context,
    space_id: Annotated[str, typer.Option("--space", help="Which space (default: the newest one).")] = "",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Fixes the fit.")] = 0,
    max_epochs: Annotated[int, typer.Option(min=1, help="Longest fit of acarec.")] = 500,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without improvement before a fit of acarec stops.")] = 15,
    method: Annotated[
        str,
        typer.Option(
            help="auto (ranking or artist_mean, the better on held-out tracks), ranking, acarec, or artist_mean."
        ),
    ] = "auto",
    interactions: Annotated[
        Path | None,
        typer.Option(
            help="Who listened to what: .parquet, .csv or .jsonl with user_id (or playlist_id) and track_id. With it "
            "the ranking transfer learns to be found by these listeners, whose vectors `space import --users` brought."
        ),
    ] = None,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Fit the artist transfer of a space on its warm tracks. `refresh` or `space publish` puts it to work."""
    from jobs.train import train_space

    with shared(context).open_engine(home) as engine, shown_progress() as on_progress:
        done = train_space(
            engine,
            space_id,
            seed=seed,
            max_epochs=max_epochs,
            patience=patience,
            method=method,
            interactions=interactions,
            on_progress=on_progress,
        )
    model = done.model
    result: dict[str, Any] = {
        "model_id": model.model_id,
        "method": model.method,
        "why": model.why,
        "space_id": model.space_id,
        "encoder_id": model.encoder_id,
        "metrics": dict(model.metrics),
        "interactions": None if done.interactions is None else done.interactions.as_dict(),
        "folder": done.folder,
        "seconds": done.seconds,
    }
    if not report(json_to, result):
        table(
            f"{model.model_id} for space {model.space_id}",
            ("metric", "#value"),
            sorted(model.metrics.items()),
        )
        print(model.why)
        if done.interactions is not None:
            read = done.interactions
            learned = "were learned from" if model.method == "ranking" else "were read, and do not enter what serves"
            print(
                f"Of {read.rows} rows {read.entries} different listens by {read.listeners} users {learned}; "
                f"passed over: {read.unknown_users} of users without a vector, {read.not_warm} of tracks that are not "
                "warm and heard."
            )


def refresh(
    context: typer.Context,
    artist: Annotated[list[str] | None, typer.Option(help="Only tracks credited to this artist; repeatable.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Project tracks that nothing has touched, too.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be projected, and why; do nothing.")
    ] = False,
    space_id: Annotated[str, typer.Option("--space", help="Which space (default: the served or newest one).")] = "",
    on_ray: Annotated[bool, typer.Option("--ray", help="Project on Ray, as an address or workers mean, too.")] = False,
    ray_address: RayAddress = "",
    workers: Workers = 0,
    index_kind: IndexKind = None,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Project the cold tracks that something has touched since, build the index, publish it.

    Touched is a track whose credits, date, audio or feedback have changed, whose artists' catalogue has grown, shrunk
    or changed, or whose vector is by another model than the one that serves now.
    """
    from jobs.on_ray import RayOptions

    if dry_run:
        with shared(context).open_engine(home, read_only=True) as engine:
            plan = engine.plan_refresh(artist or None, space_id=space_id, everything=everything)
        if not report(json_to, plan.as_dict()):
            _show_reasons(f"a refresh of space {plan.space_id} would project", plan.reasons)
            print(f"{len(plan.touched)} of {plan.cold} cold tracks. {plan.why}{_waiting(plan.unheard)}")
        return
    ray = RayOptions(ray_address, workers) if on_ray or ray_address or workers else None
    opened = shared(context).open_engine(home, project_missing=False)
    with ExitStack() as closing, opened as engine, shown_progress() as on_progress:
        project = None
        if ray is not None:
            from jobs.refresh_on_ray import projecting_on_ray

            keep_ray_quiet()
            project = projecting_on_ray(engine.home, ray, device=engine.device, closing=closing)
        done = engine.refresh(
            artist or None,
            space_id=space_id,
            everything=everything,
            on_progress=on_progress,
            project=project,
            index_kind=index_kind,
        )
    _show_refresh(done, json_to)


def _show_reasons(title: str, reasons: dict[str, int]) -> None:
    table(title, ("touched by", "#cold tracks"), [(reason, count) for reason, count in reasons.items() if count])


def _waiting(unheard: int) -> str:
    return f" {unheard} more wait for their audio." if unheard else ""


def _show_bridge(done: BridgeReport) -> None:
    table(
        f"carried from space {done.from_space_id} to {done.space_id}",
        ("tracks", "#"),
        [
            ("cold, keep their place", done.carried),
            ("lost by the training, keep the old one's place", done.fallen_back),
            ("lost by the training, never ingested: dropped", done.dropped),
            ("cold before, placed by the training", done.graduated),
            ("there already", done.known),
            ("shared, aligned by", done.shared),
            ("shared, moved beyond the tolerance", done.moved["beyond"]),
        ],
    )
    by = f" {done.base_model_id} places what has changed, as {done.model_id}." if done.model_id else ""
    print(f"The alignment keeps a cosine of {done.cosine:.3f} (residual {done.residual:.3f}).{by}")


def _show_refresh(done: RefreshReport, json_to: Path | None = None) -> None:
    if not report(json_to, done.as_dict()):
        table(
            f"snapshot {done.snapshot_id} of space {done.space_id} is served",
            ("tier", "#tracks"),
            sorted(done.tiers.items()),
        )
        if any(done.reasons.values()):
            _show_reasons("projected", done.reasons)
        by = f" by {done.model_id}" if done.model_id else ""
        print(f"cold tracks projected{by}: {done.projected} of {done.cold}. {done.why}{_waiting(done.unheard)}")
        if done.held_back:
            print(
                f"Somebody went back from the newest snapshot, {done.held_back}, and nothing has changed since, so "
                f"that it was not published again; `anacrusis space publish {done.space_id}` does it."
            )
        elif not done.published:
            print("Nothing has changed since this snapshot was built, so that there was nothing to do.")
        if done.maintenance is None:
            print("The upkeep of the home failed, see the log; the next refresh, or `anacrusis maintain`, does it.")
        else:
            for alert in done.maintenance.alerts:
                print(f"ALERT: {alert}")
        if done.row_count < done.row_count_before:
            print(
                f"This snapshot holds {done.row_count} tracks, the one before held {done.row_count_before}; "
                "`anacrusis space rollback` goes back to it."
            )
