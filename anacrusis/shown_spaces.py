"""What a person sees of a comparison, a bridge and a refresh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anacrusis.console import report, table

if TYPE_CHECKING:
    from jobs import RefreshReport
    from jobs.bridge import BridgeReport
    from jobs.space_comparison import SpaceComparison


def show_comparison(found: SpaceComparison) -> None:
    """Print how a training lies beside another."""
    figures = found.as_dict()
    pair = figures["space"], figures["with_space"]
    table(
        f"{found.space.space_id} beside {found.with_space.space_id}",
        ("", *(f"#{one['space_id']}" for one in pair)),
        [
            *((name, *(one[name] for one in pair)) for name in ("tracks", "dim", "metric")),
            *((f"length {name}", *(_figure(one["norms"][name]) for one in pair)) for name in pair[0]["norms"]),
        ],
    )
    overlaps = {name: one for name, one in figures.items() if name.startswith("overlap@")}
    alignment = figures["alignment"] or {}
    table(
        "",
        ("figure", "#value", "#standard error", "#chance"),
        [
            ("shared tracks", found.shared, "", ""),
            ("coverage", _figure(found.coverage), "", ""),
            ("missing", _figure(found.missing), "", ""),
            ("newly warm", found.newly_warm, "", ""),
            ("newly cold", found.newly_cold, "", ""),
            *(
                (name, *(_figure(one[column] if one else None) for column in ("mean", "standard_error", "chance")))
                for name, one in overlaps.items()
            ),
            ("alignment residual", _figure(alignment.get("residual")), "", ""),
            ("alignment cosine", _figure(alignment.get("cosine")), "", ""),
            ("alignment scale", _figure(alignment.get("scale")), "", ""),
            ("tracks aligned", alignment.get("fitted", "-"), "", ""),
            ("tracks held out", alignment.get("held_out", "-"), "", ""),
        ],
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def show_bridge(done: BridgeReport) -> None:
    """Print what was carried from one space into another."""
    table(
        f"carried from space {done.from_space_id} to {done.space_id}",
        ("tracks", "#"),
        [
            ("cold, keep their place", done.carried),
            ("lost by the training, keep the old one's place", done.fallen_back),
            ("lost by the training, never ingested: dropped", done.dropped),
            ("cold before, placed by the training", done.graduated),
            ("there already", done.known),
            ("shared, aligned by", done.shared),
            ("shared, moved beyond the tolerance", done.moved["beyond"]),
        ],
    )
    by = f" {done.base_model_id} places what has changed, as {done.model_id}." if done.model_id else ""
    print(f"The alignment keeps a cosine of {done.cosine:.3f} (residual {done.residual:.3f}).{by}")


def show_reasons(title: str, reasons: dict[str, int]) -> None:
    """Print how many cold tracks are touched by what."""
    table(title, ("touched by", "#cold tracks"), [(reason, count) for reason, count in reasons.items() if count])


def waiting(unheard: int) -> str:
    """Say how many tracks wait for their audio; empty where none does."""
    return f" {unheard} more wait for their audio." if unheard else ""


def show_refresh(done: RefreshReport, json_to: Path | None = None) -> None:
    """Print what a refresh did, or write it as JSON."""
    if not report(json_to, done.as_dict()):
        table(
            f"snapshot {done.snapshot_id} of space {done.space_id} is served",
            ("tier", "#tracks"),
            sorted(done.tiers.items()),
        )
        if any(done.reasons.values()):
            show_reasons("projected", done.reasons)
        by = f" by {done.model_id}" if done.model_id else ""
        print(f"cold tracks projected{by}: {done.projected} of {done.cold}. {done.why}{waiting(done.unheard)}")
        if done.held_back:
            print(
                f"Somebody went back from the newest snapshot, {done.held_back}, and nothing has changed since, so "
                f"that it was not published again; `anacrusis space publish {done.space_id}` does it."
            )
        elif not done.published:
            print("Nothing has changed since this snapshot was built, so that there was nothing to do.")
        if done.maintenance is None:
            print("The upkeep of the home failed, see the log; the next refresh, or `anacrusis maintain`, does it.")
        else:
            for alert in done.maintenance.alerts:
                print(f"ALERT: {alert}")
        if done.row_count < done.row_count_before:
            print(
                f"This snapshot holds {done.row_count} tracks, the one before held {done.row_count_before}; "
                "`anacrusis space rollback` goes back to it."
            )
