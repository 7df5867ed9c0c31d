"""Whether a server takes calls: ``python -m grpc_service.probe HOST:PORT``, for a container's health check.

Asks grpc.health.v1, which says NOT_SERVING as soon as the server drains. Needs grpc and its health messages alone, so
that asking every few seconds costs little more than starting Python.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0  # below the five seconds that the Dockerfile gives the whole process


def serving_status(address: str, *, service: str = "", timeout_s: float = TIMEOUT_S) -> str:
    """Ask a server for its health.

    Parameters
    ----------
    address : str
        ``host:port``.
    service : str, optional
        Full name of a service, such as ``anacrusis.v1.NeighborService``; empty for the server as a whole.
    timeout_s : float, optional
        How long to wait for an answer, in seconds, above 0.

    Returns
    -------
    str
        ``SERVING``, ``NOT_SERVING``, or, where there was no such answer, the name of the gRPC status and why.
    """
    # Whoever asks stands beside the server: a proxy that the environment names leads elsewhere.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout_s
            )
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: ``sys.argv``.

    Returns
    -------
    int
        0 when the server says SERVING, else 1; what it said goes to standard error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m grpc_service.probe", description="Exit with 0 when the server says SERVING, else with 1."
    )
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--service", default="", help="full name of one service (default: the whole server)")
    parser.add_argument("--timeout-s", type=float, default=TIMEOUT_S, help="seconds to wait (default: %(default)s)")
    options = parser.parse_args(arguments)
    status = serving_status(options.address, service=options.service, timeout_s=options.timeout_s)
    if status == "SERVING":
        return 0
    print(f"{options.address} {status}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
