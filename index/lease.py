"""A lease: one process at a time does what a home bears only once, such as a refresh.

A row of ``registry/leases.lance`` says who holds a lease and until when. Taking it is one conditional merge, which
Lance commits or does not, on a disk as on an object store: the row becomes ours where it was missing or has expired.
Of several that try at one moment, the losers' merges are done again on the winner's row, whose condition then fails.
Every taking has a token of its own, and whoever's token stands in the row holds the lease, whatever a clock says.

What is assumed of clocks: that those of two machines differ by less than a quarter of the lease's ttl. The row promises
`_SLACK` ttl more than its holder counts on, so that a clock that is fast by less takes nothing over early. Where
clocks are further apart, a lease may be taken from a living holder; `Lease.check` then tells the holder, which is
why work under a lease checks before each step that others would see.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from index.errors import InvalidInputError, LeaseHeldError, LeaseLostError, StoreError
from index.layout import Home
from index.schemas import LEASES
from index.tables import Table
from index.types import utc_now
from index.validation import check_name

_log = logging.getLogger(__name__)

DEFAULT_TTL_S = 60.0
"""How long a holder that died keeps others waiting, at most 1.25 times: long beside a renewal (a few ms on a disk, a
second on a slow object store), short beside a refresh."""

_SLACK = 0.25  # of the ttl: by how much two clocks may differ
_RENEWALS = 3  # in one ttl: two may fail
_FREE = "target.expires_at < source.acquired_at"
_OURS = "target.token = source.token"
_RELEASED = datetime.fromtimestamp(0, UTC)


# Further ahead than clocks of machines that share a home ever are.
_CLOCK_WAS_WRONG = timedelta(minutes=5)


@dataclass(frozen=True)
class HeldLease:
    """A row that keeps others waiting.

    Attributes
    ----------
    name, holder : str
    token : str
        Of this taking.
    acquired_at, expires_at : datetime
        When it was taken or renewed, and until when, by its holder's clock, in UTC.
    """

    name: str
    holder: str
    token: str
    acquired_at: datetime
    expires_at: datetime

    def why_stale(self, now: datetime) -> str:
        """Say why nobody can be behind it any more; empty where somebody may."""
        if self.acquired_at > now + _CLOCK_WAS_WRONG:
            return f"it was taken at {self.acquired_at:%Y-%m-%d %H:%M} UTC, which is yet to come: a clock was wrong"
        host, _, pid = self.holder.rpartition(":")
        if host == socket.gethostname() and pid.isdigit() and not _lives(int(pid)):
            return f"process {pid} of this machine, which took it, has ended"
        return ""


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:  # no number of a process
        return False
    except PermissionError:
        return True
    return True


class Leases:
    """The leases of one home.

    Parameters
    ----------
    home : Home
        Its table of leases is made with the first one.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._table: Table | None = None
        self._lock = threading.Lock()

    def table(self) -> Table | None:
        """Give the table; None before the first lease."""
        with self._lock:
            if self._table is None and self._home.exists(self._home.registry("leases")):
                self._table = Table(self._home.registry("leases"), "registry/leases", "name")
            return self._table

    def _made(self) -> Table:
        if (found := self.table()) is not None:
            return found
        with self._lock:
            self._table = Table.create(self._home.registry("leases"), "registry/leases", "name", LEASES.empty_table())
            return self._table

    def held(self, now: datetime) -> list[HeldLease]:
        """List those that have not expired, whoever holds them."""
        table = self.table()
        rows = table.read().to_pylist() if table is not None else []
        return [HeldLease(**row) for row in rows if row["expires_at"] > now]

    def revoke(self, lease: HeldLease) -> None:
        """Set a stale lease free, unless somebody else has it by now."""
        row = asdict(lease) | {"expires_at": _RELEASED}
        self._made().upsert(pa.Table.from_pylist([row], schema=LEASES), update_if=_OURS)

    @contextmanager
    def hold(self, name: str, ttl_s: float) -> Iterator[Lease]:
        """Take a lease, keep it while the body runs, and give it back; see `Store.lease`."""
        check_name(name, "name")
        if not ttl_s > 0:
            raise InvalidInputError(f"ttl_s of lease {name!r} is {ttl_s}: it must be above 0", field="ttl_s")
        lease = Lease(self._made(), name, ttl_s)
        lease._acquire()
        try:
            yield lease
        finally:
            lease._release()


class Lease:
    """A lease that is held; `Store.lease` gives it.

    Attributes
    ----------
    name : str
    holder : str
        This process, as ``host:pid``.
    ttl_s : float
        How long it stays ours without being renewed; a thread renews it three times as often.
    """

    def __init__(self, table: Table, name: str, ttl_s: float) -> None:
        self.name = name
        self.holder = f"{socket.gethostname()}:{os.getpid()}"
        self.ttl_s = ttl_s
        self._table = table
        self._token = secrets.token_hex(16)
        self._ours_until = 0.0  # by the monotonic clock: a clock that is set anew moves nothing
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._renewer = threading.Thread(target=self._keep, name=f"lease-{name}", daemon=True)

    def check(self) -> None:
        """Make sure that the lease is still ours: before each step that others would see.

        A lease that ran out while this process stood still, and that nobody took meanwhile, is renewed.

        Raises
        ------
        LeaseLostError
            Another process took it over, or it was given back.
        DamagedHomeError
            The table of leases cannot be read or written.
        """
        if self._ended.is_set():
            raise LeaseLostError(f"lease {self.name!r} was given back already: take it anew")
        if time.monotonic() >= self._ours_until:
            self._renew()
        row = self._row()
        if row["token"] != self._token:
            raise LeaseLostError(
                f"lease {self.name!r} was taken over by {row['holder']!r} after {self.holder!r} could not renew it "
                f"within {self.ttl_s:g} s: nothing more is written here, run it again when the other is done"
            )

    def _acquire(self) -> None:
        while True:
            now = utc_now()
            self._put(_FREE, now)
            row = self._row()
            if row["token"] == self._token:
                break
            if row["expires_at"] >= now:  # else it was given back between the two: once more
                raise LeaseHeldError(self.name, row["holder"], row["expires_at"])
        self._renewer.start()

    def _put(self, condition: str, now: datetime, expires_at: datetime | None = None) -> None:
        counted_from = time.monotonic()
        until = expires_at or now + timedelta(seconds=self.ttl_s * (1 + _SLACK))
        row = {
            "name": self.name,
            "holder": self.holder,
            "token": self._token,
            "acquired_at": now,
            "expires_at": until,
        }
        self._table.upsert(pa.Table.from_pylist([row], schema=LEASES), update_if=condition)
        self._ours_until = counted_from + self.ttl_s

    def _row(self) -> dict[str, Any]:
        # All of them, which are few: a third of the time of a look-up.
        (row,) = (row for row in self._table.read().to_pylist() if row["name"] == self.name)
        return dict(row)

    def _renew(self) -> None:
        with self._writing:
            if not self._ended.is_set():
                self._put(_OURS, utc_now())

    def _keep(self) -> None:
        while not self._ended.wait(self.ttl_s / _RENEWALS):
            try:
                self._renew()
            except StoreError:
                # The next turn tries again, and `check` says it where it matters.
                _log.warning("lease %r could not be renewed", self.name, exc_info=True)

    def _release(self) -> None:
        with self._writing:
            self._ended.set()
            try:
                self._put(_OURS, utc_now(), _RELEASED)
            except StoreError:
                # It expires by itself: what was done under it is done.
                _log.warning("lease %r could not be given back", self.name, exc_info=True)
        self._renewer.join()
