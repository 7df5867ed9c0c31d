"""The command that asks a running server how it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from anacrusis.console import report, table
from anacrusis.context import Json, shared


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command()(status)


def status(
    context: typer.Context,
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of the server (default: where `serve` listens here).")
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=0.001, help="How long to wait for an answer.")] = 10.0,
    json_to: Json = None,
) -> None:
    """Ask a running server what it serves, and whether the upkeep of its home keeps up.

    Where it wants a token, set ANACRUSIS_TOKEN; where it is encrypted, the section [client] of the settings.
    """
    with shared(context).client(address, timeout_s=timeout_s) as client:
        found = client.status()
    figures = asdict(found)
    figures["tier_counts"] = {tier.name.lower(): count for tier, count in found.tier_counts.items()}
    if report(json_to, figures):
        return
    tiers, upkeep = figures.pop("tier_counts"), figures.pop("upkeep") or {"alerts": (), "counted_at": "not yet"}
    alerts = upkeep.pop("alerts")
    shown = {**figures, **tiers, **upkeep}
    table("", ("figure", "value"), [(name.replace("_", " "), value) for name, value in shown.items()])
    for alert in alerts:
        print(f"ALERT: {alert}")
