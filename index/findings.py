"""What an examination of a home finds: one thing at a time, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class Level(Enum):
    """How bad it is."""

    PROBLEM = "problem"  # something that is served or was acknowledged cannot be read, or soon cannot be written
    LEFTOVER = "leftover"  # what processes that ended have left: it takes up room and harms nothing
    NOTICE = "notice"  # worth knowing, and nothing to be done here


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    check : str
        What was looked at: ``marker``, ``table``, ``keys``, ``snapshot``, ``index``, ``publishes``, ``model``,
        ``lease``, ``space``, ``leftovers`` or ``upkeep``.
    subject : str
        Which one, such as ``tracks`` or a snapshot's id.
    level : Level
    sentence : str
        What is wrong, and the remedy.
    repair : callable, optional
        Does what can safely be done: nothing that was acknowledged is lost by it, and what it makes anew comes from
        what is whole. To be called by whoever holds the home's lease, but for a lease's own.
    """

    check: str
    subject: str
    level: Level
    sentence: str
    repair: Callable[[], object] | None = field(default=None, compare=False, repr=False)
