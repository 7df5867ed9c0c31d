import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RefreshProgress(_message.Message):
    __slots__ = ("stage", "done", "total", "detail")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    stage: str
    done: int
    total: int
    detail: str
    def __init__(self, stage: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class RefreshReport(_message.Message):
    __slots__ = ("projected_count", "row_count", "model_id", "method", "why", "reason_counts", "published", "held_back")
    class ReasonCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PROJECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    REASON_COUNTS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    HELD_BACK_FIELD_NUMBER: _ClassVar[int]
    projected_count: int
    row_count: int
    model_id: str
    method: str
    why: str
    reason_counts: _containers.ScalarMap[str, int]
    published: bool
    held_back: str
    def __init__(self, projected_count: _Optional[int] = ..., row_count: _Optional[int] = ..., model_id: _Optional[str] = ..., method: _Optional[str] = ..., why: _Optional[str] = ..., reason_counts: _Optional[_Mapping[str, int]] = ..., published: _Optional[bool] = ..., held_back: _Optional[str] = ...) -> None: ...

class RefreshArtistsRequest(_message.Message):
    __slots__ = ("artist_ids", "all")
    ARTIST_IDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    artist_ids: _containers.RepeatedScalarFieldContainer[str]
    all: bool
    def __init__(self, artist_ids: _Optional[_Iterable[str]] = ..., all: _Optional[bool] = ...) -> None: ...

class RefreshArtistsResponse(_message.Message):
    __slots__ = ("space_id", "snapshot_id", "progress", "report")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    snapshot_id: str
    progress: RefreshProgress
    report: RefreshReport
    def __init__(self, space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., progress: _Optional[_Union[RefreshProgress, _Mapping]] = ..., report: _Optional[_Union[RefreshReport, _Mapping]] = ...) -> None: ...

class UpkeepFigures(_message.Message):
    __slots__ = ("small_fragment_count", "version_count", "alerts", "counted_time")
    SMALL_FRAGMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    COUNTED_TIME_FIELD_NUMBER: _ClassVar[int]
    small_fragment_count: int
    version_count: int
    alerts: _containers.RepeatedScalarFieldContainer[str]
    counted_time: _timestamp_pb2.Timestamp
    def __init__(self, small_fragment_count: _Optional[int] = ..., version_count: _Optional[int] = ..., alerts: _Optional[_Iterable[str]] = ..., counted_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("space_id", "snapshot_id", "dim", "metric", "snapshot_time", "collaborative_count", "artist_transfer_count", "audio_only_count", "track_count", "fresh_count", "withdrawn_count", "encoder_id", "model_id", "device", "waiting_query_count", "waiting_job_count", "read_only", "poll_interval_s", "upkeep")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_TIME_FIELD_NUMBER: _ClassVar[int]
    COLLABORATIVE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ARTIST_TRANSFER_COUNT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_ONLY_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRACK_COUNT_FIELD_NUMBER: _ClassVar[int]
    FRESH_COUNT_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENCODER_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    WAITING_QUERY_COUNT_FIELD_NUMBER: _ClassVar[int]
    WAITING_JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    POLL_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    UPKEEP_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    snapshot_id: str
    dim: int
    metric: str
    snapshot_time: _timestamp_pb2.Timestamp
    collaborative_count: int
    artist_transfer_count: int
    audio_only_count: int
    track_count: int
    fresh_count: int
    withdrawn_count: int
    encoder_id: str
    model_id: str
    device: str
    waiting_query_count: int
    waiting_job_count: int
    read_only: bool
    poll_interval_s: float
    upkeep: UpkeepFigures
    def __init__(self, space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., dim: _Optional[int] = ..., metric: _Optional[str] = ..., snapshot_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., collaborative_count: _Optional[int] = ..., artist_transfer_count: _Optional[int] = ..., audio_only_count: _Optional[int] = ..., track_count: _Optional[int] = ..., fresh_count: _Optional[int] = ..., withdrawn_count: _Optional[int] = ..., encoder_id: _Optional[str] = ..., model_id: _Optional[str] = ..., device: _Optional[str] = ..., waiting_query_count: _Optional[int] = ..., waiting_job_count: _Optional[int] = ..., read_only: _Optional[bool] = ..., poll_interval_s: _Optional[float] = ..., upkeep: _Optional[_Union[UpkeepFigures, _Mapping]] = ...) -> None: ...
