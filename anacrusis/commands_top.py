"""The command that watches a running server: top."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anacrusis.console import report
from anacrusis.context import Context, Json, shared
from anacrusis.scrapes import Scrape, ScrapeError, frame, scrape
from anacrusis.settings import SettingsError

if TYPE_CHECKING:
    from rich.console import RenderableType

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # where a server listens, not where one asks


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command()(top)


def top(
    context: typer.Context,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where the server tells its metrics, once for each worker (default: by the settings).",
        ),
    ] = None,
    interval_s: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Print one frame, of the time since the start, and end.")
    ] = False,
    json_to: Json = None,
) -> None:
    """Watch a running server: what is asked of it, how long it takes, what waits, what it refuses, what it serves.

    It reads the metrics port, which `serve` has where metrics.port is set. With --json it writes one frame and ends.
    """
    from rich.console import Console

    addresses = metrics or _addresses(shared(context))
    first = scrape(addresses)
    if report(json_to, frame(first)):
        return
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # a pipe has no width of its own
        console.width = 140
    if once or json_to is not None or not console.is_terminal:
        console.print(shown(frame(first)))
        return
    from rich.live import Live

    with Live(shown(frame(first)), console=console, screen=True, auto_refresh=False) as live:
        try:
            for picture in _pictures(addresses, first, interval_s):
                live.update(picture, refresh=True)
        except KeyboardInterrupt:  # how one leaves
            return


def _addresses(shared_with: Context) -> list[str]:
    options, workers = shared_with.settings.metrics, shared_with.settings.server.workers
    if not options.port:
        raise SettingsError(
            "metrics.port is not set: name where the server tells its metrics by --metrics HOST:PORT. "
            "`anacrusis status` asks a server that tells none."
        )
    host = _ANYWHERE.get(options.host, f"[{options.host}]" if ":" in options.host else options.host)
    return [f"{host}:{options.of_worker(place).port}" for place in range(workers)]


def _pictures(addresses: Sequence[str], before: Scrape, interval_s: float) -> Iterator[RenderableType]:
    """Look again and again; a server that is away for a while is said to be."""
    while True:
        time.sleep(interval_s)
        try:
            now = scrape(addresses)
        except ScrapeError as error:
            yield f"{error}\nlooking again every {interval_s:g} s"
        else:
            yield shown(frame(now, before))
            before = now


def shown(told: Mapping[str, Any]) -> RenderableType:
    """Draw a frame.

    Parameters
    ----------
    told : mapping
        As `anacrusis.scrapes.frame` gives it.

    Returns
    -------
    rich.console.RenderableType
        A few tables.
    """
    from rich.columns import Columns
    from rich.console import Group

    served, tracks = told["served"], told["tracks"]
    what = f"snapshot {served['snapshot_id']} of {served['space_id']}, {served['index_kind']}" if served else "nothing"
    age = "" if told["snapshot_age_s"] is None else f", built {_span(told['snapshot_age_s'])} ago"
    lines = [
        f"{'ready' if told['ready'] else 'NOT READY'}; {told['workers']} worker(s), {told['cores']:.2f} cores, "
        f"{told['memory_bytes'] / 2**20:,.0f} MiB; the last {_span(told['seconds'])}",
        f"serving {what}{age}; fresh rows {_number(told['fresh_rows'])}; "
        + ", ".join(f"{tier} {count:,.0f}" for tier, count in tracks.items() if count),
    ]
    calls = sorted(told["calls"].items(), key=lambda one: -one[1]["per_s"])
    of_calls = [[method, one["per_s"], one["median_ms"], one["p99_ms"]] for method, one in calls]
    of_stages = [[stage, one["median_ms"], one["p99_ms"]] for stage, one in told["stages"].items()]
    of_queues = [[queue, length] for queue, length in (*told["queues"].items(), ("in progress", told["in_progress"]))]
    of_releases = [*told["releases_per_s"].items(), ("mean confidence", told["mean_confidence"])]
    of_errors = sorted(told["errors_per_s"].items(), key=lambda one: -one[1])
    of_searches = [*of_stages, ["queries a search", told["queries_per_search"], None]]
    return Group(
        *lines,
        _table(("calls", "a second", "median ms", "99th ms"), of_calls),
        Columns(
            [
                _table(("query stage", "median ms", "99th ms"), of_searches),
                _table(("waiting", ""), of_queues),
                _table(("releases", "a second"), of_releases),
                _table(("errors", "a second"), of_errors or [["none", None]]),
            ]
        ),
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> RenderableType:
    from rich.table import Table

    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for name, *values in rows:
        table.add_row(str(name), *(_number(value) for value in values))
    return table


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
