"""Puts the page together: the summary first, then a section a step, then the assumptions."""

from __future__ import annotations

from benchmarks.scale.arithmetic import totals
from benchmarks.scale.assumptions import Assumptions
from benchmarks.scale.measured import NEEDED, Measured
from benchmarks.scale.quantities import shown
from benchmarks.scale.steps import STEPS, Figures, Step


def page(assumed: Assumptions, measured: Measured) -> str:
    """Write the page."""
    figures = Figures(assumed, measured, totals(assumed, measured))
    steps = [make(figures) for make in STEPS]
    parts = [
        _head(figures),
        _summary(steps),
        *(_section(step) for step in steps),
        _assumptions(assumed),
        _sources(figures),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(f: Figures) -> str:
    machine = f.measured.results["unit-costs"]["machine"]
    return f"""
# What {f.assume("tracks")} and {f.assume("streams")} cost

<!-- Written by `python -m benchmarks.scale`; changes by hand are lost, and `make check` finds them. -->

Every figure is a unit cost, measured by a command of this repository, times an assumption; both stand at the end of the
page. The unit costs are of one small machine ({machine["cores"]} cores, {machine["memory_bytes"] / 2**30:.0f} GiB of memory, no GPU; a load average of
{machine["load_average"]:.1f} when they were taken, so that seconds of a clock are on the high side) at up to a million rows. A hundred million rows
are a multiplication, not a measurement: read the totals as orders of magnitude. Where GPUs are spoken of, it is a bound from a data
sheet. **No GPU has been measured.**

- **The exact search stops first**, at {f["query.limit"]} within {f.assume("budget")} on a core, and the peak of {f["queries"]} would take
  {f["query.scan_cores"]} for {f["rows"]}. On GPUs the same search is bound to {f["gpu.cards"]}; an index that looks at part of the rows is not built.
- **A process that serves holds {f["index.resident"]}** and takes {f["index.open"]} to load it: that, not the switch, is what a publish waits for.
- **A process that projects holds {f["fit.memory"]}**: the catalogue of all warm tracks.
- **From a training to its bridged vectors being served: {f["night.bridged"]}; to its refit: {f["night.refitted"]}**, one process after the other,
  without user vectors.
- **One committer is enough** for the day's releases ({f.percent("releases.committer")} of its time) and for feedback up to {f.percent("feedback.limit_share")}
  of all streams at peak.
- **{f["disk.total"]} on disk**, of which user vectors, kept once for every training, are {f.percent("disk.users_share")}."""


def _summary(steps: list[Step]) -> str:
    rows = [(step.title, step.often, step.costs, step.stops, step.then) for step in steps]
    return _table(("step", "how often", "costs", "stops scaling at", "what takes over there"), rows)


def _section(step: Step) -> str:
    rows = [(line.what, line.unit_cost, line.source, line.total) for line in step.lines]
    table = _table(("what", "unit cost", "from", "total"), rows)
    return f"## {step.title}\n\n{table}\n\n{step.text.strip()}\n\n**Stops scaling at** {step.stops}. **Then:** {step.then}."


def _assumptions(assumed: Assumptions) -> str:
    rows = [(f"`{name}`", shown(quantity, digits=3), reason) for name, quantity, reason in assumed.table()]
    return "## Assumptions\n\n" + _table(("name", "value", "why"), rows)


def _sources(f: Figures) -> str:
    rows = [(f"`benchmarks/results/{name}.json`", f"`{command}`") for name, command in NEEDED.items()]
    costs = f.measured.results["unit-costs"]["costs"]
    units = [(f"`{name}`", shown(f.measured.cost(name)), str(cost["what"])) for name, cost in costs.items()]
    return (
        "## Where the unit costs come from\n\n"
        + _table(("file", "written by"), rows)
        + "\n\nOf `unit-costs.json`, on made tracks; seconds of a wall clock, or of processors where they are called core seconds:\n\n"
        + _table(("name", "measured", "of what"), units)
    )
