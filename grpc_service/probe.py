"""Whether a server takes calls: ``python -m grpc_service.probe HOST:PORT``, for a container's health check.

Asks grpc.health.v1, which says NOT_SERVING as soon as the server drains. Needs grpc and its health messages alone, so
that asking every few seconds costs little more than starting Python.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0  # below the five seconds that the Dockerfile gives the whole process


def serving_status(
    address: str,
    *,
    service: str = "",
    timeout_s: float = TIMEOUT_S,
    ca: str = "",
    certificate: str = "",
    key: str = "",
    name: str = "",
) -> str:
    """Ask a server for its health.

    Parameters
    ----------
    address : str
        ``host:port``.
    service : str, optional
        Full name of a service, such as ``anacrusis.v1.NeighborService``; empty for the server as a whole.
    timeout_s : float, optional
        How long to wait for an answer, in seconds, above 0.
    ca : str, optional
        PEM file of the authorities that the server's certificate is checked by; empty: the server speaks plain text.
    certificate, key : str, optional
        PEM files to show to a server that asks for a certificate.
    name : str, optional
        The name that the server's certificate is for, where it is not the address's.

    Returns
    -------
    str
        ``SERVING``, ``NOT_SERVING``, or, where there was no such answer, the name of the gRPC status and why.
    """
    # Whoever asks stands beside the server: a proxy that the environment names leads elsewhere.
    options = [("grpc.enable_http_proxy", 0), *([("grpc.ssl_target_name_override", name)] if name else [])]
    if ca:
        credentials = grpc.ssl_channel_credentials(_bytes(ca), _bytes(key), _bytes(certificate))
        opened = grpc.secure_channel(address, credentials, options=options)
    else:
        opened = grpc.insecure_channel(address, options=options)
    with opened as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout_s
            )
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def _bytes(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None


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
    parser.add_argument("--ca", default="", help="PEM file that the server's certificate is checked by (TLS)")
    parser.add_argument("--certificate", default="", help="PEM file to show to a server that asks for one")
    parser.add_argument("--key", default="", help="its key")
    parser.add_argument("--name", default="", help="whom the server's certificate is for (default: the host)")
    options = parser.parse_args(arguments)
    if bool(options.certificate) != bool(options.key) or (options.key and not options.ca):
        parser.error("--certificate and --key go together, and with --ca")
    try:
        status = serving_status(
            options.address,
            service=options.service,
            timeout_s=options.timeout_s,
            ca=options.ca,
            certificate=options.certificate,
            key=options.key,
            name=options.name,
        )
    except OSError as error:
        parser.error(f"{error.filename} cannot be read: {error.strerror}")
    if status == "SERVING":
        return 0
    print(f"{options.address} {status}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
