r"""The protocol: who is asked, which tracks may be recommended, which entries count, and the two metrics.

A user's ranking is that of the candidates by the inner product of user vector and projected vector. With :math:`E_u`
the entries that count for user u and :math:`hit_r` = 1 where rank r (from 1) is one,

.. math::
    \mathrm{Recall}@20 = \frac{\sum_{r=1}^{20} hit_r}{|E_u|}, \qquad
    \mathrm{NDCG}@20 = \sum_{r=1}^{20} \frac{hit_r}{\log_2(r + 1)}
                       \Big/ \sum_{r=1}^{\min(20, |E_u|)} \frac{1}{\log_2(r + 1)}

and the mean is over the users with at least one entry that counts (Tamm et al., UMAP 2026). Where candidates tie, as
the tracks of one artist do under the artist mean, the metrics are those to be expected of a random order among them:
the order of a file's rows may tell which tracks are popular, and must not help a method that cannot tell them apart.

The slices:

- `overall`: all cold tracks of the split, all entries.
- `discovery`, `exploit`: all cold tracks of the split are candidates; of the entries those count whose primary artist
  is not (is) the primary artist of one of the user's warm tracks.
- Kinds of track (`with_catalogue`, `without_catalogue`, `content_known`, `content_unknown`, and their four pairs): the
  candidates are the tracks of that kind. A track has a catalogue here where a warm track has the same PRIMARY artist,
  which is the plain artist mean's reading; a featured artist's catalogue is there for methods that can use it.
- `without_catalogue*_among_all`: entries of that kind, all cold tracks of the split as candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from artist_transfer import Credits
from jobs.evaluation.benchmark_folder import Benchmark, ColdSplit, FloatArray, IntArray

LIST_LENGTH = 20
ENTRY_BLOCK = 1024  # entries ranked at once: 1,024 x 26,000 candidates are 100 MB of scores
MAIN_SLICES = ("overall", "discovery", "exploit", "with_catalogue", "without_catalogue")
METRICS = ("recall@20", "ndcg@20")

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Slice:
    """A question to the rankings: these candidates, those entries.

    Attributes
    ----------
    name : str
    candidates : ndarray, shape (m,), bool
        Which cold tracks of the split may be recommended.
    entries : ndarray, shape (e, 2), int64
        User row and track row of the entries that count; all of them are candidates; sorted.
    users : ndarray, shape (n,), int64
        The user rows with at least one such entry, ascending: those that a mean is over.
    """

    name: str
    candidates: BoolArray
    entries: IntArray
    users: IntArray


@dataclass(frozen=True, eq=False)
class PerUser:
    """What each user of a slice was given.

    Attributes
    ----------
    recall, ndcg : ndarray, shape (n,), float64
        In [0, 1], in the order of `Slice.users`.
    """

    recall: NDArray[np.float64]
    ndcg: NDArray[np.float64]

    def metric(self, name: str) -> NDArray[np.float64]:
        """Return one of `METRICS` by its name."""
        return {"recall@20": self.recall, "ndcg@20": self.ndcg}[name]


def slices(benchmark: Benchmark, split: ColdSplit) -> dict[str, Slice]:
    """Cut a split into its slices.

    Parameters
    ----------
    benchmark : Benchmark
        Says which artists have a catalogue, and whom each user knows.
    split : ColdSplit
        One of its splits.

    Returns
    -------
    dict of str to Slice
        In the order of the module's text. A slice may have no user.
    """
    everything = np.ones(len(split.tracks), dtype=np.bool_)
    catalogue = has_catalogue(benchmark, split)
    content = split.tracks.content_known
    known = _knows_artist(benchmark, split)
    user_entries = np.ones(len(split.entries), dtype=np.bool_)
    kinds = {
        "with_catalogue": catalogue,
        "without_catalogue": ~catalogue,
        "content_known": content,
        "content_unknown": ~content,
        "with_catalogue_content": catalogue & content,
        "with_catalogue_no_content": catalogue & ~content,
        "without_catalogue_content": ~catalogue & content,
        "without_catalogue_no_content": ~catalogue & ~content,
    }
    cut = [("overall", everything, user_entries), ("discovery", everything, ~known), ("exploit", everything, known)]
    cut += [(name, kind, kind[split.entries[:, 1]]) for name, kind in kinds.items()]
    cut += [
        (f"{name}_among_all", everything, kind[split.entries[:, 1]])
        for name, kind in kinds.items()
        if name.startswith("without_catalogue")
    ]
    return {name: make_slice(name, candidates, split.entries[counted]) for name, candidates, counted in cut}


def make_slice(name: str, candidates: BoolArray, entries: IntArray) -> Slice:
    """Make a slice of candidates, shape (m,), and the entries that count, shape (e, 2) and sorted."""
    return Slice(name, candidates, entries, np.unique(entries[:, 0]))


def has_catalogue(benchmark: Benchmark, split: ColdSplit) -> BoolArray:
    """Whether a warm track has the same primary artist, for each cold track of a split; shape (m,)."""
    return has_primary(split.tracks.credits, benchmark.warm.credits)


def has_primary(credit: Credits, catalogue: Credits) -> BoolArray:
    """Whether the primary artist of each of m tracks is that of a catalogue's track too; shape (m,)."""
    catalogued = set(primary_names(catalogue)) - {""}
    return np.array([name in catalogued for name in primary_names(credit)], dtype=np.bool_)


def artist_owners(credit: Credits) -> IntArray:
    """Tell tracks of one primary artist from others, for `bootstrap`; a track without one is alone; shape (m,)."""
    code = credit.primary_artists().astype(np.int64)
    return np.where(code >= 0, code, -1 - np.arange(code.size))


def primary_names(credit: Credits) -> list[str]:
    """Name each track's primary artist; an empty text where it has none."""
    return [credit.artist_ids[code] if code >= 0 else "" for code in credit.primary_artists().tolist()]


def _knows_artist(benchmark: Benchmark, split: ColdSplit) -> BoolArray:
    """Whether an entry's primary artist is that of one of the user's warm tracks; shape (e,)."""
    warm_names = primary_names(benchmark.warm.credits)
    cold_names = primary_names(split.tracks.credits)
    codes = {name: code for code, name in enumerate(sorted(set(warm_names) | set(cold_names)))}
    warm_code = np.array([codes[name] for name in warm_names], dtype=np.int64)
    cold_code = np.array([codes[name] for name in cold_names], dtype=np.int64)
    heard = np.unique(benchmark.warm_entries[:, 0] * len(codes) + warm_code[benchmark.warm_entries[:, 1]])
    asked = split.entries[:, 0] * len(codes) + cold_code[split.entries[:, 1]]
    nameless = codes.get("", -1)  # two tracks without an artist do not share one
    return np.asarray(np.isin(asked, heard) & (cold_code[split.entries[:, 1]] != nameless))


def per_user(projected: FloatArray, users: FloatArray, asked: Sequence[Slice]) -> dict[str, PerUser]:
    """Rank the candidates for every user and judge the rankings.

    Parameters
    ----------
    projected : ndarray, shape (m, dim) or (m,), float32
        Projected vectors of the split's tracks; or one score a track, the same for all users.
    users : ndarray, shape (u, dim), float32
        User vectors.
    asked : sequence of Slice
        Of the same split. Slices that share their candidates share the work of ranking.

    Returns
    -------
    dict of str to PerUser
        By the slices' names.
    """
    groups: dict[bytes, list[Slice]] = {}
    for one in asked:
        groups.setdefault(np.packbits(one.candidates).tobytes(), []).append(one)
    found = {name: one for group in groups.values() for name, one in _judge_group(projected, users, group).items()}
    return {one.name: found[one.name] for one in asked}


def _judge_group(projected: FloatArray, users: FloatArray, group: Sequence[Slice]) -> Mapping[str, PerUser]:
    candidates = np.flatnonzero(group[0].candidates)
    place = np.full(group[0].candidates.size, -1, dtype=np.int64)
    place[candidates] = np.arange(candidates.size)
    entries = np.unique(np.concatenate([one.entries for one in group]), axis=0)
    keys = entries[:, 0] * place.size + entries[:, 1]
    better, equal = entry_ranks(projected[candidates], users, np.stack([entries[:, 0], place[entries[:, 1]]], axis=1))
    found = {}
    for one in group:
        at = np.searchsorted(keys, one.entries[:, 0] * place.size + one.entries[:, 1])
        found[one.name] = _judge(np.searchsorted(one.users, one.entries[:, 0]), better[at], equal[at], one.users.size)
    return found


def _judge(owner: IntArray, better: IntArray, equal: IntArray, users: int) -> PerUser:
    """Add up what entries earn for their users, given by position; see `entry_ranks` for the ranks."""
    first, last = np.minimum(better, LIST_LENGTH), np.minimum(better + equal, LIST_LENGTH)
    earned = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, LIST_LENGTH + 2)))])
    relevant = np.bincount(owner, minlength=users)
    recall = np.bincount(owner, weights=(last - first) / equal, minlength=users) / relevant
    gain = np.bincount(owner, weights=(earned[last] - earned[first]) / equal, minlength=users)
    return PerUser(recall, gain / earned[np.minimum(relevant, LIST_LENGTH)])


def entry_ranks(projected: FloatArray, users: FloatArray, entries: IntArray) -> tuple[IntArray, IntArray]:
    """Find where each entry's track stands in its user's ranking.

    Parameters
    ----------
    projected : ndarray, shape (m, dim) or (m,), float32
        As in `per_user`: the candidates alone.
    users : ndarray, shape (u, dim), float32
    entries : ndarray, shape (e, 2), int64
        User row and row of `projected`, sorted.

    Returns
    -------
    better, equal : ndarray, shape (e,), int64
        How many candidates score higher than the entry's track, and how many the same (itself among them).
    """
    import torch

    if projected.ndim == 1:
        ascending = np.sort(projected)
        mine = projected[entries[:, 1]]
        upto = np.searchsorted(ascending, mine, side="right")
        return len(projected) - upto, upto - np.searchsorted(ascending, mine, side="left")
    # Tracks of one artist may have one and the same vector. Scored once each, their ties are ties: a matrix product
    # may round equal columns differently.
    distinct, inverse = np.unique(projected, axis=0, return_inverse=True)
    vectors, back = torch.from_numpy(distinct).T, torch.from_numpy(inverse.reshape(-1))
    better, equal = np.empty(len(entries), dtype=np.int64), np.empty(len(entries), dtype=np.int64)
    for begin in range(0, len(entries), ENTRY_BLOCK):
        block = entries[begin : begin + ENTRY_BLOCK]
        asked, owner = np.unique(block[:, 0], return_inverse=True)
        scores = (torch.from_numpy(users[asked]) @ vectors)[:, back][torch.from_numpy(owner.reshape(-1))]
        own = scores.gather(1, torch.from_numpy(block[:, 1:]))
        better[begin : begin + ENTRY_BLOCK] = (scores > own).sum(dim=1).numpy()
        equal[begin : begin + ENTRY_BLOCK] = (scores == own).sum(dim=1).numpy()
    return better, equal
