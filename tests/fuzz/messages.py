"""Messages of every method: valid ones with drawn values, and any that the proto's types allow."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from hypothesis import strategies as st

from grpc_service.pb.anacrusis.v1 import (
    admin_service_pb2,
    embedding_service_pb2,
    feedback_service_pb2,
    neighbor_service_pb2,
    release_service_pb2,
)

_MODULES = (
    admin_service_pb2,
    embedding_service_pb2,
    feedback_service_pb2,
    neighbor_service_pb2,
    release_service_pb2,
)
METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for module in _MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
INTEGERS = (0, 1, -1, 2, 7, 100, 1 << 15, 1 << 20, (1 << 31) - 1, -(1 << 31))
ODD_TEXTS = (
    "",
    " ",
    "\0",
    "a\nb",
    "x" * 300,
    "ä漢😀",
    "2024",
    "2024-13-40",
    "DE",
    "de",
    "../etc/passwd",
    "%s%n",
    "{0}",
)


@dataclass(frozen=True)
class Served:
    """A server to send them to.

    Attributes
    ----------
    address : str
    track_ids, user_ids, artist_ids : tuple of str
        Some that it knows.
    space_id : str
    dim : int
        Of its space.
    uris : tuple of str
        Some that it may be asked for.
    audio : tuple of bytes
        Some that it may be sent.
    leaks : tuple of str
        What stands in no message of its: its own paths, and the marks of a traceback.
    """

    address: str
    track_ids: tuple[str, ...]
    user_ids: tuple[str, ...]
    artist_ids: tuple[str, ...]
    space_id: str
    dim: int
    uris: tuple[str, ...]
    audio: tuple[bytes, ...]
    leaks: tuple[str, ...]


class ValidMessages:
    """Draws requests that mean something, most of the time.

    Parameters
    ----------
    rng : random.Random
    served : Served
    """

    def __init__(self, rng: random.Random, served: Served) -> None:
        self._rng = rng
        self._served = served

    def of(self, method: MethodDescriptor) -> list[bytes]:
        """Draw the messages of one call; several where the caller streams."""
        make = getattr(self, f"_{method.name}")
        count = self._rng.choice((1, 2, 5)) if method.client_streaming else 1
        requests = make() if method.name == "UploadTrack" else [make() for _ in range(count)]
        return [request.SerializeToString() for request in requests]

    def _vectors(self, count: int = 1) -> dict[str, Any]:
        values = np.random.default_rng(self._rng.randrange(1 << 32)).normal(size=(count, self._served.dim))
        element = self._rng.choice((1, 2))
        return {
            "data": values.astype("<f4" if element == 1 else "<f2").tobytes(),
            "dim": self._served.dim,
            "element_type": element,
        }

    def _id(self, known: tuple[str, ...]) -> str:
        return self._rng.choice((*known, "nobody")) if self._rng.random() < 0.9 else self._rng.choice(ODD_TEXTS)

    def _track(self) -> str:
        return self._id(self._served.track_ids)

    def _options(self) -> dict[str, Any]:
        chance = self._rng.random
        options: dict[str, Any] = {"k": self._rng.choice((0, 1, 5, 100))}
        if chance() < 0.3:
            options["space_id"] = self._id((self._served.space_id,))
        if chance() < 0.4:
            options["filters"] = {
                "released_from": self._rng.choice(("", "2020", "2023-01-01")),
                "artists_in": [self._id(self._served.artist_ids)] if chance() < 0.3 else [],
                "artists_out": [self._id(self._served.artist_ids)] if chance() < 0.3 else [],
                "tiers": self._rng.choice(([], [1], [2, 3])),
                "market": self._rng.choice(("", "DE", "XX")),
            }
        options["view"] = self._rng.choice((0, 1, 2))
        options["include_self"] = chance() < 0.5
        options["max_per_artist"] = self._rng.choice((0, 1, 3))
        options["exact"] = chance() < 0.2
        options["popularity_damping"] = self._rng.choice((0.0, 0.0, 0.5, 1.0))
        return options

    def _SearchNeighbors(self) -> Any:
        subject: dict[str, Any] = self._rng.choice(
            ({"track_id": self._track()}, {"vector": self._vectors()}, {"user_id": self._id(self._served.user_ids)})
        )
        return neighbor_service_pb2.SearchNeighborsRequest(**subject, **self._options())

    def _BatchSearchNeighbors(self) -> Any:
        count = self._rng.choice((1, 3, 20))
        subject: dict[str, Any] = self._rng.choice(
            (
                {"track_ids": {"ids": [self._track() for _ in range(count)]}},
                {"vectors": self._vectors(count)},
                {"user_ids": {"ids": [self._id(self._served.user_ids)]}},
            )
        )
        return neighbor_service_pb2.BatchSearchNeighborsRequest(**subject, **self._options())

    def _StreamNeighbors(self) -> Any:
        search = self._SearchNeighbors()
        return neighbor_service_pb2.StreamNeighborsRequest(request_id=self._id(("1", "2")), search=search)

    def _GetEmbedding(self) -> Any:
        return embedding_service_pb2.GetEmbeddingRequest(track_id=self._track(), element_type=self._rng.randrange(3))

    def _BatchGetEmbeddings(self) -> Any:
        ids = [self._track() for _ in range(self._rng.choice((0, 1, 20)))]
        return embedding_service_pb2.BatchGetEmbeddingsRequest(track_ids=ids, element_type=self._rng.randrange(3))

    def _RecordFeedback(self) -> Any:
        events = [
            {
                "event_id": f"event-{self._rng.randrange(100)}",
                "track_id": self._track(),
                "user_id": self._id(self._served.user_ids),
                "action": self._rng.choice((0, 1, 2)),
                "event_time": {"seconds": 1_700_000_000},
                **({"user_vector": self._vectors()} if self._rng.random() < 0.3 else {}),
            }
            for _ in range(self._rng.choice((1, 3)))
        ]
        return feedback_service_pb2.RecordFeedbackRequest(events=events)

    def _metadata(self) -> dict[str, Any]:
        return {
            "track_id": f"new-{self._rng.randrange(40)}" if self._rng.random() < 0.9 else self._track(),
            "title": self._rng.choice(ODD_TEXTS),
            "credits": [{"artist_id": self._id(self._served.artist_ids), "role": self._rng.randrange(4)}],
            "release_date": self._rng.choice(("", "2024-05-01", "2024")),
            "markets": ["DE"],
        }

    def _IngestTrack(self) -> Any:
        audio: dict[str, Any] = (
            {"inline": self._rng.choice(self._served.audio)}
            if self._rng.random() < 0.7
            else {"uri": self._rng.choice((*self._served.uris, *ODD_TEXTS))}
        )
        return release_service_pb2.IngestTrackRequest(track=self._metadata(), **audio, include_vector=True)

    def _UploadTrack(self) -> Any:
        audio = self._rng.choice(self._served.audio)
        cut = self._rng.randrange(len(audio) + 1)
        header = {"track": self._metadata(), "size_bytes": self._rng.choice((0, len(audio), 1 << 40, -1))}
        parts: list[dict[str, Any]] = [{"header": header}, {"chunk": audio[:cut]}, {"chunk": audio[cut:]}]
        if self._rng.random() < 0.1:
            self._rng.shuffle(parts)
        return [release_service_pb2.UploadTrackRequest(**part) for part in parts]

    def _WithdrawTracks(self) -> Any:
        ids = [f"gone-{self._rng.randrange(40)}" for _ in range(self._rng.choice((0, 1, 5)))]
        return release_service_pb2.WithdrawTracksRequest(track_ids=ids, reason=self._rng.choice(ODD_TEXTS))

    def _RefreshArtists(self) -> Any:
        return admin_service_pb2.RefreshArtistsRequest(artist_ids=[self._id(self._served.artist_ids)])

    def _GetStatus(self) -> Any:
        return admin_service_pb2.GetStatusRequest()


def any_message(descriptor: Descriptor, served: Served) -> st.SearchStrategy[Any]:
    """Give a strategy for messages of a type: any of its fields, with any value that the field's type allows.

    Parameters
    ----------
    descriptor : Descriptor
    served : Served
        What it knows is drawn more often than chance would.

    Returns
    -------
    SearchStrategy
        Of messages.
    """
    kind = message_factory.GetMessageClass(descriptor)
    fields = {field.name: _value(field, served) for field in descriptor.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: kind(**given))


def _value(field: FieldDescriptor, served: Served) -> st.SearchStrategy[Any]:
    one = _single(field, served)
    return st.lists(one, max_size=4) if field.is_repeated else one


def _single(field: FieldDescriptor, served: Served) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return any_message(field.message_type, served)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return st.sampled_from([*(value.number for value in field.enum_type.values), 99, -1])
    if field.type == FieldDescriptor.TYPE_STRING:
        known = (*served.track_ids, *served.user_ids, *served.artist_ids, *served.uris, served.space_id)
        return st.sampled_from(known) | st.sampled_from(ODD_TEXTS) | st.text(_CHARACTERS, max_size=30)
    if field.type == FieldDescriptor.TYPE_BYTES:
        vector = np.ones(served.dim, "<f4").tobytes()
        return st.sampled_from((vector, vector[:-1], *served.audio)) | st.binary(max_size=200)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return st.floats(width=32)
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return st.floats()
    unsigned = field.type in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64)
    return st.sampled_from([value for value in (*INTEGERS, served.dim) if value >= 0 or not unsigned])


_CHARACTERS = st.characters(codec="utf-8")


@cache
def any_request(name: str, served: Served) -> st.SearchStrategy[list[bytes]]:
    """Give a strategy for the messages of one call of a method."""
    method = METHODS[name]
    one = any_message(method.input_type, served).map(lambda message: message.SerializeToString())
    return st.lists(one, max_size=4) if method.client_streaming else one.map(lambda raw: [raw])
