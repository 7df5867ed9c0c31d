"""Clients that send and ask until the server is gone, and write down what they were told."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Mapping
from typing import Self

import grpc
import numpy as np

from benchmarks.soak import world
from benchmarks.soak.journal import Journal
from grpc_service.client import Client, ClientError, Feedback, Neighbors, Tier
from grpc_service.client_errors import error_of_call
from grpc_service.pb.anacrusis.v1 import release_service_pb2 as pb
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub

SENDERS = 4
K = 12
TIMEOUT_S = 120.0
# What a server says that is going, or busy: nothing is promised, and nothing is wrong.
AWAY = frozenset({"UNAVAILABLE", "CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED"})
BUSY = frozenset({"QUEUE_FULL", "HOME_BUSY", "PUBLISHED_MEANWHILE", "LEASE_LOST", "DRAINING", "STORE_CLOSED"})

_numbers = itertools.count()


def warm_vectors(number: int, known: dict[int, Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """Give the vectors of a training by track; remembered in `known`."""
    if number not in known:
        known[number] = dict(zip(world.WARM, world.vectors(number), strict=True))
    return known[number]


class Load:
    """Clients from entering the block to leaving it.

    Parameters
    ----------
    address : str
    journal : Journal
    mixture : mapping of str to float
        How often each of ``ingest``, ``update``, ``upload``, ``feedback``, ``withdraw``, ``ask`` and ``refresh`` is
        done by those who send.
    seed : int
    ends : bool
        Whether the server is going to be killed: where it is not, one that is away is a fault.
    """

    def __init__(
        self, address: str, journal: Journal, mixture: Mapping[str, float], seed: int, *, ends: bool = False
    ) -> None:
        self._ends = ends
        self._address = address
        self._journal = journal
        self._mixture = mixture
        self._seed = seed
        self._stop = threading.Event()
        self._known: dict[int, Mapping[str, np.ndarray]] = {}

    def __enter__(self) -> Self:
        self._client = Client(self._address, timeout_s=TIMEOUT_S, retries=0)
        self._channel = grpc.insecure_channel(self._address, options=[("grpc.enable_http_proxy", 0)])
        mine = sorted(self._journal.lives())
        self._threads = [
            threading.Thread(target=self._send, args=(place, mine[place::SENDERS]), name=f"sender-{place}")
            for place in range(SENDERS)
        ]
        self._threads.append(threading.Thread(target=self._keep_asking, name="asker"))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._channel.close()

    # What is sent ----------------------------------------------------------------------------------------------------

    def _send(self, place: int, mine: list[str]) -> None:
        chance = random.Random(self._seed * 1000 + place)
        operations: dict[str, Callable[[random.Random, list[str]], None]] = {
            "ingest": self._ingest_new,
            "update": self._update,
            "upload": self._upload_new,
            "feedback": self._feedback,
            "withdraw": self._withdraw,
            "ask": lambda chance, mine: self._ask(chance),
            "refresh": self._refresh if place == 0 else lambda chance, mine: self._ask(chance),
        }
        names, weights = list(self._mixture), list(self._mixture.values())
        while not self._stop.is_set():
            (name,) = chance.choices(names, weights)
            self._guarded(name, lambda name=name: operations[name](chance, mine))  # type: ignore[misc]

    def _keep_asking(self) -> None:
        chance = random.Random(self._seed)
        while not self._stop.is_set():
            self._guarded("ask", lambda: self._ask(chance))

    def _guarded(self, name: str, operation: Callable[[], None]) -> None:
        try:
            operation()
        except (ClientError, grpc.RpcError) as raised:
            error = error_of_call(raised) if isinstance(raised, grpc.RpcError) else raised
            if error.reason in AWAY and self._ends:
                self._stop.set()
            elif error.reason == "DEADLINE_EXCEEDED":  # it may have happened, or happen yet
                with self._journal.lock:
                    self._journal.unanswered[name] += 1
            elif error.reason not in BUSY:
                self._journal.fault("failed", f"{error.reason}: {error}")
                if error.reason in AWAY:
                    self._stop.set()
        except Exception as error:  # a mistake of the harness must not pass for a clean run
            self._journal.fault("failed", repr(error))
            self._stop.set()

    def _ingest_new(self, chance: random.Random, mine: list[str]) -> None:
        track_id = f"new-{self._seed}-{next(_numbers)}"
        mine.append(track_id)
        self._ingest(track_id, chance.choice(world.ARTISTS))

    def _update(self, chance: random.Random, mine: list[str]) -> None:
        there = [one for one in mine if self._journal.life(one).is_there]
        if not there:
            return self._ingest_new(chance, mine)
        return self._ingest(chance.choice(there), chance.choice(world.ARTISTS))

    def _ingest(self, track_id: str, artist: str) -> None:
        life = self._journal.life(track_id)
        life.possible.add(artist)
        taken = self._client.ingest(track_id, artist_ids=[artist], audio=world.audio(track_id))
        self._taken(track_id, artist, "ingest", taken.served)

    def _upload_new(self, chance: random.Random, mine: list[str]) -> None:
        track_id, artist = f"up-{self._seed}-{next(_numbers)}", chance.choice(world.ARTISTS)
        mine.append(track_id)
        self._journal.life(track_id).possible.add(artist)
        sound = world.audio(track_id)
        track = pb.TrackMetadata(track_id=track_id, credits=[pb.Credit(artist_id=artist)])
        parts = [pb.UploadTrackRequest(header=pb.UploadHeader(track=track, size_bytes=len(sound)))]
        parts += [pb.UploadTrackRequest(chunk=sound[at : at + 4096]) for at in range(0, len(sound), 4096)]
        reply = ReleaseServiceStub(self._channel).UploadTrack(iter(parts), timeout=TIMEOUT_S)
        self._taken(track_id, artist, "upload", reply.track.served)

    def _taken(self, track_id: str, artist: str, how: str, served: bool) -> None:
        self._journal.take_in(track_id, artist, how)
        if not served:
            self._journal.fault("lost", f"{track_id} was taken in and is not served")
        self._client.neighbors_of_track(track_id, k=1)  # refused, and noted, where it is not found

    def _feedback(self, chance: random.Random, mine: list[str]) -> None:
        there = [one for one in mine if self._journal.life(one).is_there]
        if not there:
            return self._ingest_new(chance, mine)
        track_id, event_id = chance.choice(there), f"event-{self._seed}-{next(_numbers)}"
        self._journal.events[event_id] = (track_id, False)
        action = chance.choice(("play", "play", "skip"))
        event = Feedback(track_id, chance.choice(world.USERS), action, event_id=event_id)
        (result,) = self._client.record_feedback([event]).results
        if result.state == "refused":
            return self._journal.fault("failed", f"feedback on {track_id}: {result.error}")
        self._journal.events[event_id] = (track_id, True)
        return self._journal.acknowledge("feedback")

    def _withdraw(self, chance: random.Random, mine: list[str]) -> None:
        there = [one for one in mine if self._journal.life(one).is_there]
        if not there:
            return self._ingest_new(chance, mine)
        track_id = chance.choice(there)
        life = self._journal.life(track_id)
        life.withdrawn = "asked"
        self._client.withdraw([track_id], reason="soak")
        life.withdrawn = "yes"
        self._journal.acknowledge("withdraw")
        with self._journal.lock:
            self._journal.withdrawn.add(track_id)
        try:
            self._client.neighbors_of_track(track_id, k=1)
        except ClientError as error:
            if error.reason == "TRACK_WITHDRAWN":
                return None
            raise
        return self._journal.fault("wrong_answer", f"{track_id} is found behind its withdrawal")

    def _refresh(self, chance: random.Random, mine: list[str]) -> None:
        for _ in self._client.refresh(timeout_s=TIMEOUT_S):
            pass
        self._journal.acknowledge("refresh")

    # What is asked ---------------------------------------------------------------------------------------------------

    def _ask(self, chance: random.Random) -> None:
        with self._journal.lock:
            gone = set(self._journal.withdrawn)
        status = self._client.status()
        if not status.space_id:
            return
        number = world.number_of(status.space_id)
        query = np.random.default_rng(chance.getrandbits(32)).normal(size=world.dim_of(number)).astype(np.float32)
        try:
            found = self._client.neighbors_of_vector(query, K, space_id=status.space_id)
        except ClientError as error:
            if error.reason == "SPACE_MISMATCH":  # published meanwhile
                return
            raise
        fault = fault_of(found, query, number, gone, self._known)
        with self._journal.lock:
            self._journal.answers += 1
        if fault:
            self._journal.fault("wrong_answer", fault)


def fault_of(
    found: Neighbors,
    query: np.ndarray,
    number: int,
    gone: set[str],
    known: dict[int, Mapping[str, np.ndarray]],
) -> str:
    """Say what is wrong with an answer that has to be of one training; empty where nothing is."""
    if found.space_id != world.space_id(number):
        return f"space {found.space_id} answers a question about {world.space_id(number)}"
    if len(set(found.track_ids)) != len(found.track_ids):
        return "a track stands in an answer twice"
    if gone.intersection(found.track_ids):
        return f"{min(gone.intersection(found.track_ids))} is in an answer behind its withdrawal"
    warm = warm_vectors(number, known)
    for hit in found:
        if (hit.tier == Tier.COLLABORATIVE) != (hit.track_id in warm):
            return f"{hit.track_id} has the tier {hit.tier.name} in {found.space_id}"
        if hit.track_id in warm:
            right = float(query @ warm[hit.track_id])
            scale = float(np.linalg.norm(query) * np.linalg.norm(warm[hit.track_id]))
            if abs(right - hit.score) > 2.0**-9 * scale:
                return f"{hit.track_id} scores {hit.score} where {found.space_id} has {right}"
    return ""
