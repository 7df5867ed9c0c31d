"""What is written by hand is what protobuf reads, and what it would have written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grpc_service import wire
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as pb

# Lengths on both sides of where a length takes a byte more.
BYTES = st.one_of(st.binary(max_size=3), st.sampled_from([127, 128, 16_383, 16_384, 2_097_152]).map(bytes))


@given(BYTES, BYTES, BYTES)
def test_fields_of_bytes_and_of_messages(ids: bytes, scores: bytes, counts: bytes) -> None:
    hits = wire.bytes_fields(pb.PackedHits, {"track_ids": ids, "scores": scores})
    results = [*wire.field(pb.PackedResults, "hits", hits), *wire.bytes_fields(pb.PackedResults, {"counts": counts})]
    expected = pb.PackedResults(hits={"track_ids": ids, "scores": scores}, counts=counts)
    assert b"".join(results) == expected.SerializeToString()


def test_messages_that_are_joined_are_read_as_one() -> None:
    head = pb.BatchSearchNeighborsResponse(space_id="s", snapshot_id="n")
    head.packed.failed.add(place=1)
    packed = wire.bytes_fields(pb.PackedResults, {"counts": b"\1\0\0\0\0\0\0\0"})
    joined = [head.SerializeToString(), *wire.field(pb.BatchSearchNeighborsResponse, "packed", packed)]
    read = pb.BatchSearchNeighborsResponse.FromString(b"".join(joined))
    assert (read.space_id, read.snapshot_id, len(read.packed.counts)) == ("s", "n", 8)
    assert [failed.place for failed in read.packed.failed] == [1]
