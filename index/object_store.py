"""Homes on an S3-compatible object store: their addresses, their files, and what to say where the store refuses.

Everything goes through Lance's own client, that of the tables: it reads endpoint, region and credentials from the
process's environment (``AWS_*``), so that one place decides, and nothing here sees a secret.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lance.file import LanceFileSession

from index.errors import HomeUnreachableError, InvalidInputError
from index.files import DamagedFileError, digest, replace_atomically, require_hash

_log = logging.getLogger(__name__)

PATIENCE = {
    "client_max_retries": "3",
    "client_retry_timeout": "20",
    "connect_timeout": "5s",
    "timeout": "30s",
}
"""How long the client of a store goes on that does not answer: a refused connection is told in seconds, silence after
half a minute, and where a table is opened after three, as Lance repeats it. Left alone the client would try ten times
within three minutes, and Lance would repeat that."""

# A request's time includes that of its body, and an index comes as one.
_OF_AN_INDEX = PATIENCE | {"timeout": "1h"}

_KEPT_FILES = 6  # in a cache: up to two of the index that is served, the one before it, and one that is switched to
_FILLED = ".fill-"  # folders in a cache in which a file is made before it is sent
_LEFT_BEHIND = re.compile(r"\.([0-9a-f]{64}\.copy\.[0-9a-f]{8}\.tmp|fill-.+)")
_LEFT_AFTER_S = 86_400.0  # so long after its last change nobody works on it any more: its process was killed
_ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<prefix>(/[A-Za-z0-9_=+@.,-]+)*)/?")

# What Lance's errors hold where the store, or the way to it, is to blame; not where something is missing or damaged.
_REASONS = (
    ("NoSuchBucket", "there is no such bucket: create it, or check its name and AWS_ENDPOINT_URL"),
    (
        "Failed to get AWS credentials",
        "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them",
    ),
    (
        re.compile(r"status code: 40[13]|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|PermissionDenied"),
        "the store refuses these credentials: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and their "
        "rights to the bucket",
    ),
    (
        "builder error",
        "its endpoint is http:// and that is not allowed: set AWS_ALLOW_HTTP=true, or an https:// AWS_ENDPOINT_URL",
    ),
    (
        re.compile(r"Generic S3 error|error sending request|operation timed out|status code: 5\d\d"),
        "the store does not answer: check AWS_ENDPOINT_URL and the network, and try again",
    ),
)


_NO_FILE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
_NO_FILE_LEFT_IN_WORDS = re.compile(r"os error (23|24)\b|Too many open files")


def is_object_store(address: str) -> bool:
    """Tell an object store's address, or what can only be meant as one, from a local folder."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", address) is not None


def checked_address(address: str) -> str:
    """Give an address of an object store in the one form that is used: without a slash at the end.

    Raises
    ------
    InvalidInputError
        It is not ``s3://BUCKET/PREFIX``.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or any(part in (".", "..") for part in match["prefix"].split("/")):
        # Before an @ may stand what somebody took for the place of a secret.
        shown = re.sub(r"(?<=:/).*@", "/...@", address, flags=re.DOTALL)
        raise InvalidInputError(
            f"home {shown!r} is no address of an object store: write s3://BUCKET/PREFIX, the prefix in letters, "
            "digits and _ = + @ . , - and /, or name a local folder",
            field="home",
        )
    return address.rstrip("/")


def unreachable(address: str, error: Exception) -> HomeUnreachableError | None:
    """Say why nothing could be opened, or an object store did not do what it was asked; None where neither is to blame.

    Parameters
    ----------
    address : str
        Of the home, a table or a file.
    error : Exception
        What Lance raised. Of its text nothing is repeated: it names requests and hosts.
    """
    text = str(error)
    if getattr(error, "errno", None) in _NO_FILE_LEFT or _NO_FILE_LEFT_IN_WORDS.search(text):
        return HomeUnreachableError(
            f"{address} cannot be reached: as many files are open as the system allows; raise the limit (ulimit -n), "
            "or have fewer connections",
            field="home",
        )
    if not is_object_store(address):
        return None
    for mark, sentence in _REASONS:
        if mark in text if isinstance(mark, str) else mark.search(text):
            return HomeUnreachableError(f"{address} cannot be reached: {sentence}", field="home")
    return None


class StoredFiles:
    """Files below a prefix of a bucket; see `index.files.HomeFiles`. A PUT is there whole or not at all by itself.

    Parameters
    ----------
    address : str
        From `checked_address`.
    cache : Path or None
        Folder for copies of large files, told apart by their hashes, so that homes and processes may share it; the last
        few stay. None: a temporary one, which goes with `close`.
    """

    def __init__(self, address: str, cache: Path | None) -> None:
        self._address = address
        self._cache = cache
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        with self._asking():
            self._session = LanceFileSession(address, storage_options=PATIENCE)

    def read(self, name: str) -> bytes:
        """See `HomeFiles`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            self._download(name, path, self._session)
            return path.read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """See `HomeFiles`."""
        self.fill(name, lambda path: path.write_bytes(content))

    def fill(self, name: str, write: Callable[[Path], object]) -> None:
        """See `HomeFiles`; the file is made locally and sent."""
        with tempfile.TemporaryDirectory(prefix=_FILLED, dir=self._folder()) as folder:
            path = Path(folder, "file")
            write(path)
            with self._asking():
                self._session.upload_file(str(path), name)
        _remove_left_behind(self._folder())

    def checked(self, name: str, sha256: str) -> Path:
        """See `HomeFiles`; the path is that of a copy in the cache."""
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):  # it names a file here, and was read from the home
            raise DamagedFileError(f"the hash of {name} is no SHA-256: build it anew")
        copy = self._folder() / f"{sha256}.copy"
        try:
            os.utime(copy)  # first, so that nobody who makes room takes it from under the reading
            if digest(copy) == sha256:
                return copy
        except FileNotFoundError:
            pass

        def fetch(path: Path) -> None:
            with self._asking():
                session = LanceFileSession(self._address, storage_options=_OF_AN_INDEX)
            self._download(name, path, session)
            require_hash(name, digest(path), sha256)

        replace_atomically(copy, fetch)
        for old in sorted(self._folder().glob("*.copy"), key=_changed_at)[:-_KEPT_FILES]:
            old.unlink(missing_ok=True)
        _remove_left_behind(self._folder())
        return copy

    def names(self, folder: str = "") -> list[str]:
        """See `HomeFiles`."""
        with self._asking():
            found = self._session.list_with_delimiter(folder or None)
        return sorted(path.rsplit("/", 1)[-1] for path in (*found.common_prefixes, *found.objects))

    def remove(self, folder: str) -> None:
        """See `HomeFiles`."""
        try:
            with self._asking():
                for name in self._session.list(folder):
                    self._session.delete_file(name)
        except (OSError, RuntimeError, HomeUnreachableError) as error:
            _log.warning("%s/%s was not deleted: %s", self._address, folder, error)

    def close(self) -> None:
        """See `HomeFiles`."""
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _folder(self) -> Path:
        if self._cache is not None:
            self._cache.mkdir(parents=True, exist_ok=True)
            return self._cache
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="anacrusis-")
        return Path(self._temporary.name)

    def _download(self, name: str, path: Path, session: LanceFileSession) -> None:
        with self._asking():
            if not session.contains(name):
                raise FileNotFoundError(f"there is no {name} in {self._address}")
            session.download_file(name, str(path))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            refusal = unreachable(self._address, error)
            if refusal is None:
                raise
            raise refusal from error


def _changed_at(path: Path) -> float:
    """Give when a file or folder was last changed; the beginning of time where another process has deleted it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove_left_behind(cache: Path) -> None:
    """Delete what killed processes left unfinished; it is named after no file that is ever read."""
    for path in cache.iterdir():
        if _LEFT_BEHIND.fullmatch(path.name) and time.time() - _changed_at(path) > _LEFT_AFTER_S:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
