"""The command that serves."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from anacrusis.console import report, say
from anacrusis.context import Home, Json, shared


def register(app: typer.Typer) -> None:
    """Add this command to the front door."""
    app.command()(serve)


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to listen on, 0 for a free one (default: 50051)."),
    ] = None,
    read_only: Annotated[
        bool,
        typer.Option(
            "--read-only",
            help="Be a replica: answer queries, follow what others write to the home, and refuse what would change it.",
        ),
    ] = False,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Serve the home folder over gRPC until SIGTERM or SIGINT; then finish what is in progress and stop."""
    from grpc_service.server import run_server

    options = shared(context).settings.server
    options = replace(options, host=options.host if host is None else host, port=options.port if port is None else port)
    with shared(context).open_engine(home, create=not read_only, read_only=read_only) as engine:
        if not read_only:  # nothing is encoded here
            engine.warm_up()

        def ready(address: str) -> None:
            space_id, snapshot_id = engine.serving()
            report(json_to, {"address": address, "space_id": space_id, "snapshot_id": snapshot_id})
            if snapshot_id:
                what = f"{engine.status().tracks} tracks of space {space_id}, snapshot {snapshot_id}"
            else:
                what = "nothing yet: no snapshot is published, and queries get NO_SNAPSHOT until one is"
            replica = "read-only replica, " if read_only else ""
            say(f"serving on {address}, {replica}home {engine.home}: {what}")

        run_server(engine, options, on_ready=ready)
    say("stopped")
