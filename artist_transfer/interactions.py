"""Who listened to which warm track: what the ranking transfer learns from. No torch in here."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from artist_transfer.credits import IntArray
from artist_transfer.errors import TransferInputError
from artist_transfer.types import FloatArray, finite_matrix


@dataclass(frozen=True, eq=False)
class Interactions:
    """The listeners of a space and what they listened to.

    Parameters
    ----------
    users : array_like, shape (u, dim), float32
        User vectors of the same space as the tracks, finite; a score is the inner product with a track's vector.
    entries : array_like, shape (e, 2), int64
        User row and row of the warm tracks, in any order; a pair that stands twice counts once.

    Raises
    ------
    TransferInputError
        ``NOT_NUMERIC``, ``NOT_FINITE`` or ``SHAPE_MISMATCH``.
    """

    users: FloatArray
    entries: IntArray

    def __post_init__(self) -> None:
        users = finite_matrix(self.users, "users")
        entries = np.asarray(self.entries)
        if entries.ndim != 2 or entries.shape[1] != 2 or not np.issubdtype(entries.dtype, np.integer):
            raise TransferInputError(
                f"entries has shape {entries.shape} and type {entries.dtype}; give pairs of integers: the user's row "
                "and the warm track's row.",
                reason="SHAPE_MISMATCH",
                field="entries",
            )
        entries = np.unique(entries.astype(np.int64), axis=0)
        if entries.size and (entries.min() < 0 or entries[:, 0].max() >= users.shape[0]):
            raise TransferInputError(
                f"entries names a user outside the {users.shape[0]} user vectors; give rows of `users`.",
                reason="SHAPE_MISMATCH",
                field="entries",
            )
        object.__setattr__(self, "users", users)
        object.__setattr__(self, "entries", entries)

    def check(self, tracks: int, dim: int) -> None:
        """Refuse what does not fit a space of so many warm tracks and dimensions.

        Raises
        ------
        TransferInputError
            ``SHAPE_MISMATCH``; also where there is no entry at all.
        """
        if self.users.shape[1] != dim:
            raise TransferInputError(
                f"The user vectors have {self.users.shape[1]} dimensions and the space {dim}; give those of the space.",
                reason="SHAPE_MISMATCH",
                field="interactions",
            )
        if self.entries.size == 0 or self.entries[:, 1].max() >= tracks:
            what = "has no entry" if self.entries.size == 0 else "names a track outside"
            raise TransferInputError(
                f"interactions {what} of the {tracks} warm tracks; give who listened to which of them, or nothing.",
                reason="SHAPE_MISMATCH",
                field="interactions",
            )

    def of_tracks(self, rows: IntArray, tracks: int) -> "Interactions":
        """Keep the entries of some warm tracks.

        Parameters
        ----------
        rows : ndarray, shape (r,), int64
            Rows of the warm tracks; the result counts them from 0 in this order.
        tracks : int
            How many warm tracks there are now.
        """
        place = np.full(tracks, -1, dtype=np.int64)
        place[rows] = np.arange(rows.size)
        at = place[self.entries[:, 1]]
        return Interactions(self.users, np.stack([self.entries[at >= 0, 0], at[at >= 0]], axis=1))

    def by_user(self) -> tuple[IntArray, IntArray]:
        """Give each user's tracks: where they begin and end, shape (u + 1,), and the tracks, shape (e,)."""
        counts = np.bincount(self.entries[:, 0], minlength=self.users.shape[0])
        indptr: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return indptr, np.ascontiguousarray(self.entries[:, 1])
