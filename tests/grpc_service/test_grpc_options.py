"""Server options are checked, and generated code is what the proto says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from grpc_service import generate
from grpc_service.options import InvalidServerOptionError, ServerOptions, share_cores
from grpc_service.packing import pack_ids, pack_vectors, unpack_ids, unpack_vectors
from grpc_service.pb.anacrusis.v1 import common_pb2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", ""),
        ("port", -1),
        ("port", 65536),
        ("port", True),
        ("workers", 0),
        ("workers", 257),
        ("search_threads", -1),
        ("encoder_threads", 2000),
        ("max_message_bytes", 0),
        ("max_connections", 0),
        ("max_concurrent_rpcs", 0),
        ("grace_s", -0.1),
        ("grace_s", float("nan")),
        ("query_queue_size", 1),
        ("max_batch_queries", 0),
        ("max_wait_s", 2.0),
        ("max_k", 0),
        ("max_k", 4096),
        ("max_filter_artists", 0),
        ("stream_window", 0),
        ("max_stream_messages", 0),
        ("ingest_threads", 0),
        ("ingest_queue_size", -1),
        ("max_upload_bytes", 0),
        ("upload_buffer_bytes", 1),
        ("upload_idle_s", 0.0),
        ("poll_interval_s", 0.0),
        ("keepalive_s", "60"),
        ("allowed_roots", (Path("relative"),)),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidServerOptionError) as caught:
        ServerOptions(**{name: value})  # type: ignore[arg-type]
    assert caught.value.field == name
    assert str(caught.value).endswith(".")


def test_the_defaults_hold_and_nothing_listens_beyond_the_loopback() -> None:
    options = ServerOptions()
    assert options.host == "127.0.0.1"
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.port = 1  # type: ignore[misc]


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 7, 16, 64])
@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_no_thread_lacks_a_core_and_no_core_a_thread_where_there_are_enough(cores: int, workers: int) -> None:
    options = ServerOptions(workers=workers)
    alone, beside, encoder = share_cores(options, cores, encodes=True)
    assert min(alone, beside, encoder) >= 1
    if cores > workers:
        assert workers * beside + encoder == cores
    assert alone == (cores if workers == 1 else beside)
    assert share_cores(options, cores, encodes=False)[:2] == (max(cores // workers, 1),) * 2


def test_threads_that_are_set_are_kept_and_the_others_get_the_rest() -> None:
    assert share_cores(ServerOptions(search_threads=6, encoder_threads=7), 2, encodes=True) == (6, 6, 7)
    assert share_cores(ServerOptions(encoder_threads=4), 16, encodes=True) == (16, 12, 4)
    assert share_cores(ServerOptions(search_threads=3, workers=4), 16, encodes=True) == (3, 3, 4)


def test_generated_code_is_current() -> None:
    assert generate.stale_files() == []


def test_stale_code_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "proto" / "anacrusis" / "v1").mkdir(parents=True)
    (tmp_path / "proto" / "anacrusis" / "v1" / "a.proto").write_text('syntax = "proto3"; package anacrusis.v1;')
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "PROTO", tmp_path / "proto")
    assert generate.main(["--check"]) == 1
    assert "run: make proto" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "grpc_service" / "pb" / "left_over_pb2.py").touch()
    assert generate.main(["--check"]) == 1


@pytest.mark.parametrize("element_type", [common_pb2.ELEMENT_TYPE_FLOAT32, common_pb2.ELEMENT_TYPE_FLOAT16])
def test_vectors_survive_packing(element_type: common_pb2.ElementType) -> None:
    vectors = np.array([[1, -2, 0.5], [4, 0, -0.25]], np.float32)  # exact in both types
    packed = pack_vectors(vectors, element_type)
    assert packed.element_type == element_type
    np.testing.assert_array_equal(unpack_vectors(packed), vectors)
    assert pack_vectors(vectors[0]).dim == 3
    assert pack_vectors(vectors[::-1], 0).element_type == common_pb2.ELEMENT_TYPE_FLOAT32


def test_vectors_are_little_endian_whatever_the_array() -> None:
    assert pack_vectors(np.array([1.0], ">f4")).data == b"\x00\x00\x80\x3f"
    with pytest.raises(ValueError, match="Element type 9"):
        pack_vectors(np.ones(1), 9)


@pytest.mark.parametrize("ids", [[], ["a"], ["", "", "ab", ""], ["a", "\u00fc", "\U0001f3b5b", "\U0001f3b5"]])
def test_ids_survive_packing(ids: list[str]) -> None:
    text, lengths = pack_ids(ids)
    assert text == "".join(ids).encode()
    assert unpack_ids(text, lengths) == tuple(ids)


@pytest.mark.parametrize("lengths", [[], [1, 1], [4], [2**32 - 1, 4]])
def test_ids_whose_lengths_do_not_fit_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="bytes together, and 3 have come"):
        unpack_ids(b"abc", np.array(lengths, np.uint32))
