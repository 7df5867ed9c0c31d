"""The engine in memory of the transport's tests, for runs that are too long to remember."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from tests.grpc_service.fake_engine import FakeEngine

NAMED_TRACKS = 200


class ForgetfulEngine(FakeEngine):
    """The tests' engine, which keeps no record of its calls, and neither all that is ingested nor what is withdrawn."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = threading.RLock()  # its dicts are read by some threads while others write

    def _note(self, method: str, argument: object = None) -> None:
        self.before(method)

    def search(self, queries: Sequence[Any]) -> list[Any]:
        with self.alone:
            return super().search(queries)

    def ingest(self, releases: Sequence[Any]) -> list[Any]:
        with self.alone:
            outcomes = super().ingest(releases)
            for kept in (self.tracks, self.audio, self.rows):
                for track_id in list(kept)[NAMED_TRACKS:]:
                    del kept[track_id]
            return outcomes

    def withdraw(self, track_ids: Sequence[str], reason: str = "") -> list[str]:
        return list(dict.fromkeys(track_ids))

    def status(self) -> Any:
        with self.alone:
            return super().status()
