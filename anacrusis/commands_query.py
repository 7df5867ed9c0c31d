"""The command that asks: neighbors."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anacrusis.console import report, table
from anacrusis.context import Home, Json, shared

if TYPE_CHECKING:
    from index import Filters


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command()(neighbors)


def neighbors(
    context: typer.Context,
    track: Annotated[str | None, typer.Option(help="Neighbours of this track.")] = None,
    vector: Annotated[
        str | None,
        typer.Option(help="Neighbours of this vector: a JSON list, or the path of a .npy or .json file."),
    ] = None,
    user: Annotated[str | None, typer.Option(help="Tracks for this user, by the space's user vectors.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="How many, 1 to 2048.")] = 10,
    space: Annotated[str, typer.Option(help="Refuse unless this space is the published one.")] = "",
    released_from: Annotated[str, typer.Option(help="Only tracks released on this day or later.")] = "",
    released_to: Annotated[str, typer.Option(help="Only tracks released on this day or earlier.")] = "",
    artist: Annotated[list[str] | None, typer.Option(help="Only tracks that credit one of these.")] = None,
    without_artist: Annotated[list[str] | None, typer.Option(help="No track that credits one of these.")] = None,
    tier: Annotated[
        list[str] | None, typer.Option(help="Only these tiers: collaborative, artist_transfer, audio_only.")
    ] = None,
    market: Annotated[str | None, typer.Option(help="Only tracks that may be played there, e.g. DE.")] = None,
    max_per_artist: Annotated[int | None, typer.Option(help="At most so many of one primary artist.")] = None,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Show the neighbours of a track, a vector or a user, straight from the home folder."""
    from index import Tier
    from jobs import Query

    if sum(one is not None for one in (track, vector, user)) != 1:
        raise typer.BadParameter("give exactly one of --track, --vector and --user")
    query = Query(
        track_id=track,
        vector=None if vector is None else _read_vector(vector),
        user_id=user,
        k=k,
        space_id=space,
        filters=_filters(released_from, released_to, artist, without_artist, tier, market),
        max_per_artist=max_per_artist,
    )
    with shared(context).open_engine(home) as engine:
        answer = engine.ask(query)
        hits = answer.hits[0]
        records = engine.describe(hits.track_ids)
    rows: list[dict[str, Any]] = [
        {
            "rank": rank,
            "track_id": track_id,
            "title": record.title if record else "",
            "artist_ids": list(record.artist_ids) if record else [],
            "score": float(score),
            "tier": Tier(int(tier_value)).name.lower(),
            "confidence": float(confidence),
        }
        for rank, (track_id, record, score, tier_value, confidence) in enumerate(
            zip(hits.track_ids, records, hits.scores, hits.tiers, hits.confidence, strict=True), start=1
        )
    ]
    result = {"space_id": answer.space_id, "snapshot_id": answer.snapshot_id, "neighbors": rows}
    if not report(json_to, result):
        table(
            f"space {answer.space_id}, snapshot {answer.snapshot_id}",
            ("#rank", "track", "title", "artists", "#score", "tier", "#confidence"),
            [
                (
                    row["rank"],
                    row["track_id"],
                    row["title"],
                    ", ".join(row["artist_ids"]),
                    row["score"],
                    row["tier"],
                    row["confidence"],
                )
                for row in rows
            ],
        )


def _read_vector(text: str) -> Any:
    import numpy as np

    path = Path(text)
    try:
        if text.lstrip().startswith("["):
            values: Any = json.loads(text)
        elif path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            values = json.loads(path.read_text(encoding="utf-8"))
        return np.asarray(values, dtype=np.float32).reshape(-1)
    except (OSError, ValueError, TypeError) as error:
        raise typer.BadParameter(f"--vector is neither a list of numbers nor a file of one: {error}") from None


def _filters(
    released_from: str,
    released_to: str,
    artists_in: list[str] | None,
    artists_out: list[str] | None,
    tiers: list[str] | None,
    market: str | None,
) -> Filters:
    from index import Filters, Tier

    try:
        chosen = frozenset(Tier[tier.upper()] for tier in tiers or ())
    except KeyError as error:
        names = ", ".join(tier.name.lower() for tier in Tier)
        raise typer.BadParameter(f"there is no tier {str(error.args[0]).lower()!r}; the tiers are {names}") from None
    return Filters(
        released_from=_date("--released-from", released_from),
        released_to=_date("--released-to", released_to),
        artists_in=frozenset(artists_in or ()),
        artists_out=frozenset(artists_out or ()),
        tiers=chosen,
        market=market,
    )


def _date(option: str, text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r} is no date; write YYYY-MM-DD") from None
