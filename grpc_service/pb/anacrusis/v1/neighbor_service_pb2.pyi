from grpc_service.pb.anacrusis.v1 import common_pb2 as _common_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HitView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HIT_VIEW_UNSPECIFIED: _ClassVar[HitView]
    HIT_VIEW_PACKED: _ClassVar[HitView]
    HIT_VIEW_FULL: _ClassVar[HitView]
HIT_VIEW_UNSPECIFIED: HitView
HIT_VIEW_PACKED: HitView
HIT_VIEW_FULL: HitView

class PackedHits(_message.Message):
    __slots__ = ("track_ids", "track_id_lengths", "scores", "tiers", "confidences", "popularities")
    TRACK_IDS_FIELD_NUMBER: _ClassVar[int]
    TRACK_ID_LENGTHS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCES_FIELD_NUMBER: _ClassVar[int]
    POPULARITIES_FIELD_NUMBER: _ClassVar[int]
    track_ids: bytes
    track_id_lengths: bytes
    scores: bytes
    tiers: bytes
    confidences: bytes
    popularities: bytes
    def __init__(self, track_ids: _Optional[bytes] = ..., track_id_lengths: _Optional[bytes] = ..., scores: _Optional[bytes] = ..., tiers: _Optional[bytes] = ..., confidences: _Optional[bytes] = ..., popularities: _Optional[bytes] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("rank", "track_id", "title", "artist_ids", "score", "tier", "confidence", "popularity")
    RANK_FIELD_NUMBER: _ClassVar[int]
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    ARTIST_IDS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_FIELD_NUMBER: _ClassVar[int]
    rank: int
    track_id: str
    title: str
    artist_ids: _containers.RepeatedScalarFieldContainer[str]
    score: float
    tier: _common_pb2.Tier
    confidence: float
    popularity: _common_pb2.Popularity
    def __init__(self, rank: _Optional[int] = ..., track_id: _Optional[str] = ..., title: _Optional[str] = ..., artist_ids: _Optional[_Iterable[str]] = ..., score: _Optional[float] = ..., tier: _Optional[_Union[_common_pb2.Tier, str]] = ..., confidence: _Optional[float] = ..., popularity: _Optional[_Union[_common_pb2.Popularity, _Mapping]] = ...) -> None: ...

class IdList(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class NeighborResult(_message.Message):
    __slots__ = ("packed", "full", "error")
    PACKED_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    packed: PackedHits
    full: HitList
    error: _status_pb2.Status
    def __init__(self, packed: _Optional[_Union[PackedHits, _Mapping]] = ..., full: _Optional[_Union[HitList, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class HitList(_message.Message):
    __slots__ = ("hits",)
    HITS_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    def __init__(self, hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ...) -> None: ...

class SearchNeighborsRequest(_message.Message):
    __slots__ = ("track_id", "vector", "user_vector", "user_id", "k", "space_id", "filters", "max_per_artist", "include_self", "view", "popularity_damping", "exact")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    USER_VECTOR_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    MAX_PER_ARTIST_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SELF_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_DAMPING_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    vector: _common_pb2.PackedVectors
    user_vector: _common_pb2.PackedVectors
    user_id: str
    k: int
    space_id: str
    filters: _common_pb2.Filters
    max_per_artist: int
    include_self: bool
    view: HitView
    popularity_damping: float
    exact: bool
    def __init__(self, track_id: _Optional[str] = ..., vector: _Optional[_Union[_common_pb2.PackedVectors, _Mapping]] = ..., user_vector: _Optional[_Union[_common_pb2.PackedVectors, _Mapping]] = ..., user_id: _Optional[str] = ..., k: _Optional[int] = ..., space_id: _Optional[str] = ..., filters: _Optional[_Union[_common_pb2.Filters, _Mapping]] = ..., max_per_artist: _Optional[int] = ..., include_self: _Optional[bool] = ..., view: _Optional[_Union[HitView, str]] = ..., popularity_damping: _Optional[float] = ..., exact: _Optional[bool] = ...) -> None: ...

class SearchNeighborsResponse(_message.Message):
    __slots__ = ("space_id", "snapshot_id", "packed", "hits")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    snapshot_id: str
    packed: PackedHits
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    def __init__(self, space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., packed: _Optional[_Union[PackedHits, _Mapping]] = ..., hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ...) -> None: ...

class BatchSearchNeighborsRequest(_message.Message):
    __slots__ = ("track_ids", "vectors", "user_vectors", "user_ids", "k", "space_id", "filters", "max_per_artist", "include_self", "view", "popularity_damping", "exact")
    TRACK_IDS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    USER_VECTORS_FIELD_NUMBER: _ClassVar[int]
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    MAX_PER_ARTIST_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SELF_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_DAMPING_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    track_ids: IdList
    vectors: _common_pb2.PackedVectors
    user_vectors: _common_pb2.PackedVectors
    user_ids: IdList
    k: int
    space_id: str
    filters: _common_pb2.Filters
    max_per_artist: int
    include_self: bool
    view: HitView
    popularity_damping: float
    exact: bool
    def __init__(self, track_ids: _Optional[_Union[IdList, _Mapping]] = ..., vectors: _Optional[_Union[_common_pb2.PackedVectors, _Mapping]] = ..., user_vectors: _Optional[_Union[_common_pb2.PackedVectors, _Mapping]] = ..., user_ids: _Optional[_Union[IdList, _Mapping]] = ..., k: _Optional[int] = ..., space_id: _Optional[str] = ..., filters: _Optional[_Union[_common_pb2.Filters, _Mapping]] = ..., max_per_artist: _Optional[int] = ..., include_self: _Optional[bool] = ..., view: _Optional[_Union[HitView, str]] = ..., popularity_damping: _Optional[float] = ..., exact: _Optional[bool] = ...) -> None: ...

class BatchSearchNeighborsResponse(_message.Message):
    __slots__ = ("space_id", "snapshot_id", "results", "packed")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    snapshot_id: str
    results: _containers.RepeatedCompositeFieldContainer[NeighborResult]
    packed: PackedResults
    def __init__(self, space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[NeighborResult, _Mapping]]] = ..., packed: _Optional[_Union[PackedResults, _Mapping]] = ...) -> None: ...

class PackedResults(_message.Message):
    __slots__ = ("hits", "counts", "failed")
    HITS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    hits: PackedHits
    counts: bytes
    failed: _containers.RepeatedCompositeFieldContainer[FailedQuery]
    def __init__(self, hits: _Optional[_Union[PackedHits, _Mapping]] = ..., counts: _Optional[bytes] = ..., failed: _Optional[_Iterable[_Union[FailedQuery, _Mapping]]] = ...) -> None: ...

class FailedQuery(_message.Message):
    __slots__ = ("place", "error")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    place: int
    error: _status_pb2.Status
    def __init__(self, place: _Optional[int] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class StreamNeighborsRequest(_message.Message):
    __slots__ = ("request_id", "search")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    search: SearchNeighborsRequest
    def __init__(self, request_id: _Optional[str] = ..., search: _Optional[_Union[SearchNeighborsRequest, _Mapping]] = ...) -> None: ...

class StreamNeighborsResponse(_message.Message):
    __slots__ = ("request_id", "space_id", "snapshot_id", "result")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    space_id: str
    snapshot_id: str
    result: NeighborResult
    def __init__(self, request_id: _Optional[str] = ..., space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., result: _Optional[_Union[NeighborResult, _Mapping]] = ...) -> None: ...
