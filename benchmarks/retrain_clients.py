"""The clients of a service that is retrained: what they know, what they ask, and what they were told."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from benchmarks.made_trainings import MadeCatalogue, Training, audio_bytes
from benchmarks.reply_checks import Reply, Withdrawal
from benchmarks.steady_load import Stream
from grpc_service.client import Client, ClientError, Neighbors

K = 10
BATCH = 8
WITHDRAWABLE_SHARE = 0.2
QUERIES = ("track", "vector", "user", "tracks", "users")
"""Calls that ask for neighbours in the space that is served."""


@dataclass(frozen=True)
class Refusal:
    """A query that was refused because of the space that it named."""

    sent_s: float
    received_s: float
    space_id: str


class Clients:
    """What the clients of the service know, and what they ask.

    Parameters
    ----------
    catalogue : MadeCatalogue
    trainings : sequence of Training
        The served one first.
    """

    def __init__(self, catalogue: MadeCatalogue, trainings: Sequence[Training]) -> None:
        self._trainings = {one.space_id: one for one in trainings}
        self._first = trainings[0].space_id
        self._user_ids = catalogue.user_ids.tolist()
        known = np.concatenate([catalogue.warm_ids, catalogue.cold_ids])
        doomed = np.random.default_rng(2).permutation(known)[: int(WITHDRAWABLE_SHARE * len(known))].tolist()
        self._track_ids = sorted(set(known.tolist()) - set(doomed))
        self._doomed = iter(doomed)
        self._new = itertools.count()
        self._lock = threading.Lock()
        self.space_id = trainings[0].space_id  # what the last answer named: where a client takes its vectors from
        self.withdrawals: list[Withdrawal] = []
        self.refusals: list[Refusal] = []
        self.ingested: list[str] = []

    def streams(self, rate_per_s: float, writes_per_s: float) -> list[Stream]:
        """Give the calls, so many queries and so many tracks a second."""
        rates = {"track": 0.4, "vector": 0.2, "user": 0.2, "tracks": 0.1, "users": 0.1}
        return [
            *(Stream(name, rate_per_s * rates[name], getattr(self, f"_{name}")) for name in QUERIES),
            Stream("old_vector", rate_per_s * 0.1, self._old_vector),
            Stream("ingest", writes_per_s, self._ingest),
            Stream("withdraw", writes_per_s / 2, self._withdraw),
        ]

    def _track(self, client: Client, rng: np.random.Generator) -> list[Reply | ClientError]:
        track_id = str(rng.choice(self._track_ids))
        sent_s = time.monotonic()
        return [self._reply(sent_s, "track", track_id, client.neighbors_of_track(track_id, K))]

    def _tracks(self, client: Client, rng: np.random.Generator) -> list[Reply | ClientError]:
        track_ids = [str(one) for one in rng.choice(self._track_ids, BATCH, replace=False)]
        sent_s = time.monotonic()
        return self._replies(sent_s, "track", track_ids, client.neighbors_of_tracks(track_ids, K))

    def _user(self, client: Client, rng: np.random.Generator) -> list[Reply | ClientError]:
        user_id = str(rng.choice(self._user_ids))
        sent_s = time.monotonic()
        return [self._reply(sent_s, "user", user_id, client.neighbors_of_user(user_id, K))]

    def _users(self, client: Client, rng: np.random.Generator) -> list[Reply | ClientError]:
        user_ids = [str(one) for one in rng.choice(self._user_ids, BATCH, replace=False)]
        sent_s = time.monotonic()
        return self._replies(sent_s, "user", user_ids, client.neighbors_of_users(user_ids, K))

    def _vector(self, client: Client, rng: np.random.Generator) -> list[Reply | ClientError]:
        return self._ask_vector(client, rng, self.space_id)

    def _old_vector(self, client: Client, rng: np.random.Generator) -> list[Reply | ClientError]:
        """Ask as a recommender that was not told of the new training: it has to be refused while that is served."""
        return self._ask_vector(client, rng, self._first)

    def _ask_vector(self, client: Client, rng: np.random.Generator, space_id: str) -> list[Reply | ClientError]:
        vectors = self._trainings[space_id].users.vectors
        vector = vectors[rng.integers(len(vectors))]
        sent_s = time.monotonic()
        try:
            found = client.neighbors_of_vector(vector, K, space_id=space_id)
        except ClientError as error:
            if error.reason != "SPACE_MISMATCH" or error.code is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            self.refusals.append(Refusal(sent_s, time.monotonic(), space_id))
            return []
        return [self._reply(sent_s, "vector", vector, found, space_id)]

    def _ingest(self, client: Client, rng: np.random.Generator) -> list[Reply | ClientError]:
        number = next(self._new)
        track_id, artist = f"new-{number}", f"a{number:05d}"
        client.ingest(track_id, artist_ids=[artist], title=track_id, audio=audio_bytes(number))
        with self._lock:
            self.ingested.append(track_id)
        sent_s = time.monotonic()
        return [self._reply(sent_s, "track", track_id, client.neighbors_of_track(track_id, K))]

    def _withdraw(self, client: Client, rng: np.random.Generator) -> list[Reply | ClientError]:
        with self._lock:
            track_id = next(self._doomed)
        sent_s = time.monotonic()
        client.withdraw([track_id], reason="load")
        self.withdrawals.append(Withdrawal(track_id, sent_s, time.monotonic()))
        return []

    def _replies(
        self, sent_s: float, kind: str, subjects: Sequence[str], answers: Sequence[Neighbors | ClientError]
    ) -> list[Reply | ClientError]:
        return [
            answer if isinstance(answer, ClientError) else self._reply(sent_s, kind, subject, answer)
            for subject, answer in zip(subjects, answers, strict=True)
        ]

    def _reply(self, sent_s: float, kind: str, subject: Any, found: Neighbors, asked: str = "") -> Reply:
        self.space_id = found.space_id
        return Reply(
            sent_s,
            time.monotonic(),
            kind,
            subject,
            K,
            asked,
            found.space_id,
            found.snapshot_id,
            found.track_ids,
            found.scores.tolist(),
            found.tiers.tolist(),
        )
