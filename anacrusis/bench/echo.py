"""A server that answers every call with the same bytes, through the library that the service is built on.

``python -m anacrusis.bench.echo REPLY`` prints its address and serves until standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import grpc


class _Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    def __init__(self, reply: bytes) -> None:
        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return reply

        self._handler = grpc.unary_unary_rpc_method_handler(answer)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._handler


async def _serve(reply: bytes) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(reply),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reply", type=Path)
    asyncio.run(_serve(parser.parse_args().reply.read_bytes()))


if __name__ == "__main__":
    main()
