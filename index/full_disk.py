"""A disk without room: told apart from damage, because what is there is whole and freeing space is all it takes."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from index.errors import HomeFullError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Lance and FAISS have the system's words in theirs, Lance its number, too.
_IN_WORDS = re.compile(
    rf"os error ({'|'.join(str(number) for number in sorted(_FULL))})\b"
    r"|No space left on device|Disk quota exceeded|File too large"
)


def no_room(what: str, error: BaseException) -> HomeFullError | None:
    """Say that there is no room where that is what went wrong; None where it is not.

    Parameters
    ----------
    what : str
        That was to be written, such as "table tracks".
    error : BaseException
        What the system, Lance or FAISS raised.
    """
    if getattr(error, "errno", None) not in _FULL and not _IN_WORDS.search(str(error)):
        return None
    return HomeFullError(
        f"{what} of the home cannot be written because its disk, or a quota on it, is full: free space or enlarge it, "
        "then try again; what was acknowledged is there",
        field="home",
    )


@contextmanager
def telling_no_room(what: str) -> Iterator[None]:
    """Turn a full disk into one sentence; every other error passes as it is.

    Raises
    ------
    HomeFullError
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = no_room(what, error)
        if full is None:
            raise
        raise full from error
