"""Commands on spaces: space import, list, publish, rollback; train; refresh."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from anacrusis.console import report, say, shown_progress, table
from anacrusis.context import MAX_SEED, Home, Json, shared


def register(app: typer.Typer) -> None:
    """Add these commands to the front door."""
    space = typer.Typer(
        no_args_is_help=True,
        help="Spaces: one for each training of the recommender.",
        pretty_exceptions_enable=False,
    )
    space.command("import")(import_)
    space.command("list")(list_)
    space.command()(publish)
    space.command()(rollback)
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
    if not report(json_to, done.as_dict()):
        say(
            f"space {space_id}: {done.track_count} tracks of {done.dim} dimensions, {done.user_count} users; "
            f"{done.known_share:.0%} of the tracks were ingested before, "
            f"the popularity of {done.popularity_share:.0%} is known"
        )


def list_(context: typer.Context, home: Home = None, json_to: Json = None) -> None:
    """List spaces and snapshots, and which snapshot is served."""
    from jobs.spaces import list_spaces

    with shared(context).open_engine(home) as engine:
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
            ("snapshot", "space", "#tracks", "index", "model", "built", "served"),
            [
                (
                    s["snapshot_id"],
                    s["space_id"],
                    s["row_count"],
                    s["index_kind"],
                    s["model_id"],
                    s["created_at"],
                    "yes" if s["published"] else "",
                )
                for s in snapshots
            ],
        )


def publish(
    context: typer.Context,
    space_id: Annotated[str, typer.Argument(help="The space to serve from now on.")],
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Project every cold track into a space, build its index, and switch queries over to it in one step."""
    _refresh(context, home, json_to, space_id, None)


def rollback(context: typer.Context, home: Home = None, json_to: Json = None) -> None:
    """Serve the snapshot that was served before this one."""
    from jobs.spaces import rollback_snapshot

    with shared(context).open_engine(home) as engine:
        snapshot = rollback_snapshot(engine)
    if not report(json_to, {"space_id": snapshot.space_id, "snapshot_id": snapshot.snapshot_id}):
        say(f"serving snapshot {snapshot.snapshot_id} of space {snapshot.space_id} again")


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
        "folder": str(done.folder),
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
    space_id: Annotated[str, typer.Option("--space", help="Which space (default: the served or newest one).")] = "",
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Project cold tracks anew (all, or those of named artists), build the index, publish it."""
    _refresh(context, home, json_to, space_id, artist or None)


def _refresh(
    context: typer.Context, home: Path | None, json_to: Path | None, space_id: str, artists: list[str] | None
) -> None:
    with shared(context).open_engine(home) as engine, shown_progress() as on_progress:
        done = engine.refresh(artists, space_id=space_id, on_progress=on_progress)
    if not report(json_to, done.as_dict()):
        table(
            f"snapshot {done.snapshot_id} of space {done.space_id} is served",
            ("tier", "#tracks"),
            sorted(done.tiers.items()),
        )
        by = f" by {done.model_id}" if done.model_id else ""
        print(f"cold tracks projected{by}: {done.projected}. {done.why}")
        if done.row_count < done.row_count_before:
            print(
                f"This snapshot holds {done.row_count} tracks, the one before held {done.row_count_before}; "
                "`anacrusis space rollback` goes back to it."
            )
