"""How a server listens and where its limits lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

_MIB = 1 << 20
_SYSTEM_FOLDERS = tuple(map(Path, ("/proc", "/sys", "/dev")))  # what lies there looks like files, and is none

LEAST_UPLOAD_BYTES_PER_S = 8192
"""What an upload has to bring on average behind its first `upload_idle_s`: half a modem's. Slower ones hold memory and
a place among the calls for hours; the longest file that is taken goes through in nine."""


class InvalidServerOptionError(ValueError):
    """A server option lies outside its range.

    Parameters
    ----------
    field : str
        The option's name.
    message : str
        One sentence: the value, the range, the remedy.
    """

    reason = "OPTION_INVALID"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class ServerOptions:
    """Everything `grpc_service.server.serve` can be told.

    Attributes
    ----------
    host : str
        Address to listen on. Beyond the loopback it takes TLS and callers that the server knows, or `insecure`.
    port : int
        0 to 65535; 0 takes a free one.
    insecure : bool
        Whether a server beyond the loopback may do without TLS, or let in whoever comes. Counts only where the command
        says ``--insecure``, too.
    workers : int
        Processes that answer on the port, 1 to 256; the first one writes, all others read. Connections are shared out
        among them by the system.
    search_threads : int
        Threads of one search on the CPU, 0 to 1024; 0: what the cores allow for, see `share_cores`.
    encoder_threads : int
        Threads of the encoder on the CPU, 0 to 1024; 0: the same.
    max_message_bytes : int
        Longest message taken, 64 KiB to 1 GiB. Replies are not cut off: their size follows from `max_batch_queries`.
    max_connections : int
        Connections held at a time, 1 or more; what comes beyond is closed. Fewer where the process may not have so
        many files open and `grpc_service.connections.KEPT_FILES` besides.
    max_concurrent_rpcs : int
        Calls in work at once, 1 or more; the next one gets RESOURCE_EXHAUSTED (QUEUE_FULL, with RetryInfo). Watchers of
        health and reflection have as many for themselves, and so has health's Check, whose oldest call makes room for
        the next one.
    grace_s : float
        How long calls may go on once the server is told to stop, 0 to 3600.
    max_query_wait_s : float
        How long the oldest query may wait for its search, 0.001 to 60, seconds. While it has waited longer, and the
        search has not paused for a moment, what comes is refused, unread (QUEUE_FULL, with RetryInfo); see
        `grpc_service.admission`.
    query_queue_size : int
        Queries that may wait for a search, 1 or more; beyond it QUEUE_FULL. Batches and streams bring many a call.
    max_batch_queries : int
        Queries that one search takes, and that one BatchSearchNeighbors may ask, 1 to 65536.
    max_wait_s : float
        How long the first query of a search waits for others, 0 to 1. With 0 a search takes what has gathered during
        the one before, which batches under load and delays nobody without.
    max_k : int
        Most neighbours that a query may ask for, 1 to 2048.
    max_filter_artists : int
        Most artists that one query's filters may name, 1 or more.
    stream_window : int
        Unanswered queries of one StreamNeighbors call, 1 or more; further ones are left unread.
    max_stream_messages : int
        Messages that are read of one stream or upload, 1 or more; then it is ended, and another one may be opened.
    ingest_threads : int
        Ingests at once, 1 to 256: one of short releases that were gathered, the others of one long release each; see
        `grpc_service.gathering`.
    ingest_queue_size : int
        Tracks that may wait beyond those that are being ingested, 0 or more; beyond it QUEUE_FULL.
    max_upload_bytes : int
        Longest audio that UploadTrack takes, 1 or more.
    upload_buffer_bytes : int
        All unfinished uploads together, at least `max_upload_bytes`; beyond it QUEUE_FULL.
    upload_idle_s : float
        How long an upload may send nothing, 0.1 to 3600, seconds. One that takes so long and then as long as
        `LEAST_UPLOAD_BYTES_PER_S` allows for what has come is cut off as well (UPLOAD_STALLED).
    poll_interval_s : float
        How often the engine looks for what other processes published or ingested, above 0.
    keepalive_s : float
        Silence on a connection after which the server asks whether it is alive, 1 or more.
    allowed_roots : tuple of Path
        Folders below which `uri` may point; empty refuses every URI.

    Raises
    ------
    InvalidServerOptionError
        For a value out of range; `field` names it.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    insecure: bool = False
    workers: int = 1
    search_threads: int = 0
    encoder_threads: int = 0
    max_message_bytes: int = 32 * _MIB
    max_connections: int = 16_384
    max_concurrent_rpcs: int = 1024
    grace_s: float = 30.0
    max_query_wait_s: float = 0.005
    query_queue_size: int = 8192
    max_batch_queries: int = 1024
    max_wait_s: float = 0.0
    max_k: int = 2048
    max_filter_artists: int = 10_000
    stream_window: int = 256
    max_stream_messages: int = 1_000_000
    ingest_threads: int = 2
    ingest_queue_size: int = 64
    max_upload_bytes: int = 256 * _MIB
    upload_buffer_bytes: int = 1024 * _MIB
    upload_idle_s: float = 30.0
    poll_interval_s: float = 1.0
    keepalive_s: float = 60.0
    allowed_roots: tuple[Path, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.host:
            raise InvalidServerOptionError("host", "host is empty; give an address such as 127.0.0.1.")
        self._check("port", 0, 65535)
        self._check("workers", 1, 256)
        self._check("search_threads", 0, 1024)
        self._check("encoder_threads", 0, 1024)
        self._check("max_message_bytes", 64 << 10, 1 << 30)
        self._check("grace_s", 0, 3600)
        self._check("max_batch_queries", 1, 65536)
        self._check("max_wait_s", 0, 1)
        self._check("max_k", 1, 2048)
        self._check("max_query_wait_s", 0.001, 60)
        self._check("ingest_threads", 1, 256)
        self._check("ingest_queue_size", 0, math.inf)
        self._check("keepalive_s", 1, 86400)
        self._check("upload_idle_s", 0.1, 3600)
        self._check("poll_interval_s", 0.01, 3600)
        for name in (
            "max_connections",
            "max_concurrent_rpcs",
            "max_filter_artists",
            "stream_window",
            "max_stream_messages",
            "max_upload_bytes",
        ):
            self._check(name, 1, math.inf)
        self._check("query_queue_size", self.max_batch_queries, math.inf)
        self._check("upload_buffer_bytes", self.max_upload_bytes, math.inf)
        for root in self.allowed_roots:
            if not root.is_absolute():
                raise InvalidServerOptionError(
                    "allowed_roots", f"Allowed root {str(root)!r} is relative; give an absolute folder."
                )
            if any(root.is_relative_to(system) or system.is_relative_to(root) for system in _SYSTEM_FOLDERS):
                raise InvalidServerOptionError(
                    "allowed_roots",
                    f"Allowed root {str(root)!r} holds the system's own files, or is one of their folders; "
                    "name the folder of the deliveries.",
                )

    def _check(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            bound = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
            raise InvalidServerOptionError(name, f"{name} is {value!r}; it must be {bound}.")


def share_cores(options: ServerOptions, cores: int, *, encodes: bool) -> tuple[int, int, int]:
    """Share the cores out among the searches of all workers and the encoder, so that no thread lacks one.

    Parameters
    ----------
    options : ServerOptions
        What it sets is kept.
    cores : int
        That this server may use, 1 or more.
    encodes : bool
        Whether there is an encoder; a replica has none.

    Returns
    -------
    (search, search_beside_encoder, encoder) : int, int and int
        Threads of each worker's search while nothing is encoded and while something is, and of the encoder; 1 or more
        each. Of several workers those that read do not know what the one that writes is doing: theirs are equal.
    """
    workers, encoder = options.workers, options.encoder_threads
    left = max(cores - (encoder or max(cores // (workers + 1), 1)), 1) if encodes else cores
    beside = options.search_threads or max(left // workers, 1)
    alone = options.search_threads or (cores if workers == 1 else beside)
    return alone, beside, encoder or max(cores - workers * beside, 1)
