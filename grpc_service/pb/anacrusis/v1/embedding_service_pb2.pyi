from grpc_service.pb.anacrusis.v1 import common_pb2 as _common_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Provenance(_message.Message):
    __slots__ = ("track_id", "tier", "confidence", "model_id", "catalogue_size", "leaned_on", "popularity")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_SIZE_FIELD_NUMBER: _ClassVar[int]
    LEANED_ON_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    tier: _common_pb2.Tier
    confidence: float
    model_id: str
    catalogue_size: int
    leaned_on: _containers.RepeatedCompositeFieldContainer[_common_pb2.LeanedOn]
    popularity: _common_pb2.Popularity
    def __init__(self, track_id: _Optional[str] = ..., tier: _Optional[_Union[_common_pb2.Tier, str]] = ..., confidence: _Optional[float] = ..., model_id: _Optional[str] = ..., catalogue_size: _Optional[int] = ..., leaned_on: _Optional[_Iterable[_Union[_common_pb2.LeanedOn, _Mapping]]] = ..., popularity: _Optional[_Union[_common_pb2.Popularity, _Mapping]] = ...) -> None: ...

class EmbeddingFailure(_message.Message):
    __slots__ = ("track_id", "error")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    error: _status_pb2.Status
    def __init__(self, track_id: _Optional[str] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class GetEmbeddingRequest(_message.Message):
    __slots__ = ("track_id", "space_id", "element_type")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    space_id: str
    element_type: _common_pb2.ElementType
    def __init__(self, track_id: _Optional[str] = ..., space_id: _Optional[str] = ..., element_type: _Optional[_Union[_common_pb2.ElementType, str]] = ...) -> None: ...

class GetEmbeddingResponse(_message.Message):
    __slots__ = ("space_id", "snapshot_id", "vector", "provenance")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    snapshot_id: str
    vector: _common_pb2.PackedVectors
    provenance: Provenance
    def __init__(self, space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., vector: _Optional[_Union[_common_pb2.PackedVectors, _Mapping]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ...) -> None: ...

class BatchGetEmbeddingsRequest(_message.Message):
    __slots__ = ("track_ids", "space_id", "element_type")
    TRACK_IDS_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    track_ids: _containers.RepeatedScalarFieldContainer[str]
    space_id: str
    element_type: _common_pb2.ElementType
    def __init__(self, track_ids: _Optional[_Iterable[str]] = ..., space_id: _Optional[str] = ..., element_type: _Optional[_Union[_common_pb2.ElementType, str]] = ...) -> None: ...

class BatchGetEmbeddingsResponse(_message.Message):
    __slots__ = ("space_id", "snapshot_id", "vectors", "provenances", "failures")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    PROVENANCES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    snapshot_id: str
    vectors: _common_pb2.PackedVectors
    provenances: _containers.RepeatedCompositeFieldContainer[Provenance]
    failures: _containers.RepeatedCompositeFieldContainer[EmbeddingFailure]
    def __init__(self, space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., vectors: _Optional[_Union[_common_pb2.PackedVectors, _Mapping]] = ..., provenances: _Optional[_Iterable[_Union[Provenance, _Mapping]]] = ..., failures: _Optional[_Iterable[_Union[EmbeddingFailure, _Mapping]]] = ...) -> None: ...
