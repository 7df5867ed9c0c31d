"""A proxy in front of an object store that does to some requests what networks and stores do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOPS = {"connection", "transfer-encoding", "keep-alive", "content-length"}
Wanted = Callable[[str, str], bool]
"""Takes a request's method and path."""


class FaultyStore:
    """Passes everything on until it is told otherwise.

    Attributes
    ----------
    fault : {"", "throttle", "lose the reply", "cut the reply", "silence"}
    wanted : callable
        Which requests the fault is done to.
    left : int
        How many more.
    done : int
        How many it was done to.
    """

    def __init__(self, endpoint: str) -> None:
        where = urlsplit(endpoint)
        self._behind = (where.hostname or "", where.port or 80)
        self.fault = ""
        self.wanted: Wanted = lambda method, path: True
        self.left = self.done = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.address = ""

    def set(self, fault: str, times: int, wanted: Wanted = lambda method, path: True) -> None:
        with self.lock:
            self.fault, self.left, self.wanted, self.done = fault, times, wanted, 0

    def _fault_of(self, method: str, path: str) -> str:
        with self.lock:
            if self.left <= 0 or not self.wanted(method, path):
                return ""
            self.left -= 1
            self.done += 1
            return self.fault

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        fault = self._fault_of(handler.command, handler.path)
        if fault == "silence":
            self.over.wait(60)
            handler.close_connection = True
            return
        if fault == "throttle":
            text = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            handler.send_response(503)
            handler.send_header("Content-Length", str(len(text)))
            handler.end_headers()
            handler.wfile.write(text)
            return
        behind = HTTPConnection(*self._behind, timeout=60)
        headers = {key: value for key, value in handler.headers.items() if key.lower() not in _HOPS}
        behind.request(handler.command, handler.path, body=body, headers=headers)
        reply = behind.getresponse()
        content = reply.read()
        behind.close()
        if fault == "lose the reply":  # the store has done it
            handler.close_connection = True
            return
        handler.send_response(reply.status)
        for key, value in reply.getheaders():
            if key.lower() not in _HOPS:
                handler.send_header(key, value)
        length = reply.getheader("Content-Length") if handler.command == "HEAD" else str(len(content))
        handler.send_header("Content-Length", length or "0")
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content[: len(content) // 2] if fault == "cut the reply" else content)
        if fault:
            handler.close_connection = True


@contextmanager
def faulty_store(endpoint: str) -> Iterator[FaultyStore]:
    store = FaultyStore(endpoint)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else a reply's second part waits for the other side to confirm the first
        wbufsize = -1

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing of each request."""

        def do_GET(self) -> None:
            store.answer(self)

    for method in ("PUT", "POST", "HEAD", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.do_GET)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, address: object) -> None:
            """Whoever asked has left."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        store.address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield store
        finally:
            store.over.set()
            server.shutdown()
            thread.join()
