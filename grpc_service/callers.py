"""Who makes a call, as the server knows them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from grpc_service.roles import Role

if TYPE_CHECKING:
    from grpc_service.allowances import Allowance

CALLER_KEY = "x-anacrusis-caller"
"""Between the workers of one server: who the call is from, as the worker that took it found out. Believed only where it
comes by the socket file between them."""

PEER_KEY = "x-anacrusis-peer"  # and from which address


@dataclass(frozen=True, eq=False)
class Caller:
    """One identity.

    Attributes
    ----------
    name : str
        ``token:NAME``, ``certificate:NAME``, or ``anybody`` where callers are not told apart.
    role : Role
        What it may do.
    expires : float
        Seconds since 1970; infinite where it does not expire.
    allowance : Allowance or None
        How much it may ask; None: any amount.
    """

    name: str
    role: Role
    expires: float = math.inf
    allowance: Allowance | None = field(default=None, repr=False)

    def forwarded(self) -> str:
        """Write it down for another worker."""
        return f"{self.role.name.lower()} {quote(self.name)}"


ANYBODY = Caller("anybody", Role.ADMIN)
"""Every caller of a server that tells nobody apart."""
