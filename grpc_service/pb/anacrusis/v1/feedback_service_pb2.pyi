import datetime

from grpc_service.pb.anacrusis.v1 import common_pb2 as _common_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeedbackAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEEDBACK_ACTION_UNSPECIFIED: _ClassVar[FeedbackAction]
    FEEDBACK_ACTION_PLAY: _ClassVar[FeedbackAction]
    FEEDBACK_ACTION_SKIP: _ClassVar[FeedbackAction]

class FeedbackState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEEDBACK_STATE_UNSPECIFIED: _ClassVar[FeedbackState]
    FEEDBACK_STATE_COUNTED: _ClassVar[FeedbackState]
    FEEDBACK_STATE_WAITING: _ClassVar[FeedbackState]
    FEEDBACK_STATE_UNCHANGED: _ClassVar[FeedbackState]
    FEEDBACK_STATE_REFUSED: _ClassVar[FeedbackState]
FEEDBACK_ACTION_UNSPECIFIED: FeedbackAction
FEEDBACK_ACTION_PLAY: FeedbackAction
FEEDBACK_ACTION_SKIP: FeedbackAction
FEEDBACK_STATE_UNSPECIFIED: FeedbackState
FEEDBACK_STATE_COUNTED: FeedbackState
FEEDBACK_STATE_WAITING: FeedbackState
FEEDBACK_STATE_UNCHANGED: FeedbackState
FEEDBACK_STATE_REFUSED: FeedbackState

class FeedbackEvent(_message.Message):
    __slots__ = ("event_id", "track_id", "user_id", "action", "session_position", "event_time", "user_vector")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    SESSION_POSITION_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    USER_VECTOR_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    track_id: str
    user_id: str
    action: FeedbackAction
    session_position: int
    event_time: _timestamp_pb2.Timestamp
    user_vector: _common_pb2.PackedVectors
    def __init__(self, event_id: _Optional[str] = ..., track_id: _Optional[str] = ..., user_id: _Optional[str] = ..., action: _Optional[_Union[FeedbackAction, str]] = ..., session_position: _Optional[int] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user_vector: _Optional[_Union[_common_pb2.PackedVectors, _Mapping]] = ...) -> None: ...

class FeedbackOutcome(_message.Message):
    __slots__ = ("event_id", "state", "error")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    state: FeedbackState
    error: _status_pb2.Status
    def __init__(self, event_id: _Optional[str] = ..., state: _Optional[_Union[FeedbackState, str]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class WarmedTrack(_message.Message):
    __slots__ = ("track_id", "effective_listeners", "evidence_share", "graduated", "served", "tier")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_LISTENERS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_SHARE_FIELD_NUMBER: _ClassVar[int]
    GRADUATED_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    effective_listeners: float
    evidence_share: float
    graduated: bool
    served: bool
    tier: _common_pb2.Tier
    def __init__(self, track_id: _Optional[str] = ..., effective_listeners: _Optional[float] = ..., evidence_share: _Optional[float] = ..., graduated: _Optional[bool] = ..., served: _Optional[bool] = ..., tier: _Optional[_Union[_common_pb2.Tier, str]] = ...) -> None: ...

class RecordFeedbackRequest(_message.Message):
    __slots__ = ("space_id", "events")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    events: _containers.RepeatedCompositeFieldContainer[FeedbackEvent]
    def __init__(self, space_id: _Optional[str] = ..., events: _Optional[_Iterable[_Union[FeedbackEvent, _Mapping]]] = ...) -> None: ...

class RecordFeedbackResponse(_message.Message):
    __slots__ = ("space_id", "snapshot_id", "outcomes", "tracks")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    TRACKS_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    snapshot_id: str
    outcomes: _containers.RepeatedCompositeFieldContainer[FeedbackOutcome]
    tracks: _containers.RepeatedCompositeFieldContainer[WarmedTrack]
    def __init__(self, space_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., outcomes: _Optional[_Iterable[_Union[FeedbackOutcome, _Mapping]]] = ..., tracks: _Optional[_Iterable[_Union[WarmedTrack, _Mapping]]] = ...) -> None: ...
