"""What may happen to bytes on their way, or be done to them: drawn from a seeded generator."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

HEAD_BYTES = 200  # headers deserve as many hits as all the rest
MOST_BYTES = 1 << 20  # repeated doubling ends here
# Sizes, counts and offsets that readers stumble over.
EXTREMES = (0, 1, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 24, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)

Change = Callable[[random.Random, bytearray, Sequence[bytes]], bytearray]


def _place(rng: random.Random, data: bytearray) -> int:
    reach = min(len(data), HEAD_BYTES) if rng.random() < 0.5 else len(data)
    return rng.randrange(reach) if reach else 0


def _flip(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    for _ in range(rng.choice((1, 1, 4, 32)) if data else 0):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)
    return data


def _overwrite(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    at = _place(rng, data)
    noise = rng.randbytes(rng.choice((1, 2, 4, 64)))
    data[at : at + len(noise)] = noise
    return data


def _length_field(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    at, size = _place(rng, data), rng.choice((1, 2, 3, 4, 8))
    value = rng.choice(EXTREMES) + (rng.choice(EXTREMES) << 32 if size == 8 else 0)
    value &= (1 << 8 * size) - 1
    data[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))
    return data


def _truncate(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    return data[: _place(rng, data)]


def _cut_out(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 4, 100, 10_000))]
    return data


def _insert(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    at = _place(rng, data)
    data[at:at] = rng.choice((rng.randbytes(rng.choice((1, 4, 300))), bytes(rng.choice((1, 8, 5000)))))
    return data


def _repeat(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    at, size = _place(rng, data), rng.choice((4, 64, 4000))
    data[at:at] = data[at : at + size] * rng.choice((1, 2, 50))
    return data


def _blank(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    at, size = _place(rng, data), rng.choice((4, 64, 4000))
    data[at : at + size] = bytes([rng.choice((0, 0xFF))]) * len(data[at : at + size])
    return data


def _splice(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    other = rng.choice(others)
    return data[: _place(rng, data)] + other[rng.randrange(len(other) + 1) :]


def _swap_header(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> bytearray:
    other, size = rng.choice(others), rng.choice((4, 12, 44, HEAD_BYTES))
    data[:size] = other[:size]
    return data


CHANGES: tuple[Change, ...] = (
    _flip,
    _overwrite,
    _length_field,
    _truncate,
    _cut_out,
    _insert,
    _repeat,
    _blank,
    _splice,
    _swap_header,
)


def mutated(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Do to bytes what may be done to them, once or a few times.

    Parameters
    ----------
    rng : random.Random
    data : bytes
    others : sequence of bytes
        Of the same kind, parts of which may come in; at least one.

    Returns
    -------
    bytes
        May be empty, and may be the same.
    """
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        changed = rng.choice(CHANGES)(rng, changed, others)[:MOST_BYTES]
    return bytes(changed)
