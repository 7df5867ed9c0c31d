"""How the client connects: in plain text, or encrypted; and what it must not say in plain text."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import grpc

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_OPTIONS = (
    # Replies are as large as what was asked for: the server's own limits bound them.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A proxy for the web (http_proxy) knows no way to a service inside, let alone to the loopback.
    ("grpc.enable_http_proxy", 0),
    # One after the other; with one server, that one.
    ("grpc.lb_policy_name", "round_robin"),
)


def connect(
    address: str,
    *,
    tls: bool = False,
    ca: Path | str | None = None,
    certificate: Path | str | None = None,
    key: Path | str | None = None,
    server_name: str = "",
) -> grpc.Channel:
    """Open a channel, encrypted where any of the rest is given.

    Parameters
    ----------
    address : str
        See `grpc_service.client.Client`.
    tls : bool
        Whether to encrypt where no file is named; the server's certificate is then checked by the authorities that gRPC
        brings along.
    ca : Path or str, optional
        PEM file of the authorities that the server's certificate is checked by.
    certificate, key : Path or str, optional
        PEM files of the client's own certificate and its key.
    server_name : str, optional
        The name that the server's certificate is for, where it is not the address's.

    Returns
    -------
    grpc.Channel

    Raises
    ------
    ValueError
        When the certificate stands without its key, or the key without it.
    OSError
        When a file cannot be read.
    """
    if (certificate is None) != (key is None):
        raise ValueError("A client's certificate and its key go together; give both, or neither.")
    if not (tls or ca or certificate):
        return grpc.insecure_channel(address, options=list(_OPTIONS))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_bytes(ca), private_key=_bytes(key), certificate_chain=_bytes(certificate)
    )
    named = [("grpc.ssl_target_name_override", server_name)] if server_name else []
    return grpc.secure_channel(address, credentials, options=[*_OPTIONS, *named])


def require_secrecy(address: str, token: str | None, *, encrypted: bool) -> None:
    """Refuse to send a token where others could read it on the way.

    Parameters
    ----------
    address : str
    token : str or None
    encrypted : bool
        Whether the connection will be.

    Raises
    ------
    ValueError
        For a token in plain text to another machine, or one that no metadata can hold.
    """
    if not token:
        return
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("The token holds characters that none has; give the line that `anacrusis token add` printed.")
    if not encrypted and not _is_local(address):
        raise ValueError(
            "A token is not sent in plain text to another machine; connect with TLS: give ca=, or tls=True."
        )


def _is_local(address: str) -> bool:
    """Whether an address, all of it, means this machine; where that is not plain, it does not."""
    if address.startswith("unix:"):
        return True
    scheme, _, rest = address.partition(":")
    hosts = rest.split(",") if scheme in ("ipv4", "ipv6") else [address.removeprefix("dns:///")]
    return all(_host(unquote(host)) in _LOCAL_HOSTS for host in hosts)


def _host(address: str) -> str:
    try:
        return urlsplit(f"//{address}").hostname or ""
    except ValueError:
        return ""


def _bytes(path: Path | str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
