from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_UNSPECIFIED: _ClassVar[Tier]
    TIER_COLLABORATIVE: _ClassVar[Tier]
    TIER_ARTIST_TRANSFER: _ClassVar[Tier]
    TIER_AUDIO_ONLY: _ClassVar[Tier]

class ElementType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ELEMENT_TYPE_UNSPECIFIED: _ClassVar[ElementType]
    ELEMENT_TYPE_FLOAT32: _ClassVar[ElementType]
    ELEMENT_TYPE_FLOAT16: _ClassVar[ElementType]
TIER_UNSPECIFIED: Tier
TIER_COLLABORATIVE: Tier
TIER_ARTIST_TRANSFER: Tier
TIER_AUDIO_ONLY: Tier
ELEMENT_TYPE_UNSPECIFIED: ElementType
ELEMENT_TYPE_FLOAT32: ElementType
ELEMENT_TYPE_FLOAT16: ElementType

class PackedVectors(_message.Message):
    __slots__ = ("data", "dim", "element_type")
    DATA_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    dim: int
    element_type: ElementType
    def __init__(self, data: _Optional[bytes] = ..., dim: _Optional[int] = ..., element_type: _Optional[_Union[ElementType, str]] = ...) -> None: ...

class Filters(_message.Message):
    __slots__ = ("released_from", "released_to", "artists_in", "artists_out", "tiers", "market")
    RELEASED_FROM_FIELD_NUMBER: _ClassVar[int]
    RELEASED_TO_FIELD_NUMBER: _ClassVar[int]
    ARTISTS_IN_FIELD_NUMBER: _ClassVar[int]
    ARTISTS_OUT_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    MARKET_FIELD_NUMBER: _ClassVar[int]
    released_from: str
    released_to: str
    artists_in: _containers.RepeatedScalarFieldContainer[str]
    artists_out: _containers.RepeatedScalarFieldContainer[str]
    tiers: _containers.RepeatedScalarFieldContainer[Tier]
    market: str
    def __init__(self, released_from: _Optional[str] = ..., released_to: _Optional[str] = ..., artists_in: _Optional[_Iterable[str]] = ..., artists_out: _Optional[_Iterable[str]] = ..., tiers: _Optional[_Iterable[_Union[Tier, str]]] = ..., market: _Optional[str] = ...) -> None: ...

class LeanedOn(_message.Message):
    __slots__ = ("track_id", "weight")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    weight: float
    def __init__(self, track_id: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Popularity(_message.Message):
    __slots__ = ("listens", "low", "high")
    LISTENS_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    listens: float
    low: float
    high: float
    def __init__(self, listens: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...
