"""Some listeners of each cold track come first: who they are, and how rankings are judged by those who are left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from artist_transfer import Listens
from jobs.evaluation.benchmark_folder import FloatArray, IntArray
from jobs.evaluation.protocol import LIST_LENGTH

_USER_BLOCK = 1024  # users ranked at once: 1,024 x 26,000 candidates are 100 MB of scores

_EARNED = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, LIST_LENGTH + 2)))])


@dataclass(frozen=True, eq=False)
class EarlyListeners:
    """The entries of a split, parted into early listeners and those that are left to test.

    Of a track with so many listeners or fewer, all but one are early: something has to be left to test. So with a large
    n the number of early listeners tells of a track's popularity, to every method alike that counts listeners.

    Attributes
    ----------
    early, test : ndarray, shape (e, 2), int64
        User row and track row, sorted.
    users : ndarray, shape (n,), int64
        The user rows that have an entry to test, ascending.
    """

    early: IntArray
    test: IntArray
    users: IntArray

    @classmethod
    def draw(cls, entries: IntArray, wanted: int | IntArray, seed: int) -> Self:
        """Draw early listeners at random.

        Parameters
        ----------
        entries : ndarray, shape (e, 2), int64
            User row and track row, sorted, each pair once.
        wanted : int or ndarray of int64, shape (m,)
            How many of each track. With one seed, the first five of ten are the five of five.
        seed : int

        Returns
        -------
        EarlyListeners
        """
        tracks = entries[:, 1]
        counts = np.bincount(tracks)
        order = np.lexsort((np.random.default_rng(seed).random(len(entries)), tracks))
        place = np.empty(len(entries), dtype=np.int64)
        place[order] = np.arange(len(entries)) - np.repeat(np.cumsum(counts) - counts, counts)
        each = np.broadcast_to(np.asarray(wanted), max(np.size(wanted), counts.size))[tracks]
        is_early = place < np.minimum(each, counts[tracks] - 1)
        test = entries[~is_early]
        return cls(entries[is_early], test, np.unique(test[:, 0]))

    def judged_by(self, most: int) -> Self:
        """Return the same with fewer users to judge by, spread evenly over those that there are."""
        kept = self.users[np.linspace(0, self.users.size - 1, min(most, self.users.size)).astype(np.int64)]
        return type(self)(self.early, self.test[np.isin(self.test[:, 0], kept)], kept)

    def listens(self, users: FloatArray) -> Listens:
        """Return the early listeners as plays of unknown position; `users` are all user vectors, shape (u, dim)."""
        plays = np.ones(len(self.early), dtype=np.bool_)
        unknown = np.zeros(len(self.early), dtype=np.int64)
        return Listens(self.early[:, 1], self.early[:, 0], plays, unknown, users)

    def ndcg(self, vectors: FloatArray, users: FloatArray) -> NDArray[np.float64]:
        """Rank all tracks for every user with an entry to test, but not those that the user was an early listener of.

        Parameters
        ----------
        vectors : ndarray, shape (m, dim), float32
            Of all tracks of the split.
        users : ndarray, shape (u, dim), float32
            All user vectors.

        Returns
        -------
        ndarray of float64, shape (n,)
            NDCG@20 of each of `users`, as `jobs.evaluation.protocol` has it, ties in a random order.
        """
        import torch

        # Equal vectors are scored once: a matrix product may round equal columns differently, and ties have to be ties.
        distinct, inverse = np.unique(vectors, axis=0, return_inverse=True)
        columns, back = torch.from_numpy(distinct).T, torch.from_numpy(inverse.reshape(-1))
        found = np.empty(self.users.size)
        for begin in range(0, self.users.size, _USER_BLOCK):
            asked = self.users[begin : begin + _USER_BLOCK]
            scores = (torch.from_numpy(users[asked]) @ columns)[:, back]
            known, entries = _of(asked, self.early), _of(asked, self.test)
            scores[torch.from_numpy(known[:, 0]), torch.from_numpy(known[:, 1])] = -torch.inf
            own = scores[torch.from_numpy(entries[:, 0]), torch.from_numpy(entries[:, 1])]
            # Only what is not below the list's last place earns anything; few entries are left to be ranked.
            least = scores.topk(min(LIST_LENGTH, len(vectors)), dim=1).values[:, -1]
            listed = own >= least[torch.from_numpy(entries[:, 0])]
            others, own = scores[torch.from_numpy(entries[:, 0])[listed]], own[listed][:, None]
            better, equal = (others > own).sum(dim=1).numpy(), (others == own).sum(dim=1).numpy()
            owner = entries[listed.numpy(), 0]
            first, last = np.minimum(better, LIST_LENGTH), np.minimum(better + equal, LIST_LENGTH)
            gain = np.bincount(owner, weights=(_EARNED[last] - _EARNED[first]) / equal, minlength=asked.size)
            relevant = np.bincount(entries[:, 0], minlength=asked.size)
            found[begin : begin + asked.size] = gain / _EARNED[np.minimum(relevant, LIST_LENGTH)]
        return found


def _of(asked: IntArray, entries: IntArray) -> IntArray:
    """Give the entries of some users, with the user's place among them instead of the row; both sorted."""
    begin, end = np.searchsorted(entries[:, 0], [asked[0], asked[-1] + 1])
    place = np.minimum(np.searchsorted(asked, entries[begin:end, 0]), asked.size - 1)
    mine = asked[place] == entries[begin:end, 0]
    return np.stack([place[mine], entries[begin:end, 1][mine]], axis=1)
