"""Commands that measure: bench encode."""

from __future__ import annotations

from typing import Annotated

import typer

from anacrusis.console import report, shown_progress, table
from anacrusis.context import Json, shared


def register(app: typer.Typer) -> None:
    """Add these commands to the front door."""
    bench = typer.Typer(no_args_is_help=True, help="Measure this machine.", pretty_exceptions_enable=False)
    bench.callback()(_group)
    bench.command()(encode)
    app.add_typer(bench, name="bench")


def _group() -> None:
    """Measure this machine; every figure comes from one run."""


def encode(
    context: typer.Context,
    tracks: Annotated[int, typer.Option(min=1, max=36, help="How many of the bundled 30 s excerpts.")] = 36,
    repeats: Annotated[int, typer.Option(min=1, help="Runs; the median counts.")] = 3,
    json_to: Json = None,
) -> None:
    """Measure the way from audio file to content vector: decode, front end and network apart."""
    from anacrusis.bench_encode import bench_encode

    settings = shared(context).settings
    with shown_progress() as on_progress:
        result = bench_encode(settings.encoder, tracks, repeats, device=settings.device, on_progress=on_progress)
    if not report(json_to, result):
        table(
            f"{tracks} tracks, {result['audio_s']:.0f} s of music, {result['encoder_id']} on {result['device']}, "
            f"median of {repeats}",
            ("stage", "#seconds", "#times real time", "#share"),
            [
                (stage["stage"], stage["seconds"], f"{stage['times_real_time']:.0f}", f"{stage['share']:.0%}")
                for stage in result["stages"]
            ],
        )
        for check in result["checks"]:
            holds = "holds" if check["holds"] else "does not hold"
            print(f"{check['name']}: {check['measured']:.6g}, promised {check['bound']:g}: {holds}")
