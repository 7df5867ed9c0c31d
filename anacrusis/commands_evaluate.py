"""The command that measures methods of the transfer: evaluate."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from anacrusis.console import blaming, report, say, shown_progress, table
from anacrusis.context import Json, shared


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command()(evaluate)


def evaluate(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="A benchmark folder: tracks, interactions, and factors if there are any, as Parquet.")
    ],
    split: Annotated[str, typer.Option(help="The cold split to report.")] = "cold_test",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Fits of each method that depends on chance.")] = 3,
    methods: Annotated[
        str, typer.Option(help="Names joined by commas, such as acarec,anacrusis (README has all); default: all.")
    ] = "",
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Also fit anacrusis without each of its parts; on cold_val, slow.")
    ] = False,
    report_to: Annotated[
        Path | None, typer.Option("--report", help="Write transfer.md and its plots into this folder.")
    ] = None,
    json_to: Json = None,
) -> None:
    """Fit methods on warm tracks, let them choose on cold_val, and report Recall@20 and NDCG@20 on a cold split."""
    from jobs.evaluation.run import evaluate as run

    shared(context)
    names = [name.strip() for name in methods.split(",") if name.strip()] if methods else None
    if report_to is not None:
        with blaming(report_to):
            report_to.mkdir(parents=True, exist_ok=True)
    command = _typed(folder, split, seeds, methods, ablation, report_to, json_to)
    with shown_progress() as on_progress:
        result = run(
            folder,
            split,
            seeds,
            names,
            ablation=ablation,
            report_to=report_to,
            command=command,
            on_progress=on_progress,
        )
    if not report(json_to, result):
        _show(result)
    if report_to is not None:
        say(f"wrote {report_to / 'transfer.md'} and its plots")


def _typed(
    folder: Path, split: str, seeds: int, methods: str, ablation: bool, report_to: Path | None, json_to: Path | None
) -> str:
    """Write the command down for the page, all that rules its figures spelt out; of other places the name alone."""
    words = ["anacrusis", "evaluate", folder.resolve().name, "--split", split, "--seeds", str(seeds)]
    words += ["--methods", methods] if methods else []
    words += ["--ablation"] if ablation else []
    for option, path in (("--report", report_to), ("--json", json_to)):
        words += [] if path is None else [option, path.name if path.is_absolute() else str(path)]
    return shlex.join(words)


def _show(result: dict[str, Any]) -> None:
    from jobs.evaluation.protocol import MAIN_SLICES, METRICS

    for metric in METRICS:
        table(
            f"{metric} on {result['split']} of {result['folder']}, {len(result['seeds'])} seeds",
            ("method", *(f"#{name}" for name in MAIN_SLICES)),
            [
                (name, *(_figure(found[one][metric]) for one in MAIN_SLICES))
                for name, found in result["methods"].items()
            ],
        )
    for check in result["checks"]:
        holds = "holds" if check["holds"] else "does not hold"
        measured, bound = ("unknown" if check[one] is None else f"{check[one]:.6g}" for one in ("measured", "bound"))
        print(f"{check['name']}: {measured}, promised {bound}: {holds}")


def _figure(found: dict[str, float | None]) -> str:
    if found["mean"] is None:
        return "-"
    return f"{found['mean']:.3f} [{found['low']:.3f} {found['high']:.3f}]"
