"""The command that examines a home folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from anacrusis.console import report, table
from anacrusis.context import EXIT_FAILURE, EXIT_IN_PART, Home, Json, shared

if TYPE_CHECKING:
    from jobs.doctor import DoctorReport


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command()(doctor)


def doctor(
    context: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair what can safely be repaired; nothing acknowledged is lost by it.")
    ] = False,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Examine a home folder: tables, keys, snapshots, indexes, transfers, leases, free space, leftovers.

    It reads every row once, and writes nothing without --repair; servers may go on meanwhile. Exit codes: 0 all is
    well, or has been repaired; 3 all that is wrong can be repaired by --repair; 1 something cannot.
    """
    from jobs.doctor import examine

    with shared(context).naming_home(home) as folder:
        found = examine(folder, repair=repair, cache=shared(context).settings.cache)
    if not report(json_to, found.as_dict()):
        _show(found)
    if found.problems:
        raise typer.Exit(EXIT_IN_PART if found.repairable else EXIT_FAILURE)


def _show(found: DoctorReport) -> None:
    if found.findings:
        table(
            "",
            ("check", "level", "", "what"),
            [(one.check, one.level, "repaired" if one.repaired else "", one.sentence) for one in found.findings],
        )
    print(f"{found.tables} tables, {found.snapshots} snapshots and {found.models} transfers were looked at.")
    if not found.problems:
        print("All is well.")
    elif found.repairable:
        print("`anacrusis doctor --repair` repairs what is wrong.")
    else:
        print("Something is wrong that only a person can repair: see above.")
