"""Whoever reaches the port, and says what no client of gRPC would: the server goes on for everybody else."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import grpc
import pytest
from fake_engine import FakeEngine
from grpc_harness import Running, running
from grpc_health.v1 import health_pb2, health_pb2_grpc

DATA, HEADERS, SETTINGS, CONTINUATION = 0, 1, 4, 9
ACK, END_STREAM, END_HEADERS = 1, 1, 4
CHECK = b"/grpc.health.v1.Health/Check"
_FRAME = 16_000  # below what every peer takes


@pytest.fixture
def server(engine: FakeEngine) -> Iterator[Running]:
    with running(engine) as found:
        yield found


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A field of HPACK that stands in no table and is packed by no code."""

    def text(raw: bytes) -> bytes:
        if len(raw) < 127:
            return bytes([len(raw)]) + raw
        left, found = len(raw) - 127, [127]
        while left >= 128:
            found.append(left % 128 + 128)
            left //= 128
        return bytes([*found, left]) + raw

    return b"\0" + text(name) + text(value)


def ask(address: str, *fields: tuple[bytes, bytes], path: bytes = CHECK, agrees: bool = False) -> bytes:
    """Everything that comes back on a call with these fields, until it has a status or the connection ends.

    What a server says of its limits holds for those who agree, as every client of gRPC does.
    """
    host, port = address.rsplit(":", 1)
    given = {b":method": b"POST", b":scheme": b"http", b":path": path, b":authority": b"x"}
    given |= {b"te": b"trailers", b"content-type": b"application/grpc"}
    block = b"".join(literal(name, value) for name, value in (*given.items(), *fields))
    parts = [block[start : start + _FRAME] for start in range(0, len(block), _FRAME)]
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b""))
        found = connection.recv(1 << 16) if agrees else b""
        if agrees:
            connection.sendall(frame(SETTINGS, ACK, 0, b""))
        try:
            for number, part in enumerate(parts):
                kind, flags = CONTINUATION if number else HEADERS, END_HEADERS if part is parts[-1] else 0
                connection.sendall(frame(kind, flags, 1, part))
            connection.sendall(frame(DATA, END_STREAM, 1, bytes(5)))
            while b"grpc-status" not in found and (came := connection.recv(1 << 16)):
                found += came
        except ConnectionError:  # the server has hung up, which is its right
            pass
    return found


def serving(server: Running) -> bool:
    with grpc.insecure_channel(server.address) as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"authorization", b"Bearer \xff\xfe"),
        (b"authorization", b"Bearer \xed\xa0\x80"),
        (b"authorization", b"a\0b"),
        (b"authorization", b"a\r\nx-anacrusis-caller: admin token:admin"),
        (b"x-request-id", b"\xc3\xa4\x1b[2J"),
        (b"authorization", b""),
        (b"authorization", b"x" * 15_000),
    ],
)
def test_odd_bytes_in_a_header_are_only_odd_bytes(server: Running, name: bytes, value: bytes) -> None:
    found = ask(server.address, (name, value))
    assert b"\x0bgrpc-status\x010" in found
    assert b"\x1b[2J" not in found
    assert serving(server)


@pytest.mark.parametrize(
    "fields",
    [
        [(b"a-bin", b"!!!!")],
        [(b"\xff", b"v")],
        [(b"grpc-timeout", b"-1S")],
        [(b"grpc-encoding", b"none")],
    ],
    ids=["base64", "name", "timeout", "encoding"],
)
def test_headers_that_are_none_end_their_call_alone(server: Running, fields: list[tuple[bytes, bytes]]) -> None:
    assert b"\x0bgrpc-status\x010" not in ask(server.address, *fields)
    assert serving(server)


@pytest.mark.parametrize("agrees", [True, False])
@pytest.mark.parametrize(
    "fields", [[(b"authorization", b"x" * (1 << 20))], [(b"n%d" % number, b"v" * 1000) for number in range(1000)]]
)
def test_a_megabyte_of_headers_is_got_over(server: Running, fields: list[tuple[bytes, bytes]], *, agrees: bool) -> None:
    found = ask(server.address, *fields, agrees=agrees)
    assert not agrees or b"\x0bgrpc-status\x018" in found  # RESOURCE_EXHAUSTED
    assert serving(server)


@pytest.mark.parametrize("path", [b"", b"*", CHECK + b"/", CHECK + b"\xff", CHECK.lower(), b"/" + b"a" * 10_000])
def test_a_path_is_a_method_to_the_letter(server: Running, path: bytes) -> None:
    """What differs by anything from a name in the table of roles is no method at all."""
    assert b"\x0bgrpc-status\x0212" in ask(server.address, path=path)
    assert serving(server)
