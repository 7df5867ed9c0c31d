"""The audit log: who did what to the service, before it is done and with what came of it; a line of JSON each.

An act is written down, and brought to the disk, before it begins: what cannot be written down is not done. A second
line has the outcome. Lines are only ever added, by any number of processes.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import logging
import os
import pwd
import secrets
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BEGUN, DONE, FAILED, UNKNOWN = "begun", "done", "failed", "unknown"
CALLER_LEFT = "CALLER_LEFT"
"""Why an outcome is unknown: what had begun may have been done, or been left."""

FILE_NAME = "audit.jsonl"
_log = logging.getLogger(__name__)


class AuditError(Exception):
    """The audit log cannot be written, so that nothing is done that has to stand in it."""

    reason = "AUDIT_UNWRITABLE"
    field = "audit"


@dataclass(frozen=True)
class Act:
    """What somebody does.

    Attributes
    ----------
    name : str
        The method's name, or the command's.
    who : str
        ``token:NAME``, ``certificate:NAME``, ``anybody``, or ``user:NAME`` of this machine.
    peer : str
        The address that it came from.
    what : mapping of str to object
        What it is done to; in JSON's types, without secrets.
    request_id : str
        Names the call in the log and in its errors, and both lines here.
    """

    name: str
    who: str
    peer: str
    what: Mapping[str, Any]
    request_id: str = field(default_factory=lambda: secrets.token_hex(16))


class AuditLog:
    """Where acts are written down.

    Parameters
    ----------
    path : Path or None
        A file; made, for its owner alone, where there is none. None: standard error, for whatever collects it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def check(self) -> None:
        """Refuse early what could not be written.

        Raises
        ------
        AuditError
            When the file cannot be appended to.
        """
        if self.path is not None:
            self._append(self.path, b"")

    def begin(self, act: Act) -> None:
        """Write an act down that is about to begin.

        Raises
        ------
        AuditError
            When it cannot be: it must not be done.
        """
        self._write(act, BEGUN, "")

    def end(self, act: Act, reason: str = "") -> None:
        """Write down what has come of it; where that fails it is logged, as the act is done.

        Parameters
        ----------
        act : Act
        reason : str, optional
            Why it failed; empty: it did not.
        """
        try:
            self._write(act, UNKNOWN if reason == CALLER_LEFT else FAILED if reason else DONE, reason)
        except AuditError as failure:
            _log.error("what came of request %s is missing in the audit log: %s", act.request_id, failure)

    @contextmanager
    def recording(self, act: Act) -> Iterator[None]:
        """Write an act down around what is done inside.

        Raises
        ------
        AuditError
            When it cannot be; then nothing inside is done.
        """
        self.begin(act)
        try:
            yield
        except BaseException as error:
            self.end(act, reason_of(error))
            raise
        self.end(act)

    def _write(self, act: Act, outcome: str, reason: str) -> None:
        line = {
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "act": act.name,
            "who": act.who,
            "peer": act.peer,
            "request_id": act.request_id,
            "what": dict(act.what),
            "outcome": outcome,
        } | ({"reason": reason} if reason else {})
        text = json.dumps(line, default=str)  # in ASCII: no character of a caller's ends a line
        if self.path is None:
            print(f"audit {text}", file=sys.stderr, flush=True)
        else:
            self._append(self.path, text.encode() + b"\n")

    @staticmethod
    def _append(path: Path, line: bytes) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(path, flags, 0o600)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise AuditError(f"The audit log {path} is no regular file; name another one in access.audit.")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                end = os.lseek(descriptor, 0, os.SEEK_END)
                if line and end and os.pread(descriptor, 1, end - 1) != b"\n":
                    line = b"\n" + line  # whoever wrote before was cut off: this line shall be readable all the same
                while line:
                    line = line[os.write(descriptor, line) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise AuditError(
                f"The audit log {path} cannot be written ({error.strerror}); make room, or name another file in "
                "access.audit."
            ) from error


def reason_of(error: BaseException) -> str:
    """Return the word that stands for an error: its reason, or what kind it is of."""
    return str(getattr(error, "reason", "") or type(error).__name__)


def local_act(name: str, what: Mapping[str, Any]) -> Act:
    """Name what is done by a command on this machine, and by whom.

    Parameters
    ----------
    name : str
        The command's.
    what : mapping of str to object
        See `Act`.

    Returns
    -------
    Act
    """
    user = os.getuid()
    try:
        who = pwd.getpwuid(user).pw_name
    except KeyError:  # a container's user, who stands in no list
        who = str(user)
    return Act(name, f"user:{who}", f"{socket.gethostname()}:{os.getpid()}", what)
