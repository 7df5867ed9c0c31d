"""A small HTTP server beside the service: ``/metrics`` for Prometheus, ``/livez`` and ``/readyz`` for whoever probes.

Plain HTTP without authentication, on a port of its own: it tells figures and no contents, and listens on the loopback
unless it is told otherwise.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry, MetricsHandler

from grpc_service.watch_options import MetricsOptions

CONNECTIONS = 8  # at one time; a Prometheus or two and the probes need fewer
SILENCE_S = 5.0  # behind which a connection is cut off
_log = logging.getLogger(__name__)

Why = Callable[[], str]


class MetricsServer:
    """Listens from when it is made, and answers on threads of its own.

    Parameters
    ----------
    options : MetricsOptions
        With a port.
    registry : prometheus_client.CollectorRegistry
        Asked at each ``/metrics``.
    why_not_alive, why_not_ready : callable
        Say in a sentence what is wrong, empty where nothing is.

    Attributes
    ----------
    address : str
        ``host:port``, with the port that was bound.

    Raises
    ------
    OSError
        When the address cannot be had.
    """

    def __init__(
        self, options: MetricsOptions, registry: CollectorRegistry, *, why_not_alive: Why, why_not_ready: Why
    ) -> None:
        probes = {"/livez": why_not_alive, "/readyz": why_not_ready}
        handler = type("Handler", (_Handler,), {"registry": registry, "probes": probes})
        is_v6 = ":" in options.host
        self._http = _Http((options.host, options.port or 0), handler, socket.AF_INET6 if is_v6 else socket.AF_INET)
        host, port = self._http.server_address[:2]
        self.address = f"[{host!s}]:{port}" if is_v6 else f"{host!s}:{port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and let go of the port. Blocks."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(MetricsHandler):
    timeout = SILENCE_S
    server_version, sys_version = "anacrusis", ""
    probes: dict[str, Why]

    def do_GET(self) -> None:  # noqa: N802  # the base's
        path = self.path.split("?")[0]
        if path == "/metrics":
            super().do_GET()
        elif path in self.probes:
            wrong = self.probes[path]()
            self._reply(HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK, wrong or "ok")
        else:
            self._reply(HTTPStatus.NOT_FOUND, "There are /metrics, /livez and /readyz.")

    def _reply(self, status: HTTPStatus, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Http(socketserver.ThreadingTCPServer):
    """Answers a few connections at a time; more are closed. Looks up no name, as `http.server.HTTPServer` does."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 2 * CONNECTIONS

    def __init__(self, address: tuple[str, int], handler: Any, family: socket.AddressFamily) -> None:
        self.address_family = family
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a connection to a thread of its own, or close it."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer on that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong, below notice where whoever asked has left."""
        level = logging.DEBUG if isinstance(sys.exception(), OSError) else logging.ERROR
        _log.log(level, "the metrics port could not answer", exc_info=True)
