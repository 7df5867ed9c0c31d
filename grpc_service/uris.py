"""Which files of the server a caller may name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from grpc_service.errors import UriMissingError, UriNotAllowedError

MAX_URI_CHARACTERS = 8192  # no system opens a longer path


def resolve_uri(uri: str, allowed_roots: Sequence[Path]) -> Path:
    """Find the file that a URI names, if it lies below an allowed root.

    Links are followed first and the result is compared then, so that neither ``..`` nor a link leads out. The answer
    for a file outside the roots is the same whether or not it exists. What is put into the path's place afterwards is
    for whoever opens it to notice: there must be no link left in it (`jobs.Release.follow_links`).

    Parameters
    ----------
    uri : str
        ``file:///absolute/path`` or an absolute path.
    allowed_roots : sequence of Path
        Folders; empty allows nothing.

    Returns
    -------
    Path
        A regular file without links in its path.

    Raises
    ------
    UriNotAllowedError
        For another scheme or host, a relative path, or a file outside every root.
    UriMissingError
        When there is no regular file there.
    """
    if not allowed_roots:
        raise UriNotAllowedError(
            "This server takes no URIs because no allowed root is configured; send the audio inline or upload it.",
            field="uri",
        )
    if len(uri) > MAX_URI_CHARACTERS:  # every part of a path is looked up
        raise _refusal(uri)
    path = _path_of(uri)
    try:
        resolved = path.resolve()
        roots = [root.resolve() for root in allowed_roots]
    except (OSError, RuntimeError, ValueError):  # a loop of links, a path too long, a NUL character
        raise _refusal(uri) from None
    if not any(resolved != root and resolved.is_relative_to(root) for root in roots):
        raise _refusal(uri)
    try:
        found = resolved.is_file()
    except (OSError, ValueError):  # a name or path too long, a folder that the server may not read
        found = False
    if not found:
        raise missing(uri)
    return resolved


def missing(uri: str) -> UriMissingError:
    """Say that nothing readable is there, in the caller's words: never where a link leads to.

    Parameters
    ----------
    uri : str
        As the caller gave it.

    Returns
    -------
    UriMissingError
        To raise.
    """
    return UriMissingError(
        f"There is no audio file to be read at {uri[:200]!r}; check the path, or upload the audio.", field="uri"
    )


def _path_of(uri: str) -> Path:
    if uri.startswith("/"):
        return Path(uri)
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise _refusal(uri) from None
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
        raise _refusal(uri)
    path = Path(unquote(parts.path))
    if not path.is_absolute():
        raise _refusal(uri)
    return path


def _refusal(uri: str) -> UriNotAllowedError:
    return UriNotAllowedError(
        f"URI {uri[:200]!r} is not below an allowed root of this server; give a file:// URI or an absolute path "
        "below one, or upload the audio.",
        field="uri",
    )
