"""How a server is watched: where it tells its metrics, and where its traces go."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from grpc_service.options import InvalidServerOptionError

MAX_PORT = 65535


@dataclass(frozen=True)
class MetricsOptions:
    """Where ``/metrics``, ``/livez`` and ``/readyz`` are answered, in plain HTTP and without authentication.

    Attributes
    ----------
    port : int or None
        0 to 65535; 0 takes a free one, None (the default) answers nowhere, and then nothing is counted. Of several
        workers each has a port of its own: the first one this, the others those behind it.
    host : str
        Address to listen on; the loopback by default.

    Raises
    ------
    InvalidServerOptionError
        For a value out of range.
    """

    port: int | None = None
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if not self.host:
            raise InvalidServerOptionError("host", "host is empty; give an address such as 127.0.0.1.")
        if self.port is not None and (isinstance(self.port, bool) or not 0 <= self.port <= MAX_PORT):
            raise InvalidServerOptionError("port", f"port is {self.port!r}; it must be 0 to {MAX_PORT}.")

    def of_worker(self, place: int) -> MetricsOptions:
        """Give one of several workers its own port, as long as there is one.

        Parameters
        ----------
        place : int
            Counted from 0.

        Returns
        -------
        MetricsOptions
        """
        return MetricsOptions(self.port + place, self.host) if self.port else self


@dataclass(frozen=True)
class TracingOptions:
    """Where traces go.

    Attributes
    ----------
    endpoint : str
        Address of a collector that speaks OTLP over HTTP, such as ``http://127.0.0.1:4318/v1/traces``; empty (the
        default) for no traces. It needs the extra ``otel``.
    sample : float
        Share of the calls that are traced, 0 to 1, where the caller has not decided that already (``traceparent``).

    Raises
    ------
    InvalidServerOptionError
        For a value out of range, or an endpoint that is none.
    """

    endpoint: str = ""
    sample: float = 0.01

    def __post_init__(self) -> None:
        if isinstance(self.sample, bool) or not 0 <= self.sample <= 1:
            raise InvalidServerOptionError("sample", f"sample is {self.sample!r}; it must be 0 to 1.")
        if self.endpoint:
            parts = urlsplit(self.endpoint)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise InvalidServerOptionError(
                    "endpoint", "endpoint is no address of HTTP; give one such as http://127.0.0.1:4318/v1/traces."
                )


@dataclass(frozen=True)
class WatchOptions:
    """Both of them; by default neither metrics nor traces.

    Attributes
    ----------
    metrics : MetricsOptions
    tracing : TracingOptions
    """

    metrics: MetricsOptions = field(default_factory=MetricsOptions)
    tracing: TracingOptions = field(default_factory=TracingOptions)
