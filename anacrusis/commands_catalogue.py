"""Commands that bring audio in and take tracks out: encode, ingest, withdraw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anacrusis.console import blaming, report, say, shown_progress, table
from anacrusis.context import EXIT_IN_PART, Home, Json, shared

if TYPE_CHECKING:
    from jobs.manifest import RefusedRow


def register(app: typer.Typer) -> None:
    """Add these commands to the front door."""
    app.command()(encode)
    app.command()(ingest)
    app.command()(withdraw)


def encode(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Audio files: WAV, FLAC, OGG, Opus, MP3, M4A or AAC.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write: one row a file, `audio` and `content`.")],
    encoder: Annotated[
        str | None,
        typer.Option(help="musicnn-msd, musicnn-mtt, or transformers:FOLDER (default: the settings')"),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Hear only this much of each file, from its start.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Add a column for each of the encoder's own outputs.")] = False,
    json_to: Json = None,
) -> None:
    """Turn audio files into content vectors, without a home folder."""
    from encoders import load_encoder
    from jobs.encode_files import check_output, encode_files

    settings = shared(context).settings
    with blaming(out):
        check_output(out)
    chosen = load_encoder(encoder or settings.encoder, device=settings.device)
    with blaming(out), shown_progress() as on_progress:
        done = encode_files(
            files,
            out,
            encoder=chosen,
            limits=settings.audio,
            max_seconds=max_seconds,
            raw=raw,
            on_progress=on_progress,
        )
    result = {
        "encoder_id": chosen.encoder_id,
        "dim": chosen.dim,
        "out": str(out),
        "encoded": done.encoded,
        "refused": [vars(refused) for refused in done.refused],
        "audio_s": done.audio_s,
        "stage_s": done.stage_s,
    }
    if not report(json_to, result):
        say(f"{done.encoded} of {len(files)} files encoded by {chosen.encoder_id} into {out}")
    for refused in done.refused:
        say(f"refused {refused.audio}: {refused.message} [{refused.reason}]")
    if done.refused:
        raise typer.Exit(EXIT_IN_PART)


def ingest(
    context: typer.Context,
    manifest: Annotated[
        Path,
        typer.Argument(help="CSV, JSON Lines or Parquet: track_id, artist_ids, audio, and what else is known."),
    ],
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Ingest the tracks of a manifest; what is there already is left as it is."""
    from jobs.ingest_manifest import ingest_manifest
    from jobs.manifest import read_manifest

    read = read_manifest(manifest)  # before a home folder is made for a manifest that cannot be read
    with shared(context).open_engine(home, create=True) as engine, shown_progress() as on_progress:
        done = ingest_manifest(engine, read, on_progress=on_progress)
    states = Counter(outcome.state.name.lower() for outcome in done.outcomes)
    tiers = Counter(outcome.tier.name.lower() for outcome in done.outcomes if outcome.tier is not None)
    result: dict[str, Any] = {
        "manifest": str(manifest),
        "rows": len(read.releases) + len(read.refused),
        "created": states["created"],
        "updated": states["updated"],
        "unchanged": states["unchanged"],
        "refused": [vars(refused) for refused in done.refused],
        "tiers": dict(tiers),
        "columns_left_alone": list(read.left_alone),
        "space_id": done.space_id,
        "note": done.note,
        "wall_s": done.wall_s,
        "tracks_per_s": done.tracks_per_s,
        "audio_s": done.audio_s,
        "stage_s": done.stage_s,
    }
    if not report(json_to, result):
        table(
            f"{result['rows']} rows in {done.wall_s:.1f} s, {done.tracks_per_s:.1f} tracks a second",
            ("outcome", "#tracks"),
            [(state, states[state]) for state in ("created", "updated", "unchanged")]
            + [("refused", len(done.refused))],
        )
        table("", ("stage", "#seconds of work"), list(done.stage_s.items()))
        if tiers:
            table("", ("tier", "#tracks"), sorted(tiers.items()))
        if done.note:
            print(done.note)
    show_left_out(read.left_alone, done.refused)


def show_left_out(columns: Sequence[str], refused: Sequence[RefusedRow]) -> None:
    """Say which columns of a manifest were not read and which rows were not taken; where there are such rows, exit."""
    from jobs.manifest import COLUMNS

    if columns:
        say(f"columns left alone: {', '.join(map(repr, columns))}; those that are read: {', '.join(COLUMNS)}")
    for one in refused:
        say(f"refused row {one.row} {one.track_id!r}: {one.message} [{one.reason}]")
    if refused:
        raise typer.Exit(EXIT_IN_PART)


def withdraw(
    context: typer.Context,
    track_ids: Annotated[list[str], typer.Argument(help="Tracks that may appear in no answer any more.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Withdraw tracks (rights takedown): they are in no answer from now on, through every import and rollback."""
    with shared(context).open_engine(home) as engine:
        with shared(context).recording(home, "withdraw", track_ids=track_ids, reason=reason):
            newly = engine.withdraw(track_ids, reason=reason)
        unknown = [one for one, record in zip(newly, engine.describe(newly), strict=True) if record is None]
    result = {"withdrawn": newly, "never_ingested": unknown, "already_withdrawn": sorted(set(track_ids) - set(newly))}
    if not report(json_to, result):
        say(f"{len(newly)} withdrawn, {len(set(track_ids)) - len(newly)} were withdrawn before")
    if unknown:
        say(f"never ingested, and kept out should they come: {', '.join(unknown)}; is each id spelt as you mean it?")
