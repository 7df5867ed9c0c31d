"""Examining a home folder, and repairing what can safely be repaired."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artist_transfer import ModelFileError
from index import Checkup, Finding, Home, Level, Registry, StoreError
from jobs.models import FOLDER, newest_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Diagnosis:
    """One finding, and what became of it.

    Attributes
    ----------
    check, subject, sentence : str
        As in `index.Finding`.
    level : str
        ``problem``, ``leftover`` or ``notice``.
    repairable : bool
    repaired : bool
    """

    check: str
    subject: str
    level: str
    sentence: str
    repairable: bool
    repaired: bool


@dataclass(frozen=True)
class DoctorReport:
    """What an examination found.

    Attributes
    ----------
    home : str
    tables, snapshots, models : int
        How many were looked at.
    findings : list of Diagnosis
    seconds : float
    """

    home: str
    tables: int
    snapshots: int
    models: int
    findings: list[Diagnosis]
    seconds: float

    @property
    def problems(self) -> list[Diagnosis]:
        """Those that are left."""
        return [one for one in self.findings if one.level == Level.PROBLEM.value and not one.repaired]

    @property
    def repairable(self) -> bool:
        """Whether all problems that are left can be repaired."""
        return all(one.repairable for one in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Return the report in JSON's types."""
        found = [vars(one) for one in self.findings]
        return {**vars(self), "findings": found, "healthy": not self.problems, "repairable": self.repairable}


def examine(home: str | Path, *, repair: bool = False, cache: Path | None = None) -> DoctorReport:
    """Look at all tables, snapshots, indexes, models and leases of a home.

    Parameters
    ----------
    home : str or Path
    repair : bool
        Whether what can safely be repaired is: stale leases are set free, keys that stand in a table twice keep their
        newest row, unusable indexes are built anew from the tables, versions that snapshots need are marked, and
        leftovers are deleted. Servers of the home may go on meanwhile; a refresh may not.
    cache : Path, optional
        As for `jobs.Engine.open`.

    Returns
    -------
    DoctorReport

    Raises
    ------
    index.DamagedHomeError
        There is no home (``HOME_NOT_FOUND``).
    index.LeaseHeldError
        Somebody is at work on the home, so that nothing was repaired but leases that were stale.
    index.HomeUnreachableError
    """
    start = time.perf_counter()
    layout = Home(home, cache=cache, read_only=not repair)
    try:
        checkup, models = Checkup(layout), _Models(layout)
        found = [*checkup.findings(), *models.findings()]
        done = _repaired(checkup, found) if repair else frozenset()
    finally:
        layout.files.close()
    return DoctorReport(
        home=str(layout),
        tables=checkup.tables,
        snapshots=checkup.snapshots,
        models=models.count,
        findings=[
            Diagnosis(
                one.check, one.subject, one.level.value, one.sentence, one.repair is not None, repaired=place in done
            )
            for place, one in enumerate(found)
        ],
        seconds=time.perf_counter() - start,
    )


def _repaired(checkup: Checkup, found: list[Finding]) -> frozenset[int]:
    """Repair what can be, leases first, and say which places of the list that was."""
    leases = [place for place, one in enumerate(found) if one.check == "lease" and one.repair is not None]
    others = [place for place, one in enumerate(found) if one.check != "lease" and one.repair is not None]
    done = {place for place in leases if _carry_out(found[place])}
    if others:
        # Where the table of leases is damaged nobody refreshes.
        leases_damaged = any((one.check, one.subject) == ("table", "registry/leases") for one in found)
        with nullcontext() if leases_damaged else checkup.repairing():
            done |= {place for place in others if _carry_out(found[place])}
    return frozenset(done)


def _carry_out(finding: Finding) -> bool:
    assert finding.repair is not None  # chosen so
    try:
        finding.repair()
    except (StoreError, OSError):
        logger.exception("%s %s could not be repaired", finding.check, finding.subject)
        return False
    logger.info("repaired: %s", finding.sentence)
    return True


class _Models:
    """The transfers that serve, space by space."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.count = 0

    def findings(self) -> Iterator[Finding]:
        for space_id in self._living_spaces():
            try:
                self.count += newest_model(self._home, space_id, device="cpu") is not None
            except (ModelFileError, FileNotFoundError, ValueError) as error:
                self.count += 1
                yield Finding(
                    "model",
                    space_id,
                    Level.PROBLEM,
                    f"The transfer of space {space_id} cannot be used, and the artist mean stands in for it ({error}): "
                    f"restore its folder below {FOLDER}/{space_id}, or fit it anew by "
                    f"`anacrusis train --space {space_id}`.",
                )

    def _living_spaces(self) -> list[str]:
        lying = set(self._home.files.names(FOLDER))
        try:
            known = {one.space_id for one in Registry(self._home).spaces()}
        except StoreError:  # it is among the findings already
            return []
        return sorted(lying & known)
