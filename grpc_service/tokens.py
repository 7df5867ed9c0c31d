"""The file of bearer tokens: made, listed, revoked, and asked whether a token is one of them.

A token is a public part, which names its entry, and 256 random bits. The file holds a salt and the SHA-256 of salt and
token for each, never the token: what is random in 256 bits cannot be guessed from its hash however fast hashing is, so
that a slow hash, which passwords need, would only slow down whoever asks (ADR 31).
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import hmac
import json
import math
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc_service.private_files import PrivateFileError, read_private
from grpc_service.roles import Role

PREFIX = "anacrusis_"  # so that people, and scanners of repositories, see what it is
PUBLIC_BYTES, SECRET_BYTES, SALT_BYTES = 6, 32, 16
MAX_TOKENS = 2048  # fit into a file that `read_private` takes
_PUBLIC = slice(len(PREFIX), len(PREFIX) + 8)  # of a token; six bytes are eight characters
_CHARACTERS = _PUBLIC.stop + 43
_FORMAT, _VERSION = "anacrusis-tokens", 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_PUBLIC_PART = re.compile(r"[A-Za-z0-9_-]{8}", re.ASCII)
_WHAT = "The tokens file"  # of a sentence


class TokenNameError(Exception):
    """A name that a token cannot have, or that none has."""

    reason = "TOKEN_NAME"
    field = "name"


@dataclass(frozen=True)
class Token:
    """What is known of a token.

    Attributes
    ----------
    name : str
        Whose it is: 1 to 64 letters, digits, ``.``, ``_``, ``@`` and ``-``.
    role : Role
    public : str
        The characters behind the prefix of the token; no secret. No other entry has them.
    salt : bytes
        16 random bytes.
    sha256 : bytes
        Of the salt and the token.
    created : datetime
        In UTC.
    expires : datetime or None
        From then on it is refused; None: it does not expire.
    """

    name: str
    role: Role
    public: str
    salt: bytes
    sha256: bytes
    created: dt.datetime
    expires: dt.datetime | None = None

    @property
    def expires_s(self) -> float:
        """Seconds since 1970; infinite where it does not expire."""
        return math.inf if self.expires is None else self.expires.timestamp()


# Stands for an entry that there is none of: nobody knows what would have this hash.
_NOBODY = Token("", Role.READ, "", bytes(SALT_BYTES), secrets.token_bytes(32), dt.datetime.min)


def find(tokens: Mapping[str, Token], token: str) -> Token | None:
    """Find the entry of a token.

    One hash is made and compared in constant time whether or not there is an entry of the token's public part, so that
    the time tells nothing of the secret one, and does not grow with the number of entries.

    Parameters
    ----------
    tokens : mapping of str to Token
        By their public parts.
    token : str
        As a caller sent it.

    Returns
    -------
    Token or None
    """
    if len(token) != _CHARACTERS:
        return None
    entry = tokens.get(token[_PUBLIC], _NOBODY)
    digest = hashlib.sha256(entry.salt + token.encode(errors="replace")).digest()
    return entry if hmac.compare_digest(digest, entry.sha256) else None


def read_tokens(path: Path) -> dict[str, Token]:
    """Read the file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to Token
        By their public parts, in the order in which they were made.

    Raises
    ------
    PrivateFileError
        When it cannot be read, is open to others, or holds something else.
    """
    return _parsed(read_private(path, _WHAT), path)


def add_token(path: Path, name: str, role: Role, *, expires: dt.datetime | None = None) -> tuple[str, Token]:
    """Make a token; the file is made where there is none.

    Parameters
    ----------
    path : Path
    name : str
    role : Role
    expires : datetime, optional
        In UTC.

    Returns
    -------
    (str, Token)
        The token itself, which is written down nowhere, and what the file holds of it.

    Raises
    ------
    TokenNameError
        When the name cannot be one, or has a token.
    PrivateFileError
        When the file cannot be read or written, or is full.
    """
    if not _NAME.fullmatch(name):
        raise TokenNameError(
            f"{name[:80]!r} is no name for a token; take 1 to 64 letters, digits, '.', '_', '@' and '-'."
        )
    token = PREFIX + secrets.token_urlsafe(PUBLIC_BYTES) + secrets.token_urlsafe(SECRET_BYTES)
    salt = secrets.token_bytes(SALT_BYTES)
    digest = hashlib.sha256(salt + token.encode()).digest()
    made = Token(name, role, token[_PUBLIC], salt, digest, dt.datetime.now(dt.UTC).replace(microsecond=0), expires)
    with _changing(path) as tokens:
        if any(one.name == name for one in tokens.values()):
            raise TokenNameError(f"{name!r} has a token; revoke it first, or add the new one under another name.")
        if len(tokens) >= MAX_TOKENS:
            raise PrivateFileError(f"{_WHAT} {path} holds {len(tokens)} tokens, as many as may be; revoke some.")
        tokens[made.public] = made
    return token, made


def revoke_token(path: Path, name: str) -> Token:
    """Take a token out of the file; running servers refuse it within a second.

    Parameters
    ----------
    path : Path
    name : str

    Returns
    -------
    Token
        What was taken out.

    Raises
    ------
    TokenNameError
        When none has the name.
    PrivateFileError
        When the file cannot be read or written.
    """
    with _changing(path) as tokens:
        for one in tokens.values():
            if one.name == name:
                return tokens.pop(one.public)
        raise TokenNameError(f"No token is named {name[:80]!r}; `anacrusis token list` shows those that there are.")


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, Token]]:
    """Read the tokens and write what has become of them, while nobody else does; a reader sees one or the other."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise PrivateFileError(f"{_WHAT} cannot be kept in {path.parent}: {error.strerror}.") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        tokens = read_tokens(path) if path.exists() else {}
        yield tokens
        try:
            _replace(path, _written(tokens.values()))
            os.fsync(folder)
        except OSError as error:
            raise PrivateFileError(f"{_WHAT} {path} cannot be written: {error.strerror}.") from error
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    # Made for its owner alone, and under its name only once it is whole.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _written(tokens: Iterable[Token]) -> str:
    entries = [
        {
            "name": one.name,
            "role": one.role.name.lower(),
            "public": one.public,
            "salt": one.salt.hex(),
            "sha256": one.sha256.hex(),
            "created": one.created.isoformat(),
            "expires": None if one.expires is None else one.expires.isoformat(),
        }
        for one in tokens
    ]
    return json.dumps({"format": _FORMAT, "version": _VERSION, "tokens": entries}, indent=2) + "\n"


def _parsed(data: bytes, path: Path) -> dict[str, Token]:
    try:
        found = json.loads(data)
        if (found["format"], found["version"]) != (_FORMAT, _VERSION):
            raise ValueError(f"it is of the format {found['format']!r}, version {found['version']!r}")
        entries = [_entry(one) for one in found["tokens"]]
        for what in ("name", "public"):
            if len({getattr(one, what) for one in entries}) != len(entries):
                raise ValueError(f"two entries have the same {what!r}")
        if len(entries) > MAX_TOKENS:
            raise ValueError(f"it holds {len(entries)} tokens, and {MAX_TOKENS} may be")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise PrivateFileError(
            f"{_WHAT} {path} cannot be used ({type(error).__name__}: {str(error)[:200]}); write it with "
            "`anacrusis token add`, or restore it from a backup."
        ) from None
    return {one.public: one for one in entries}


def _entry(one: Any) -> Token:
    entry = Token(
        one["name"],
        Role.of(one["role"]),
        one["public"],
        bytes.fromhex(one["salt"]),
        bytes.fromhex(one["sha256"]),
        _time(one["created"]),
        None if one["expires"] is None else _time(one["expires"]),
    )
    named = _NAME.fullmatch(entry.name) and _PUBLIC_PART.fullmatch(entry.public)
    if not named or (len(entry.salt), len(entry.sha256)) != (SALT_BYTES, 32):
        raise ValueError(f"the entry of {entry.name[:80]!r} is none")
    return entry


def _time(text: str) -> dt.datetime:
    time = dt.datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    time.timestamp()  # one that is out of any range says so here
    return time
