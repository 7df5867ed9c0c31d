"""How a long job says how far it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One step of a job.

    Attributes
    ----------
    stage : str
        What is being done, in the words of the design: ``"encode"``, ``"project"``, ``"index"`` ...
    done, total : int
        Units finished and units in all; ``total`` is 0 where it cannot be known.
    detail : str
        A short remark for a person, such as a loss or a file's name; may be empty.
    """

    stage: str
    done: int
    total: int
    detail: str = ""


OnProgress = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Listen to nothing: the default of every job's ``on_progress``."""
