from grpc_service.pb.anacrusis.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_PRIMARY: _ClassVar[Role]
    ROLE_FEATURED: _ClassVar[Role]
    ROLE_REMIXER: _ClassVar[Role]

class IngestState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INGEST_STATE_UNSPECIFIED: _ClassVar[IngestState]
    INGEST_STATE_CREATED: _ClassVar[IngestState]
    INGEST_STATE_UPDATED: _ClassVar[IngestState]
    INGEST_STATE_UNCHANGED: _ClassVar[IngestState]
ROLE_UNSPECIFIED: Role
ROLE_PRIMARY: Role
ROLE_FEATURED: Role
ROLE_REMIXER: Role
INGEST_STATE_UNSPECIFIED: IngestState
INGEST_STATE_CREATED: IngestState
INGEST_STATE_UPDATED: IngestState
INGEST_STATE_UNCHANGED: IngestState

class TrackMetadata(_message.Message):
    __slots__ = ("track_id", "title", "credits", "release_date", "label", "markets", "isrc")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_DATE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    MARKETS_FIELD_NUMBER: _ClassVar[int]
    ISRC_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    title: str
    credits: _containers.RepeatedCompositeFieldContainer[Credit]
    release_date: str
    label: str
    markets: _containers.RepeatedScalarFieldContainer[str]
    isrc: str
    def __init__(self, track_id: _Optional[str] = ..., title: _Optional[str] = ..., credits: _Optional[_Iterable[_Union[Credit, _Mapping]]] = ..., release_date: _Optional[str] = ..., label: _Optional[str] = ..., markets: _Optional[_Iterable[str]] = ..., isrc: _Optional[str] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("artist_id", "role")
    ARTIST_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    artist_id: str
    role: Role
    def __init__(self, artist_id: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ...) -> None: ...

class IngestedTrack(_message.Message):
    __slots__ = ("track_id", "state", "served", "tier", "confidence", "catalogue_size", "leaned_on", "vector", "popularity")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_SIZE_FIELD_NUMBER: _ClassVar[int]
    LEANED_ON_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    state: IngestState
    served: bool
    tier: _common_pb2.Tier
    confidence: float
    catalogue_size: int
    leaned_on: _containers.RepeatedCompositeFieldContainer[_common_pb2.LeanedOn]
    vector: _common_pb2.PackedVectors
    popularity: _common_pb2.Popularity
    def __init__(self, track_id: _Optional[str] = ..., state: _Optional[_Union[IngestState, str]] = ..., served: _Optional[bool] = ..., tier: _Optional[_Union[_common_pb2.Tier, str]] = ..., confidence: _Optional[float] = ..., catalogue_size: _Optional[int] = ..., leaned_on: _Optional[_Iterable[_Union[_common_pb2.LeanedOn, _Mapping]]] = ..., vector: _Optional[_Union[_common_pb2.PackedVectors, _Mapping]] = ..., popularity: _Optional[_Union[_common_pb2.Popularity, _Mapping]] = ...) -> None: ...

class IngestTrackRequest(_message.Message):
    __slots__ = ("track", "inline", "uri", "include_vector", "element_type")
    TRACK_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTOR_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    track: TrackMetadata
    inline: bytes
    uri: str
    include_vector: bool
    element_type: _common_pb2.ElementType
    def __init__(self, track: _Optional[_Union[TrackMetadata, _Mapping]] = ..., inline: _Optional[bytes] = ..., uri: _Optional[str] = ..., include_vector: _Optional[bool] = ..., element_type: _Optional[_Union[_common_pb2.ElementType, str]] = ...) -> None: ...

class IngestTrackResponse(_message.Message):
    __slots__ = ("space_id", "snapshot_id", "track")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    TRACK_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    snapshot_id: str
    track: IngestedTrack
    def __init__(self, space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., track: _Optional[_Union[IngestedTrack, _Mapping]] = ...) -> None: ...

class UploadHeader(_message.Message):
    __slots__ = ("track", "size_bytes", "include_vector", "element_type")
    TRACK_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTOR_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    track: TrackMetadata
    size_bytes: int
    include_vector: bool
    element_type: _common_pb2.ElementType
    def __init__(self, track: _Optional[_Union[TrackMetadata, _Mapping]] = ..., size_bytes: _Optional[int] = ..., include_vector: _Optional[bool] = ..., element_type: _Optional[_Union[_common_pb2.ElementType, str]] = ...) -> None: ...

class UploadTrackRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[UploadHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadTrackResponse(_message.Message):
    __slots__ = ("space_id", "snapshot_id", "track")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    TRACK_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    snapshot_id: str
    track: IngestedTrack
    def __init__(self, space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., track: _Optional[_Union[IngestedTrack, _Mapping]] = ...) -> None: ...

class WithdrawTracksRequest(_message.Message):
    __slots__ = ("track_ids", "reason")
    TRACK_IDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    track_ids: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, track_ids: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class WithdrawTracksResponse(_message.Message):
    __slots__ = ("space_id", "snapshot_id", "newly_withdrawn_track_ids")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    NEWLY_WITHDRAWN_TRACK_IDS_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    snapshot_id: str
    newly_withdrawn_track_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., newly_withdrawn_track_ids: _Optional[_Iterable[str]] = ...) -> None: ...
