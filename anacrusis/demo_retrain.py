"""The demo's last act: the recommender is trained again while callers ask, and nobody notices but by the answers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grpc_service.client import Client, ClientError
from jobs.progress import OnProgress

if TYPE_CHECKING:
    from jobs import Engine
    from jobs.factors import Factors

CALLERS = 2
PAUSE_S = 0.005  # between a caller's questions: a few hundred a second in all
ENOUGH = 100  # answers that are waited for at each stage
PATIENCE_S = 60.0  # for a stage's answers: a server that follows within a second has long given them


@dataclass
class Callers:
    """A few callers who ask for neighbours without pause.

    Parameters
    ----------
    address : str
        Of the server.
    track_ids : sequence of str
        Whose neighbours they ask for, in turn.
    """

    address: str
    track_ids: Sequence[str]
    answered: Counter[str] = field(default_factory=Counter)  # by space
    failures: list[str] = field(default_factory=list)
    out_of_order: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._stopping = threading.Event()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Have them ask until the block ends."""
        threads = [threading.Thread(target=self._ask, name=f"caller-{number}") for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def wait_for(self, space_id: str, count: int = ENOUGH) -> None:
        """Wait until so many more answers came out of a space.

        Raises
        ------
        TimeoutError
            When they do not come.
        """
        with self._changed:
            wanted = self.answered[space_id] + count
            if not self._changed.wait_for(lambda: self.answered[space_id] >= wanted, PATIENCE_S):
                raise TimeoutError(f"The server gave fewer than {count} answers of space {space_id!r}.")

    def _ask(self) -> None:
        seen: list[str] = []
        number = 0
        with Client(self.address) as client:
            while not self._stopping.wait(PAUSE_S):
                track_id = self.track_ids[number % len(self.track_ids)]
                number += 1
                try:
                    found = client.neighbors_of_track(track_id, k=10)
                except ClientError as error:
                    with self._changed:
                        self.failures.append(f"{track_id}: {error}")
                    continue
                with self._changed:
                    if not seen or seen[-1] != found.space_id:
                        self.out_of_order += found.space_id in seen
                        seen.append(found.space_id)
                    self.answered[found.space_id] += 1
                    self._changed.notify_all()


def retrain(
    engine: Engine,
    address: str,
    factors: Factors,
    *,
    old_space_id: str,
    new_space_id: str,
    cold_ids: Sequence[str],
    seed: int,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Import a second training, bridge it, publish it, refit and refresh, while a server answers.

    Parameters
    ----------
    engine : Engine
        Of the same home as the server's, in this process: a refresh job.
    address : str
        The server's.
    factors : Factors
        Of the second training.
    old_space_id, new_space_id : str
        What is served, and what will be.
    cold_ids : sequence of str
        Served tracks that no training knows.
    seed : int
        Of the fit.
    on_progress : callable

    Returns
    -------
    dict
        In JSON's types: answers by space, failures, and how the cold tracks' neighbours came through the switch.
    """
    from jobs.bridge import bridge_if_due
    from jobs.spaces import import_space
    from jobs.train import train_space

    callers = Callers(address, [*cold_ids, *factors.ids.tolist()])
    with callers.asking(), Client(address) as client:
        callers.wait_for(old_space_id)
        before = _neighbors(client, cold_ids)
        import_space(engine, new_space_id, factors, metric="cosine", source="a second training of the playlists")
        bridge, _ = bridge_if_due(engine, new_space_id, on_progress=on_progress)
        engine.refresh(space_id=new_space_id, on_progress=on_progress)
        callers.wait_for(new_space_id)
        bridged = _neighbors(client, cold_ids)
        train_space(engine, new_space_id, seed=seed, on_progress=on_progress)
        refreshed = engine.refresh(on_progress=on_progress)
        _wait_for_snapshot(client, refreshed.snapshot_id)
        refitted = _neighbors(client, cold_ids)
        callers.wait_for(new_space_id)
    return {
        "old_space_id": old_space_id,
        "new_space_id": new_space_id,
        "answers": dict(callers.answered),
        "failures": callers.failures,
        "back_to_the_old_space": callers.out_of_order,
        "bridge": bridge.as_dict() if bridge is not None else None,
        "same_neighbors": {"bridged": _shared(bridged, before), "refitted": _shared(refitted, before)},
    }


def _wait_for_snapshot(client: Client, snapshot_id: str) -> None:
    """Wait until a server serves a snapshot that another process has published.

    Raises
    ------
    TimeoutError
        When it does not follow.
    """
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        if client.status().snapshot_id == snapshot_id:
            return
        pause.wait(0.05)
    raise TimeoutError(f"The server does not serve snapshot {snapshot_id}.")


def _neighbors(client: Client, track_ids: Sequence[str]) -> dict[str, set[str]]:
    return {one: {hit.track_id for hit in client.neighbors_of_track(one, k=10)} for one in track_ids}


def _shared(one: dict[str, set[str]], other: dict[str, set[str]]) -> float:
    """Mean share of neighbours that two answers have in common."""
    return sum(len(one[key] & other[key]) / len(one[key]) for key in one) / len(one)
