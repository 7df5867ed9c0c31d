"""What the sections of an evaluation are given, and what they give back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jobs.evaluation.benchmark_folder import Benchmark, ColdSplit, FloatArray
from jobs.evaluation.methods import Fitted
from jobs.evaluation.protocol import PerUser, Slice

Result = dict[str, Any]
"""What a section measured, as JSON has it."""


@dataclass(frozen=True)
class Check:
    """A promise, measured in this run.

    Attributes
    ----------
    name : str
        What is promised, in words.
    measured, bound : float
        The figure and the bound that it is held against.
    holds : bool
        Whether it holds.
    """

    name: str
    measured: float
    bound: float
    holds: bool

    @classmethod
    def at_least(cls, name: str, measured: float, bound: float) -> Check:
        """Promise that a figure is not below a bound; NaN is."""
        return cls(name, measured, bound, bool(measured >= bound))

    @classmethod
    def at_most(cls, name: str, measured: float, bound: float) -> Check:
        """Promise that a figure is not above a bound; NaN is."""
        return cls(name, measured, bound, bool(measured <= bound))

    @classmethod
    def above(cls, name: str, measured: float, bound: float) -> Check:
        """Promise that a figure is above a bound; NaN is not."""
        return cls(name, measured, bound, bool(measured > bound))

    def as_dict(self) -> Result:
        """Return it as JSON has it; a figure that is not known is None."""
        return asdict(self) | {"measured": known(self.measured), "bound": known(self.bound)}

    @classmethod
    def from_dict(cls, found: Result) -> Check:
        """Take back what `as_dict` returned; a figure that is not known is NaN."""
        figures = {name: float("nan") if found[name] is None else found[name] for name in ("measured", "bound")}
        return cls(**{**found, **figures})


def known(figure: float) -> float | None:
    """Return a figure as JSON has it: None where it is not known."""
    return float(figure) if np.isfinite(figure) else None


@dataclass(frozen=True, eq=False)
class Run:
    """One method, fitted with one seed, and where it placed the split's tracks.

    Attributes
    ----------
    method : str
    seed : int
    fitted : Projector or Scorer
    placed : ndarray, shape (m, dim) or (m,), float32
        Projected vectors, or scores, of the split's tracks.
    fit_s, project_s : float
        Seconds that fitting and projecting took.
    """

    method: str
    seed: int
    fitted: Fitted
    placed: FloatArray
    fit_s: float
    project_s: float


@dataclass(frozen=True, eq=False)
class Context:
    """An evaluation once every method is fitted and judged.

    Attributes
    ----------
    benchmark : Benchmark
    split : ColdSplit
        The one that is reported.
    seeds : tuple of int
    slices : dict of str to Slice
    runs : dict of str to tuple of Run
        By method, one a seed; a single one for methods that depend on no chance.
    per_user : dict of str to dict of str to PerUser
        By slice and method; the mean over the seeds.
    """

    benchmark: Benchmark
    split: ColdSplit
    seeds: tuple[int, ...]
    slices: Mapping[str, Slice]
    runs: Mapping[str, tuple[Run, ...]]
    per_user: Mapping[str, Mapping[str, PerUser]]


class Section(Protocol):
    """One part of the report.

    Attributes
    ----------
    name : str
        Its key under ``sections`` in the JSON.
    """

    @property
    def name(self) -> str: ...  # noqa: D102  # above

    def measure(self, context: Context) -> Result:
        """Measure; an empty result leaves the section out (a method that it needs was not asked for)."""
        ...

    def markdown(self, result: Result) -> str:
        """Write the section's part of the page, with its heading."""
        ...

    def plots(self, result: Result, folder: Path) -> Sequence[Path]:
        """Draw PNG files into a folder that is there; their names may stand in `markdown`."""
        ...

    def checks(self, result: Result) -> Sequence[Check]:
        """List what the section promises."""
        ...
