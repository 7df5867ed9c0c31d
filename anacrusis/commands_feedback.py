"""The command that tells what the first listeners do: feedback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from anacrusis.console import report, say, shown_progress, table
from anacrusis.context import EXIT_IN_PART, Home, Json, shared

SHOWN_TRACKS = 20


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command()(feedback)


def feedback(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSON Lines or Parquet, a row an event: user_id, track_id, action (play or skip); and what is "
            "known of position (in the session, from 1), timestamp and event_id."
        ),
    ],
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Record what listeners did with cold tracks: each moves towards who plays it, a little away from who skips it.

    Listeners count by the user vectors that the space was imported with; others wait for a space that has them. An
    event counts once, however often it is sent: by its event_id, or else by all that the row says. Rows that cannot be
    taken are listed, and the command ends with 3.
    """
    from jobs.feedback import FeedbackState
    from jobs.feedback_file import record_feedback_file

    with shared(context).open_engine(home) as engine, shown_progress() as on_progress:
        done = record_feedback_file(engine, file, on_progress=on_progress)
    states = {state.value: done.states.get(state, 0) for state in FeedbackState}
    tracks = sorted(
        (
            {
                "track_id": track_id,
                "effective_listeners": track.standing.listeners,
                "evidence_share": track.standing.evidence_share,
                "graduated": track.standing.graduated,
                "served": track.served,
                "tier": track.tier.name.lower() if track.tier is not None else None,
            }
            for track_id, track in done.tracks.items()
        ),
        key=lambda one: (-float(one["effective_listeners"] or 0), str(one["track_id"])),
    )
    result: dict[str, Any] = {
        "file": str(file),
        "rows": done.rows,
        **{name: count for name, count in states.items() if name != FeedbackState.REFUSED.value},
        "refused": [vars(one) for one in done.refused],
        "tracks": tracks,
        "space_id": done.space_id,
        "snapshot_id": done.snapshot_id,
        "wall_s": done.wall_s,
    }
    if not report(json_to, result):
        table(f"{done.rows} events in {done.wall_s:.1f} s", ("outcome", "#events"), list(states.items()))
        table(
            "",
            ("track", "#effective listeners", "#evidence", "graduated"),
            [
                (
                    one["track_id"],
                    f"{one['effective_listeners']:.1f}",
                    f"{one['evidence_share']:.0%}",
                    "yes" if one["graduated"] else "no",
                )
                for one in tracks[:SHOWN_TRACKS]
            ],
        )
        if len(tracks) > SHOWN_TRACKS:
            say(f"and {len(tracks) - SHOWN_TRACKS} tracks more; --json lists all")
    for refused in done.refused:
        say(f"refused row {refused.row} {refused.track_id!r} {refused.user_id!r}: {refused.message} [{refused.reason}]")
    if done.refused:
        raise typer.Exit(EXIT_IN_PART)
