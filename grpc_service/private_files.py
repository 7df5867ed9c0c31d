"""Files that only a server's own user may read or write: opened once, judged by what was opened."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

MAX_BYTES = 1 << 20
_YOUNG_NS = 2_000_000_000  # what was written within may be written again without another time or size to tell it by


class PrivateFileError(Exception):
    """A file that a server needs before it lets anybody in is missing, open to others, or not what it should be."""

    reason = "ACCESS_FILE"
    field = ""


def read_private(path: Path, what: str) -> bytes:
    """Read a file that no other user may read and nobody but its owner may write.

    Parameters
    ----------
    path : Path
        Links are followed: orchestrators hand secrets over as links.
    what : str
        What it is, for the sentence.

    Returns
    -------
    bytes
        1 MiB at most.

    Raises
    ------
    PrivateFileError
        When it cannot be read, is no regular file, is too long, belongs to another user, or is open to others. A group
        may read it, as that is how orchestrators hand a secret to a user that is not root.
    """
    data, found = _read(path, what)
    if found.st_uid not in (os.geteuid(), 0):
        raise PrivateFileError(f"{what} {path} belongs to another user; give it to the one who runs this.")
    if found.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
        mode = stat.S_IMODE(found.st_mode)
        raise PrivateFileError(f"{what} {path} is open to others (mode {mode:04o}); close it with: chmod 600 {path}")
    return data


def read_public(path: Path, what: str) -> bytes:
    """Read a file that may be shown to anybody, such as a certificate.

    Parameters
    ----------
    path : Path
    what : str
        What it is, for the sentence.

    Returns
    -------
    bytes
        1 MiB at most.

    Raises
    ------
    PrivateFileError
        When it cannot be read, is no regular file, or is too long.
    """
    return _read(path, what)[0]


class ChangingFiles:
    """Notices that files were written; what is in them is for others to read.

    Parameters
    ----------
    *paths : Path
        Whether or not they are there.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen = self._stamps()

    def look(self) -> tuple[bool, bool]:
        """Look at them again.

        Returns
        -------
        (differ, may_differ) : bool and bool
            Whether they are others than at the last look, and whether they may be: it is then worth to read them.
        """
        stamps = self._stamps()
        differ, self._seen = stamps != self._seen, stamps
        young = time.time_ns() - _YOUNG_NS
        return differ, differ or any(stamp is not None and stamp[2] > young for stamp in stamps)

    def _stamps(self) -> tuple[tuple[int, int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):  # away for a moment: what to say of it is said where it is read
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path, what: str) -> tuple[bytes, os.stat_result]:
    try:
        # A pipe that nobody writes to would else be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # a name with a null character
        raise PrivateFileError(f"{what} {path} cannot be read: {_why(error)}.") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise PrivateFileError(f"{what} {path} is no regular file; name another one.")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PrivateFileError(f"{what} {path} cannot be read: {_why(error)}.") from error
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise PrivateFileError(f"{what} {path} is longer than {MAX_BYTES} bytes; name another file.")
    return data, found


def _why(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
