"""Commands that measure: bench encode, bench transfer, bench refresh, and the group of all benches."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from anacrusis import commands_bench_search, commands_bench_serve
from anacrusis.commands_bench_search import show_checks
from anacrusis.console import report, shown_progress, table
from anacrusis.context import Json, shared


def register(app: typer.Typer) -> None:
    """Add these commands to the front door."""
    bench = typer.Typer(no_args_is_help=True, help="Measure this machine.", pretty_exceptions_enable=False)
    bench.callback()(_group)
    bench.command()(encode)
    bench.command()(transfer)
    bench.command()(refresh)
    commands_bench_search.register(bench)
    commands_bench_serve.register(bench)
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
    from anacrusis.bench.encode import bench_encode

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
        for part in result["parts"]:
            print(f"{part['part']} by itself: {part['seconds']:.3f} s, {part['share']:.0%} of the three")
        for one in result["skipped"]:
            print(f"{one['name']} was not compared: {one['reason']}")
        show_checks(result["checks"])


def transfer(
    context: typer.Context,
    tracks: Annotated[int, typer.Option(min=300, help="Size of the made catalogue.")] = 6_000,
    repeats: Annotated[int, typer.Option(min=1, help="Runs; the median counts.")] = 5,
    networks: Annotated[
        int | None, typer.Option(min=1, help="Networks of the transfer (default: as many as `train` makes).")
    ] = None,
    json_to: Json = None,
) -> None:
    """Measure projections a second: all cold tracks together, and one after the other.

    On a made catalogue, with a ranking transfer that was trained for a few steps, and with the artist mean.
    """
    from anacrusis.bench.transfer import bench_transfer

    settings = shared(context).settings
    with shown_progress() as on_progress:
        result = bench_transfer(tracks, repeats, networks=networks, device=settings.device, on_progress=on_progress)
    if not report(json_to, result):
        table(
            f"{result['cold']:,} cold tracks by {result['artists']:,} made artists, {result['warm']:,} warm tracks; "
            f"median of {repeats}",
            ("transfer", "#together, tracks/s", "#one after the other, tracks/s", "#times as fast"),
            [
                (one["method"], f"{one['together_per_s']:.0f}", f"{one['alone_per_s']:.1f}", f"{one['speed_up']:.0f}")
                for one in result["methods"]
            ],
        )
        show_checks(result["checks"])


def refresh(
    context: typer.Context,
    tracks: Annotated[
        list[int] | None, typer.Option(min=1000, help="Size of the made catalogue; repeatable (default: 30000).")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Pairs of refreshes; the median ratio counts.")] = 5,
    networks: Annotated[
        int | None, typer.Option(min=1, help="Networks of the transfer (default: as many as `train` makes).")
    ] = None,
    json_to: Json = None,
) -> None:
    """Measure a refresh after one artist in a hundred has changed, beside one of everything.

    On a made catalogue in a temporary folder: vectors in clusters, artists with one to hundreds of tracks, a third of
    them warm, a ranking transfer that was trained for a few steps. Each changed artist gets
    or loses a warm track. Above 100,000 tracks everything is refreshed once, by the first publish, and each refresh of
    what changed stands beside that. A million tracks take 10 GB of disk and, on two free cores, about ten minutes.
    """
    from anacrusis.bench.refresh import bench_refresh

    settings = shared(context).settings
    sizes: list[dict[str, Any]] = []
    with shown_progress() as on_progress:
        for count in tracks or [30_000]:
            sizes.append(
                bench_refresh(
                    count,
                    repeats,
                    networks=networks,
                    encoder=settings.encoder,
                    device=settings.device,
                    on_progress=on_progress,
                )
            )
    result = {"sizes": sizes, "checks": [check for size in sizes for check in size["checks"]]}
    if not report(json_to, result):
        for size in sizes:
            stages = list(size["changed"][0]["stage_s"])
            table(
                f"{size['tracks']} made tracks by {size['artists']} artists, {size['warm']} of them warm; "
                f"{size['changed_artists']} artists changed; median of {size['repeats']}",
                ("refresh of", "#projected", "#seconds", *(f"#{stage}" for stage in stages), "#upkeep"),
                [
                    (
                        name,
                        median["projected"],
                        median["seconds"],
                        *(median["stage_s"][stage] for stage in stages),
                        median["upkeep_s"],
                    )
                    for name, median in ((name, size[f"median_{name}"]) for name in ("everything", "changed"))
                ],
            )
        show_checks(result["checks"])
