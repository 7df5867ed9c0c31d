"""The id that names one call in its reply, in its errors and in the log."""

from __future__ import annotations

import contextvars
import random
import re
from collections.abc import Iterable

REQUEST_ID_KEY = "x-request-id"
_ID = re.compile(r"[\x21-\x7e]{1,128}")
# No secret: two calls must have different ids. The kernel's randomness costs a call of it each, where this is none.
_random = random.Random(random.SystemRandom().getrandbits(256))  # noqa: S311
_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


def request_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Take the caller's id, or make one.

    Parameters
    ----------
    metadata : iterable of (str, str or bytes)
        What came with the call.

    Returns
    -------
    str
        The value of ``x-request-id`` where that is 1 to 128 printable characters, else a new one of 32.
    """
    for key, value in metadata:
        if key == REQUEST_ID_KEY and isinstance(value, str) and _ID.fullmatch(value):
            return value
    return f"{_random.getrandbits(128):032x}"


def current_request_id() -> str:
    """Return the id of the call whose coroutine is running, or an empty string outside of one."""
    return _request_id.get()


def set_request_id(request_id: str) -> None:
    """Name the call of the coroutine that is running."""
    _request_id.set(request_id)
