"""Whatever a caller sends comes back as a status with its details: never a broken stream, never INTERNAL."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from fake_engine import FakeEngine
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_harness import Hold, Running, running, until
from hypothesis import given
from hypothesis import strategies as st

import index
from encoders import AudioFileError
from grpc_service import errors
from grpc_service.client import Client
from grpc_service.errors import to_status
from grpc_service.pb.anacrusis.v1 import (
    admin_service_pb2,
    embedding_service_pb2,
    neighbor_service_pb2,
    release_service_pb2,
)
from grpc_service.pb.anacrusis.v1.admin_service_pb2_grpc import AdminServiceStub
from grpc_service.pb.anacrusis.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub
from jobs import IngestOutcome, IngestState

Search = neighbor_service_pb2.SearchNeighborsRequest
Batch = neighbor_service_pb2.BatchSearchNeighborsRequest
Stream = neighbor_service_pb2.StreamNeighborsRequest
Track = release_service_pb2.TrackMetadata
Ingest = release_service_pb2.IngestTrackRequest
Withdraw = release_service_pb2.WithdrawTracksRequest
CREDIT = release_service_pb2.Credit(artist_id="x")
OURS = {"search", "ingest", "lookup", "refresh", "asyncio"}  # what the names of our threads begin with
LONG = "x" * 10_000
WIDE = "\U0001f600" * 256  # as many characters as an id may have, in four times the bytes


def finish(reply: object) -> None:
    """Read a stream to its end."""
    if not isinstance(reply, Message):
        list(reply)  # type: ignore[call-overload]


def refused(call: Callable[[], object]) -> tuple[str, str, str]:
    """Code, reason and field of a call that has to fail properly."""
    with pytest.raises(grpc.RpcError) as caught:
        finish(call())
    status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
    assert status.ByteSize() < 4096
    assert status.message == caught.value.details()
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    field = bad.field_violations[0].field if bad.field_violations else ""
    return caught.value.code().name, info.reason, field


@pytest.mark.parametrize("text", [LONG, WIDE, "漢" * 5000, "\x01" * 9000], ids=["ascii", "emoji", "han", "control"])
def test_no_text_of_a_caller_breaks_the_stream(channel: grpc.Channel, text: str) -> None:
    search, embed = NeighborServiceStub(channel).SearchNeighbors, EmbeddingServiceStub(channel).GetEmbedding
    release, refresh = ReleaseServiceStub(channel), AdminServiceStub(channel).RefreshArtists

    def ingest(**fields: object) -> tuple[str, str, str]:
        track = Track(**({"track_id": "t", "credits": [CREDIT]} | fields))  # type: ignore[arg-type]
        return refused(lambda: release.IngestTrack(Ingest(track=track, inline=b"music")))

    code, reason, _ = refused(lambda: search(Search(track_id=text)))
    assert (code, reason) in {("INVALID_ARGUMENT", "REQUEST_INVALID"), ("NOT_FOUND", "TRACK_NOT_FOUND")}
    code, reason, _ = refused(lambda: search(Search(user_id=text)))
    assert (code, reason) in {("INVALID_ARGUMENT", "REQUEST_INVALID"), ("NOT_FOUND", "USER_NOT_FOUND")}
    code, reason, _ = refused(lambda: embed(embedding_service_pb2.GetEmbeddingRequest(track_id=text)))
    assert (code, reason) in {("INVALID_ARGUMENT", "REQUEST_INVALID"), ("NOT_FOUND", "TRACK_NOT_FOUND")}
    mismatch = refused(lambda: search(Search(track_id="warm-0", space_id=text)))
    assert mismatch[:2] == ("FAILED_PRECONDITION", "SPACE_MISMATCH")
    for name in ("released_from", "released_to", "market"):
        wrong = refused(lambda name=name: search(Search(track_id="warm-0", filters={name: text})))  # type: ignore[misc]
        assert wrong == ("INVALID_ARGUMENT", "FILTER_INVALID", f"filters.{name}")
    for fields in ({"release_date": text}, {"markets": [text]}, {"isrc": text}):
        assert ingest(**fields)[:2] == ("INVALID_ARGUMENT", "RELEASE_INVALID")
    if text is not WIDE:
        for name in ("artists_in", "artists_out"):
            wrong = refused(lambda name=name: search(Search(track_id="warm-0", filters={name: [text]})))  # type: ignore[misc]
            assert wrong == ("INVALID_ARGUMENT", "FILTER_INVALID", f"filters.{name}")
        assert ingest(track_id=text)[:2] == ("INVALID_ARGUMENT", "RELEASE_INVALID")
        many = refused(lambda: refresh(admin_service_pb2.RefreshArtistsRequest(artist_ids=["a", text])))
        assert many == ("INVALID_ARGUMENT", "REQUEST_INVALID", "artist_ids")
        assert refused(lambda: release.WithdrawTracks(Withdraw(track_ids=[text])))[2] == "track_ids"


def unkind(kind: type[Exception], sentence: str, name: str) -> Exception:
    error = kind(sentence, name) if kind is index.SpaceMismatchError else kind(sentence)
    error.field = error.resource_name = name  # type: ignore[attr-defined]
    return error


@given(
    st.sampled_from([
        errors.RequestError, errors.UriMissingError, errors.QueueFullError, errors.DeadlineExpiredError,
        index.WithdrawnTrackError, index.DamagedHomeError, index.SpaceMismatchError, RuntimeError,
    ]),
    st.text(st.characters()),
    st.text(st.characters()),
    st.integers(1, 5000),
)  # fmt: skip
def test_no_text_of_an_error_makes_a_status_that_metadata_cannot_hold(
    kind: type[Exception], text: str, name: str, times: int
) -> None:
    logging.getLogger("grpc_service.errors").disabled = True
    try:
        status = to_status(unkind(kind, text * times, name * times), "r" * 128)
    finally:
        logging.getLogger("grpc_service.errors").disabled = False
    assert len(status.SerializeToString()) < 4096
    assert len(status.message) <= errors.MAX_SENTENCE_CHARACTERS
    assert len(status.message.encode()) <= errors.MAX_SENTENCE_BYTES
    assert sum(detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for detail in status.details) == 1


def test_a_cut_sentence_keeps_the_thing_and_the_remedy() -> None:
    message = to_status(errors.RequestError(f"Track '{LONG}' is wrong; give another.")).message
    assert message.startswith("Track 'xxx")
    assert message.endswith("xxx' is wrong; give another.")
    assert to_status(errors.RequestError("Short: ä\ud800.")).message == "Short: ä\\ud800."


def test_no_uri_is_a_failure_of_ours_or_shows_where_a_link_leads(tmp_path: Path, engine: FakeEngine) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "behind-the-link").write_bytes(b"music")
    (root / "link").symlink_to(root / "behind-the-link")

    with running(engine, allowed_roots=(root,)) as server, grpc.insecure_channel(server.address) as channel:
        stub = ReleaseServiceStub(channel).IngestTrack

        def ask(uri: str) -> tuple[str, str, str]:
            return refused(lambda: stub(Ingest(track=Track(track_id="t", credits=[CREDIT]), uri=uri)))

        missing = {("NOT_FOUND", "AUDIO_FILE_MISSING", "")}
        refusal = {("PERMISSION_DENIED", "URI_NOT_ALLOWED", "uri")}
        assert {ask(f"{root}/{'y' * 300}"), ask(f"{root}/" + "y/" * 3000), ask(f"file://{root}/{'y' * 300}")} == missing
        assert {ask(f"{root}/\0"), ask(f"file://{root}/%00"), ask(LONG), ask("/" + LONG), ask("file://[")} == refusal

        def vanished(releases: object) -> list[object]:
            error = AudioFileError(f"the audio file {root}/behind-the-link does not exist")
            return [IngestOutcome("t", IngestState.REFUSED, error=error)]

        engine.ingest = vanished  # type: ignore[assignment, method-assign]
        with pytest.raises(grpc.RpcError) as caught:
            stub(Ingest(track=Track(track_id="t", credits=[CREDIT]), uri=f"{root}/link"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "behind" not in caught.value.details()
        assert f"{root}/link" in caught.value.details()


def test_bytes_that_are_no_message_are_the_callers_mistake(channel: grpc.Channel) -> None:
    junk = b"\xff\xff\xff\xff"
    neighbors = "/anacrusis.v1.NeighborService/"
    for call in (
        lambda: bytes_reply(channel.unary_unary(neighbors + "SearchNeighbors")(junk)),
        lambda: channel.unary_stream("/anacrusis.v1.AdminService/RefreshArtists")(junk),
        lambda: bytes_reply(channel.stream_unary("/anacrusis.v1.ReleaseService/UploadTrack")(iter([junk]))),
        lambda: channel.stream_stream(neighbors + "StreamNeighbors")(iter([junk])),
    ):
        assert refused(call) == ("INVALID_ARGUMENT", "REQUEST_INVALID", "")


def bytes_reply(reply: bytes) -> list[bytes]:
    return [reply]


def test_what_a_stream_asked_before_its_junk_is_answered(channel: grpc.Channel, hold: Hold) -> None:
    held = hold("search")
    query = Stream(request_id="1", search=Search(track_id="warm-0")).SerializeToString()
    replies = channel.stream_stream("/anacrusis.v1.NeighborService/StreamNeighbors")(iter([query, b"\xff\xff"]))
    held.wait()
    held.release()
    reply = neighbor_service_pb2.StreamNeighborsResponse.FromString(next(replies))
    assert (reply.request_id, reply.result.WhichOneof("outcome")) == ("1", "packed")
    assert refused(lambda: replies) == ("INVALID_ARGUMENT", "REQUEST_INVALID", "")


def test_a_batch_of_unknown_ids_is_answered_one_by_one(channel: grpc.Channel) -> None:
    ids = [f"{number}-{LONG}" for number in range(300)]
    reply = NeighborServiceStub(channel).BatchSearchNeighbors(Batch(track_ids={"ids": ids}))
    failed = reply.packed.failed
    assert [(one.place, one.error.code) for one in failed] == [
        (n, grpc.StatusCode.NOT_FOUND.value[0]) for n in range(300)
    ]
    assert [one.error.message.split("-")[0] for one in failed] == [f"Track '{n}" for n in range(300)]
    assert np.frombuffer(reply.packed.counts, "<u4").tolist() == [0] * 300
    assert reply.ByteSize() < 300 * 4096


@pytest.mark.parametrize(
    "metadata",
    [
        ("x-request-id", "x" * 5000),
        ("x-request-id", "two words"),
        ("x-request-id", "a'; drop"),
        ("x-request-id", ""),
        ("x-request-id-bin", b"\x00\xff\n"),
    ],
    ids=["long", "space", "quote", "empty", "binary"],
)
def test_an_odd_request_id_is_replaced_and_never_logged(
    channel: grpc.Channel, engine: FakeEngine, caplog: pytest.LogCaptureFixture, metadata: tuple[str, str | bytes]
) -> None:
    def fail(method: str) -> None:
        raise RuntimeError("broken")

    engine.before = fail
    with pytest.raises(grpc.RpcError) as caught:
        AdminServiceStub(channel).GetStatus(admin_service_pb2.GetStatusRequest(), metadata=(metadata,))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    request_id = dict(caught.value.trailing_metadata())["x-request-id"]
    assert len(request_id) == 32
    logged = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert logged == [f"request {request_id} failed"]


def test_odd_numbers_and_empty_batches_are_refused(channel: grpc.Channel) -> None:
    stub, release = NeighborServiceStub(channel), ReleaseServiceStub(channel)
    vector = np.ones(4, "<f2").tobytes()
    assert len(stub.SearchNeighbors(Search(vector={"data": vector, "dim": 4, "element_type": 2})).packed.tiers) == 5
    invalid = "INVALID_ARGUMENT"
    for call, reason, field in (
        (lambda: stub.SearchNeighbors(Search(track_id="warm-0", k=-(2**31))), "K_OUT_OF_RANGE", "k"),
        (lambda: stub.SearchNeighbors(Search(track_id="warm-0", view=-1)), "REQUEST_INVALID", "view"),
        (
            lambda: stub.SearchNeighbors(Search(track_id="warm-0", filters={"tiers": [9]})),
            "FILTER_INVALID",
            "filters.tiers",
        ),
        (
            lambda: stub.SearchNeighbors(Search(vector={"data": np.full(4, np.nan, "<f2").tobytes(), "dim": 4,
                                                        "element_type": 2})),
            "VECTOR_INVALID",
            "vector",
        ),
        (lambda: stub.BatchSearchNeighbors(Batch(vectors={"dim": 4})), "VECTOR_INVALID", "vectors"),
        (lambda: stub.BatchSearchNeighbors(Batch(user_ids={})), "REQUEST_INVALID", "subjects"),
        (
            lambda: release.IngestTrack(Ingest(track=Track(), inline=b"music", element_type=9)),
            "REQUEST_INVALID",
            "element_type",
        ),
        (lambda: release.WithdrawTracks(Withdraw(track_ids=["a"], reason="a\0b")), "REQUEST_INVALID", "reason"),
        (lambda: release.WithdrawTracks(Withdraw(track_ids=["a"], reason=LONG)), "REQUEST_INVALID", "reason"),
    ):  # fmt: skip
        assert refused(call) == (invalid, reason, field)
    role = Ingest(track=Track(track_id="t", credits=[{"artist_id": "x", "role": 9}]), inline=b"music")
    assert refused(lambda: release.IngestTrack(role))[1] == "REQUEST_INVALID"


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"artists_in": ["a", ""]}, "filters.artists_in"),
        ({"artists_out": [""]}, "filters.artists_out"),
        ({"artists_out": ["a\n"]}, "filters.artists_out"),
        ({"market": "de"}, "filters.market"),
        ({"market": "DEU"}, "filters.market"),
        ({"market": "D1"}, "filters.market"),
        ({"market": "DE\n"}, "filters.market"),
        ({"market": "ÄÖ"}, "filters.market"),
    ],
)
def test_filters_that_mean_nothing_are_refused(channel: grpc.Channel, filters: dict[str, object], field: str) -> None:
    request = Search(track_id="warm-0", filters=filters)  # type: ignore[arg-type]
    found = refused(lambda: NeighborServiceStub(channel).SearchNeighbors(request))
    assert found == ("INVALID_ARGUMENT", "FILTER_INVALID", field)


def test_one_call_too_many_is_told_when_to_come_back(engine: FakeEngine, hold: Hold) -> None:
    held = hold("search")
    with running(engine, max_concurrent_rpcs=1) as server, grpc.insecure_channel(server.address) as channel:
        stub = NeighborServiceStub(channel)
        first = stub.SearchNeighbors.future(Search(track_id="warm-0"))
        held.wait()
        assert refused(lambda: stub.SearchNeighbors(Search(track_id="warm-0")))[:2] == (
            "RESOURCE_EXHAUSTED",
            "QUEUE_FULL",
        )
        held.release()
        first.result()
        until(lambda: server.in_progress == 0)
        assert stub.SearchNeighbors(Search(track_id="warm-0")).packed.track_ids


def test_a_stopped_server_leaves_no_thread(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"music")
    before = set(threading.enumerate())
    with running(engine, allowed_roots=(tmp_path,)) as server, Client(server.address, retries=0) as client:
        use_every_pool(client, tmp_path, server)
        names = {thread.name.split("_")[0] for thread in set(threading.enumerate()) - before}
        assert names >= OURS
    # gRPC keeps a thread, a daemon, that polls for all event loops of the process; everything else was ours.
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if not thread.daemon or thread.name.split("_")[0] in OURS] == []
    assert engine.closed


def use_every_pool(client: Client, folder: Path, server: Running) -> None:
    client.neighbors_of_track("warm-0")
    client.ingest("new", artist_ids=["x"], uri=f"{folder}/a.wav")
    client.status()
    list(client.refresh())
    until(lambda: server.in_progress == 0)
