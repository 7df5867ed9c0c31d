"""A catalogue that is made: few artists with many tracks, many with few, a third of the tracks warm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WARM_SHARE = 1 / 3
TRACKS_AN_ARTIST = 10  # on average; how many each has falls with its rank as 1 / (rank + a hundredth of the artists)
CENTRES = 64


@dataclass(frozen=True, eq=False)
class MadeCatalogue:
    """Tracks of artists that lie in clusters; track number t is called ``t`` and its number.

    Attributes
    ----------
    artist : ndarray of int64, shape (tracks,)
        The primary one of each track.
    guest : ndarray of int64, shape (tracks,)
        Another artist of every tenth track; -1: none.
    warm : ndarray of bool, shape (tracks,)
    seed : int
    """

    artist: NDArray[np.int64]
    guest: NDArray[np.int64]
    warm: NDArray[np.bool_]
    seed: int

    @classmethod
    def of(cls, tracks: int, seed: int) -> MadeCatalogue:
        """Make a catalogue of so many tracks."""
        rng = np.random.default_rng(seed)
        artists = max(2, tracks // TRACKS_AN_ARTIST)
        weight = 1.0 / (np.arange(artists) + max(1.0, artists / 100))
        artist = rng.choice(artists, size=tracks, p=weight / weight.sum())
        guest = np.where(rng.random(tracks) < 0.1, rng.integers(0, artists, tracks), -1)
        return cls(artist, np.where(guest == artist, -1, guest), rng.random(tracks) < WARM_SHARE, seed)

    def places(self, tracks: NDArray[np.int64], dim: int, purpose: int) -> NDArray[np.float32]:
        """Draw vectors in which an artist's tracks lie together, and artists around centres."""
        artists = int(self.artist.max()) + 1
        centres = np.random.default_rng([self.seed, purpose]).normal(size=(CENTRES, dim)).astype(np.float32)
        own = np.random.default_rng([self.seed, purpose, 1])
        shift = own.normal(scale=0.7, size=(artists, dim)).astype(np.float32)
        noise = np.random.default_rng([self.seed, purpose, 2, int(tracks[0])])
        at = self.artist[tracks]
        noisy: NDArray[np.float32] = noise.normal(scale=0.5, size=(len(tracks), dim)).astype(np.float32)
        return np.asarray(centres[at % CENTRES] + shift[at] + noisy, dtype=np.float32)
