"""What is asked of a search, and what it answers: plain, frozen records that cross this room's door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import overload

from index.hits import Hits
from index.types import Tier


@dataclass(frozen=True)
class Filters:
    """Which tracks may be in an answer. All conditions must hold; one left out holds for every track.

    Parameters
    ----------
    released_from, released_to : date, optional
        Both inclusive. A track without a known release date passes neither.
    artists_in : frozenset of str
        At least one credited artist, in whatever role, is among these.
    artists_out : frozenset of str
        No credited artist, in whatever role, is among these.
    tiers : frozenset of Tier
        Empty: all.
    market : str, optional
        The track may be played there; tracks that list no market pass.
    """

    released_from: date | None = None
    released_to: date | None = None
    artists_in: frozenset[str] = frozenset()
    artists_out: frozenset[str] = frozenset()
    tiers: frozenset[Tier] = frozenset()
    market: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every track passes."""
        return self == Filters()


@dataclass(frozen=True, eq=False)
class SearchResult(Sequence[Hits]):
    """One `Hits` a query, and the state that all of them were found in."""

    hits: list[Hits]
    space_id: str
    snapshot_id: str

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, item: int) -> Hits: ...

    @overload
    def __getitem__(self, item: slice) -> list[Hits]: ...

    def __getitem__(self, item: int | slice) -> Hits | list[Hits]:
        return self.hits[item]

    def __iter__(self) -> Iterator[Hits]:
        return iter(self.hits)


@dataclass(frozen=True)
class SearcherStatus:
    """What a searcher serves at the moment.

    Parameters
    ----------
    tracks : int
        Tracks that can be in an answer.
    tiers : mapping of Tier to int
        The same by tier.
    fresh_rows : int
        How many of them stand in the fresh rows beside the built index.
    withdrawn : int
        Ids taken down, whether or not they were ever served.
    """

    space_id: str
    snapshot_id: str
    index_kind: str
    device: str
    tracks: int
    tiers: Mapping[Tier, int]
    fresh_rows: int
    withdrawn: int
