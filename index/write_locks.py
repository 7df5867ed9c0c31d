"""Keeping processes of one machine that write a table apart, for as long as one of them must not be interfered with.

The lock is the operating system's, on the table's folder: it ends with the process, however that ends. It makes a
collision rare and is not what correctness hangs on: file systems that lack it, and other machines that share the
folder, do without.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A process that stands still behind its lock keeps nobody waiting for longer.
_PATIENCE_S = 1.0
_LOOK_EVERY_S = 0.001


@contextmanager
def writing_alone(folder: str) -> Iterator[bool]:
    """Give whether nobody else writes the table inside the block; waits for nobody."""
    with _opened(folder) as file:
        yield _locked(file, fcntl.LOCK_EX)


@contextmanager
def writing_beside_others(folder: str) -> Iterator[None]:
    """Wait, though not for long, until nobody writes the table alone, and keep it so inside the block."""
    with _opened(folder) as file:
        until = time.monotonic() + _PATIENCE_S
        while file is not None and not _locked(file, fcntl.LOCK_SH) and time.monotonic() < until:
            time.sleep(_LOOK_EVERY_S)
        yield


@contextmanager
def _opened(folder: str) -> Iterator[int | None]:
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # an object store's, or it is gone: whoever writes there finds out
        yield None
        return
    try:
        yield file
    finally:
        os.close(file)


def _locked(file: int | None, kind: int) -> bool:
    if file is None:
        return False
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
