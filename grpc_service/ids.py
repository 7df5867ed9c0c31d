"""What an id that a caller sends has to be before anybody looks for it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from grpc_service.errors import RequestError, TransportError

MAX_IDS = 10_000
MAX_ID_CHARACTERS = 256  # no longer one is ever stored
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def checked_id(value: str, field: str, error: type[TransportError] = RequestError) -> str:
    """Refuse an id that cannot be anybody's.

    Parameters
    ----------
    value : str
        As received.
    field : str
        Named in the error.
    error : type of TransportError, optional
        What to raise.

    Returns
    -------
    str
        The same.

    Raises
    ------
    TransportError
        Of the type given, when it is empty, longer than `MAX_ID_CHARACTERS`, or holds control characters.
    """
    if not value or len(value) > MAX_ID_CHARACTERS or CONTROL.search(value):
        shown = "an empty id" if not value else f"{value[:40]!r}, of {len(value)} characters"
        raise error(
            f"{field} holds {shown}; ids are 1 to {MAX_ID_CHARACTERS} characters without control characters.",
            field=field,
        )
    return value


def checked_ids(ids: Sequence[str]) -> list[str]:
    """Refuse a list of track ids that is empty or too long, or one of which cannot be anybody's.

    Parameters
    ----------
    ids : sequence of str
        As received.

    Returns
    -------
    list of str
        The same.

    Raises
    ------
    RequestError
        When it is not usable.
    """
    if not 1 <= len(ids) <= MAX_IDS:
        raise RequestError(f"track_ids holds {len(ids)} ids; give 1 to {MAX_IDS} ids a call.", field="track_ids")
    return [checked_id(track_id, "track_ids") for track_id in ids]
