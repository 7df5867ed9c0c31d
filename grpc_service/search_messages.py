"""Between the messages of searching and the dataclasses of the rooms below. What is not checked here, they check."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grpc_service.errors import FilterError, RequestError, VectorPayloadError
from grpc_service.ids import checked_id
from grpc_service.packing import unpack_vectors
from grpc_service.pb.anacrusis.v1 import common_pb2 as common
from grpc_service.pb.anacrusis.v1 import neighbor_service_pb2 as neighbor_pb
from grpc_service.track_messages import popularity
from index import Filters, InvalidQueryError, Tier, as_popularity, packed_together
from jobs import JobError, Query, VectorQueries, parse_release_date

if TYPE_CHECKING:
    from grpc_service.options import ServerOptions
    from index import Hits, TrackRecord

DEFAULT_K = 10
_VIEWS = frozenset(neighbor_pb.HitView.values())  # which makes a list at each call
_MARKET = re.compile("[A-Z]{2}")
Describe = Callable[[Sequence[str]], Sequence["TrackRecord | None"]]
SearchRequest = neighbor_pb.SearchNeighborsRequest | neighbor_pb.BatchSearchNeighborsRequest


def vectors_of(packed: common.PackedVectors, field: str) -> NDArray[np.float32]:
    """Unpack vectors that a caller sent.

    Parameters
    ----------
    packed : PackedVectors
        As received.
    field : str
        Named in the error.

    Returns
    -------
    ndarray of float32, shape (n, dim)
        At least one row; NaN and the wrong dimension are for the search to refuse, row by row.

    Raises
    ------
    VectorPayloadError
        When the bytes are no vectors.
    """
    try:
        return unpack_vectors(packed)
    except ValueError as error:
        raise VectorPayloadError(str(error), field=field) from None


def filters_of(message: common.Filters) -> Filters | None:
    """Read filters.

    Parameters
    ----------
    message : Filters
        As received.

    Returns
    -------
    index.Filters or None
        None when they exclude nothing.

    Raises
    ------
    FilterError
        For a date, tier, market or artist id that cannot be read.
    """
    for tier in message.tiers:
        if tier not in {member.value for member in Tier}:
            raise FilterError(f"Tier {tier} does not exist; name tiers 1 to 3.", field="filters.tiers")
    if message.market and not _MARKET.fullmatch(message.market):
        raise FilterError(
            f"Market {message.market[:40]!r} is no ISO 3166-1 alpha-2 code; write two upper-case letters such as 'DE'.",
            field="filters.market",
        )
    for field in ("artists_in", "artists_out"):
        for artist_id in getattr(message, field):
            checked_id(artist_id, f"filters.{field}", FilterError)
    filters = Filters(
        released_from=_day(message.released_from, "filters.released_from", last=False),
        released_to=_day(message.released_to, "filters.released_to", last=True),
        artists_in=frozenset(message.artists_in),
        artists_out=frozenset(message.artists_out),
        tiers=frozenset(Tier(tier) for tier in message.tiers),
        market=message.market or None,
    )
    return None if filters == Filters() else filters


def _day(text: str, field: str, *, last: bool) -> dt.date | None:
    """Read a whole or partial date as the first or last day that it covers."""
    try:
        return parse_release_date(text, last=last)
    except JobError as error:
        raise FilterError(str(error), field=field) from None


def shared_arguments(request: SearchRequest) -> dict[str, Any]:
    """Read what all queries of a request have in common.

    Parameters
    ----------
    request : SearchNeighborsRequest or BatchSearchNeighborsRequest
        As received.

    Returns
    -------
    dict
        Keyword arguments of `jobs.Query`.

    Raises
    ------
    RequestError, FilterError
        For a cap below 1, an unknown view or a wrong filter. The rest is for the search to check.
    """
    if request.HasField("max_per_artist") and request.max_per_artist < 1:
        raise RequestError(
            f"max_per_artist is {request.max_per_artist}; give 1 or more, or leave it out for no cap.",
            field="max_per_artist",
        )
    if request.view not in _VIEWS:
        raise RequestError(f"View {request.view} does not exist; use PACKED or FULL.", field="view")
    return {
        "k": request.k if request.HasField("k") else DEFAULT_K,
        "space_id": request.space_id,
        "filters": filters_of(request.filters) if request.HasField("filters") else None,
        "max_per_artist": request.max_per_artist if request.HasField("max_per_artist") else None,
        "include_self": request.include_self,
        "popularity_damping": request.popularity_damping,
        "exact": request.exact,
    }


def check_sizes(request: SearchRequest, options: ServerOptions) -> None:
    """Refuse what asks for more than this server gives.

    Parameters
    ----------
    request : SearchNeighborsRequest or BatchSearchNeighborsRequest
        As received.
    options : ServerOptions

    Raises
    ------
    index.InvalidQueryError
        For a k above the server's bound.
    FilterError
        For more artists than a filter may name.
    """
    if request.k > options.max_k:
        raise InvalidQueryError(
            f"k is {request.k}; this server gives at most {options.max_k}.", reason="K_OUT_OF_RANGE", field="k"
        )
    if not request.HasField("filters"):
        return
    artists = len(request.filters.artists_in) + len(request.filters.artists_out)
    if artists > options.max_filter_artists:
        raise FilterError(
            f"The filters name {artists} artists; name at most {options.max_filter_artists} a query.", field="filters"
        )


def query_of(request: neighbor_pb.SearchNeighborsRequest) -> Query:
    """Read a single query.

    Parameters
    ----------
    request : SearchNeighborsRequest
        As received.

    Returns
    -------
    jobs.Query
        k and space are for the search to check.

    Raises
    ------
    RequestError, FilterError, VectorPayloadError
        For what the search could not make sense of.
    """
    shared = shared_arguments(request)
    subject = request.WhichOneof("subject")
    if subject == "track_id":
        return Query(track_id=checked_id(request.track_id, subject), **shared)
    if subject == "user_id":
        return Query(user_id=checked_id(request.user_id, subject), **shared)
    if subject is None:
        raise RequestError(
            "The request names nothing to find neighbours of; give track_id, vector, user_vector or user_id.",
            field="subject",
        )
    rows = vectors_of(getattr(request, subject), subject)
    if len(rows) != 1:
        raise VectorPayloadError(
            f"The data holds {len(rows)} vectors; send one, or use BatchSearchNeighbors.", field=subject
        )
    return Query(vector=rows[0], **shared)


def queries_of(request: neighbor_pb.BatchSearchNeighborsRequest, *, at_most: int) -> Sequence[Query]:
    """Read the queries of a batch.

    Parameters
    ----------
    request : BatchSearchNeighborsRequest
        As received.
    at_most : int
        Queries that a batch may have.

    Returns
    -------
    sequence of jobs.Query
        At least one, in order.

    Raises
    ------
    RequestError, FilterError, VectorPayloadError
        For what spoils the whole batch.
    """
    shared = shared_arguments(request)
    subjects = request.WhichOneof("subjects")
    if subjects in {"track_ids", "user_ids"}:
        name = str(subjects).removesuffix("s")
        things: Any = getattr(request, str(subjects)).ids
    elif subjects is not None:
        name = "vector"
        things = vectors_of(getattr(request, subjects), subjects)
    else:
        things = ()
    if not len(things):
        raise RequestError(
            "The batch names nothing to find neighbours of; give track_ids, vectors, user_vectors or user_ids.",
            field="subjects",
        )
    if len(things) > at_most:
        raise RequestError(f"The batch asks {len(things)} queries; ask at most {at_most} a call.", field=str(subjects))
    if name == "vector":
        return VectorQueries(things, Query(**shared))
    return [Query(**{name: thing}, **shared) for thing in things]


def packed_fields(hits: Sequence[Hits]) -> dict[str, bytes]:
    """Give the fields of `PackedHits`, by name.

    Parameters
    ----------
    hits : sequence of index.Hits
        One a query; those of one stand behind those of the one before it.
    """
    told = packed_together(hits)
    return {
        "track_ids": told.ids,
        "track_id_lengths": told.id_lengths,
        "scores": told.scores,
        "tiers": told.tiers,
        "confidences": told.confidence,
        "popularities": told.popularity,
    }


def pack_hits(packed: neighbor_pb.PackedHits, hits: Hits) -> None:
    """Write the hits of one query as parallel arrays, in the same order.

    In place: a message made apart is written out and read again to become a part of another one.

    Parameters
    ----------
    packed : PackedHits
        Empty, and a part of the reply already.
    hits : index.Hits
        Best first.
    """
    packed.SetInParent()  # also where nothing was found
    told = hits.packed()
    packed.track_ids = told.ids
    packed.track_id_lengths = told.id_lengths
    packed.scores = told.scores
    packed.tiers = told.tiers
    packed.confidences = told.confidence
    packed.popularities = told.popularity


def add_full_hits(messages: Any, hits: Hits, describe: Describe) -> None:
    """Write hits as messages with titles and artists, in the same order.

    Parameters
    ----------
    messages : repeated Hit
        Empty, and a part of the reply already.
    hits : index.Hits
        Best first.
    describe : callable
        Looks the tracks up.
    """
    ids, scores, tiers, confidence, listens = (
        hits.track_ids,
        hits.scores,
        hits.tiers,
        hits.confidence,
        hits.popularity,
    )
    for place, (track_id, record) in enumerate(zip(ids, describe(ids), strict=True)):
        messages.add(
            rank=place + 1,
            track_id=track_id,
            title=record.title if record else "",
            artist_ids=record.artist_ids if record else (),
            score=float(scores[place]),
            tier=common.Tier.Name(int(tiers[place])),
            confidence=float(confidence[place]),
            popularity=popularity(as_popularity(listens[place])),
        )
