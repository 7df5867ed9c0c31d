"""What a section of the page is made of."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.scale.assumptions import Assumptions
from benchmarks.scale.measured import Measured
from benchmarks.scale.quantities import Quantity, percent, rounded, shown

UNIT = "`unit-costs.json`"
ENCODE, INGEST, TRANSFER = "`bench-encode.json`", "`ingest-soundtracks.json`", "`transfer.json`"
DEFINED, BOUND = "by definition", "bound, not measured"


@dataclass(frozen=True)
class Line:
    """A row of a section's table: what, unit cost, where that was read, total."""

    what: str
    unit_cost: str
    source: str
    total: str


@dataclass(frozen=True)
class Step:
    """One section.

    Parameters
    ----------
    title, often : str
        What, and how often it happens.
    costs, stops : str
        For the summary: the total, and where it stops scaling.
    here, missing : str
        What takes over there: what this repository has for it, and what would have to be built; empty: nothing.
    lines : tuple of Line
    text : str
        What a reader should know beside the figures; line breaks in it mean nothing.
    """

    title: str
    often: str
    costs: str
    stops: str
    here: str
    missing: str
    lines: tuple[Line, ...]
    text: str


@dataclass(frozen=True)
class Figures:
    """Everything that a section may speak of."""

    assumed: Assumptions
    measured: Measured
    found: dict[str, Quantity]

    def __getitem__(self, name: str) -> str:
        """Give a total as people read it."""
        return shown(self.found[name])

    def percent(self, name: str) -> str:
        """Give a total that is a share."""
        return percent(self.found[name])

    def assume(self, name: str) -> str:
        """Give an assumption as people read it."""
        return shown(self.assumed.quantity(name), digits=3)

    def plain(self, name: str) -> str:
        """Give an assumption without its unit."""
        return rounded(self.assumed.quantity(name).value, digits=3)

    def cost(self, name: str) -> str:
        """Give a cost of ``unit-costs.json`` as people read it."""
        return shown(self.measured.cost(name))

    def line(self, what: str, cost: str, total: str) -> Line:
        """Make a row from a cost of ``unit-costs.json``."""
        return Line(what, self.cost(cost), UNIT, self[total])
