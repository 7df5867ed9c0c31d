"""Where things lie in a home folder, and the marker that makes a folder a home.

Only this file and `files.py` know that a home is a local folder: an object store means another `Home`, not another
room.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from index.errors import DamagedHomeError
from index.files import write_atomically
from index.validation import check_name

FORMAT = "anacrusis-home"
FORMAT_VERSION = 3
"""Version 2: served and fresh tables hold popularity. Version 3: and the basis of a projection's catalogue."""

_MARKER = "home.json"
_KNOWN = frozenset(
    {_MARKER, "tracks.lance", "withdrawn.lance", "content", "served", "fresh", "users", "registry", "indexes"}
)


class Home:
    """Addresses below one home folder.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def tracks(self) -> str:
        """Metadata of every track."""
        return str(self.root / "tracks.lance")

    @property
    def withdrawn(self) -> str:
        """Tombstones."""
        return str(self.root / "withdrawn.lance")

    @property
    def feedback(self) -> str:
        """What listeners did with cold tracks."""
        return str(self.root / "feedback.lance")

    @property
    def standings(self) -> str:
        """How far tracks have warmed up."""
        return str(self.root / "standings.lance")

    @property
    def encoder_ids(self) -> list[str]:
        """Encoders that have a table of content vectors."""
        return [name.removesuffix(".lance") for name in self.names("content") if name.endswith(".lance")]

    def registry(self, name: str) -> str:
        """Table of spaces, snapshots or publishes."""
        return str(self.root / "registry" / f"{name}.lance")

    def content(self, encoder_id: str) -> str:
        """Content vectors of one encoder."""
        return str(self.root / "content" / f"{check_name(encoder_id, 'encoder_id')}.lance")

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

    def _of_space(self, kind: str, space_id: str, creation: str) -> str:
        name = f"{check_name(space_id, 'space_id')}.{check_name(creation, 'creation')}.lance"
        return str(self.root / kind / name)

    def index_folder(self, snapshot_id: str) -> Path:
        """Built index of one snapshot; local even where tables are not, as FAISS reads files."""
        return self.root / "indexes" / check_name(snapshot_id, "snapshot_id")

    def exists(self, address: str) -> bool:
        """Whether a table lies at an address.

        It does from its first manifest on, which Lance writes last: a folder without one is what a process left behind
        that ended in between, and is made into the table by whoever creates it next.
        """
        return any(Path(address, "_versions").glob("*.manifest"))

    def discard(self, address: str) -> None:
        """Delete a table that nothing refers to, as far as possible."""
        shutil.rmtree(address, ignore_errors=True)

    def names(self, folder: str) -> list[str]:
        """List the names of what lies directly in a folder of the home, in order; none where it is missing."""
        below = self.root / folder
        return sorted(path.name for path in below.iterdir()) if below.is_dir() else []

    def remove(self, folder: str) -> None:
        """Delete a folder of the home with all below it, as far as possible; to be done again where something stays."""
        shutil.rmtree(self.root / folder, ignore_errors=True)

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
        shown = str(self.root)
        if self.root.exists() and not self.root.is_dir():
            raise DamagedHomeError(f"home {shown!r} is a file: name a folder", reason="HOME_NOT_FOUND", field="home")
        marker = self.root / _MARKER
        if not marker.exists():
            if not create:
                raise DamagedHomeError(
                    f"home {shown!r} is no home folder (it has no {_MARKER}): name an existing one, "
                    "or create it by importing a space or ingesting tracks into it",
                    reason="HOME_NOT_FOUND",
                    field="home",
                )
            strangers = (
                sorted(p.name for p in self.root.iterdir() if p.name not in _KNOWN) if self.root.exists() else []
            )
            if strangers:
                raise DamagedHomeError(
                    f"home {shown!r} is no home folder and holds other files ({strangers[0]!r}, for one): "
                    "name an empty or new folder",
                    reason="HOME_NOT_FOUND",
                    field="home",
                )
            return False
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))
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
        write_atomically(self.root / _MARKER, text.encode())
