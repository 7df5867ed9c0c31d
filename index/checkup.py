"""Examining a home: whether everything is there, whole, and in step with the rest.

It opens each part by itself, so that what is damaged keeps nobody from looking at the others. It reads every row and
every index file once. What other processes do meanwhile disturbs neither side: it reads versions, which stay.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from index.errors import DamagedHomeError
from index.findings import Finding, Level
from index.layout import Home
from index.lease import DEFAULT_TTL_S, Leases
from index.registry import Registry
from index.retention import Retention
from index.snapshots import index_fault, read_base, read_rows
from index.store import Store
from index.tables import Table
from index.types import SnapshotRecord, SpaceRecord, utc_now
from index.upkeep import Upkeep, alerts

_ALWAYS_THERE = ("tracks", "withdrawn", "registry/spaces", "registry/snapshots", "registry/publishes")
# Nobody writes for so long: what is older was left by a process that ended.
_LEFT_AFTER_S = 86_400.0
# A refresh writes an index anew beside the one that is served, and rows beside it.
_ROOM_INDEXES = 2
_LEAST_ROOM_BYTES = 256 << 20
_NAMED = 3  # examples in a sentence
# Where files, and folders of models, are written before they get their names; and how those end that are made up.
_UNFINISHED = (".*.tmp", "indexes/*/.*.tmp", "models/.*.tmp", "models/*/.*", "models/*/*/.*.tmp")
_MADE_UP = re.compile(r"(\.[0-9a-f]{8}\.tmp|-[a-z0-9_]{8})$")


@dataclass(frozen=True)
class _Place:
    """A table that should be there, or may be."""

    address: str
    name: str
    key: str
    needed: bool
    remedy: str


class Checkup:
    """Examines one home folder.

    Parameters
    ----------
    home : Home
        A home; opened for reading only where nothing is to be repaired.
    now : datetime, optional
        By which it is decided what is old; in UTC.

    Attributes
    ----------
    tables, snapshots : int
        How many were looked at so far.
    """

    def __init__(self, home: Home, now: datetime | None = None) -> None:
        self._home = home
        self._now = now or utc_now()
        self.tables = self.snapshots = 0

    def repairing(self) -> AbstractContextManager[object]:
        """Keep refreshes away while the body of a ``with`` runs; raises `LeaseHeldError` where one is at work."""
        return Leases(self._home).hold("refresh", DEFAULT_TTL_S)

    def findings(self) -> Iterator[Finding]:
        """Look at one thing after the other.

        Raises
        ------
        DamagedHomeError
            There is no home (``HOME_NOT_FOUND``).
        HomeUnreachableError
        """
        try:
            self._home.check_marker(create=False)
        except DamagedHomeError as error:
            if error.reason != DamagedHomeError.default_reason:
                raise
            yield _problem("marker", "home.json", str(error))
            return
        yield from self._leases()
        broken: list[Finding] = []
        for place in self._places_of_home():
            for finding in self._table(place):
                broken.append(finding)
                yield finding
        if any(one.subject in _ALWAYS_THERE and one.repair is None for one in broken):
            yield Finding(
                "snapshot",
                "all",
                Level.NOTICE,
                "The spaces and snapshots were not looked at, because tables that name them cannot be read.",
            )
        else:
            # Closed by nobody, as it commits nothing and closing it would close the files of this home.
            yield from self._of_spaces(Store(self._home), whole=all(one.repair is not None for one in broken))
        yield from self._room()
        yield from self._unfinished_files()

    # Tables ----------------------------------------------------------------------------------------------------------

    def _places_of_home(self) -> Iterator[_Place]:
        home = self._home
        restore = "restore it from a backup"
        yield _Place(home.tracks, "tracks", "track_id", True, f"{restore}, or ingest the manifests again")
        yield _Place(home.withdrawn, "withdrawn", "track_id", True, f"{restore}, or withdraw all of them again")
        for name, key in (("spaces", "space_id"), ("snapshots", "snapshot_id"), ("publishes", "sequence")):
            yield _Place(home.registry(name), f"registry/{name}", key, True, restore)
        for name in ("retired", "leases"):
            remedy = (
                "move its folder away: it is made anew, and the upkeep decides again"
                if name == "retired"
                else ("stop all that works on this home and move its folder away: it is made anew")
            )
            yield _Place(home.registry(name), f"registry/{name}", "name", False, remedy)
        yield _Place(home.feedback, "feedback", "event_id", False, f"{restore}, or send the feedback again")
        yield _Place(home.standings, "standings", "track_id", False, f"{restore}, or send the feedback again")
        for encoder_id in home.encoder_ids:
            remedy = "move its folder away and hear the tracks again, by `anacrusis backfill` or `anacrusis ingest`"
            yield _Place(home.content(encoder_id), f"content/{encoder_id}", "track_id", False, remedy)

    def _places_of_space(self, space: SpaceRecord, creation: str) -> Iterator[_Place]:
        home, space_id = self._home, space.space_id
        again = "restore it from a backup, or import the training under another id and publish that"
        yield _Place(home.served(space_id, creation), f"served/{space_id}", "track_id", True, again)
        yield _Place(home.fresh(space_id, creation), f"fresh/{space_id}", "track_id", True, again)
        yield _Place(home.users(space_id, creation), f"users/{space_id}", "user_id", True, again)
        yield _Place(home.moved(space_id, creation), f"moved/{space_id}", "track_id", False, again)

    def _table(self, place: _Place) -> Iterator[Finding]:
        if not self._home.exists(place.address):
            if place.needed:
                yield _problem("table", place.name, f"Table {place.name} is not there: {place.remedy}.")
            return
        self.tables += 1
        try:
            table = Table(place.address, place.name, place.key)
            for _ in table.batches(table.schema.names):
                pass
            twins = table.twins()
        except DamagedHomeError as error:
            cause = str(error.__cause__).partition("\n")[0][:200]
            yield _problem("table", place.name, f"Table {place.name} cannot be read ({cause}): {place.remedy}.")
            return
        if twins:
            mine = not place.name.startswith("registry/")
            yield Finding(
                "keys",
                place.name,
                Level.PROBLEM,
                f"Table {place.name} has {len(twins)} keys more than once, such as {_some(twins)}: "
                + ("the newest row of each is the one that counts." if mine else f"{place.remedy}."),
                partial(table.drop_older, twins) if mine else None,
            )

    # Spaces and snapshots --------------------------------------------------------------------------------------------

    def _of_spaces(self, store: Store, *, whole: bool) -> Iterator[Finding]:
        registry = store.registry
        unreadable: set[str] = set()
        for space in registry.spaces():
            for place in self._places_of_space(space, registry.creation(space.space_id)):
                for finding in self._table(place):
                    if finding.repair is None:
                        unreadable.add(space.space_id)
                    yield finding
        for snapshot in registry.snapshots():
            if snapshot.space_id not in unreadable:
                self.snapshots += 1
                yield from self._snapshot(store, snapshot)
        yield from self._publishes(registry)
        if unreadable or not whole:
            return
        leftovers = [one for some in Upkeep(store, Retention(), self._now).leftovers() for one in some]
        if leftovers:
            yield Finding(
                "leftovers",
                _some(leftovers),
                Level.LEFTOVER,
                f"{len(leftovers)} snapshots or spaces that nobody reads any more have files: "
                "`anacrusis maintain` deletes them.",
                partial(Upkeep(store, Retention(), self._now).discard),
            )
        for sentence in alerts(Upkeep(store, Retention()).figures()):
            yield Finding("upkeep", sentence.split()[1], Level.NOTICE, f"{sentence[0].upper()}{sentence[1:]}.")

    def _snapshot(self, store: Store, snapshot: SnapshotRecord) -> Iterator[Finding]:
        name, served = snapshot.snapshot_id, store.space_tables.served(snapshot.space_id)
        try:
            rows = len(read_rows(store, snapshot).track_ids)
            fault = index_fault(store, snapshot)
            tags = served.tags()
        except DamagedHomeError as error:
            yield _problem(
                "snapshot",
                name,
                f"Snapshot {name} cannot be read, as version {snapshot.served_version} of its table is damaged "
                f"({str(error.__cause__).partition(chr(10))[0][:200]}): serve another one by "
                "`anacrusis space rollback --to`, or build one by `anacrusis refresh`.",
            )
            return
        if rows != snapshot.row_count:
            yield _problem(
                "snapshot",
                name,
                f"Snapshot {name} has {rows} rows where {snapshot.row_count} were recorded: serve another one by "
                "`anacrusis space rollback --to`, or build one by `anacrusis refresh`.",
            )
            return
        if fault:
            yield Finding(
                "index",
                name,
                Level.PROBLEM,
                f"The index of snapshot {name} is not usable ({fault}): it can be built anew from the tables.",
                partial(_build_anew, store, snapshot),
            )
        if name not in tags:
            yield Finding(
                "snapshot",
                name,
                Level.PROBLEM,
                f"Nothing keeps the upkeep from deleting the version that snapshot {name} needs: it can be marked.",
                partial(served.protect, name, snapshot.served_version),
            )

    def _publishes(self, registry: Registry) -> Iterator[Finding]:
        try:
            published = registry.published()
        except DamagedHomeError as error:
            yield _problem("publishes", registry.publishes()[-1].snapshot_id, f"{_capital(str(error))}.")
            return
        sequences = [record.sequence for record in registry.publishes()]
        if sequences != list(range(1, len(sequences) + 1)):
            yield _problem(
                "publishes", "sequence", "The publish log has gaps: restore registry/publishes.lance from a backup."
            )
        if published is None:
            yield Finding("publishes", "none", Level.NOTICE, "Nothing is published yet: queries get NO_SNAPSHOT.")

    # The rest --------------------------------------------------------------------------------------------------------

    def _leases(self) -> Iterator[Finding]:
        leases = Leases(self._home)
        try:
            held = leases.held(self._now)
        except DamagedHomeError:
            return  # it is looked at among the tables
        for one in held:
            why = one.why_stale(self._now)
            if why:
                yield Finding(
                    "lease",
                    one.name,
                    Level.PROBLEM,
                    f"Lease {one.name} is held by {one.holder} until {one.expires_at:%Y-%m-%d %H:%M:%S} UTC, but "
                    f"{why}: it can be set free.",
                    partial(leases.revoke, one),
                )
            else:
                yield Finding(
                    "lease",
                    one.name,
                    Level.NOTICE,
                    f"{one.holder} is at work on this home and holds lease {one.name} until "
                    f"{one.expires_at:%H:%M:%S} UTC, or longer while it lives.",
                )

    def _room(self) -> Iterator[Finding]:
        if self._home.local is None:
            return
        sizes = [_size(folder) for folder in (self._home.local / "indexes").glob("*")]
        wanted = max(_LEAST_ROOM_BYTES, _ROOM_INDEXES * max(sizes, default=0))
        free = shutil.disk_usage(self._home.local).free
        if free < wanted:
            yield _problem(
                "space",
                str(self._home.local),
                f"{free >> 20} MiB are free where a refresh may need {wanted >> 20}: free space, or enlarge the disk.",
            )

    def _unfinished_files(self) -> Iterator[Finding]:
        """Look for files that a killed process was writing beside the ones they were to replace."""
        if self._home.local is None:  # an object store shows a file when it is whole
            return
        root = self._home.local
        left = [
            path
            for pattern in _UNFINISHED
            for path in root.glob(pattern)
            if _MADE_UP.search(path.name) and time.time() - path.stat().st_mtime > _LEFT_AFTER_S
        ]
        if left:
            yield Finding(
                "leftovers",
                _some([str(path.relative_to(root)) for path in left]),
                Level.LEFTOVER,
                f"{len(left)} files or folders were never finished, and no name that is read leads to them.",
                partial(_delete, left),
            )


def _build_anew(store: Store, snapshot: SnapshotRecord) -> None:
    """Build an index and write it; raises where that was of no use."""
    read_base(store, snapshot, read_rows(store, snapshot))
    fault = index_fault(store, snapshot)
    if fault:
        raise DamagedHomeError(
            f"the index of snapshot {snapshot.snapshot_id} could not be written ({fault}): look at the disk and "
            "the rights"
        )


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(map(str, listed[:_NAMED])) + (", ..." if len(listed) > _NAMED else "")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _problem(check: str, subject: str, sentence: str) -> Finding:
    return Finding(check, subject, Level.PROBLEM, sentence)
