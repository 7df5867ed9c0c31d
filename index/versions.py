"""Which version of a table is the latest, at the price of two looks where nothing was written.

Lance lists the folder of the versions for it: 0.1 ms in the beginning, 2.6 ms at 6,000 versions, which is what ten
minutes of steady ingests leave until the upkeep deletes them; and every commit and look-up asks.
"""

from __future__ import annotations

import os
from typing import Any

_LAST = 2**64 - 1  # Lance counts down in the names, so that the latest version is listed first


class LatestVersion:
    """Follows the latest version of one table.

    What was found by a list stands while the folder has the time of its last change that it had before the list, and
    the version that would come next has no file. The one alone would not do: changes within one tick of a file system's
    clock have the same time, and the upkeep deletes versions, though none that was made a moment ago.

    Parameters
    ----------
    address : str
        Of the table. On an object store Lance is asked each time.
    """

    def __init__(self, address: str) -> None:
        self._folder = os.path.join(address, "_versions")
        self._is_local = os.path.isdir(self._folder)
        self._found: tuple[int, int] | None = None  # a version, and the folder's time, in nanoseconds

    def of(self, handle: Any) -> int:
        """Give the latest version.

        Parameters
        ----------
        handle : lance.LanceDataset
            On the table, at whatever version.
        """
        if not self._is_local:
            return int(handle.latest_version)
        changed_at = self._changed_at()
        found = self._found
        if found is not None and found[1] == changed_at and not self._is_there(found[0] + 1):
            return found[0]
        version = int(handle.latest_version)
        # Of a table that names its versions otherwise nothing is remembered.
        self._found = (version, changed_at) if self._is_there(version) else None
        return version

    def wrote(self, version: int) -> None:
        """Note a version that was just committed; what others commit behind it is found."""
        if self._is_local and self._is_there(version):
            self._found = (version, self._changed_at())

    def _changed_at(self) -> int:
        # Opened, so that a network file system asks its server rather than what it remembers.
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.fstat(folder).st_mtime_ns
        finally:
            os.close(folder)

    def _is_there(self, version: int) -> bool:
        return os.path.exists(os.path.join(self._folder, f"{_LAST - version:020d}.manifest"))
