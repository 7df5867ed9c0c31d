"""A file whose path somebody gave: whether there is one, before anything opens it."""

from __future__ import annotations

import stat
from pathlib import Path


def file_size(path: Path) -> int | None:
    """Return how long a file is.

    Parameters
    ----------
    path : Path
        As given; it may be anything at all.

    Returns
    -------
    int or None
        Bytes; None where no regular file can be looked at: nothing there, a folder, a device, a name that is too
        long or holds a null character, a folder that may not be entered.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
