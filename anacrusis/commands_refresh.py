"""Commands that fit and project: train, refresh."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from anacrusis.console import report, shown_progress, table
from anacrusis.context import MAX_SEED, Home, IndexKind, Json, RayAddress, Workers, shared
from anacrusis.settings import keep_ray_quiet
from anacrusis.shown_spaces import show_reasons, show_refresh, waiting


def register(app: typer.Typer) -> None:
    """Add these commands to the front door."""
    app.command()(train)
    app.command()(refresh)


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
            show_reasons(f"a refresh of space {plan.space_id} would project", plan.reasons)
            print(f"{len(plan.touched)} of {plan.cold} cold tracks. {plan.why}{waiting(plan.unheard)}")
        return
    ray = RayOptions(ray_address, workers) if on_ray or ray_address or workers else None
    opened = shared(context).open_engine(home, project_missing=False)
    recorded = shared(context).recording(
        home, "refresh", artist_ids=artist or [], all=everything, space_id=space_id, index_kind=index_kind or ""
    )
    with ExitStack() as closing, opened as engine, shown_progress() as on_progress, recorded:
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
    show_refresh(done, json_to)
