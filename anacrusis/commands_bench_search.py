"""The command that measures the search in process: bench index; and what benches of the search share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anacrusis.console import blaming, report, say, shown_progress, table
from anacrusis.context import Json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Factors = Annotated[
    Path | None,
    typer.Option(
        "--factors",
        metavar="FILE",
        help="A recommender's item vectors to search, as `space import` reads them (default: made ones).",
    ),
]
Plots = Annotated[
    Path | None, typer.Option("--plots", metavar="FOLDER", help="Draw what was measured into this folder, as PNG.")
]


def register(bench: typer.Typer) -> None:
    """Add these commands to the group of benches."""
    bench.command()(index)


def index(
    tracks: Annotated[
        list[int] | None,
        typer.Option(min=1000, help="How many vectors to search; repeatable (default: 10000 and 100000)."),
    ] = None,
    factors: Factors = None,
    library: Annotated[
        list[str] | None, typer.Option("--library", metavar="NAME", help="Only these peers; repeatable (default: all).")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; the medians count.")] = 5,
    plots: Plots = None,
    json_to: Json = None,
) -> None:
    """Measure single queries in process beside other libraries, at the same recall; memory, start-up and filters.

    On a home in a temporary folder, and on indexes of the peers that are installed (the extra `bench`):
    each in a process of its own and on one core, all asked in turns. Peers are tuned on other queries until they reach
    recall@100 of 0.99; this search is measured as it is served. A million vectors take about 8 GB of disk and half an
    hour, most of it the building of the peers' graphs.
    """
    from anacrusis.bench.index import bench_index

    vectors = factor_vectors(factors)
    with shown_progress() as on_progress:
        result = bench_index(
            tracks or [10_000, 100_000], libraries=library, factors=vectors, repeats=repeats, on_progress=on_progress
        )
    draw(plots, lambda folder: _plots(result, folder))
    if not report(json_to, result):
        for size in result["sizes"]:
            _show_size(size, result)
        if result["growth"]:
            latency, memory = result["growth"]["latency_exponent"], result["growth"]["memory_exponent"]
            print(f"Over these sizes latency grows as tracks to the power of {latency:.2f}, memory {memory:.2f}.")
        show_checks(result["checks"])


def _plots(result: dict[str, Any], folder: Path) -> list[Path]:
    from anacrusis.bench.plots import plot_index

    return plot_index(result, folder)


def _show_size(size: dict[str, Any], result: dict[str, Any]) -> None:
    stored = size["vector_bytes"]
    table(
        f"{size['tracks']:,} x {size['dim']}, {size['source']}. Single queries, k = {result['k']}, on one core; "
        f"median of {result['repeats']}",
        ("search", "effort", "#recall", "#queries/s", "#p50 ms", "#p99 ms", "#build s", "#open s", "#bytes/vector"),
        [
            (
                f"{one['name']} {one['version']}" + (f" ({size['kind']})" if number == 0 else ""),
                one["effort"] or "default",
                f"{one['recall']:.4f}",
                f"{one['queries_per_s']:.0f}",
                one["p50_ms"],
                one["p99_ms"],
                f"{one['build_s']:.1f}",
                f"{one['first_answer_s']:.2f}",
                f"{one['resident_bytes'] / size['tracks']:.0f}",
            )
            for number, one in enumerate(size["contenders"])
        ],
    )
    for one in size["skipped"]:
        print(f"{one['name']} took no part: {one['reason']}")
    table(
        "Behind a filter",
        ("passing", "#tracks", "#recall", "#p50 ms", "#times unfiltered"),
        [
            (
                f"{one['share']:.1%}",
                one["tracks"],
                f"{one['recall']:.4f}",
                one["p50_ms"],
                f"{one['times_unfiltered']:.2f}",
            )
            for one in size["filters"]
        ],
    )
    start, again = size["start"], size["start_after_crash"]
    print(
        f"From disk to the first answer: {start['first_answer_s']:.2f} s; after a crash with {again['fresh_rows']:,} "
        f"fresh rows: {again['first_answer_s']:.2f} s. The float16 vectors are {stored / 2**20:.0f} MiB; opening and "
        f"searching them took {start['peak_bytes'] / 2**20:.0f} MiB at most and holds "
        f"{start['resident_bytes'] / 2**20:.0f} MiB; the flat kind at most {size['memory_ratio']:.2f} times the "
        f"float16 vectors, beside the {size['few_peak_bytes'] / 2**20:.0f} MiB that it takes for hardly any."
    )


def factor_vectors(path: Path | None) -> NDArray[np.float32] | None:
    """Read the vectors that the user named; None where none are named."""
    if path is None:
        return None
    from jobs.factors import read_factors

    return read_factors(path, id_column="track_id").vectors


def draw(folder: Path | None, plots: Any) -> None:
    """Have plots drawn into a folder, where one is named.

    Parameters
    ----------
    folder : Path or None
    plots : callable
        Takes the folder and gives the files that it has written.
    """
    if folder is None:
        return
    with blaming(folder):
        for path in plots(folder):
            say(f"drew {path}")


def show_checks(checks: list[dict[str, Any]]) -> None:
    """Print every promise, what was measured, and whether it holds."""
    for check in checks:
        holds = "holds" if check["holds"] else "does not hold"
        print(f"{check['name']}: {check['measured']:.6g}, promised {check['bound']:g}: {holds}")
