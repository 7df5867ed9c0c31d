"""How well a projected vector finds what the true vector finds."""

import numpy as np
import numpy.typing as npt

from artist_transfer.interactions import Interactions
from artist_transfer.types import FloatArray

NEIGHBOURS = 20
"""Length of the neighbour list (the NDCG@20 of Tamm et al., UMAP 2026)."""

_CHUNK = 256


def list_length(reference_tracks: int) -> int:
    """Length of a neighbour list among so many tracks: 20, but a fifth of a small space.

    In a space of 30 tracks a list of 20 holds most of it, and every method looks good.
    """
    return max(1, min(NEIGHBOURS, reference_tracks // 5))


def unit_rows(matrix: FloatArray) -> FloatArray:
    """Rows brought to length 1, shape and type of `matrix`; a row of zeros stays."""
    norm = np.linalg.norm(matrix, axis=1, keepdims=True)
    return (matrix / np.where(norm > 0.0, norm, 1.0)).astype(np.float32, copy=False)


def row_cosine(left: FloatArray, right: FloatArray) -> npt.NDArray[np.float64]:
    """Cosine of each row of `left` with the same row of `right`, both (n, dim); 0 for a row of zeros."""
    cosine: npt.NDArray[np.float64] = np.einsum("nd,nd->n", unit_rows(left), unit_rows(right), dtype=np.float64)
    return cosine


def nearest(queries: FloatArray, reference: FloatArray, k: int) -> npt.NDArray[np.int64]:
    """Find the k rows of `reference` with the largest inner product, best first; shape (q, k), int64."""
    # Six times faster than numpy.argpartition; imported here because the artist mean does without torch.
    import torch

    transposed = torch.from_numpy(reference).T
    found = np.empty((queries.shape[0], k), dtype=np.int64)
    for begin in range(0, queries.shape[0], _CHUNK):
        score = torch.from_numpy(queries[begin : begin + _CHUNK]) @ transposed
        found[begin : begin + _CHUNK] = score.topk(k, dim=1).indices.numpy()
    return found


class NeighbourJudge:
    r"""Judges projected vectors by the neighbour list that they find.

    Neighbours are ranked by inner product, as a space is searched. (By cosine the figure stops rising, on public
    playlists, long before the ranking against user vectors does: it does not see how popular the neighbours are.)
    The k reference tracks that the true vector finds are the relevant ones. With hit_r = 1 where rank r
    (from 1) of the projected vector's list is relevant,

    .. math:: \mathrm{NDCG}@k = \sum_{r=1}^{k} \frac{hit_r}{\log_2(r + 1)} \Big/ \sum_{r=1}^{k} \frac{1}{\log_2(r + 1)}

    Parameters
    ----------
    true_vectors : ndarray, shape (n, dim), float32
        Of the judged tracks.
    reference : ndarray, shape (tracks, dim), float32
        The tracks to be found, without the judged ones.

    Attributes
    ----------
    k : int
        Length of the lists, see `list_length`.
    """

    def __init__(self, true_vectors: FloatArray, reference: FloatArray) -> None:
        self._reference = reference
        self.k = list_length(reference.shape[0])
        self._relevant = np.sort(nearest(true_vectors, reference, self.k), axis=1)
        self._gain = 1.0 / np.log2(np.arange(2, self.k + 2))

    def ndcg(self, vectors: FloatArray) -> npt.NDArray[np.float64]:
        """NDCG@k of each judged track's projected vector, `vectors` of shape (n, dim); shape (n,), in [0, 1]."""
        found = nearest(vectors, self._reference, self.k)
        hits = (found[:, :, None] == self._relevant[:, None, :]).any(axis=2)
        score: npt.NDArray[np.float64] = hits @ self._gain / self._gain.sum()
        return score


class ListenerJudge:
    r"""Judges projected vectors by the listeners who found those tracks later.

    Each user's list are the k judged tracks with the largest inner product with the user's vector; relevant are those
    that the user listened to, NDCG@k as in `NeighbourJudge` with the ideal list cut at k.

    Parameters
    ----------
    interactions : Interactions
        Of the judged tracks.
    tracks : int
        How many tracks are judged.

    Attributes
    ----------
    k : int
        Length of the lists, see `list_length`.
    """

    def __init__(self, interactions: Interactions, tracks: int) -> None:
        self.k = list_length(tracks)
        self._tracks = tracks
        self._listeners, owner = np.unique(interactions.entries[:, 0], return_inverse=True)
        self._users = interactions.users[self._listeners]
        self._pairs = np.sort(owner * np.int64(tracks) + interactions.entries[:, 1])
        self._gain = 1.0 / np.log2(np.arange(2, self.k + 2))
        ideal = np.cumsum(self._gain)
        self._ideal = ideal[np.minimum(np.bincount(owner, minlength=self._listeners.size), self.k) - 1]

    def ndcg(self, vectors: FloatArray) -> npt.NDArray[np.float64]:
        """NDCG@k of each listener, for `vectors` of shape (tracks, dim); shape (listeners,), in [0, 1]."""
        if self._listeners.size == 0:
            return np.empty(0, dtype=np.float64)
        found = nearest(self._users, vectors, self.k) + np.arange(self._listeners.size)[:, None] * self._tracks
        place = np.minimum(np.searchsorted(self._pairs, found), self._pairs.size - 1)
        score: npt.NDArray[np.float64] = ((self._pairs[place] == found) @ self._gain) / self._ideal
        return score
