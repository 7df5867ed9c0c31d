"""The whole way on a home that lies on an object store: a real S3 server, and nothing of the home on this disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from made_catalogue import SPACE_ID, release, warm_factors, warm_releases

from anacrusis.server_process import running_server
from grpc_service.client import Client
from index import Tier
from jobs import Engine
from jobs.factors import Factors
from jobs.ingest_manifest import ingest_manifest
from jobs.manifest import Manifest
from jobs.spaces import import_space, rollback_snapshot
from jobs.train import train_space


def stored(s3: Any, home: str) -> dict[str, object]:
    """Every object of a home, with the moment of its last change."""
    bucket, _, prefix = home.removeprefix("s3://").partition("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {one["Key"]: (one["ETag"], one["LastModified"]) for page in pages for one in page["Contents"]}


def test_from_the_first_track_to_a_server_on_an_empty_cache(s3: object, s3_home: str, tmp_path: Path) -> None:
    everybody = np.ones((1, 8), np.float32)

    def found(engine: Engine) -> set[str]:
        return set(engine.searcher.search(everybody, 100).hits[0].track_ids)

    with Engine.open(s3_home, create=True, device="cpu") as engine:
        releases = warm_releases()
        report = ingest_manifest(engine, Manifest(releases, list(range(1, len(releases) + 1)), []))
        assert not report.refused
        import_space(engine, SPACE_ID, warm_factors(), Factors(np.array(["listener"]), warm_factors().vectors[:1]))
        trained = train_space(engine, method="artist_mean")
        assert trained.folder == f"{s3_home}/models/{SPACE_ID}/{trained.model.model_id}"
        engine.refresh(space_id=SPACE_ID)
        first = engine.serving()
        (taken,) = engine.ingest([release("new")])
        assert (taken.error, taken.tier) == (None, Tier.ARTIST_TRANSFER)
        assert engine.ingest([release("new")])[0].state.name == "UNCHANGED"
        assert "new" in found(engine)
        with Engine.open(s3_home, read_only=True, device="cpu", cache=tmp_path / "cache") as replica:
            assert "new" in found(replica)
            engine.refresh()
            engine.withdraw(["ada-0"])
            assert replica.sync()
            assert replica.serving() == engine.serving() != first
            assert found(replica) == found(engine) == {one.track_id for one in [*releases, release("new")]} - {"ada-0"}
        rollback_snapshot(engine)
        assert engine.serving() == first
        before = found(engine)
        assert "new" in before
        vector = engine.embeddings(["new"]).embeddings[0]

    with running_server(s3_home) as server, Client(server.address, timeout_s=60) as client:  # an empty cache of its own
        assert (client.status().space_id, client.status().snapshot_id) == first
        assert set(client.neighbors_of_vector(everybody[0], k=100).track_ids) == before
        kept = client.get_embedding("new")
        np.testing.assert_array_equal(kept.vector, vector.vector)
        assert kept.model_id == trained.model.model_id
        assert client.withdraw(["new"]) == ["new"]
    objects = stored(s3, s3_home)
    with Engine.open(s3_home, read_only=True, device="cpu") as engine:
        assert found(engine) == before - {"new"}
        assert not engine.sync()
    assert stored(s3, s3_home) == objects  # a replica needs no right to write
