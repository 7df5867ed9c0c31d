"""The command that asks: neighbors."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anacrusis.console import report, table
from anacrusis.context import Home, Json, shared

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from index import Filters

MAX_VECTOR_BYTES = 1 << 20  # a few thousand numbers, however they are written


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
    released_from: Annotated[
        str, typer.Option(help="Only tracks released on this day, or in this month or year (YYYY-MM, YYYY), or later.")
    ] = "",
    released_to: Annotated[
        str, typer.Option(help="Only tracks released on this day, or in this month or year, or earlier.")
    ] = "",
    artist: Annotated[list[str] | None, typer.Option(help="Only tracks that credit one of these.")] = None,
    without_artist: Annotated[list[str] | None, typer.Option(help="No track that credits one of these.")] = None,
    tier: Annotated[
        list[str] | None, typer.Option(help="Only these tiers: collaborative, artist_transfer, audio_only.")
    ] = None,
    market: Annotated[str | None, typer.Option(help="Only tracks that may be played there, e.g. DE.")] = None,
    max_per_artist: Annotated[int | None, typer.Option(help="At most so many of one primary artist.")] = None,
    popularity_damping: Annotated[
        float,
        typer.Option(
            help="How far popularity is taken out of the scores, 0 (not at all) to 1 (by direction alone). "
            "Not in a cosine space, which compares directions anyway."
        ),
    ] = 0.0,
    exact: Annotated[
        bool, typer.Option("--exact", help="Look at every track, also where the index is of an approximate kind.")
    ] = False,
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
        popularity_damping=popularity_damping,
        exact=exact,
    )
    with shared(context).open_engine(home, read_only=True) as engine:
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
            "popularity": _popularity(popularity),
        }
        for rank, (track_id, record, score, tier_value, confidence, popularity) in enumerate(
            zip(hits.track_ids, records, hits.scores, hits.tiers, hits.confidence, hits.popularity, strict=True),
            start=1,
        )
    ]
    result = {"space_id": answer.space_id, "snapshot_id": answer.snapshot_id, "neighbors": rows}
    if not report(json_to, result):
        table(
            f"space {answer.space_id}, snapshot {answer.snapshot_id}",
            ("#rank", "track", "title", "artists", "#score", "tier", "#confidence", "#popularity"),
            [
                (
                    row["rank"],
                    row["track_id"],
                    row["title"],
                    ", ".join(row["artist_ids"]),
                    row["score"],
                    row["tier"],
                    row["confidence"],
                    _shown(row["popularity"]),
                )
                for row in rows
            ],
        )


def _popularity(row: NDArray[np.float32]) -> dict[str, float] | None:
    from dataclasses import asdict

    from index import as_popularity

    known = as_popularity(row)
    return None if known is None else asdict(known)


def _shown(popularity: dict[str, float] | None) -> str:
    """Write a count, and where it is predicted the interval about it; a dash where it is not known."""
    if popularity is None:
        return "-"
    listens, low, high = (f"{popularity[part]:,.0f}" for part in ("listens", "low", "high"))
    return listens if low == high else f"{listens} ({low} to {high})"


def _read_vector(text: str) -> NDArray[np.float32]:
    import numpy as np

    from jobs.factors import as_vector
    from jobs.input_file import file_size

    path = Path(text)
    try:
        if text.lstrip().startswith("["):
            vector = as_vector(json.loads(text))
        elif not 0 < (file_size(path) or 0) <= MAX_VECTOR_BYTES:
            raise ValueError(f"there is no such file of 1 to {MAX_VECTOR_BYTES} bytes")
        elif path.suffix == ".npy":
            vector = np.lib.format.open_memmap(path, mode="r")
            if vector.dtype.kind not in "fiu":
                raise ValueError(f"it holds {vector.dtype}")
        else:
            vector = as_vector(json.loads(path.read_text(encoding="utf-8")))
    except RecursionError:
        raise typer.BadParameter("--vector holds lists within lists; give one list of numbers") from None
    except (OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise typer.BadParameter(
            f"--vector is neither a list of numbers nor a .npy or .json file of one: {str(error)[:200]}"
        ) from None
    if vector.ndim != 1:
        raise typer.BadParameter(f"--vector is an array of {vector.ndim} dimensions; give one vector")
    with np.errstate(over="ignore"):  # what leaves float32's range becomes inf, which the search refuses by name
        return np.array(vector, dtype=np.float32)


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
    if market is not None and not re.fullmatch("[A-Z]{2}", market):
        raise typer.BadParameter(f"--market {market[:40]!r} is no ISO 3166-1 alpha-2 code such as 'DE'")
    if "" in (*(artists_in or ()), *(artists_out or ())):
        raise typer.BadParameter("--artist and --without-artist need an artist's id; one is empty")
    return Filters(
        released_from=_date("--released-from", released_from, last=False),
        released_to=_date("--released-to", released_to, last=True),
        artists_in=frozenset(artists_in or ()),
        artists_out=frozenset(artists_out or ()),
        tiers=chosen,
        market=market,
    )


def _date(option: str, text: str, *, last: bool) -> dt.date | None:
    from jobs import ReleaseError, parse_release_date

    try:
        return parse_release_date(text, last=last)
    except ReleaseError:
        raise typer.BadParameter(
            f"{option} {text[:40]!r} is no date; write YYYY-MM-DD, or YYYY-MM or YYYY for a whole month or year"
        ) from None
