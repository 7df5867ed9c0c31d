"""What a server does again and again beside its calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

RELOAD_INTERVAL_S = 1.0  # between two looks at the file of tokens: so long a revoked one may still be taken
COUNT_INTERVAL_S = 60.0  # between two counts of fragments and versions, which grow over hours

_log = logging.getLogger(__name__)


async def again_and_again(
    work: Callable[[], Awaitable[object]],
    interval_s: float,
    failure: str,
    *,
    at_once: bool = False,
    told: Callable[[bool], object] = lambda failed: None,
) -> None:
    """Do something in rounds, until cancelled.

    Whatever goes wrong in a round is logged and the next one comes: a home or a file that is away for a moment must
    not be the end of following it.

    Parameters
    ----------
    work : callable
        One round.
    interval_s : float
        Between two.
    failure : str
        What a failed round is called in the log.
    at_once : bool, optional
        Whether the first round comes before the first interval.
    told : callable, optional
        Gets whether a round has failed.
    """
    if not at_once:
        await asyncio.sleep(interval_s)
    while True:
        try:
            await work()
        except Exception:  # of a library, too: see above
            told(True)
            _log.exception("%s; the next round comes", failure)
        else:
            told(False)
        await asyncio.sleep(interval_s)
