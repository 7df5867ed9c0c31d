"""Commands on the index: index tune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from anacrusis.console import report, shown_progress, table
from anacrusis.context import Home, Json, shared

if TYPE_CHECKING:
    from jobs.tuning import TuningReport


def register(app: typer.Typer) -> None:
    """Add these commands to the front door."""
    index = typer.Typer(no_args_is_help=True, help="The index that is searched.", pretty_exceptions_enable=False)
    index.callback()(_group)
    index.command()(tune)
    app.add_typer(index, name="index")


def _group() -> None:
    """Work on the index that is searched."""


def tune(
    context: typer.Context,
    recall: Annotated[float, typer.Option(min=0.5, max=1.0, help="The recall@k that is wanted.")] = 0.99,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=2048, help="At how many neighbours.")] = 100,
    queries: Annotated[
        int, typer.Option(min=1, max=100_000, help="Warm tracks, and listeners, to ask for: so many of each.")
    ] = 1000,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Find how far the published index has to look to reach a recall, and have it look so far from now on.

    Measured against exact search, on vectors of the home's own tracks and listeners, with the tracks left out of their
    own answers. Servers follow at their next look; the space's next snapshots are built for the same recall. An index
    of the kind flat_fp16 is exact and needs none of it.
    """
    from jobs.tuning import tune_index

    opened = shared(context).open_engine(home, project_missing=False)
    recorded = shared(context).recording(home, "index tune", recall=recall, k=k)
    with opened as engine, shown_progress() as on_progress, recorded:
        done = tune_index(engine, recall=recall, k=k, queries=queries, on_progress=on_progress)
    if not report(json_to, done.as_dict()):
        _show(done)


def _show(done: TuningReport) -> None:
    if done.tuning is None:
        print(
            f"Snapshot {done.snapshot_id} has an index of the kind {done.index_kind}, which is exact: nothing to tune."
        )
        return
    rows = [
        (str(one.effort), one.recall, one.queries_per_s, "chosen" if one.effort == done.tuning.effort else "")
        for one in done.tried
    ]
    table(
        f"{done.index_kind} of snapshot {done.snapshot_id}, {done.tuning.queries} queries",
        ("#nprobe", f"#recall@{done.tuning.k}", "#queries/s", ""),
        [*rows, ("exact", 1.0, done.exact_queries_per_s or 0.0, "")],
    )
    if done.tuning.effort not in {one.effort for one in done.tried}:
        print("No effort below the cost of exact search reaches that recall: every query is answered exactly.")
