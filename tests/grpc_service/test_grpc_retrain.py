"""A retrain as a caller of the service sees it: tracks change their tier in the publish, and none drops out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from grpc_harness import Running, running
from retrains import COLD, DIM, WARM, bring, first_training, open_engine, serve_first, turned

from grpc_service.client import Client, FailedPreconditionError, Tier
from jobs.bridge import bridge_space


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """Serves the first training; another process does the rest."""
    with open_engine(tmp_path / "home", create=True) as engine:
        serve_first(engine)
    with running(open_engine(tmp_path / "home"), poll_interval_s=0.05) as server:
        yield server


def test_the_switch_to_a_retrain(server: Running, tmp_path: Path) -> None:
    graduate, stays, lost = COLD[0], COLD[1], WARM[8]
    kept = [place for place, one in enumerate(WARM) if one != lost]
    with Client(server.address, retries=0) as client, open_engine(tmp_path / "home") as engine:
        before, missing = client.get_embeddings([graduate, stays, lost])
        assert not missing
        assert [one.tier for one in before] == [Tier.ARTIST_TRANSFER, Tier.ARTIST_TRANSFER, Tier.COLLABORATIVE]
        vectors = np.concatenate([turned(first_training(), noise=0.05)[kept], np.ones((1, DIM), np.float32)])
        bring(engine, "new", vectors, [*(WARM[place] for place in kept), graduate])
        bridge_space(engine, "new")
        assert {one.space_id for one in client.get_embeddings([stays])[0]} == {"old"}, "nothing is served yet"
        engine.refresh(space_id="new")
        server.engine.sync()  # as the server does every poll_interval_s
        after, missing = client.get_embeddings([graduate, stays, lost])
        assert not missing
        assert {one.space_id for one in after} == {"new"}
        assert [one.tier for one in after] == [Tier.COLLABORATIVE, Tier.ARTIST_TRANSFER, Tier.ARTIST_TRANSFER]
        assert after[0].confidence == 1.0
        assert after[2].confidence > 0.9, "from where the old training had it"
        assert {one.model_id.split("-")[0] for one in after[1:]} == {"carried"}
        hits = client.neighbors_of_track(lost, k=200)
        tiers = {hit.track_id: hit.tier for hit in hits}
        assert tiers.keys() == {*WARM, *COLD} - {lost}
        assert tiers[graduate] is Tier.COLLABORATIVE
        with pytest.raises(FailedPreconditionError):
            client.get_embeddings([stays], space_id="old")
