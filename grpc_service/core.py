"""gRPC's core without the asyncio or thread pool around it: calls and their messages, on one thread.

`grpc.aio` spends several turns of the event loop on every call, and `grpc.server` two changes of threads; both stand
on what is used here, `grpc._cython.cygrpc`, whose event loop is a completion queue: an operation is started with a tag,
and the tag comes back when it is done. A short call costs a quarter of either (ADR 29). The module is not public:
grpcio is pinned, and nothing outside this file knows of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc

from grpc_service.callers import ANYBODY, Caller

WAITING_CALLS = 256  # taken up ahead; each is asked for again as soon as it comes
_WAITING = (
    ("grpc.server.max_pending_requests", 1 << 12),
    ("grpc.server.max_pending_requests_hard_limit", 1 << 13),
)  # beyond those, where our thread does not get a processor: else the core cancels them by chance and without a word

STUCK_S = 10.0  # behind which a call that was cancelled is not waited for any longer
_NO_DEADLINE_S = 1e8  # the core has a number for "never" that lies centuries ahead
_CODES = {code: code.value[0] for code in grpc.StatusCode}
_STOPPED = object()
_log = logging.getLogger(__name__)

Metadata = Sequence[tuple[str, str | bytes]]


class CoreCall:
    """One call of a server. Each operation may be started from any thread, and one of a kind at a time.

    What is passed as `then` runs on the server's thread and must not block.

    Parameters
    ----------
    event
        Of the completion queue: a call that has come.
    on_ended : callable
        The server's own, called once the status has left, or cannot, with the call.

    Attributes
    ----------
    method : str
        Full name, with its leading slash.
    metadata : sequence of (str, str or bytes)
        What came with it.
    deadline : float or None
        When its answer stops being wanted, on the clock of `time.monotonic`; None: never.
    came_at : float
        When it came, on the same clock.
    cancelled : bool
        Whether the caller has left.
    code, reason, trailers
        As `finish` was given them; until then OK and nothing.
    span : opentelemetry.trace.Span or None
        Of a call that is traced.
    caller : Caller
        Who it is from.
    on_cancel : callable, optional
        Called when it does.
    on_finished : callable, optional
        Called by `on_ended`.
    """

    def __init__(self, event: Any, on_ended: Callable[[CoreCall], object]) -> None:
        self._on_ended = on_ended
        self._call = event.call
        self._begun = self._watched = False
        self.method: str = event.call_details.method.decode("ascii", "backslashreplace")
        self.metadata: Metadata = event.invocation_metadata
        self.came_at = time.monotonic()
        left_s = event.call_details.deadline - time.time()
        self.deadline = self.came_at + left_s if left_s < _NO_DEADLINE_S else None
        self.cancelled = False
        self.code = grpc.StatusCode.OK
        self.reason = ""
        self.trailers: Metadata = ()
        self.span: Any = None
        self.caller: Caller = ANYBODY
        self.on_cancel: Callable[[], object] | None = None
        self.on_finished: Callable[[], object] | None = None

    def watch(self) -> None:
        """Notice from now on whether the caller leaves. Once, unless the call is ended at once."""
        self._watched = True
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), self._closed)

    def peer(self) -> str:
        """Return the caller's address, as gRPC writes it."""
        peer = self._call.peer()
        return peer.decode("ascii", "backslashreplace") if isinstance(peer, bytes) else str(peer)

    def identities(self) -> tuple[str, ...]:
        """Return the names in the certificate that the caller showed; none where it was asked for none.

        The alternative names where there are any, else the common name, as gRPC's core gives them.
        """
        found = cygrpc.peer_identities(self._call) or ()
        return tuple(name.decode("utf-8", "backslashreplace") for name in found)

    def cut_off(self, code: grpc.StatusCode, details: str) -> None:
        """Tell the caller a status, and do here as if it had left; whoever has the call ends it then. Of any thread.

        Parameters
        ----------
        code : grpc.StatusCode
        details : str
            The sentence beside the code.
        """
        self._call.cancel(_CODES[code], details)

    def receive(self, then: Callable[[bytes | None], object]) -> None:
        """Take the next message.

        Parameters
        ----------
        then : callable
            Gets its bytes; None where there is none any more, or the caller has left.
        """
        self._call.start_server_batch(
            (cygrpc.ReceiveMessageOperation(0),), lambda event: then(event.batch_operations[0].message())
        )

    def send(self, message: bytes, then: Callable[[bool], object]) -> None:
        """Send one message of several.

        Parameters
        ----------
        message : bytes
        then : callable
            Gets whether it could be sent; False once the caller has left.
        """
        self._call.start_server_batch(
            (*self._initial(), cygrpc.SendMessageOperation(message, 0)), lambda event: then(bool(event.success))
        )

    def finish(
        self,
        message: bytes | None = None,
        *,
        code: grpc.StatusCode = grpc.StatusCode.OK,
        details: str = "",
        trailers: Metadata = (),
        reason: str = "",
    ) -> None:
        """End the call. Exactly once, and the last thing that is done with it.

        Parameters
        ----------
        message : bytes, optional
            Sent before the status.
        code : grpc.StatusCode, optional
        details : str, optional
            The sentence beside the code.
        trailers : sequence of (str, str or bytes), optional
            Metadata; what may be bytes has a key that ends in ``-bin``.
        reason : str, optional
            Of one that was refused or failed; for whoever counts and logs it, and not sent.
        """
        self.code, self.reason, self.trailers = code, reason, trailers
        status = cygrpc.SendStatusFromServerOperation(tuple(trailers), _CODES[code], details.encode(), 0)
        operations = [*self._initial(), status]
        if message is not None:
            operations.append(cygrpc.SendMessageOperation(message, 0))
        if not self._watched:  # the core wants it to be asked for; of a call that is refused, together with the rest
            operations.append(cygrpc.ReceiveCloseOnServerOperation(0))
        self._call.start_server_batch(operations, self._ended)

    def _initial(self) -> tuple[Any, ...]:
        if self._begun:
            return ()
        self._begun = True
        return (cygrpc.SendInitialMetadataOperation((), 0),)

    def _closed(self, event: Any) -> None:
        if event.batch_operations[0].cancelled():
            self.cancelled = True
            if self.on_cancel is not None:
                self.on_cancel()

    def _ended(self, event: Any) -> None:
        self._on_ended(self)


class CoreServer:
    """A server whose calls all come to one function, on one thread.

    Parameters
    ----------
    arguments : sequence of (str, value)
        Channel arguments.
    on_call : callable
        Gets every `CoreCall`, on the server's thread, and must not block. What it raises is logged, and the call is
        answered with INTERNAL.
    on_end : callable, optional
        Gets every one again, on the same thread, when all is over. It must not block, either.
    """

    def __init__(
        self,
        arguments: Sequence[tuple[str, Any]],
        on_call: Callable[[CoreCall], object],
        on_end: Callable[[CoreCall], object] = lambda call: None,
    ) -> None:
        self._on_call = on_call
        self._on_end = on_end
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server((*arguments, *_WAITING), False)
        self._server.register_completion_queue(self._queue)
        self._stopping = threading.Lock()
        self._takes_calls = False
        self._unfinished = 0  # calls; on our thread
        self._stopped = False  # the core has shut down, but for those
        self._thread = threading.Thread(target=self._serve, name="grpc", daemon=True)

    def add_port(self, address: str, credentials: Any = None) -> int:
        """Listen on an address.

        Parameters
        ----------
        address : str
            ``host:port``, with port 0 for a free one.
        credentials : grpc.ServerCredentials, optional
            What encrypts it, and this port alone; None: it speaks plain text.

        Returns
        -------
        int
            The port; 0 where it cannot be had.
        """
        if credentials is None:
            return int(self._server.add_http2_port(address.encode()))
        return int(self._server.add_http2_port(address.encode(), credentials._credentials))

    @property
    def alive(self) -> bool:
        """Whether the thread runs that takes calls."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Take calls. Once."""
        self._server.start()
        self._takes_calls = True
        for _ in range(WAITING_CALLS):
            self._server.request_call(self._queue, self._queue, self._came)
        self._thread.start()

    def refuse(self) -> None:
        """Take no more calls and no more connections; those in progress go on."""
        with self._stopping:
            if not self._takes_calls:
                return
            self._takes_calls = False
            self._server.shutdown(self._queue, _STOPPED)

    def cancel(self) -> None:
        """Take no more calls, and cancel those in progress; each still has to be finished by whoever has it."""
        if self._thread.is_alive():
            self.refuse()
            if self._unfinished:  # else those who are connected would be told of an error
                self._server.cancel_all_calls()

    def close(self) -> None:
        """Wait for the end of the calls that were cancelled, and let go of the port."""
        if self._thread.ident is None:  # never started
            # The core ends the process where a server that has ports was not started and shut down before.
            self._server.start()
            self._server.shutdown(self._queue, _STOPPED)
            while self._queue.poll().tag is not _STOPPED:
                pass
            self._server.destroy()
            self._queue.shutdown()
            return
        self._thread.join(STUCK_S)
        if self._thread.is_alive():
            _log.error("calls were still being worked on %g s after they were cancelled; they are left behind", STUCK_S)

    def _serve(self) -> None:
        while True:
            event = self._queue.poll()
            if event.completion_type == cygrpc.CompletionType.queue_shutdown:
                return
            try:
                if event.tag is _STOPPED:
                    self._stopped = True
                else:
                    event.tag(event)
            except Exception:  # the thread must outlive anything, or every later call would wait for ever
                _log.exception("gRPC's thread met an unexpected error and goes on")
            # An event that is kept keeps its call, which a server that is being stopped would wait for.
            del event
            if self._stopped and not self._unfinished:
                # Behind this no operation may be begun: the core ends the process where one is.
                self._stopped = False
                self._server.destroy()
                self._queue.shutdown()

    def _came(self, event: Any) -> None:
        with self._stopping:
            if self._takes_calls:
                self._server.request_call(self._queue, self._queue, self._came)
        if not event.success:  # the server is being stopped: no call came
            return
        call = CoreCall(event, self._ended)
        self._unfinished += 1
        try:
            self._on_call(call)
        except Exception:
            call.finish(code=grpc.StatusCode.INTERNAL, details="The service failed; its log says why.")
            raise

    def _ended(self, call: CoreCall) -> None:
        self._unfinished -= 1
        if call.on_finished is not None:
            call.on_finished()
        # Both know of the call in turn: without this it would stay until Python looks for such circles.
        call.on_cancel = call.on_finished = None
        self._on_end(call)
