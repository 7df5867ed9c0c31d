"""Who may speak to a server, how much each may ask, and what encrypts it: options, checked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grpc_service.options import InvalidServerOptionError
from grpc_service.roles import Role

ANY_CERTIFICATE = "*"
"""Stands for every client certificate that `client_ca` vouches for, where its own name is not in the table."""

MAX_CERTIFICATE_NAMES = 1024
_MIB = 1 << 20
_ANY = sys.float_info.max  # any number, but not "infinite"


@dataclass(frozen=True)
class TlsOptions:
    """The files that encrypt a server's port, in PEM. They are read again when they change.

    Attributes
    ----------
    certificate : Path or None
        The certificate and its chain; None: no TLS.
    key : Path or None
        Its private key, of RSA, P-256 or P-384, unencrypted and readable by the server's user alone (a group may read
        it).
    client_ca : Path or None
        Whoever connects has to show a certificate that one of these vouches for; None: nobody is asked for one.

    Raises
    ------
    InvalidServerOptionError
        When one of the first two stands without the other, or the third without them.
    """

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            missing = "key" if self.key is None else "certificate"
            raise InvalidServerOptionError(missing, f"tls.{missing} is missing; TLS takes a certificate and its key.")
        if self.client_ca is not None and self.certificate is None:
            raise InvalidServerOptionError(
                "client_ca", "tls.client_ca is given without tls.certificate and tls.key; give all three."
            )

    @property
    def on(self) -> bool:
        """Whether the port is encrypted."""
        return self.certificate is not None


@dataclass(frozen=True)
class AccessOptions:
    """Who is let in.

    Attributes
    ----------
    tokens : Path or None
        The file that `anacrusis token` writes; None: there are no tokens.
    certificates : mapping of str to str
        Roles (``read``, ``ingest``, ``admin``) by the names in client certificates; ``*`` stands for all others that
        `client_ca` vouches for.
    audit : Path or None
        The file that every act of an administrator is appended to; None: ``audit.jsonl`` in a home on this machine, and
        standard error for one on an object store.

    Raises
    ------
    InvalidServerOptionError
        For a role that there is none of, or a name that is empty.
    """

    tokens: Path | None = None
    certificates: Mapping[str, str] = field(default_factory=dict)
    audit: Path | None = None

    def __post_init__(self) -> None:
        if len(self.certificates) > MAX_CERTIFICATE_NAMES:
            raise InvalidServerOptionError(
                "certificates",
                f"access.certificates has {len(self.certificates)} names; {MAX_CERTIFICATE_NAMES} are taken at most.",
            )
        for name, role in self.certificates.items():
            if not name or role not in Role.names():
                raise InvalidServerOptionError(
                    "certificates",
                    f"access.certificates gives {name!r} the role {role!r}; "
                    f"write a name and one of {', '.join(Role.names())}.",
                )

    @property
    def on(self) -> bool:
        """Whether callers are told apart at all."""
        return self.tokens is not None or bool(self.certificates)


@dataclass(frozen=True)
class LimitOptions:
    """How much one caller may ask; for callers that are told apart, by each process of a server.

    Attributes
    ----------
    calls_per_s : float
        Calls begun a second, 0 or more; 0: any number.
    queries_per_s : float
        Queries a second, however many a call holds, 0 or more; 0: any number.
    bytes_per_s : float
        Bytes of messages sent a second, 0 or more; 0: any number.
    calls_at_once : int
        Calls in progress, streams among them, 0 or more; 0: any number. Below `ServerOptions.max_concurrent_rpcs`, so
        that no caller takes every place.
    burst_s : float
        So many seconds' worth may come at once, 0.1 to 3600.

    Raises
    ------
    InvalidServerOptionError
        For a value out of range.
    """

    calls_per_s: float = 5_000.0
    queries_per_s: float = 50_000.0
    bytes_per_s: float = 128.0 * _MIB
    calls_at_once: int = 256
    burst_s: float = 2.0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("calls_per_s", 0.0, _ANY),
            ("queries_per_s", 0.0, _ANY),
            ("bytes_per_s", 0.0, _ANY),
            ("calls_at_once", 0, _ANY),
            ("burst_s", 0.1, 3600.0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                bound = f"{least:g} or more" if most == _ANY else f"{least:g} to {most:g}"
                raise InvalidServerOptionError(name, f"limits.{name} is {value!r}; it must be {bound}.")
