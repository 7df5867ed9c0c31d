"""Commands that measure the search over gRPC and on a GPU: bench serve, bench gpu."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from anacrusis.commands_bench_search import Factors, Plots, draw, factor_vectors, show_checks
from anacrusis.console import report, shown_progress, table
from anacrusis.context import Json


def register(bench: typer.Typer) -> None:
    """Add these commands to the group of benches."""
    bench.command()(serve)
    bench.command()(gpu)


def serve(
    context: typer.Context,
    tracks: Annotated[int, typer.Option(min=1000, help="How many tracks the server serves.")] = 100_000,
    factors: Factors = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of the server, as `serve --workers` has them.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Turns; the medians count.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a turn.")] = 2.0,
    milvus_python: Annotated[
        str | None,
        typer.Option(
            "--milvus-python",
            metavar="FILE",
            help="Interpreter of an environment with milvus-lite and pymilvus, which cannot stand in this one.",
        ),
    ] = None,
    plots: Plots = None,
    json_to: Json = None,
) -> None:
    """Measure a server over gRPC: beside an echo server, FAISS and milvus-lite; up to saturation; while it ingests.

    The server and its clients are processes of their own on this machine, and share its cores.
    """
    from anacrusis.bench.serve import bench_serve

    vectors = factor_vectors(factors)
    with shown_progress() as on_progress:
        result = bench_serve(
            tracks,
            factors=vectors,
            workers=workers,
            repeats=repeats,
            seconds=seconds,
            milvus_python=milvus_python or sys.executable,
            on_progress=on_progress,
        )

    def drawn(folder: Path) -> list[Path]:
        from anacrusis.bench.plots import plot_load

        return [plot_load(result, folder)]

    draw(plots, drawn)
    if not report(json_to, result):
        _show_serve(result)
        show_checks(result["checks"])


def _show_serve(result: dict[str, Any]) -> None:
    unary, batch, milvus, load = (result[part] for part in ("unary", "batch", "milvus", "load"))
    rows = [
        ("one query a call", unary["per_s"], unary["p50_ms"], unary["p99_ms"]),
        ("an echo server of the same bytes", unary["echo_per_s"], unary["echo_p50_ms"], ""),
        ("256 queries a call", batch["queries_per_s"], "", ""),
        (f"FAISS called directly, {batch['faiss_threads']} threads", batch["faiss_queries_per_s"], "", ""),
    ]
    if "skipped" not in milvus:
        rows += [
            (f"{name}, clients of its own library", turn["per_s"], turn["p50_ms"], turn["p99_ms"])
            for name, turn in (("this service", milvus["ours"]), (f"milvus-lite {milvus['version']}", milvus["theirs"]))
        ]
    table(
        f"{result['tracks']:,} x {result['dim']}, {result['source']}. k = {result['k']}, {result['machine_cores']} "
        f"cores for server and clients; median of {result['repeats']}",
        ("asked", "#queries/s", "#p50 ms", "#p99 ms"),
        rows,
    )
    if "skipped" in milvus:
        print(f"milvus-lite took no part: {milvus['skipped']}")
    table(
        f"Offered load; the top rate is {load['top_per_s']:.0f} calls a second",
        ("share", "#offered/s", "#answered/s", "#p50 ms", "#p90 ms", "#p99 ms"),
        [
            (f"{one['share']:.0%}", one["offered_per_s"], one["per_s"], one["p50_ms"], one["p90_ms"], one["p99_ms"])
            for one in load["offered"]
        ],
    )


def gpu(
    context: typer.Context,
    tracks: Annotated[
        list[int] | None,
        typer.Option(min=1000, help="How many vectors to search; repeatable (default: 1000000 and 10000000)."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; the medians count.")] = 5,
    bandwidth_tb_per_s: Annotated[
        float, typer.Option("--bandwidth", min=0.01, help="What the device's memory gives at most, in TB/s.")
    ] = 4.3,
    plots: Plots = None,
    json_to: Json = None,
) -> None:
    """Measure the exact float16 search on a GPU: batches of 1 to 4096, beside the CPU and the memory's bound.

    One scan reads every vector once: 2 bytes an element, so that no search takes less than 2 N d bytes over the
    bandwidth. Where FAISS sees no GPU, nothing is measured, and the result says so.
    """
    from anacrusis.bench.gpu import bench_gpu

    with shown_progress() as on_progress:
        result = bench_gpu(
            tracks or [1_000_000, 10_000_000],
            repeats=repeats,
            bandwidth_tb_per_s=bandwidth_tb_per_s,
            on_progress=on_progress,
        )

    def drawn(folder: Path) -> list[Path]:
        from anacrusis.bench.plots import plot_gpu

        return [plot_gpu(result, folder)] if result["sizes"] else []

    draw(plots, drawn)
    if not report(json_to, result):
        if "skipped" in result:
            print(result["skipped"])
        for size in result["sizes"]:
            table(
                f"{size['tracks']:,} x {size['dim']}, exact, float16, k = {result['k']}, on {result['device']}; a scan "
                f"takes at least {size['bound_ms']:.3f} ms",
                ("batch", "#GPU ms", "#GPU queries/s", "#share of the bound", "#CPU queries/s", "#times the CPU"),
                [
                    (
                        one["batch"],
                        one["gpu_ms"],
                        f"{one['gpu_per_s']:.0f}",
                        f"{one['share_of_bound']:.0%}",
                        f"{one['cpu_per_s']:.0f}" if one["cpu_per_s"] is not None else "",
                        f"{one['gpu_per_s'] / one['cpu_per_s']:.0f}" if one["cpu_per_s"] is not None else "",
                    )
                    for one in size["batches"]
                ],
            )
        show_checks(result["checks"])
