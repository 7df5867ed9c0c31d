"""Transport: the proto, the gRPC server and its client.

This file stays empty on purpose: `grpc_service.client` must load with nothing but grpc and NumPy, and
`grpc_service.server` brings the engine. Import from the modules:

- `grpc_service.client`: `Client`, the synchronous Python client;
- `grpc_service.server`: `serve` and `run_server`;
- `grpc_service.options`: `ServerOptions`;
- `grpc_service.errors`: what the transport raises, and `to_status`, the one place where errors get their code.
"""
