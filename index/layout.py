"""Where things lie in a home folder, and the marker that makes a folder a home.

A home lies in a local folder or below a prefix of an object store's bucket. Only this file, `files.py` and
`object_store.py` know which: Lance takes either address for a table, everything else goes through `Home.files`.
"""

from __future__ import annotations

import json
from pathlib import Path

from index.errors import DamagedHomeError, ReadOnlyError
from index.files import HomeFiles, LocalFiles
from index.object_store import StoredFiles, checked_address, is_object_store
from index.validation import check_name

FORMAT = "anacrusis-home"
FORMAT_VERSION = 3
"""Version 2: served and fresh tables hold popularity. Version 3: and the basis of a projection's catalogue."""

SPACE_FOLDERS = ("served", "fresh", "users", "moved")
"""Folders that hold a table of each space."""

_MARKER = "home.json"
_KNOWN = frozenset(
    {_MARKER, "tracks.lance", "withdrawn.lance", "content", "served", "fresh", "users", "registry", "indexes"}
)


class Home:
    """Addresses below one home folder, and its files.

    Parameters
    ----------
    address : str or Path
        A local folder, or ``s3://BUCKET/PREFIX``.
    cache : Path, optional
        Where copies of an object store's indexes are kept; a temporary folder without one. A local home needs none.
    read_only : bool
        Whether nothing may be written to it.

    Attributes
    ----------
    address : str
    local : Path or None
        The folder, where the home lies on this machine.
    files : HomeFiles
        Of everything that is no Lance table.

    Raises
    ------
    InvalidInputError
        The address is of another kind of store, or malformed.
    HomeUnreachableError
    """

    def __init__(self, address: str | Path, *, cache: Path | None = None, read_only: bool = False) -> None:
        self.read_only = read_only
        remote = is_object_store(str(address))
        self.local = None if remote else Path(address)
        self.address = checked_address(str(address)) if remote else str(self.local)
        self.files: HomeFiles = StoredFiles(self.address, cache) if remote else LocalFiles(Path(address))

    def __str__(self) -> str:
        return self.address

    def require_writable(self) -> None:
        """Refuse to write to a home that was opened for reading.

        Raises
        ------
        ReadOnlyError
        """
        if self.read_only:
            raise ReadOnlyError(
                "this home was opened for reading only: send what changes it to the server that was started without "
                "--read-only, or use a command that opens the home itself"
            )

    def _below(self, *parts: str) -> str:
        return "/".join((self.address.rstrip("/"), *parts))

    @property
    def tracks(self) -> str:
        """Metadata of every track."""
        return self._below("tracks.lance")

    @property
    def withdrawn(self) -> str:
        """Tombstones."""
        return self._below("withdrawn.lance")

    @property
    def feedback(self) -> str:
        """What listeners did with cold tracks."""
        return self._below("feedback.lance")

    @property
    def standings(self) -> str:
        """How far tracks have warmed up."""
        return self._below("standings.lance")

    @property
    def encoder_ids(self) -> list[str]:
        """Encoders that have a table of content vectors."""
        return [name.removesuffix(".lance") for name in self.files.names("content") if name.endswith(".lance")]

    def registry(self, name: str) -> str:
        """Table of spaces, snapshots or publishes."""
        return self._below("registry", f"{name}.lance")

    def content(self, encoder_id: str) -> str:
        """Content vectors of one encoder."""
        return self._below("content", f"{check_name(encoder_id, 'encoder_id')}.lance")

    def staged(self, encoder_id: str) -> str:
        """Content vectors of one encoder that a backfill has written and not yet taken in."""
        return self._below("staged", f"{check_name(encoder_id, 'encoder_id')}.lance")

    def served(self, space_id: str, creation: str) -> str:
        """Vectors of one space that snapshots are made of.

        Parameters
        ----------
        creation : str
            Tells the tables of two processes apart that create a space at one moment; the registry says whose count.
        """
        return self._of_space("served", space_id, creation)

    def fresh(self, space_id: str, creation: str) -> str:
        """Rows of one space that ingests wrote."""
        return self._of_space("fresh", space_id, creation)

    def users(self, space_id: str, creation: str) -> str:
        """User vectors of one space."""
        return self._of_space("users", space_id, creation)

    def moved(self, space_id: str, creation: str) -> str:
        """How far one space has its tracks from where the one before had them."""
        return self._of_space("moved", space_id, creation)

    def of_space(self, space_id: str, creation: str) -> list[str]:
        """All tables of one space, whether or not they are there."""
        return [self._of_space(kind, space_id, creation) for kind in SPACE_FOLDERS]

    def _of_space(self, kind: str, space_id: str, creation: str) -> str:
        name = f"{check_name(space_id, 'space_id')}.{check_name(creation, 'creation')}.lance"
        return self._below(kind, name)

    def index_folder(self, snapshot_id: str) -> str:
        """Folder of a snapshot's built index, for `files`."""
        return f"indexes/{check_name(snapshot_id, 'snapshot_id')}"

    def exists(self, address: str) -> bool:
        """Whether a table lies at an address.

        It does from its first manifest on, which Lance writes last: a folder without one is what a process left behind
        that ended in between, and is made into the table by whoever creates it next.
        """
        return self.versions(address) > 0

    def versions(self, address: str) -> int:
        """Count the versions of a table by the names of their manifests, of which none is opened."""
        return sum(name.endswith(".manifest") for name in self.files.names(f"{self._name(address)}/_versions"))

    def discard(self, address: str) -> None:
        """Delete a table that nothing refers to, as far as possible."""
        self.files.remove(self._name(address))

    def _name(self, address: str) -> str:
        return address.removeprefix(self._below("")).strip("/")

    def check_marker(self, *, create: bool) -> bool:
        """Read the format marker.

        Returns
        -------
        bool
            True: the folder is a home of this format. False: it is not yet one and may become one.

        Raises
        ------
        DamagedHomeError
            It is no home and may not become one, or is one of another format version.
        """
        shown = self.address
        if self.local is not None and self.local.exists() and not self.local.is_dir():
            raise DamagedHomeError(f"home {shown!r} is a file: name a folder", reason="HOME_NOT_FOUND", field="home")
        names = self.files.names()
        if _MARKER not in names:
            if not create:
                raise DamagedHomeError(
                    f"home {shown!r} is no home folder (it has no {_MARKER}): name an existing one, "
                    "or create it by importing a space or ingesting tracks into it",
                    reason="HOME_NOT_FOUND",
                    field="home",
                )
            strangers = [name for name in names if name not in _KNOWN]
            if strangers:
                raise DamagedHomeError(
                    f"home {shown!r} is no home folder and holds other files ({strangers[0]!r}, for one): "
                    "name an empty or new folder",
                    reason="HOME_NOT_FOUND",
                    field="home",
                )
            return False
        try:
            found = json.loads(self.files.read(_MARKER))
            version = found["version"] if found["format"] == FORMAT else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedHomeError(
                f"{_MARKER} of home {shown!r} cannot be read: restore it from a backup, it should hold "
                f'{{"format": "{FORMAT}", "version": {FORMAT_VERSION}}}',
                field="home",
            ) from error
        if version != FORMAT_VERSION:
            raise DamagedHomeError(
                f"home {shown!r} has the format version {version!r} where this program reads {FORMAT_VERSION}: "
                "open it with the release that wrote it, or build it anew",
                field="home",
            )
        return True

    def write_marker(self) -> None:
        """Make the folder a home; the last step of creating one."""
        text = json.dumps({"format": FORMAT, "version": FORMAT_VERSION}, indent=1)
        self.files.write(_MARKER, text.encode())
