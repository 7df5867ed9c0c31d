"""Every error has one status, decided in one place, and nothing of ours leaks."""

from __future__ import annotations

import ast
import inspect
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import grpc
import pytest
from fake_engine import FakeEngine
from google.rpc import error_details_pb2, status_pb2

import artist_transfer.errors
import encoders.errors
import index.errors
import jobs.errors
from grpc_service import errors
from grpc_service.audit import AuditError
from grpc_service.client import Client, ClientError
from grpc_service.errors import RULES, QueueFullError, to_status
from grpc_service.pb.anacrusis.v1 import admin_service_pb2, neighbor_service_pb2
from grpc_service.pb.anacrusis.v1.admin_service_pb2_grpc import AdminServiceStub
from grpc_service.pb.anacrusis.v1.neighbor_service_pb2_grpc import NeighborServiceStub
from jobs import RefreshStoppedError

BAD_REQUEST = error_details_pb2.BadRequest
RESOURCE = error_details_pb2.ResourceInfo
PRECONDITION = error_details_pb2.PreconditionFailure
RETRY = error_details_pb2.RetryInfo

EXPECTED: list[tuple[Exception, str, type | None]] = [
    *((error("A sentence."), "INVALID_ARGUMENT", BAD_REQUEST) for error in (
        encoders.errors.AudioEmptyError,
        encoders.errors.NotAudioError,
        encoders.errors.AudioTruncatedError,
        encoders.errors.AudioTooShortError,
        encoders.errors.AudioTooLongError,
        encoders.errors.AudioSilentError,
        encoders.errors.AudioSampleRateError,
        encoders.errors.AudioChannelsError,
        encoders.errors.AudioTooLargeError,
        encoders.errors.AudioNotFiniteError,
        encoders.errors.AudioDecodingTimeError,
        encoders.errors.AudioDecodingMemoryError,
        encoders.errors.AudioDecoderDiedError,
        jobs.errors.ReleaseError,
        index.errors.InvalidIdError,
        index.errors.InvalidTrackError,
        index.errors.InvalidVectorError,
        index.errors.InvalidQueryError,
        errors.RequestError,
        errors.VectorPayloadError,
        errors.FilterError,
        errors.UploadTooLargeError,
    )),
    (index.errors.InvalidQueryError("A sentence.", reason="K_OUT_OF_RANGE"), "INVALID_ARGUMENT", BAD_REQUEST),
    (index.errors.InvalidQueryError("A sentence.", reason="FILTER_INVALID"), "INVALID_ARGUMENT", BAD_REQUEST),
    (errors.UriNotAllowedError("A sentence."), "PERMISSION_DENIED", BAD_REQUEST),
    (errors.TokenMissingError("A sentence."), "UNAUTHENTICATED", None),
    (errors.TokenInvalidError("A sentence."), "UNAUTHENTICATED", None),
    (errors.RoleTooLowError("A sentence."), "PERMISSION_DENIED", None),
    (errors.RateLimitedError("A sentence."), "RESOURCE_EXHAUSTED", RETRY),
    (AuditError("A sentence about /srv/audit.jsonl."), "UNAVAILABLE", RETRY),
    *((error("A sentence."), "NOT_FOUND", RESOURCE) for error in (
        encoders.errors.AudioFileError,
        index.errors.UnknownTrackError,
        index.errors.UnknownSpaceError,
        index.errors.UnknownSnapshotError,
        jobs.errors.UnknownUserError,
        jobs.errors.UnknownArtistError,
        errors.UriMissingError,
    )),
    *((error("A sentence."), "FAILED_PRECONDITION", PRECONDITION) for error in (
        index.errors.WithdrawnTrackError,
        index.errors.DamagedHomeError,
        index.errors.SpaceExistsError,
        index.errors.NoRollbackError,
        jobs.errors.NothingToServeError,
    )),
    (
        artist_transfer.errors.NotEnoughTracksError("A sentence.", reason="NOT_ENOUGH_TRACKS"),
        "FAILED_PRECONDITION",
        PRECONDITION,
    ),
    (index.errors.SpaceMismatchError("asked", "served"), "FAILED_PRECONDITION", PRECONDITION),
    (index.errors.NoSnapshotError("A sentence."), "UNAVAILABLE", RETRY),
    (index.errors.StoreClosedError("A sentence."), "UNAVAILABLE", RETRY),
    (encoders.errors.DecoderUnavailableError("A sentence."), "UNAVAILABLE", RETRY),
    (errors.DrainingError("A sentence."), "UNAVAILABLE", RETRY),
    (errors.WriterAwayError("A sentence."), "UNAVAILABLE", RETRY),
    (errors.QueueFullError("A sentence."), "RESOURCE_EXHAUSTED", RETRY),
    (errors.DeadlineExpiredError("A sentence."), "DEADLINE_EXCEEDED", None),
    (errors.UploadStalledError("A sentence."), "DEADLINE_EXCEEDED", None),
    (index.errors.HomeFullError("A sentence about /srv/home."), "RESOURCE_EXHAUSTED", RETRY),
    (RefreshStoppedError("A sentence."), "ABORTED", None),
    (index.errors.LeaseHeldError("refresh", "host:1", datetime.now(UTC)), "ABORTED", RETRY),
    (index.errors.LeaseLostError("A sentence."), "ABORTED", None),
    (encoders.errors.EncoderFileError("A sentence about /srv/weights."), "INTERNAL", None),
    (artist_transfer.errors.ModelFileError("A sentence about /srv/models.", reason="MODEL_DAMAGED"), "INTERNAL", None),
    (artist_transfer.errors.TransferInputError("A row of /srv.", reason="SHAPE_MISMATCH"), "INTERNAL", None),
    (RuntimeError("A sentence about /srv/home."), "INTERNAL", None),
    (UnicodeDecodeError("utf-8", b"", 0, 1, "has a reason of another kind"), "INTERNAL", None),
]  # fmt: skip


def details(status: status_pb2.Status, kind: type) -> list[object]:
    found = []
    for detail in status.details:
        if detail.Is(kind.DESCRIPTOR):  # type: ignore[attr-defined]
            message = kind()
            detail.Unpack(message)
            found.append(message)
    return found


@pytest.mark.parametrize(("error", "code", "kind"), EXPECTED, ids=lambda value: type(value).__name__)
def test_each_error_arrives_with_its_code_and_details(
    channel: grpc.Channel, engine: FakeEngine, error: Exception, code: str, kind: type | None
) -> None:
    def before(method: str) -> None:
        raise error

    engine.before = before
    with pytest.raises(grpc.RpcError) as caught:
        AdminServiceStub(channel).GetStatus(
            admin_service_pb2.GetStatusRequest(), metadata=(("x-request-id", "request-7"),)
        )
    assert caught.value.code().name == code
    trailers = dict(caught.value.trailing_metadata())
    assert trailers["x-request-id"] == "request-7"
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.message) == (caught.value.code().value[0], caught.value.details())
    (info,) = details(status, error_details_pb2.ErrorInfo)
    assert info.domain == "anacrusis"  # type: ignore[attr-defined]
    assert info.metadata["request_id"] == "request-7"  # type: ignore[attr-defined]
    reason = info.reason  # type: ignore[attr-defined]
    if code == "INTERNAL":
        assert (reason, "request-7" in status.message, "/srv" in status.message) == ("INTERNAL", True, False)
    else:
        assert reason == error.reason  # type: ignore[attr-defined]
    for other in (BAD_REQUEST, RESOURCE, PRECONDITION, RETRY):
        assert len(details(status, other)) == (other is kind)
    if kind is RETRY:
        (retry,) = details(status, RETRY)
        assert retry.retry_delay.ToNanoseconds() > 0  # type: ignore[attr-defined]
    if kind is BAD_REQUEST:
        (bad,) = details(status, BAD_REQUEST)
        assert bad.field_violations[0].description == status.message  # type: ignore[attr-defined]


def test_the_transport_has_a_rule_for_each_of_its_own_errors_and_no_reason_is_shared() -> None:
    own = {error.reason for error in _classes(errors) if error is not errors.TransportError}
    assert own <= RULES.keys()
    assert {type(error) for error, _, _ in EXPECTED} >= set(_classes(errors)) - {errors.TransportError}


def test_every_reason_of_the_rooms_is_mapped_or_ours_to_answer_for() -> None:
    # These can only come from the machine, its files or its configuration, or reach nobody through gRPC.
    ours = {
        "ENCODER_FAILED", "ENCODER_UNKNOWN", "ENCODER_FILE", "WAVEFORM_INVALID", "OPTION_INVALID", "STORE",
        "DEVICE_UNAVAILABLE", "JOB_FAILED", "MANIFEST_INVALID", "FACTORS_INVALID", "FEEDBACK_FILE_INVALID",
        "BENCHMARK_INVALID", "EVALUATION_INVALID", "EXTRA_MISSING", "INTERACTIONS_INVALID",
        "COMPARISON_INVALID", "PUBLISH_REFUSED", "BRIDGE_INVALID", "RAY_FAILED",
        # Of the transfer: its model files, and what the jobs hand to it.
        "MODEL_MISSING", "MODEL_DAMAGED", "MODEL_VERSION", "MODEL_NOT_WRITTEN",
        "SHAPE_MISMATCH", "NOT_FINITE", "NOT_NUMERIC", "TRACK_ID_EMPTY", "TRACK_ID_REPEATED", "ARTIST_ID_EMPTY",
        "CREDITS_INVALID", "ROLE_UNKNOWN", "ENCODER_MISMATCH", "OPTION_OUT_OF_RANGE",
        "NOTHING_IN_COMMON",
    }  # fmt: skip
    for room in (encoders.errors, index.errors, jobs.errors):
        for error in _classes(room):
            reason = getattr(error, "default_reason", None) or error.reason
            assert (reason in RULES) != (reason in ours), f"{error.__name__} ({reason}) has no rule in to_status"
    for package in (artist_transfer, encoders, index, jobs):  # the reasons that are given where the error is raised
        raised = _reasons_given(package)
        assert raised or package is not artist_transfer
        for reason in raised:
            assert (reason in RULES) != (reason in ours), f"{package.__name__} raises {reason}: no rule in to_status"


def _reasons_given(package: ModuleType) -> set[str]:
    found = set()
    for path in Path(str(package.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "reason" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
    return {reason for reason in found if re.fullmatch("[A-Z_]+", reason)}


def _classes(module: ModuleType) -> list[type]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == module.__name__
    ]


def test_a_failure_of_ours_is_logged_with_traceback_and_request_id(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError("about /srv/home")
    except RuntimeError as error:
        with caplog.at_level(logging.ERROR):
            to_status(error, "request-7")
    assert "request-7" in caplog.text
    assert "about /srv/home" in caplog.text
    assert "Traceback" in caplog.text


def test_a_damaged_home_is_logged_and_its_files_stay_unnamed(caplog: pytest.LogCaptureFixture) -> None:
    status = to_status(index.errors.DamagedHomeError("The table at /srv/home/tracks.lance is gone."), "request-7")
    assert "/srv" not in status.message
    assert "/srv/home/tracks.lance" in caplog.text


def test_who_is_at_work_stays_unnamed(caplog: pytest.LogCaptureFixture) -> None:
    until = datetime.now(UTC) + timedelta(seconds=30)
    busy = index.errors.LeaseHeldError("refresh", "srv-7.internal:4711", until)
    lost = index.errors.LeaseLostError("lease 'refresh' was taken over by 'srv-7.internal:4711' after 'srv-8:1' stood")
    for error in (busy, lost):
        caplog.clear()
        status = to_status(error, "request-7")
        assert not re.search("srv|4711", str(status))
        assert "try again when it is done" in status.message
        assert "srv-7.internal:4711" in caplog.text
    (retry,) = details(to_status(busy), RETRY)
    assert 20 < retry.retry_delay.ToNanoseconds() / 1e9 <= 30  # type: ignore[attr-defined]


def test_the_served_space_is_named_for_programs_too() -> None:
    status = to_status(index.errors.SpaceMismatchError("asked", "served"))
    (info,) = details(status, error_details_pb2.ErrorInfo)
    assert info.metadata["served_space_id"] == "served"  # type: ignore[attr-defined]


def test_what_the_raiser_knows_goes_before_the_rule() -> None:
    (retry,) = details(to_status(QueueFullError("Full.", retry_after_s=2.5)), RETRY)
    assert retry.retry_delay.ToNanoseconds() == 2_500_000_000  # type: ignore[attr-defined]
    (bad,) = details(to_status(errors.RequestError("Wrong.", field="view")), BAD_REQUEST)
    assert bad.field_violations[0].field == "view"  # type: ignore[attr-defined]


def test_wrong_requests_get_a_sentence_and_a_field(channel: grpc.Channel, engine: FakeEngine) -> None:
    stub = NeighborServiceStub(channel)
    Request, Batch = neighbor_service_pb2.SearchNeighborsRequest, neighbor_service_pb2.BatchSearchNeighborsRequest
    three_bytes = {"data": b"abc", "dim": 4}
    two_vectors = {"data": bytes(32), "dim": 4}
    for method, request, reason, field in (
        (stub.SearchNeighbors, Request(), "REQUEST_INVALID", "subject"),
        (stub.SearchNeighbors, Request(track_id="warm-0", k=0), "K_OUT_OF_RANGE", "k"),
        (stub.SearchNeighbors, Request(track_id="warm-0", k=-1), "K_OUT_OF_RANGE", "k"),
        (stub.SearchNeighbors, Request(track_id="warm-0", k=10_000_000), "K_OUT_OF_RANGE", "k"),
        (stub.SearchNeighbors, Request(track_id="warm-0", max_per_artist=0), "REQUEST_INVALID", "max_per_artist"),
        (stub.SearchNeighbors, Request(track_id="warm-0", view=9), "REQUEST_INVALID", "view"),
        (stub.SearchNeighbors, Request(vector=three_bytes), "VECTOR_INVALID", "vector"),
        (stub.SearchNeighbors, Request(user_vector={}), "VECTOR_INVALID", "user_vector"),
        (stub.SearchNeighbors, Request(vector={"data": b"abcd", "dim": -1}), "VECTOR_INVALID", "vector"),
        (stub.SearchNeighbors, Request(vector={"data": b"abcd", "dim": 1 << 30}), "VECTOR_INVALID", "vector"),
        (
            stub.SearchNeighbors,
            Request(vector={"data": b"abcd", "dim": 1, "element_type": 7}),
            "VECTOR_INVALID",
            "vector",
        ),
        (stub.SearchNeighbors, Request(vector=two_vectors), "VECTOR_INVALID", "vector"),
        (stub.SearchNeighbors, Request(vector={"data": bytes(8), "dim": 2}), "VECTOR_INVALID", "vector"),
        (stub.SearchNeighbors, Request(track_id="warm-0", filters={"tiers": [0]}), "FILTER_INVALID", "filters.tiers"),
        (
            stub.SearchNeighbors,
            Request(track_id="warm-0", filters={"market": "de"}),
            "FILTER_INVALID",
            "filters.market",
        ),
        (
            stub.SearchNeighbors,
            Request(track_id="warm-0", filters={"released_to": "2024-13"}),
            "FILTER_INVALID",
            "filters.released_to",
        ),
        (stub.BatchSearchNeighbors, Batch(), "REQUEST_INVALID", "subjects"),
        (stub.BatchSearchNeighbors, Batch(track_ids={}), "REQUEST_INVALID", "subjects"),
        (stub.BatchSearchNeighbors, Batch(track_ids={"ids": ["a"] * 1025}), "REQUEST_INVALID", "track_ids"),
        (stub.BatchSearchNeighbors, Batch(vectors=three_bytes), "VECTOR_INVALID", "vectors"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            method(request)
        status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
        (info,) = details(status, error_details_pb2.ErrorInfo)
        (bad,) = details(status, BAD_REQUEST)
        found = (info.reason, bad.field_violations[0].field)  # type: ignore[attr-defined]
        assert found == (reason, field), status.message
        assert status.message.endswith(".")


def test_wrong_lists_of_ids_are_refused(client: Client) -> None:
    for call in (
        lambda: client.withdraw([]),
        lambda: client.withdraw([""]),
        lambda: client.withdraw(["a"] * 10_001),
        lambda: client.withdraw(["a"], reason="x" * 1025),
        lambda: client.get_embedding(""),
        lambda: client.get_embeddings([]),
        lambda: list(client.refresh([""])),
    ):
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.reason == "REQUEST_INVALID"
