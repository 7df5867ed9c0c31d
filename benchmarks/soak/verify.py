"""What must hold behind every kill: looked at through the door of the server, and in the tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.soak import world
from benchmarks.soak.journal import Journal
from benchmarks.soak.load import K, fault_of
from grpc_service.client import Client, Filters
from index import MAX_K, LeaseHeldError, Store
from jobs.doctor import DoctorReport, examine

ASKED = 6
FOLLOWS_WITHIN_S = TIMEOUT_S = 600.0  # for all of this may be halted meanwhile
_EMBEDDINGS = 5000
# What a finding of the doctor means here; a lease that a killed job held is no fault.
_MEANS = {"keys": "duplicated", "index": "half_published", "snapshot": "half_published", "publishes": "half_published"}


def settle(home: Path, journal: Journal, *, goes_on: bool = False) -> None:
    """Look into the tables whether all that was acknowledged is there, once; and believe what was not answered.

    Parameters
    ----------
    home : Path
    journal : Journal
    goes_on : bool
        Whether the server lives, so that what it did not answer may happen yet.
    """
    for one in _examined(home).findings:
        if one.level == "problem" and one.check not in ("lease", "space"):
            journal.fault(_MEANS.get(one.check, "damaged"), one.sentence)
    with Store.open(home, create=False, read_only=True) as store:
        records = {record.track_id: record for record in store.tracks()}
        withdrawn = store.withdrawn()
        tracks = sorted({track_id for track_id, _ in journal.events.values()})
        events = Counter(event.event_id for event in store.feedback(tracks)) if tracks else Counter()
    for track_id, life in journal.lives().items():
        record = records.get(track_id)
        found = record.artist_ids[0] if record is not None else None
        if found != life.acknowledged and found not in life.possible:
            journal.fault("lost", f"{track_id} is stored by {found} and was acknowledged by {life.acknowledged}")
        life.acknowledged = found
        if not goes_on:
            life.possible.clear()
        if life.withdrawn == "yes" and track_id not in withdrawn:
            journal.fault("lost", f"the withdrawal of {track_id}")
        if track_id in withdrawn:
            life.withdrawn = "yes"
            journal.withdrawn.add(track_id)
        elif not goes_on:
            life.withdrawn = "no"
    for event_id, (track_id, acknowledged) in list(journal.events.items()):
        if events[event_id] > 1:
            journal.fault("duplicated", f"event {event_id}")
        if acknowledged and not events[event_id]:
            journal.fault("lost", f"event {event_id} on {track_id}")
        if events[event_id]:
            journal.events[event_id] = (track_id, True)
        elif not goes_on:
            del journal.events[event_id]


def _examined(home: Path) -> DoctorReport:
    """Have the doctor look, which sets the lease of a killed job free as well."""
    try:
        return examine(home, repair=True)
    except LeaseHeldError:  # something can be repaired, and the server is at work
        return examine(home)


def _caught_up(client: Client, home: Path) -> str:
    """Wait until the server serves what is published, and give its space."""
    with Store.open(home, create=False, read_only=True) as store:
        published = store.published()
    assert published is not None
    until = time.monotonic() + FOLLOWS_WITHIN_S
    while (status := client.status()).snapshot_id != published.snapshot_id:
        if time.monotonic() > until:
            raise RuntimeError(f"The server serves {status.snapshot_id} where {published.snapshot_id} is published.")
        time.sleep(0.05)
    return status.space_id


def wait_for(address: str, track_ids: Sequence[str]) -> None:
    """Wait until a server shows tracks that another process took in; what it never shows is for others to tell."""
    until = time.monotonic() + FOLLOWS_WITHIN_S
    with Client(address, timeout_s=TIMEOUT_S, retries=4) as client:
        while not set(track_ids) <= _seen(client).keys() and time.monotonic() < until:
            time.sleep(0.05)


def _seen(client: Client) -> dict[str, list[str]]:
    """Ask for all that a server shows: of each track, the artists under whom it is found, as often as it is."""
    query = np.ones(world.dim_of(world.number_of(client.status().space_id)), np.float32)
    seen: dict[str, list[str]] = {}
    for artist in world.ARTISTS:
        for track_id in client.neighbors_of_vector(query, MAX_K, filters=Filters(artists_in=[artist])).track_ids:
            seen.setdefault(track_id, []).append(artist)
    return seen


def _shown_as_they_were(home: Path, of: set[str]) -> list[str]:
    """Wait until the tracks are served as they are stored, and name those that never are."""
    until = time.monotonic() + FOLLOWS_WITHIN_S
    while True:
        with Store.open(home, create=False, read_only=True) as store:
            published = store.published()
            assert published is not None
            stale = sorted(of.intersection(store.stale_ids(published)))
        if not stale or time.monotonic() > until:
            return stale
        time.sleep(0.05)


def ask_all(home: Path, address: str, journal: Journal, seed: int) -> None:
    """Ask a server at rest for everything: what is there exactly once, what is withdrawn never."""
    lives = {track_id: life for track_id, life in journal.lives().items() if life.is_settled}
    unsettled = journal.lives().keys() - lives.keys()
    artists = {track_id: life.acknowledged for track_id, life in lives.items() if life.is_there} | world.WARM_ARTISTS
    there = {track_id for track_id in artists if track_id not in world.WARM_ARTISTS}
    gone = {track_id for track_id, life in lives.items() if life.withdrawn == "yes"}
    known: dict[int, Mapping[str, np.ndarray]] = {}
    with Client(address, timeout_s=TIMEOUT_S, retries=4) as client:
        number = world.number_of(_caught_up(client, home))
        asked = sorted(there | gone)
        for start in range(0, len(asked), _EMBEDDINGS):
            some = asked[start : start + _EMBEDDINGS]
            found, failed = client.get_embeddings(some)
            if len({(one.space_id, one.snapshot_id) for one in found}) > 1:
                journal.fault("wrong_answer", "a batch of vectors is of several snapshots")
            for track_id in some:
                reason = failed[track_id].reason if track_id in failed else ""
                if track_id in there and reason:
                    journal.fault("lost", f"{track_id} has no vector: {reason}")
                if track_id in gone and reason != "TRACK_WITHDRAWN":
                    journal.fault("wrong_answer", f"{track_id} is withdrawn and has {reason or 'a vector'}")
        seen = _seen(client)
        for track_id in sorted(seen.keys() - unsettled):
            if len(seen[track_id]) > 1:
                journal.fault("duplicated", f"{track_id} in answers")
            elif track_id not in artists:
                journal.fault("wrong_answer", f"{track_id} is in an answer and should not be")
            elif seen[track_id] != [artists[track_id]]:
                journal.fault("wrong_answer", f"{track_id} is found by {seen[track_id]}, it is by {artists[track_id]}")
        for track_id in sorted(artists.keys() - seen.keys()):
            journal.fault("lost", f"{track_id} is in no answer")
        for track_id in _shown_as_they_were(home, there):
            journal.fault("lost", f"{track_id} is served as it was before its last change")
        rng = np.random.default_rng(seed)
        for _ in range(ASKED):
            query = rng.normal(size=world.dim_of(number)).astype(np.float32)
            fault = fault_of(client.neighbors_of_vector(query, K), query, number, gone, known)
            if fault:
                journal.fault("wrong_answer", fault)
