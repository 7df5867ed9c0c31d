"""Every method through a real server, with the client and with bare stubs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pytest
from fake_engine import DIM, SPACE, FakeEngine
from grpc_harness import Running, running

from grpc_service.client import (
    Client,
    FailedPreconditionError,
    Filters,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    Popularity,
    Tier,
    Upkeep,
)
from grpc_service.client_releases import INLINE_BYTES
from grpc_service.packing import pack_vectors
from grpc_service.pb.anacrusis.v1 import common_pb2, embedding_service_pb2, neighbor_service_pb2, release_service_pb2
from grpc_service.pb.anacrusis.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub
from index import Filters as IndexFilters
from index import Popularity as IndexPopularity
from index import Tier as IndexTier


def test_neighbors_of_a_track_come_best_first_with_space_and_snapshot(client: Client) -> None:
    found = client.neighbors_of_track("warm-0", k=3)
    assert found.track_ids == ("warm-1", "warm-2", "warm-3")
    assert (found.space_id, found.snapshot_id) == (SPACE, "snapshot-1")
    np.testing.assert_allclose(found.scores, np.cos(np.arange(1, 4) * np.pi / 4), atol=1e-6)
    assert found.scores.dtype == np.float32
    assert [neighbor.tier for neighbor in found] == [Tier.COLLABORATIVE] * 3
    assert [neighbor.confidence for neighbor in found] == [1.0] * 3
    assert [neighbor.title for neighbor in found] == [""] * 3


def test_the_readable_view_says_title_artists_and_rank(client: Client, channel: grpc.Channel) -> None:
    (first, *_) = client.neighbors_of_track("warm-0", k=3, titles=True)
    assert (first.track_id, first.title, first.artist_ids) == ("warm-1", "Title of warm-1", ("artist-warm-1",))
    request = neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-0", view="HIT_VIEW_FULL")
    reply = NeighborServiceStub(channel).SearchNeighbors(request)
    assert [hit.rank for hit in reply.hits] == [1, 2, 3, 4]
    assert not reply.HasField("packed")


@pytest.mark.parametrize("titles", [False, True])
def test_popularity_comes_with_every_hit_where_it_is_known(client: Client, engine: FakeEngine, titles: bool) -> None:
    engine.rows["warm-1"] = replace(engine.rows["warm-1"], popularity=None)
    engine.rows["warm-2"] = replace(engine.rows["warm-2"], popularity=IndexPopularity(40, 8, 200))
    found = list(client.neighbors_of_track("warm-0", k=3, titles=titles))
    assert [neighbor.popularity for neighbor in found] == [None, Popularity(40, 8, 200), Popularity(120, 120, 120)]
    assert client.neighbors_of_track("warm-0", k=1, titles=titles).popularity.shape == (1, 3)
    assert len(client.neighbors_of_track("warm-0", filters=Filters(tiers=[Tier.AUDIO_ONLY]), titles=titles)) == 0


def test_packed_ids_are_cut_by_their_lengths(channel: grpc.Channel, engine: FakeEngine) -> None:
    engine.rows["\u00fc"] = replace(engine.rows.pop("warm-2"), track_id="\u00fc")
    ids = neighbor_service_pb2.IdList(ids=["warm-0", "nobody", "warm-1"])
    request = neighbor_service_pb2.BatchSearchNeighborsRequest(track_ids=ids, k=3)
    packed = NeighborServiceStub(channel).BatchSearchNeighbors(request).packed
    text, found = packed.hits.track_ids, []
    for length in np.frombuffer(packed.hits.track_id_lengths, "<u4").tolist():
        found.append(text[:length].decode())
        text = text[length:]
    assert text == b""
    assert np.frombuffer(packed.counts, "<u4").tolist() == [3, 0, 3]
    assert [failed.place for failed in packed.failed] == [1]
    assert "\u00fc" in found[:3]
    assert "\u00fc" in found[3:]
    assert len(found) == len(packed.hits.tiers) == len(packed.hits.scores) // 4 == 6


def test_popularity_that_is_known_of_some_answers_of_a_batch_is_given_for_those(
    client: Client, engine: FakeEngine
) -> None:
    engine.rows["warm-1"] = replace(engine.rows["warm-1"], popularity=None)
    unknown, known = client.neighbors_of_tracks(["warm-0", "warm-4"], k=1)
    assert np.isnan(unknown.popularity).all()  # type: ignore[union-attr]
    assert [neighbor.popularity for neighbor in known] == [Popularity(120, 120, 120)]  # type: ignore[union-attr]


def test_popularity_that_is_known_of_no_hit_takes_no_bytes(channel: grpc.Channel, engine: FakeEngine) -> None:
    engine.rows = {track_id: replace(row, popularity=None) for track_id, row in engine.rows.items()}
    stub = NeighborServiceStub(channel)
    reply = stub.SearchNeighbors(neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-0"))
    assert reply.packed.popularities == b""
    full = neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-0", view="HIT_VIEW_FULL")
    assert not any(hit.HasField("popularity") for hit in stub.SearchNeighbors(full).hits)


def test_popularity_comes_with_embeddings_and_ingests(client: Client, engine: FakeEngine) -> None:
    assert client.get_embedding("warm-0").popularity == Popularity(120, 120, 120)
    engine.rows["warm-0"] = replace(engine.rows["warm-0"], popularity=None)
    assert client.get_embedding("warm-0").popularity is None
    taken = client.ingest("new", artist_ids=["artist"], audio=b"audio")
    assert taken.popularity == Popularity(40, 8, 200)


def test_the_tiers_of_both_sides_have_the_same_numbers() -> None:
    wire = {name.removeprefix("TIER_"): number for name, number in common_pb2.Tier.items() if number}
    assert wire == {tier.name: tier.value for tier in Tier} == {tier.name: tier.value for tier in IndexTier}


@pytest.mark.parametrize("element_type", [common_pb2.ELEMENT_TYPE_FLOAT32, common_pb2.ELEMENT_TYPE_FLOAT16])
def test_a_vector_may_be_float32_or_float16(channel: grpc.Channel, element_type: common_pb2.ElementType) -> None:
    vector = pack_vectors(np.array([0, 1, 0, 0], np.float32), element_type)
    reply = NeighborServiceStub(channel).SearchNeighbors(
        neighbor_service_pb2.SearchNeighborsRequest(vector=vector, k=1)
    )
    assert reply.packed.track_ids == b"warm-2"


def test_listeners_by_id_and_by_vector(client: Client) -> None:
    assert client.neighbors_of_user("ann", k=1).track_ids == ("warm-0",)
    assert client.neighbors_of_user(np.array([0, 1, 0, 0]), k=1).track_ids == ("warm-2",)
    assert client.neighbors_of_vector([1, 0, 0, 0], k=1).track_ids == ("warm-0",)


def test_k_defaults_to_ten_and_options_reach_the_engine(
    client: Client, engine: FakeEngine, channel: grpc.Channel
) -> None:
    NeighborServiceStub(channel).SearchNeighbors(neighbor_service_pb2.SearchNeighborsRequest(track_id="warm-0"))
    client.neighbors_of_track(
        "warm-0",
        k=7,
        filters=Filters("2020", "2021-02", ["a"], ["b"], [Tier.AUDIO_ONLY], "DE"),
        max_per_artist=2,
        include_self=True,
        space_id=SPACE,
        popularity_damping=0.3,
        exact=True,
    )
    (_, (first,)), (_, (second,)) = engine.calls  # type: ignore[misc]
    assert (first.k, first.filters, first.max_per_artist, first.include_self) == (10, None, None, False)
    assert (first.popularity_damping, second.popularity_damping) == (0.0, 0.3)
    assert (first.exact, second.exact) == (False, True)
    assert (second.k, second.max_per_artist, second.include_self, second.space_id) == (7, 2, True, SPACE)
    assert second.filters == IndexFilters(
        released_from=datetime(2020, 1, 1).date(),
        released_to=datetime(2021, 2, 28).date(),
        artists_in=frozenset("a"),
        artists_out=frozenset("b"),
        tiers=frozenset([IndexTier.AUDIO_ONLY]),
        market="DE",
    )


def test_a_batch_answers_all_in_order_and_a_wrong_one_has_its_own_error(client: Client, engine: FakeEngine) -> None:
    first, wrong, last = client.neighbors_of_tracks(["warm-0", "nobody", "warm-4"], k=1)
    assert first.track_ids == ("warm-1",)  # type: ignore[union-attr]
    assert isinstance(wrong, NotFoundError)
    assert (wrong.reason, wrong.request_id != "") == ("TRACK_NOT_FOUND", True)
    assert last.track_ids == ("warm-3",)  # type: ignore[union-attr]
    vectors = np.eye(DIM)[:3]
    vectors[1, 0] = np.nan
    one, bad, three = client.neighbors_of_vectors(vectors, k=1, titles=True)
    assert (one.track_ids, one.titles) == (("warm-0",), ("Title of warm-0",))  # type: ignore[union-attr]
    assert isinstance(bad, InvalidArgumentError)
    assert len(three) == 1  # type: ignore[arg-type]
    assert [method for method, _ in engine.calls] == ["search", "search"]  # one engine call a batch
    assert isinstance(client.neighbors_of_users(["ann", "bob"])[1], NotFoundError)


def test_a_batch_whose_shared_part_is_wrong_fails_as_a_call(client: Client) -> None:
    with pytest.raises(InvalidArgumentError, match="k is 0"):
        client.neighbors_of_tracks(["warm-0", "warm-1"], k=0)
    with pytest.raises(FailedPreconditionError, match=r"space-1") as caught:
        client.neighbors_of_tracks(["warm-0"], space_id="other")
    assert caught.value.reason == "SPACE_MISMATCH"


def test_a_stream_answers_each_and_goes_on_after_a_bad_message(client: Client, channel: grpc.Channel) -> None:
    queries = [("a", "warm-0"), ("b", "nobody"), ("c", np.array([1, 0])), ("d", "warm-4"), ("a", "warm-1")]
    replies = list(client.stream_neighbors(queries, k=1))
    assert sorted(request_id for request_id, _ in replies) == ["a", "a", "b", "c", "d"]
    by_id = dict(replies)
    assert by_id["d"].track_ids == ("warm-3",)  # type: ignore[union-attr]
    assert isinstance(by_id["b"], NotFoundError)
    assert isinstance(by_id["c"], InvalidArgumentError)
    empty = neighbor_service_pb2.StreamNeighborsRequest(request_id="x" * 200)
    (reply,) = NeighborServiceStub(channel).StreamNeighbors(iter([empty]))
    assert (len(reply.request_id), reply.result.error.code) == (128, grpc.StatusCode.INVALID_ARGUMENT.value[0])


def test_an_ingested_track_is_in_the_next_answer_and_sent_again_unchanged(client: Client, engine: FakeEngine) -> None:
    send = {"artist_ids": ["x", "y"], "audio": b"music", "title": "New", "release_date": "2024-02"}
    created = client.ingest("new", **send, include_vector=True)  # type: ignore[arg-type]
    assert (created.state, created.served, created.tier) == ("created", True, Tier.ARTIST_TRANSFER)
    assert (created.space_id, created.snapshot_id, created.catalogue_size) == (SPACE, "snapshot-1", 2)
    assert created.leaned_on == (("warm-0", 0.75), ("warm-1", 0.25))
    np.testing.assert_array_equal(created.vector, engine.rows["new"].vector)
    assert "new" in client.neighbors_of_track("warm-0").track_ids
    assert client.ingest("new", **send).state == "unchanged"  # type: ignore[arg-type]
    assert client.ingest("new", **(send | {"title": "Newer"})).state == "updated"  # type: ignore[arg-type]
    record = engine.tracks["new"]
    assert (record.roles, str(record.release_date)) == (("primary", "featured"), "2024-02-01")


def test_large_audio_travels_as_a_stream(client: Client, engine: FakeEngine, tmp_path: Path) -> None:
    audio = np.random.default_rng(0).bytes(INLINE_BYTES + 5)
    (tmp_path / "a.wav").write_bytes(audio)
    for track_id, source in (("from-path", tmp_path / "a.wav"), ("from-bytes", audio)):
        assert client.ingest(track_id, artist_ids=["x"], audio=source, include_vector=True).vector is not None
        assert engine.audio[track_id] == audio
    (tmp_path / "small.wav").write_bytes(b"small")
    client.ingest("small", artist_ids=["x"], audio=tmp_path / "small.wav", roles=["remixer"])
    assert (engine.audio["small"], engine.tracks["small"].roles) == (b"small", ("remixer",))


def test_uris_below_an_allowed_root_are_read_and_no_others(engine: FakeEngine, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a b.wav").write_bytes(b"12345")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    with running(engine, allowed_roots=(root,)) as server, Client(server.address, retries=0) as client:
        uri = f"file://{root}/a%20b.wav"
        assert client.ingest("one", artist_ids=["x"], uri=uri).state == "created"
        assert engine.audio["one"] == b"12345"
        assert engine.tracks["one"].audio_uri == uri
        assert client.ingest("two", artist_ids=["x"], uri=f"{root}/a b.wav").state == "created"
        for bad in (
            f"{tmp_path}/secret",
            f"{root}/../secret",
            f"file://{root}/%2e%2e/secret",
            f"{root}/link",
            f"{root}/loop",
            f"{root}",
            "root/a b.wav",
            "http://127.0.0.1/a.wav",
            f"file://elsewhere{root}/a.wav",
            f"{root}/\0",
            "file://[",
        ):
            with pytest.raises(PermissionDeniedError, match="allowed root") as caught:
                client.ingest("three", artist_ids=["x"], uri=bad)
            assert (caught.value.reason, caught.value.field) == ("URI_NOT_ALLOWED", "uri")
        with pytest.raises(NotFoundError, match="no audio file"):
            client.ingest("three", artist_ids=["x"], uri=f"{root}/missing.wav")
    assert "three" not in engine.tracks


def test_without_allowed_roots_every_uri_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(PermissionDeniedError, match="no allowed root is configured"):
        client.ingest("one", artist_ids=["x"], uri=str(tmp_path / "a.wav"))


def test_withdrawn_tracks_are_in_no_answer(client: Client) -> None:
    assert client.withdraw(["warm-1", "unheard"], reason="rights") == ["warm-1", "unheard"]
    assert client.withdraw(["warm-1"]) == []
    assert "warm-1" not in client.neighbors_of_track("warm-0").track_ids
    with pytest.raises(FailedPreconditionError) as caught:
        client.neighbors_of_track("warm-1")
    assert caught.value.reason == "TRACK_WITHDRAWN"
    with pytest.raises(FailedPreconditionError):
        client.ingest("unheard", artist_ids=["x"], audio=b"music")


def test_embeddings_one_and_many(client: Client, engine: FakeEngine, channel: grpc.Channel) -> None:
    client.ingest("new", artist_ids=["x"], audio=b"music")
    one = client.get_embedding("new", space_id=SPACE)
    np.testing.assert_array_equal(one.vector, engine.rows["new"].vector)
    assert (one.tier, one.model_id, one.catalogue_size) == (Tier.ARTIST_TRANSFER, "model-1", 2)
    assert one.leaned_on == (("warm-0", 0.75), ("warm-1", 0.25))
    found, failed = client.get_embeddings(["warm-0", "nobody", "new"])
    assert [embedding.track_id for embedding in found] == ["warm-0", "new"]
    np.testing.assert_array_equal(found[1].vector, one.vector)
    assert isinstance(failed["nobody"], NotFoundError)
    none_found, failed = client.get_embeddings(["nobody"])
    assert (none_found, list(failed)) == ([], ["nobody"])
    with pytest.raises(NotFoundError, match="nobody"):
        client.get_embedding("nobody")
    with pytest.raises(FailedPreconditionError):
        client.get_embeddings(["warm-0"], space_id="other")
    half = EmbeddingServiceStub(channel).GetEmbedding(
        embedding_service_pb2.GetEmbeddingRequest(track_id="warm-0", element_type="ELEMENT_TYPE_FLOAT16")
    )
    assert (len(half.vector.data), half.vector.dim) == (2 * DIM, DIM)


def test_a_refresh_tells_how_far_it_is_and_reports_last(client: Client, engine: FakeEngine) -> None:
    *steps, report = client.refresh(["artist-1"])
    assert [(step.stage, step.done, step.total) for step in steps] == [("project", n, 3) for n in (1, 2, 3)]
    assert (report.stage, report.snapshot_id, report.space_id, report.done) == ("done", "snapshot-2", SPACE, 1)
    assert (steps[-1].held_back, report.held_back) == ("", "snapshot-3")
    assert engine.calls == [("refresh", ["artist-1"])]
    list(client.refresh(everything=True))
    assert engine.calls[-1] == ("refresh everything", None)
    assert client.neighbors_of_track("warm-0").snapshot_id == "snapshot-2"


def test_status(client: Client) -> None:
    client.ingest("new", artist_ids=["x"], audio=b"music")
    status = client.status()
    assert (status.space_id, status.snapshot_id, status.dim, status.metric) == (
        SPACE,
        "snapshot-1",
        DIM,
        "inner_product",
    )
    assert status.tier_counts == {Tier.COLLABORATIVE: 5, Tier.ARTIST_TRANSFER: 1, Tier.AUDIO_ONLY: 0}
    assert (status.track_count, status.fresh_count, status.withdrawn_count) == (6, 1, 0)
    assert (status.encoder_id, status.model_id, status.device) == ("encoder-1", "model-1", "cpu")
    assert status.snapshot_time == datetime(2024, 5, 1, tzinfo=UTC)
    assert (status.waiting_query_count, status.waiting_job_count) == (0, 0)
    assert status.upkeep == Upkeep(7, 42, ("table tracks has 200 small fragments",), datetime(2024, 5, 1, tzinfo=UTC))


def test_the_engine_is_followed_and_a_failure_there_does_not_end_it(engine: FakeEngine) -> None:
    import threading

    third_round = threading.Event()

    def before(method: str) -> None:
        if method == "sync":
            if sum(name == "sync" for name, _ in engine.calls) >= 3:
                third_round.set()
            raise RuntimeError("the disk is away")

    engine.before = before
    with running(engine, poll_interval_s=0.01):
        assert third_round.wait(20)
    assert engine.closed


def test_upload_rules(channel: grpc.Channel, engine: FakeEngine) -> None:
    stub = ReleaseServiceStub(channel)
    track = release_service_pb2.TrackMetadata(track_id="up", credits=[release_service_pb2.Credit(artist_id="x")])

    def upload(*parts: dict[str, object]) -> release_service_pb2.UploadTrackResponse:
        return stub.UploadTrack(iter([release_service_pb2.UploadTrackRequest(**part) for part in parts]))  # type: ignore[arg-type]

    header = {"header": release_service_pb2.UploadHeader(track=track)}
    announced = {"header": release_service_pb2.UploadHeader(track=track, size_bytes=9)}
    nameless = {"header": release_service_pb2.UploadHeader(track=release_service_pb2.TrackMetadata(track_id="up"))}
    for parts, sentence in (
        ((), "does not begin with a header"),
        (({"chunk": b"a"},), "does not begin with a header"),
        ((header, {"chunk": b"a"}, header), "Only the first message"),
        ((announced, {"chunk": b"a"}), "announces 9 bytes and 1 came"),
        ((nameless, {"chunk": b"a"}), "credits no artist"),
        ((header,), "no bytes"),
    ):
        with pytest.raises(grpc.RpcError, match=sentence) as caught:
            upload(*parts)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "up" not in engine.tracks
    assert upload(header, {"chunk": b"mu"}, {"chunk": b"sic"}).track.served
    assert engine.audio["up"] == b"music"


def test_the_server_says_where_it_listens(server: Running) -> None:
    host, port = server.address.rsplit(":", 1)
    assert host == "127.0.0.1"
    assert int(port) > 0
