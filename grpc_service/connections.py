"""What the transport is told of connections: how many there may be, how they are kept, how large their messages are."""

from __future__ import annotations

import logging
import resource

from grpc_service.options import ServerOptions

KEPT_FILES = 512
"""Open files that connections do not get: the tables and the index are read and written through them."""

MAX_METADATA_BYTES = 16 << 10
"""Of what comes with one call before its message: a token and a trace's names take less than one KiB."""

_log = logging.getLogger(__name__)


def allow_most_files() -> None:
    """Raise this process's limit of open files, and thus of connections, to what the system allows it at most.

    Many systems begin processes with 1,024, for the sake of programs that use ``select``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # not all systems take their own word for it
        _log.warning("the limit of open files stays at %d (%s)", soft, error)


def most_connections(wanted: int) -> int:
    """Say how many connections may be held, so that files are left for the home; 1 or more."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return wanted
    allowed = max(files - KEPT_FILES, files // 2, 1)
    if allowed < wanted:
        _log.info("at most %d connections are held, as this process may have %d files open", allowed, files)
    return min(wanted, allowed)


def channel_arguments(options: ServerOptions, *, shared_port: bool) -> list[tuple[str, int]]:
    """Give what gRPC's core is told of a server's connections.

    Parameters
    ----------
    options : ServerOptions
    shared_port : bool
        Whether other processes listen on the port, too.
    """
    keepalive_ms = round(options.keepalive_s * 1000)
    return [
        ("grpc.max_allowed_incoming_connections", most_connections(options.max_connections)),  # closes what is beyond
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # Equal: between the two it refuses by chance. Who never agrees to our settings can send 16 MiB all the same.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.so_reuseport", int(shared_port)),  # else a second server on the port is a mistake and has to be told
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", min(20_000, keepalive_ms)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
