"""The clients that load a server: a load that cannot be sent ends, and says why."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from grpc._cython import cygrpc

from anacrusis.bench.loads import Loads


class Silent:
    """A channel on which nothing ever comes back."""

    def next_call_event(self) -> SimpleNamespace:
        return SimpleNamespace(completion_type=cygrpc.CompletionType.queue_timeout)


def test_a_load_that_cannot_be_sent_fails_and_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no call can be made")

    loads = Loads()
    loads._channel = Silent()
    monkeypatch.setattr(loads, "_ask", broken)
    with pytest.raises(ValueError, match="no call can be made"):
        loads.do_offered(per_s=1000.0, seconds=0.1, seed=1)
