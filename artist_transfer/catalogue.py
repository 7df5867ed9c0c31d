"""An artist's warm tracks, and which of them a target may lean on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from artist_transfer.credits import Credits, IntArray
from artist_transfer.errors import TransferInputError
from artist_transfer.types import NO_DATE, ColdTracks, WarmTracks

CATALOGUE_LIMIT = 250
"""Catalogue tracks read for one target at most (Tamm et al., UMAP 2026: 250 at inference)."""


@dataclass(frozen=True, eq=False)
class CatalogueRows:
    """The catalogues of m targets one behind the other.

    Attributes
    ----------
    indptr : ndarray, shape (m + 1,), int64
        Where each target's catalogue begins and ends.
    rows : ndarray, shape (nnz,), int64
        Rows of the warm tracks, the most recent first.
    roles : ndarray, shape (nnz,), int8
        The closest `Role` that a shared artist has on the target.
    """

    indptr: IntArray
    rows: IntArray
    roles: npt.NDArray[np.int8]

    @property
    def sizes(self) -> IntArray:
        """Catalogue size of each target, shape (m,), int64."""
        return np.diff(self.indptr)

    def take(self, targets: IntArray) -> "CatalogueRows":
        """Take the catalogues of some targets (positions), in that order."""
        counts = self.sizes[targets]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[:-1][targets] - indptr[:-1], counts)
        return CatalogueRows(indptr, self.rows[places], self.roles[places])

    def emptied(self, targets: npt.NDArray[np.bool_]) -> "CatalogueRows":
        """Take the catalogues of some targets (a mask) away: they stay, with no track in them."""
        counts = np.where(targets, 0, self.sizes)
        kept = np.repeat(~targets, self.sizes)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return CatalogueRows(indptr, self.rows[kept], self.roles[kept])

    def padded(self, targets: IntArray | None = None) -> "CatalogueBatch":
        """Set the catalogues of some targets (all by default) side by side, as wide as the longest."""
        at = np.arange(self.indptr.size - 1) if targets is None else targets
        counts = self.sizes[at]
        width = int(counts.max()) if counts.size else 0
        columns = np.arange(width)
        mask = columns[None, :] < counts[:, None]
        rows = np.full(mask.shape, -1, dtype=np.int64)
        roles = np.zeros(mask.shape, dtype=np.int8)
        places = (self.indptr[:-1][at][:, None] + columns[None, :])[mask]
        rows[mask] = self.rows[places]
        roles[mask] = self.roles[places]
        return CatalogueBatch(rows=rows, roles=roles)


@dataclass(frozen=True, eq=False)
class CatalogueBatch:
    """The catalogues of m targets side by side.

    Attributes
    ----------
    rows : ndarray, shape (m, width), int64
        Rows of the warm tracks, the most recent first, padded with -1 at the end.
    roles : ndarray, shape (m, width), int8
        The closest `Role` that a shared artist has on the target; 0 where padded.
    """

    rows: IntArray
    roles: npt.NDArray[np.int8]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True where there is a catalogue track, shape (m, width)."""
        return self.rows >= 0

    @property
    def sizes(self) -> IntArray:
        """Catalogue size of each target, shape (m,), int64."""
        sizes: IntArray = self.mask.sum(axis=1, dtype=np.int64)
        return sizes


class Catalogue:
    """The warm tracks of a space, by artist.

    What a target may lean on: every warm track that shares an artist with it, in whatever role, each once; never the
    target itself; and (causal) no track that is KNOWN to be released after the target: where either date is unknown,
    or both are the same day, it may. Over the limit the most recent stay (known dates first, newest first, then by
    track id), so that the same question always has the same answer.

    Parameters
    ----------
    tracks : WarmTracks
        The catalogue's tracks. They are kept, not copied.

    Attributes
    ----------
    tracks : WarmTracks
        As given; rows are positions in it.
    """

    def __init__(self, tracks: WarmTracks) -> None:
        self.tracks = tracks
        n = len(tracks)
        credit = tracks.credits
        by_id = np.argsort(tracks.track_ids, kind="stable")
        self._sorted_ids = tracks.track_ids[by_id]
        self._sorted_rows = by_id.astype(np.int64)
        id_rank = np.empty(n, dtype=np.int64)
        id_rank[by_id] = np.arange(n)
        # NO_DATE is the smallest day, so that "newest first" puts unknown dates last.
        newest_first = np.lexsort((id_rank, -tracks.release_day.astype(np.int64)))
        self._rank = np.empty(n, dtype=np.int64)
        self._rank[newest_first] = np.arange(n)
        owners = credit.owners()
        order = np.lexsort((self._rank[owners], credit.artists))
        self._codes = {artist_id: code for code, artist_id in enumerate(credit.artist_ids)}
        self._rows = owners[order]
        counts = np.bincount(credit.artists, minlength=len(credit.artist_ids))
        self._indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._keys = _artist_day_key(credit.artists[order], tracks.release_day[self._rows])

    def __len__(self) -> int:
        return len(self.tracks)

    @cached_property
    def id_ranks(self) -> IntArray:
        """Place of each warm track among all in the order of their ids, shape (n,), int64."""
        ranks = np.empty(len(self.tracks), dtype=np.int64)
        ranks[self._sorted_rows] = np.arange(ranks.size)
        return ranks

    def rows_of(self, track_ids: npt.NDArray[np.str_]) -> IntArray:
        """Find the row of each track, -1 where it is not warm; shape (m,), int64."""
        if len(self.tracks) == 0 or track_ids.size == 0:
            return np.full(track_ids.size, -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._sorted_ids, track_ids), len(self.tracks) - 1)
        return np.where(self._sorted_ids[place] == track_ids, self._sorted_rows[place], -1)

    def select(self, targets: ColdTracks, limit: int = CATALOGUE_LIMIT) -> CatalogueRows:
        """Select what each target may lean on, one catalogue behind the other.

        Parameters
        ----------
        targets : ColdTracks
            m targets.
        limit : int
            Catalogue tracks for one target at most, at least 1.

        Returns
        -------
        CatalogueRows
            For m targets.

        Raises
        ------
        TransferInputError
            ``OPTION_OUT_OF_RANGE`` where `limit` is below 1.
        """
        if limit < 1:
            raise TransferInputError(
                f"The catalogue limit is {limit}; give at least 1.",
                reason="OPTION_OUT_OF_RANGE",
                field="limit",
            )
        credit = targets.credits
        owner, role = credit.owners(), credit.roles
        artist = self._known_artists(credit)
        known = artist >= 0
        owner, role, artist = owner[known], role[known], artist[known]

        begin, end = self._indptr[artist], self._indptr[artist + 1]
        day = targets.release_day[owner]
        # An artist's rows run from the newest to the oldest to the undated: what is too new is a prefix.
        causal = np.searchsorted(self._keys, _artist_day_key(artist, day), side="left")
        begin = np.where(day == NO_DATE, begin, np.maximum(begin, causal))
        # One more than the limit, because one of them may be the target itself.
        counts = np.minimum(end - begin, limit + 1)
        total = int(counts.sum())
        before = np.cumsum(counts) - counts
        row = self._rows[np.arange(total) + np.repeat(begin - before, counts)]
        owner, role = np.repeat(owner, counts), np.repeat(role, counts)

        other = row != self.rows_of(targets.track_ids)[owner]
        owner, role, row = owner[other], role[other], row[other]
        order = np.lexsort((role, self._rank[row], owner))
        owner, role, row = owner[order], role[order], row[order]
        first = np.ones(owner.size, dtype=np.bool_)
        first[1:] = (owner[1:] != owner[:-1]) | (row[1:] != row[:-1])
        owner, role, row = owner[first], role[first], row[first]
        sizes = np.bincount(owner, minlength=len(targets))
        place = np.arange(owner.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kept = place < limit
        indptr = np.concatenate([[0], np.cumsum(np.minimum(sizes, limit))]).astype(np.int64)
        return CatalogueRows(indptr=indptr, rows=row[kept], roles=role[kept])

    def gather(self, targets: ColdTracks, limit: int = CATALOGUE_LIMIT) -> CatalogueBatch:
        """Select what each target may lean on, side by side; see `select` for parameters and errors."""
        return self.select(targets, limit).padded()

    def _known_artists(self, credit: Credits) -> IntArray:
        """Match each credit's artist with this catalogue's code, -1 where there is none; shape (nnz,)."""
        if credit.artist_ids is self.tracks.credits.artist_ids:
            return credit.artists
        used, inverse = np.unique(credit.artists, return_inverse=True)
        codes = [self._codes.get(credit.artist_ids[code], -1) for code in used.tolist()]
        return np.asarray(codes, dtype=np.int64)[inverse]


def _artist_day_key(artist: IntArray, day: npt.NDArray[np.int32]) -> IntArray:
    """One sortable number for (artist ascending, day descending): both fit in 64 bits below 2**31 artists."""
    return artist * np.int64(2**32) + (np.int64(2**31 - 1) - day.astype(np.int64))
