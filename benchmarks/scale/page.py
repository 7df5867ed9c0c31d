"""Puts the page together: the summary first, then a section a step, then the assumptions and the sources."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from benchmarks.scale.arithmetic import totals
from benchmarks.scale.assumptions import Assumptions
from benchmarks.scale.measured import NEEDED, Measured
from benchmarks.scale.quantities import shown
from benchmarks.scale.step import Figures, Step
from benchmarks.scale.steps_catalogue import backfill, bridge, imports, refit, refresh, releases
from benchmarks.scale.steps_serving import feedback, index, queries, storage, transport

STEPS: tuple[Callable[[Figures], Step], ...] = (
    *(backfill, releases, imports, bridge, refit, refresh),
    *(index, queries, transport, feedback, storage),
)
# By what is in proportion to the number of tracks: which of them ends first is worked out.
LIMITS = {
    "query.limit": "The exact search on cores",
    "refresh.limit": "Staging in proportion to what changed",
    "index.limit": "The memory of a serving process",
    "fit.limit": "The memory of a process that projects",
    "bridge.limit": "The memory of the bridge",
}


def page(assumed: Assumptions, measured: Measured) -> str:
    """Write the page."""
    figures = Figures(assumed, measured, totals(assumed, measured))
    steps = [make(figures) for make in STEPS]
    sections = [_section(step) for step in steps]
    parts = [_head(figures), _short(figures), _summary(steps), *sections, _assumptions(assumed), _sources(figures)]
    return "\n\n".join(parts) + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(" ".join(text.split()), 120, subsequent_indent=indent, break_on_hyphens=False)


def _head(f: Figures) -> str:
    machine = f.measured.results["unit-costs"]["machine"]
    title = f"# What {f.assume('tracks')} and {f.assume('streams')} cost"
    mark = "<!-- Written by `python -m benchmarks.scale`; changes by hand are lost, and `make check` finds them. -->"
    text = f"""Every figure is a unit cost, measured by a command of this repository, times an assumption; both stand
    at the end of the page. The unit costs are of one small machine ({machine["cores"]} cores,
    {machine["memory_bytes"] / 2**30:.0f} GiB of memory, no GPU), at up to a million rows; a hundred million are a
    multiplication and no measurement: read totals as orders of magnitude. That machine had other work to do (a load
    average of {machine["load_average"]:.1f}), so that hours are made of seconds on a processor, as if each process had
    a core to itself and a disk that keeps it waiting for nothing. Where GPUs are
    spoken of, it is a bound from a data sheet. **No GPU has been measured.**"""
    return f"{title}\n\n{mark}\n\n{_wrapped(text)}"


def _short(f: Figures) -> str:
    first = min(LIMITS, key=lambda name: f.found[name].to("row"))
    points = (
        f"""**{LIMITS[first]} ends first**, at {f[first]}. For {f["rows"]} and a peak of {f["queries"]} it would take
        {f["query.scan_cores"]}, or GPUs: at least {f["gpu.cards"]}, by their bandwidth. An index that looks at part of
        the rows is not built."""
        if first == "query.limit"
        else f"**{LIMITS[first]} ends first**, at {f[first]}; the exact search on cores at {f['query.limit']}.",
        f"""**A process that serves holds {f["index.resident"]}**, and takes {f["index.open"]} to load it. A process
        that projects all holds {f["fit.memory"]}, the catalogue of all warm tracks.""",
        f"""**A training is served, with bridged vectors, {f["night.bridged"]} after it arrives; its refit
        {f["night.refitted"]} after.** That is one step after the other, and without user vectors. Of it,
        {f["refresh.passes_and_lookups"]} go through keys, which grows with the square of the number of tracks.""",
        f"""**One committer** is busy for {f.percent("releases.committer")} of the day with releases. With feedback it
        is at its end where {f.percent("feedback.limit_share")} of all streams are of cold tracks;
        {f.percent("feedback.share")} are assumed.""",
        f"""**{f["disk.total"]} lie on disk**, of which user vectors, kept once a training, are
        {f.percent("disk.users_share")}.""",
    )
    return "\n".join(f"- {_wrapped(point, '  ')}" for point in points)


def _summary(steps: list[Step]) -> str:
    rows = [(step.title, step.often, step.costs, step.stops, step.here or "-", step.missing or "-") for step in steps]
    head = ("step", "how often", "costs", "stops scaling at", "what takes over, here", "what would, and is not built")
    return _table(head, rows)


def _section(step: Step) -> str:
    rows = [(line.what, line.unit_cost, line.source, line.total) for line in step.lines]
    table = _table(("what", "unit cost", "from", "total"), rows)
    here = step.here or "nothing"
    end = f"**Stops scaling at** {step.stops}. **What takes over, here:** {here}."
    if step.missing:
        end += f" **Not built:** {step.missing}."
    return f"## {step.title}\n\n{table}\n\n{_wrapped(step.text)}\n\n{_wrapped(end)}"


def _assumptions(assumed: Assumptions) -> str:
    rows = [(f"`{name}`", shown(quantity, digits=3), reason) for name, quantity, reason in assumed.table()]
    return "## Assumptions\n\n" + _table(("name", "value", "why"), rows)


def _sources(f: Figures) -> str:
    files = [(f"`benchmarks/results/{name}.json`", f"`{command}`") for name, command in NEEDED.items()]
    costs = f.measured.results["unit-costs"]["costs"]
    units = [(f"`{name}`", f.cost(name), str(cost["what"])) for name, cost in costs.items()]
    text = """Of `unit-costs.json`, on made tracks. Seconds are of a clock, core seconds of processors, and each is a
    median where it was taken more than once:"""
    head = "## Where the unit costs come from"
    return "\n\n".join(
        [head, _table(("file", "written by"), files), _wrapped(text), _table(("name", "measured", "of what"), units)]
    )
