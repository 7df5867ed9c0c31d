"""The files of a home that are no Lance tables: each is there whole or not at all, on a disk as on an object store."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from index.full_disk import telling_no_room


class DamagedFileError(ValueError):
    """A file does not hold what its hash says; never leaves this room: it is built anew."""

    reason = "HOME_DAMAGED"


class HomeFiles(Protocol):
    """Files below one home; names are relative, with slashes, such as ``indexes/SNAPSHOT/base.json``.

    They know nothing of homes that are read-only: who writes or removes asks `Home.require_writable` before.
    """

    def read(self, name: str) -> bytes:
        """Give a file's content.

        Raises
        ------
        FileNotFoundError
        OSError, HomeUnreachableError
        """

    def write(self, name: str, content: bytes) -> None:
        """Put a file in place, durably, over one of that name; a reader sees the old one or the new one.

        Raises
        ------
        OSError, HomeFullError, HomeUnreachableError
        """

    def fill(self, name: str, write: Callable[[Path], object]) -> None:
        """Do what `write` does for a file that `write` makes at the local path that it is given.

        Raises
        ------
        OSError, HomeFullError, HomeUnreachableError
        """

    def checked(self, name: str, sha256: str) -> Path:
        """Give a local path at which a file lies that has this hash; to be read at once, and not to be written.

        Raises
        ------
        DamagedFileError
            It has another hash.
        FileNotFoundError
        OSError, HomeUnreachableError
        """

    def names(self, folder: str = "") -> list[str]:
        """List the names of files and folders directly below a folder, in order; none where it is missing."""

    def remove(self, folder: str) -> None:
        """Delete a folder with all below it, as far as possible; to be done again where something stays."""

    def close(self) -> None:
        """Delete what was kept for this process alone."""


class LocalFiles:
    """Files below a local folder.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str) -> bytes:
        """See `HomeFiles`."""
        return (self._root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """See `HomeFiles`."""
        self.fill(name, lambda path: path.write_bytes(content))

    def fill(self, name: str, write: Callable[[Path], object]) -> None:
        """See `HomeFiles`; the file and its renaming are brought to the disk."""
        with telling_no_room(name):
            replace_atomically(self._root / name, write)

    def checked(self, name: str, sha256: str) -> Path:
        """See `HomeFiles`; the path is the file's own."""
        path = self._root / name
        require_hash(name, digest(path), sha256)
        return path

    def names(self, folder: str = "") -> list[str]:
        """See `HomeFiles`."""
        path = self._root / folder
        return sorted(entry.name for entry in path.iterdir()) if path.exists() else []

    def remove(self, folder: str) -> None:
        """See `HomeFiles`."""
        shutil.rmtree(self._root / folder, ignore_errors=True)

    def close(self) -> None:
        """See `HomeFiles`: a local home keeps nothing elsewhere."""


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, bring it to the disk, and put it in its place.

    Parameters
    ----------
    write : callable
        Given the temporary path; must create the file and close it.

    Raises
    ------
    OSError
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        _bring_to_disk(temporary)
        os.replace(temporary, path)
        _bring_to_disk(path.parent)  # the rename itself
    finally:
        temporary.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """Give the SHA-256 of a local file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_hash(name: str, found: str, expected: str) -> None:
    """Raise `DamagedFileError` where two hashes differ."""
    if found != expected:
        raise DamagedFileError(f"{name} has the SHA-256 {found} where {expected} was expected: build it anew")


def _bring_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
