"""The command that serves, by one process or by several."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anacrusis.console import report, say
from anacrusis.context import Context, Home, Json, shared
from anacrusis.settings import SettingsError
from grpc_service.exposure import Protection, check_protection
from grpc_service.options import ServerOptions, share_cores
from grpc_service.watch_options import WatchOptions

if TYPE_CHECKING:
    from grpc_service.ports import ServedEngine
    from jobs import Engine

_log = logging.getLogger(__name__)
_LONGEST_SOCKET = 100  # bytes of a socket file's path; the system takes 107
_FOLLOWERS, _WRITER = "followers", "writer"  # the socket files of the worker that writes

Host = Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port to listen on, 0 for a free one (default: 50051).")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, max=256, help="Processes that answer on the port: the first writes, all of them read (default: 1)."
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="With server.insecure = true in the settings: listen beyond the loopback without TLS, or let in whoever "
        "comes.",
    ),
]
ReadOnly = Annotated[
    bool,
    typer.Option(
        "--read-only",
        help="Be a replica: answer queries, follow what others write to the home, and refuse what would change it.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the front door."""
    app.command()(serve)
    app.command(hidden=True)(worker)


def serve(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    read_only: ReadOnly = False,
    insecure: Insecure = False,
    home: Home = None,
    json_to: Json = None,
) -> None:
    """Serve the home folder over gRPC until SIGTERM or SIGINT; then finish what is in progress and stop.

    Beyond the loopback it takes TLS ([tls] in the settings) and callers that it knows ([access]).
    """
    options = _options(shared(context), host, port, workers)
    protection = _protection(shared(context), insecure=insecure)
    check_protection(options, protection)  # before anything heavy is loaded

    # What reads lines of JSON is not to stumble over what is said to a person.
    tell = _log.info if shared(context).settings.log_format == "json" else say

    def ready(first: Mapping[str, Any]) -> None:
        told = {key: first[key] for key in ("address", "space_id", "snapshot_id")}
        report(json_to, told | ({"workers": options.workers} if options.workers > 1 else {}))
        tell(first["sentence"])

    if options.workers == 1:
        from grpc_service.server import run_server

        with _opened(shared(context), options, home, read_only=read_only, replica=read_only) as engine:
            run_server(
                engine,
                options,
                on_ready=lambda address: ready(_told(engine, address, replica=read_only)),
                watch=_watch(shared(context)),
                protection=_audited(shared(context), protection, home, read_only=read_only),
            )
    else:
        _serve_by_workers(shared(context), options, home, read_only=read_only, insecure=insecure, on_ready=ready)
    tell("stopped")


def _serve_by_workers(
    shared_with: Context,
    options: ServerOptions,
    home: str | None,
    *,
    read_only: bool,
    insecure: bool,
    on_ready: Callable[[Mapping[str, Any]], None],
) -> None:
    from anacrusis.worker_processes import WorkerProcesses, reserve_port

    folder_of_home = shared_with.home_folder(home)
    _watch(shared_with, options.workers - 1)  # refuses now what the last one could not use
    try:
        reserved = reserve_port(options.host, options.port)
    except OSError as error:
        from grpc_service.server import AddressError  # heavy, and not for a process that only watches

        raise AddressError(
            f"The server cannot listen on {options.host}:{options.port}: another process may hold the port, or the "
            "host has no such address; choose another port, or 0 for a free one."
        ) from error
    with reserved, tempfile.TemporaryDirectory(prefix="anacrusis-") as folder:
        if len(os.fsencode(Path(folder, _FOLLOWERS))) > _LONGEST_SOCKET:
            raise SettingsError(f"The folder {folder} has too long a name for sockets; name a shorter one by TMPDIR.")

        def command(place: int, living: Mapping[int, int]) -> Sequence[str]:
            config = ["--config", str(shared_with.config)] if shared_with.config is not None else []
            return [
                *(sys.executable, "-m", "anacrusis", "--home", folder_of_home, *config, "worker"),
                *("--host", options.host, "--port", str(reserved.getsockname()[1]), "--workers", str(options.workers)),
                *("--place", str(place), "--folder", folder, *(["--read-only"] if read_only else [])),
                *(["--insecure"] if insecure else []),
                *(word for pid, process in living.items() for word in ("--living", f"{pid}:{process}")),
            ]

        code = WorkerProcesses(command, options.workers, grace_s=options.grace_s).run(on_ready)
    if code:
        raise typer.Exit(code)


def worker(
    context: typer.Context,
    place: Annotated[int, typer.Option(help="Which of the workers this is; 0 writes.")],
    folder: Annotated[Path, typer.Option(help="Where the workers' sockets are.")],
    living: Annotated[list[str] | None, typer.Option(help="PID:PIDFD of a worker that reads and is there.")] = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    read_only: ReadOnly = False,
    insecure: Insecure = False,
    home: Home = None,
) -> None:
    """Be one of the processes of `serve --workers`, which starts them; orders come by standard input."""
    from grpc_service.lockstep import Follower, Followers
    from grpc_service.server import Worker, run_server
    from grpc_service.worker_engines import ReadingEngine, WritingEngine
    from grpc_service.worker_orders import Orders

    orders = Orders(sys.stdin.fileno())
    options = _options(shared(context), host, port, workers)
    writes = place == 0 and not read_only
    with _opened(shared(context), options, home, read_only=not writes, replica=read_only) as engine:
        served: ServedEngine = engine
        role = Worker(orders)
        if writes:
            before = {int(pid): int(process) for pid, process in (one.split(":") for one in living or ())}
            served = WritingEngine(engine, Followers(folder / _FOLLOWERS, engine.serving, living=before))
            role = Worker(orders, listens_at=f"unix:{folder / _WRITER}")
        elif not read_only:
            follower = Follower(folder / _FOLLOWERS, engine)
            follower.start()
            served = ReadingEngine(engine, follower)
            role = Worker(orders, forwards_to=f"unix:{folder / _WRITER}")
        run_server(
            served,
            options,
            # One line, which `serve` waits for.
            on_ready=lambda address: print(json.dumps(_told(engine, address, replica=read_only)), flush=True),
            worker=role,
            protection=_audited(
                shared(context), _protection(shared(context), insecure=insecure), home, read_only=not writes
            ),
            watch=_watch(shared(context), place),
        )


def _protection(shared_with: Context, *, insecure: bool) -> Protection:
    settings = shared_with.settings
    return Protection(settings.tls, settings.access, settings.limits, insecure=insecure)


def _audited(shared_with: Context, protection: Protection, home: str | None, *, read_only: bool) -> Protection:
    """Say where acts are written down, once there is a home; who only reads does nothing that would be."""
    return protection if read_only else replace(protection, audit=shared_with.audit_log(home))


def _watch(shared_with: Context, place: int = 0) -> WatchOptions:
    settings = shared_with.settings
    return WatchOptions(settings.metrics.of_worker(place), settings.tracing)


def _options(shared_with: Context, host: str | None, port: int | None, workers: int | None) -> ServerOptions:
    given: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    return replace(shared_with.settings.server, **{key: value for key, value in given.items() if value is not None})


@contextmanager
def _opened(
    shared_with: Context, options: ServerOptions, home: str | None, *, read_only: bool, replica: bool
) -> Iterator[Engine]:
    """Open the home for one process of a server, which keeps to its share of the cores."""
    from index import usable_threads
    from jobs import Threads, keep_products_to_one_thread

    keep_products_to_one_thread()
    shares = share_cores(options, usable_threads(), encodes=not replica)
    with shared_with.open_engine(
        home,
        create=not read_only,
        read_only=read_only,
        threads=Threads(*shares),
    ) as engine:
        if not read_only:  # nothing is encoded elsewhere
            engine.warm_up()
        yield engine


def _told(engine: Engine, address: str, *, replica: bool) -> dict[str, Any]:
    """Say what is served where, for the report and for a person."""
    space_id, snapshot_id = engine.serving()
    if snapshot_id:
        what = f"{engine.status().tracks} tracks of space {space_id}, snapshot {snapshot_id}"
    else:
        what = "nothing yet: no snapshot is published, and queries get NO_SNAPSHOT until one is"
    kind = "read-only replica, " if replica else ""
    return {
        "address": address,
        "space_id": space_id,
        "snapshot_id": snapshot_id,
        "sentence": f"serving on {address}, {kind}home {engine.home}: {what}",
    }
