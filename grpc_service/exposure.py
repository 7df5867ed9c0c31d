"""Beyond the loopback a server is encrypted and knows its callers, or was told twice that it need not be."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from grpc_service.access_options import AccessOptions, LimitOptions, TlsOptions
from grpc_service.audit import AuditLog
from grpc_service.options import InvalidServerOptionError, ServerOptions
from grpc_service.tokens import read_tokens


@dataclass(frozen=True)
class Protection:
    """What stands between a server and those who call it.

    Attributes
    ----------
    tls : TlsOptions
    access : AccessOptions
    limits : LimitOptions
    audit : AuditLog or None
        Where the acts of administrators are written down; None: nowhere.
    insecure : bool
        Said on the command line, as `ServerOptions.insecure` is said in the settings: only both together count.
    """

    tls: TlsOptions = field(default_factory=TlsOptions)
    access: AccessOptions = field(default_factory=AccessOptions)
    limits: LimitOptions = field(default_factory=LimitOptions)
    audit: AuditLog | None = None
    insecure: bool = False


def is_loopback(host: str) -> bool:
    """Whether only processes of this machine can connect to a host.

    Parameters
    ----------
    host : str
        A name or an address, as in `ServerOptions.host`. Of names only ``localhost`` counts, whatever they stand for.

    Returns
    -------
    bool
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_protection(options: ServerOptions, protection: Protection) -> str:
    """Refuse to listen where anybody could listen in, or call.

    Parameters
    ----------
    options : ServerOptions
    protection : Protection

    Returns
    -------
    str
        What to warn of, because it was told twice; empty where there is nothing.

    Raises
    ------
    InvalidServerOptionError
        When the server would be reachable from other machines without TLS, or without knowing its callers; or when
        clients have to show certificates that nobody's role goes by.
    """
    if protection.tls.client_ca is not None and not protection.access.on:
        raise InvalidServerOptionError(
            "client_ca",
            "tls.client_ca asks for client certificates, and nothing says what their owners may do; name roles in "
            '[access.certificates] ("*" stands for every certificate), or a file of tokens in access.tokens.',
        )
    if protection.access.certificates and protection.tls.client_ca is None:
        raise InvalidServerOptionError(
            "certificates",
            "access.certificates gives roles to client certificates, and tls.client_ca, which they are checked by, is "
            "missing; name it.",
        )
    if is_loopback(options.host):
        return ""
    lacks = [
        *(["TLS (tls.certificate and tls.key)"] if not protection.tls.on else []),
        *(["to know its callers (access.tokens or access.certificates)"] if not protection.access.on else []),
    ]
    if not lacks:
        return ""
    if options.insecure and protection.insecure:
        return (
            f"the server is reachable on {options.host} without {' and '.join(lacks)}, as it was told twice: whoever "
            "reaches the port can use it, and whoever is in between can listen in"
        )
    other = " (of the two, one is missing)" if options.insecure or protection.insecure else ""
    raise InvalidServerOptionError(
        "host",
        f"The server would be reachable from other machines on {options.host}, and lacks {' and '.join(lacks)}; give "
        "it that, listen on 127.0.0.1, or say twice that all may use it: server.insecure = true and --insecure"
        f"{other}.",
    )


def check_protection(options: ServerOptions, protection: Protection) -> None:
    """Refuse what a server would refuse when it starts, without one: where it listens, and the files that it needs.

    Parameters
    ----------
    options : ServerOptions
    protection : Protection

    Raises
    ------
    InvalidServerOptionError
        See `require_protection`.
    PrivateFileError
        When the certificate or the tokens cannot be used.
    """
    require_protection(options, protection)
    if protection.access.tokens is not None:
        read_tokens(protection.access.tokens)
    if protection.tls.on:
        from grpc_service.tls import ServerCertificate  # imports gRPC, which `--help` does without

        ServerCertificate(protection.tls)
