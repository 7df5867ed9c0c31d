"""Traces of calls for OpenTelemetry: off unless an endpoint is set. Without one nothing of it is imported.

A call's span is made on gRPC's thread and goes with the call: as its attribute, and in the context of the coroutine
that handles it. The stages of a call are told when they are over, as spans of their own below it.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import grpc

from grpc_service.options import InvalidServerOptionError
from grpc_service.request_ids import REQUEST_ID_KEY

if TYPE_CHECKING:
    from grpc_service.core import CoreCall, Metadata
    from grpc_service.watch_options import TracingOptions

Span = Any  # opentelemetry.trace.Span; the package may not be there

SERVICE_NAME = "anacrusis"
_SHUTDOWN_MS = 5_000  # what is left is sent within; a collector that is away must not hold a drained server up
_PARENT_KEYS = frozenset({"traceparent", "tracestate"})  # https://www.w3.org/TR/trace-context/
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that are errors of a server's span, by OpenTelemetry's conventions for gRPC; the others are the caller's."""

_spans: contextvars.ContextVar[tuple[Span, ...]] = contextvars.ContextVar("spans", default=())


def current_spans() -> tuple[Span, ...]:
    """Return the spans of the calls that are being worked for here; several for releases that were gathered."""
    return _spans.get()


def set_spans(spans: tuple[Span, ...]) -> None:
    """Say for which calls is worked here from now on."""
    _spans.set(spans)


def with_parent(metadata: Metadata) -> Metadata:
    """Put the span of the call that is being handled into the metadata of a call that is made for it.

    Parameters
    ----------
    metadata : sequence of (str, str or bytes)

    Returns
    -------
    sequence of (str, str or bytes)
        The same where nothing is traced.
    """
    spans = current_spans()
    if not spans:
        return metadata
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(spans[0]))
    return (*((key, value) for key, value in metadata if key not in _PARENT_KEYS), *carrier.items())


class Tracing:
    """Makes a span of every call, and one of each of its stages.

    Parameters
    ----------
    provider : opentelemetry.sdk.trace.TracerProvider
        Samples, and sends what was sampled. Shut down with this.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE_NAME)
        self._parent = TraceContextTextMapPropagator().extract
        self._below = set_span_in_context
        self._kind = SpanKind.SERVER
        self._failed = Status(StatusCode.ERROR)

    def call_came(self, call: CoreCall) -> None:
        """Give a call its span, below the caller's where its metadata names one."""
        carrier = {key: value for key, value in call.metadata if key in _PARENT_KEYS}
        service, _, method = call.method[1:].rpartition("/")
        call.span = self._tracer.start_span(
            call.method[1:],
            self._parent(carrier),
            self._kind,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )

    def call_ended(self, call: CoreCall) -> None:
        """End the span of a call whose status has left."""
        span = call.span
        if span is None:
            return
        if span.is_recording():
            span.set_attribute("rpc.grpc.status_code", call.code.value[0])
            span.set_attribute("anacrusis.request_id", dict(call.trailers).get(REQUEST_ID_KEY, ""))
            if call.reason:
                span.set_attribute("anacrusis.reason", call.reason)
            if call.code in _FAULTS:
                span.set_status(self._failed)
        span.end()

    def stage_ended(self, spans: Iterable[Span], stage: str, began: float, ended: float) -> None:
        """Note a stage.

        Parameters
        ----------
        spans : iterable of opentelemetry.trace.Span
            Of the calls that it was for.
        stage : str
        began, ended : float
            On the clock of `time.monotonic`.
        """
        now, now_ns = time.monotonic(), time.time_ns()
        for span in spans:
            if span.get_span_context().trace_flags.sampled:  # it may have ended: a reply leaves before it is counted
                at, until = (now_ns - int((now - moment) * 1e9) for moment in (began, ended))
                self._tracer.start_span(stage, self._below(span), start_time=at).end(until)

    def close(self) -> None:
        """Send what has not been sent, within seconds. Blocks."""
        self._provider.force_flush(_SHUTDOWN_MS)
        self._provider.shutdown()


def tracing_of(options: TracingOptions) -> Tracing | None:
    """Make what traces calls.

    Parameters
    ----------
    options : TracingOptions

    Returns
    -------
    Tracing or None
        None where no endpoint is set.

    Raises
    ------
    InvalidServerOptionError
        When one is set and the extra ``otel`` is not installed.
    """
    if not options.endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME as NAME_KEY
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise InvalidServerOptionError(
            "endpoint",
            "tracing.endpoint is set and OpenTelemetry is not installed; install it with "
            "`pip install 'anacrusis[otel]'`, or leave the endpoint empty.",
        ) from error
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(options.sample)),
        resource=Resource.create({NAME_KEY: SERVICE_NAME}),
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=options.endpoint)))
    return Tracing(provider)
