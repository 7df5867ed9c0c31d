"""The command that shows the whole way: demo."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anacrusis.console import blaming, report, say, shown_progress, table
from anacrusis.context import EXIT_FAILURE, MAX_SEED, Json, shared
from anacrusis.settings import SettingsError

if TYPE_CHECKING:
    from anacrusis.wesnoth_catalogue import WesnothCatalogue
    from jobs.progress import OnProgress
    from jobs.release import Release

SPACE_ID = "wesnoth-playlists"
NEXT_SPACE_ID = "wesnoth-playlists-2"
METHOD_NAMES = {
    "acarec": "ACARec network",
    "artist_mean": "artist mean",
    "audio_only": "audio alone",
    "chance": "chance",
}


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command()(demo)


def demo(
    context: typer.Context,
    keep: Annotated[Path | None, typer.Option(help="Leave the home folder here, for `anacrusis serve`.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Fixes the factors and the fit.")] = 0,
    json_to: Json = None,
) -> None:
    """Show the whole way on real music: two tracks that stand in no playlist find their place among 34 that do.

    At the end the playlists are learned a second time, and callers are switched over while they ask.
    """
    from anacrusis.server_process import running_server
    from anacrusis.wesnoth_catalogue import learn_factors, load_catalogue

    if keep is not None:
        with blaming(keep):
            if keep.exists() and any(keep.iterdir()):
                raise SettingsError(f"The folder {keep} is not empty; name a new one for --keep.")
    start = time.perf_counter()
    catalogue = load_catalogue()
    with ExitStack() as stack:
        home = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="anacrusis-demo-")))
        on_progress = stack.enter_context(shown_progress())
        factors = learn_factors(catalogue, seed=seed)
        say(f"{len(factors.ids)} tracks of {len(catalogue.playlists)} playlists -> {factors.vectors.shape[1]} factors")
        prepared = _prepare(context, home, catalogue.warm, factors, seed, on_progress)
        with running_server(home) as server:
            say(f"a server listens on {server.address}")
            answers = _ask(server.address, catalogue.cold)
            check = _check(context, home, seed, on_progress)
            retrained = _retrain(context, home, server.address, catalogue, seed, on_progress)
    result = {
        "space_id": SPACE_ID,
        **prepared,
        "releases": answers,
        "overlap_at_10": check,
        "retrain": retrained,
        "wall_s": time.perf_counter() - start,
    }
    if not report(json_to, result):
        show(result)
    if keep is not None:
        say(f"The home folder is {keep}; serve it with: anacrusis --home {keep} serve")
    if retrained["failures"] or retrained["back_to_the_old_space"]:
        say("The retrain was noticed by a caller, which must not be: " + "; ".join(retrained["failures"][:3]))
        raise typer.Exit(EXIT_FAILURE)


def _prepare(
    context: typer.Context, home: Path, warm: list[Release], factors: Any, seed: int, on_progress: OnProgress
) -> dict[str, Any]:
    """Do what a platform does once: hear the catalogue, import the training, fit the transfer, publish."""
    from jobs.ingest_manifest import ingest_manifest
    from jobs.manifest import Manifest
    from jobs.spaces import import_space
    from jobs.train import train_space

    with shared(context).open_engine(home, create=True) as engine:
        heard = ingest_manifest(engine, Manifest(warm, list(range(1, len(warm) + 1)), []), on_progress=on_progress)
        import_space(engine, SPACE_ID, factors, metric="cosine", source="the playlists of the scenarios")
        trained = train_space(engine, SPACE_ID, seed=seed, on_progress=on_progress)
        published = engine.refresh(space_id=SPACE_ID, on_progress=on_progress)
    return {
        "tracks_heard": len(heard.outcomes),
        "audio_s": heard.audio_s,
        "ingest_s": heard.wall_s,
        "stage_s": heard.stage_s,
        "fit_s": trained.seconds,
        "method": trained.model.method,
        "why": trained.model.why,
        "snapshot_id": published.snapshot_id,
    }


def _ask(address: str, cold: list[Release]) -> list[dict[str, Any]]:
    """Send the cold tracks in over gRPC as a delivery hook would, and ask for their neighbours."""
    from grpc_service.client import Client

    answers = []
    with Client(address) as client:
        for release in cold:
            taken = client.ingest(
                release.track_id,
                audio=release.audio,
                title=release.title,
                artist_ids=release.artist_ids,
                release_date=release.release_date,
            )
            found = client.neighbors_of_track(release.track_id, k=10, titles=True)
            leaned_on = dict(taken.leaned_on)
            answers.append(
                {
                    "track_id": release.track_id,
                    "title": release.title,
                    "artist": release.artist_ids[0],
                    "state": taken.state,
                    "tier": taken.tier.name.lower() if taken.tier else "",
                    "confidence": taken.confidence,
                    "leaned_on": leaned_on,
                    "snapshot_id": found.snapshot_id,
                    "neighbors": [
                        {
                            "rank": rank,
                            "track_id": hit.track_id,
                            "title": hit.title,
                            "artist": ", ".join(hit.artist_ids),
                            "score": hit.score,
                            "tier": hit.tier.name.lower(),
                            "leaned_on": leaned_on.get(hit.track_id),
                        }
                        for rank, hit in enumerate(found, start=1)
                    ],
                }
            )
    return answers


def _check(context: typer.Context, home: Path, seed: int, on_progress: OnProgress) -> dict[str, Any]:
    """Treat every warm track as cold, left out of its artist's catalogue and of the fit."""
    from artist_transfer import FitOptions
    from jobs.leave_one_out import leave_one_out
    from jobs.projector import warm_tracks

    with shared(context).open_engine(home) as engine:
        warm = warm_tracks(engine.store, SPACE_ID, engine.encoder.encoder_id)
        device = engine.device
    assert warm is not None  # the warm tracks were heard above
    figures = leave_one_out(warm, FitOptions(seed=seed, device=device), cosine=True, on_progress=on_progress)
    return {method: vars(figure) for method, figure in figures.items()}


def _retrain(
    context: typer.Context,
    home: Path,
    address: str,
    catalogue: WesnothCatalogue,
    seed: int,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Learn the playlists a second time, and switch the server over while callers ask."""
    from anacrusis.demo_retrain import retrain
    from anacrusis.wesnoth_catalogue import learn_factors

    factors = learn_factors(catalogue, seed=seed + 1)
    with shared(context).open_engine(home) as engine:
        return retrain(
            engine,
            address,
            factors,
            old_space_id=SPACE_ID,
            new_space_id=NEXT_SPACE_ID,
            cold_ids=[release.track_id for release in catalogue.cold],
            seed=seed,
            on_progress=on_progress,
        )


def show(result: dict[str, Any]) -> None:
    """Print the demo's report as tables.

    Parameters
    ----------
    result : dict
        What ``demo --json`` writes.
    """
    for release in result["releases"]:
        leaned_on = ", ".join(f"{track_id} {weight:.2f}" for track_id, weight in release["leaned_on"].items())
        table(
            f"{release['title']} by {release['artist']}: {release['state']}, tier {release['tier']}, "
            f"confidence {release['confidence']:.2f}\nleaned on {leaned_on or 'nothing but its audio'}",
            ("#rank", "title", "artist", "#score", "tier", "#leaned on"),
            [
                (
                    hit["rank"],
                    hit["title"],
                    hit["artist"],
                    hit["score"],
                    hit["tier"],
                    "" if hit["leaned_on"] is None else f"{hit['leaned_on']:.2f}",
                )
                for hit in release["neighbors"]
            ],
        )
        print()
    table(
        "How much of what the true vector finds does the projected one find? (every warm track in turn as cold)",
        ("method", "#overlap@10", "#standard error", "#tracks"),
        [
            (
                METHOD_NAMES[method] + (" *" if method == result["method"] else ""),
                figure["mean"],
                figure["standard_error"],
                figure["tracks"],
            )
            for method, figure in result["overlap_at_10"].items()
        ],
    )
    print(f"* serves here. {result['why']}")
    print()
    _show_retrain(result["retrain"])
    print(f"All this took {result['wall_s']:.0f} s.")


def _show_retrain(done: dict[str, Any]) -> None:
    bridge, same = done["bridge"], done["same_neighbors"]
    table(
        "The recommender is trained again while two callers ask",
        ("what callers saw", "#"),
        [
            *((f"answers of space {space_id}", count) for space_id, count in sorted(done["answers"].items())),
            ("questions without an answer", len(done["failures"])),
            ("callers who were back in the old space", done["back_to_the_old_space"]),
            *(
                []
                if bridge is None
                else [
                    ("tracks in both trainings, aligned by", bridge["shared"]),
                    ("cosine that the alignment keeps", f"{bridge['cosine']:.3f}"),
                ]
            ),
            ("neighbours of the two new tracks that stay, carried over", f"{same['bridged']:.0%}"),
            ("the same, fitted and projected anew", f"{same['refitted']:.0%}"),
        ],
    )
