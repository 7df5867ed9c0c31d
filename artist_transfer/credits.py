"""Who made a track: artists with roles, for many tracks at once, as compressed sparse rows."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from artist_transfer.errors import TransferInputError

IntArray = npt.NDArray[np.int64]


class Role(enum.IntEnum):
    """What an artist does on a track; the smaller number is the closer tie."""

    PRIMARY = 1
    FEATURED = 2
    REMIXER = 3


def _role(value: Role | str | int) -> Role:
    try:
        return Role[value.upper()] if isinstance(value, str) else Role(value)
    except (KeyError, ValueError):
        known = ", ".join(role.name.lower() for role in Role)
        raise TransferInputError(
            f"The role {value!r} is not known; use one of {known}.", reason="ROLE_UNKNOWN", field="roles"
        ) from None


@dataclass(frozen=True, eq=False)
class Credits:
    """The credits of n tracks.

    Track ``t`` is credited to ``artist_ids[artists[indptr[t]:indptr[t + 1]]]`` with the roles at the same places,
    the primary artist first. A track may have no credit. No artist stands twice on one track.

    Parameters
    ----------
    indptr : ndarray, shape (n + 1,), int64
        Where each track's credits begin and end.
    artists : ndarray, shape (nnz,), int64
        Positions in `artist_ids`.
    roles : ndarray, shape (nnz,), int8
        Values of `Role`.
    artist_ids : tuple of str
        The vocabulary. Two `Credits` need not share one: a catalogue matches artists by id.

    Raises
    ------
    TransferInputError
        ``CREDITS_INVALID``: the arrays contradict each other, or an artist stands twice on one track;
        ``ROLE_UNKNOWN``; ``ARTIST_ID_EMPTY``.
    """

    indptr: IntArray
    artists: IntArray
    roles: npt.NDArray[np.int8]
    artist_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        indptr = np.asarray(self.indptr, dtype=np.int64)
        artists = np.asarray(self.artists, dtype=np.int64)
        roles = np.asarray(self.roles, dtype=np.int8)
        object.__setattr__(self, "indptr", indptr)
        object.__setattr__(self, "artists", artists)
        object.__setattr__(self, "roles", roles)
        object.__setattr__(self, "artist_ids", tuple(self.artist_ids))
        if (
            indptr.ndim != 1
            or indptr.size == 0
            or indptr[0] != 0
            or bool(np.any(np.diff(indptr) < 0))
            or artists.shape != (indptr[-1],)
            or roles.shape != artists.shape
        ):
            raise TransferInputError(
                "The credits contradict themselves; indptr must rise from 0 to the number of artists and roles.",
                reason="CREDITS_INVALID",
                field="credits",
            )
        if artists.size == 0:
            return
        if artists.min() < 0 or artists.max() >= len(self.artist_ids):
            raise TransferInputError(
                f"The credits name an artist outside the vocabulary of {len(self.artist_ids)}; "
                "build them with Credits.from_lists.",
                reason="CREDITS_INVALID",
                field="credits",
            )
        if roles.min() < min(Role) or roles.max() > max(Role):
            _role(int(roles.min() if roles.min() < min(Role) else roles.max()))
        pairs = np.sort(self.owners() * len(self.artist_ids) + artists)
        if bool(np.any(pairs[1:] == pairs[:-1])):
            raise TransferInputError(
                "An artist stands twice on one track; keep one credit, or build them with Credits.from_lists.",
                reason="CREDITS_INVALID",
                field="credits",
            )

    @classmethod
    def from_lists(
        cls,
        artist_ids: Sequence[Sequence[str]],
        roles: Sequence[Sequence[Role | str | int]] | None = None,
    ) -> "Credits":
        """Credits from one list of artist ids (and one of roles) for each track.

        Parameters
        ----------
        artist_ids : sequence of sequences of str
            For each track its artists, primary first.
        roles : sequence of sequences of Role, str or int, optional
            For each track a role for each artist; an empty list (or None for all tracks) reads the first artist as
            primary and the others as featured.

        Returns
        -------
        Credits
            An artist named twice on one track keeps the closest role.

        Raises
        ------
        TransferInputError
            ``CREDITS_INVALID`` where the lengths differ; ``ROLE_UNKNOWN``; ``ARTIST_ID_EMPTY``.
        """
        if roles is not None and len(roles) != len(artist_ids):
            raise TransferInputError(
                f"There are roles for {len(roles)} tracks and artists for {len(artist_ids)}; give one "
                "list for each track.",
                reason="CREDITS_INVALID",
                field="roles",
            )
        codes: dict[str, int] = {}
        indptr = [0]
        artists: list[int] = []
        values: list[int] = []
        for row, names in enumerate(artist_ids):
            if isinstance(names, str):
                raise TransferInputError(
                    f"Track {row} has the string {names!r} for its artists; give a list of artist ids.",
                    reason="CREDITS_INVALID",
                    field="artist_ids",
                )
            given = list(roles[row]) if roles is not None else []
            if given and len(given) != len(names):
                raise TransferInputError(
                    f"Track {row} has {len(names)} artists and {len(given)} roles; give one role for each artist.",
                    reason="CREDITS_INVALID",
                    field="roles",
                )
            best: dict[int, Role] = {}
            for place, name in enumerate(names):
                if not isinstance(name, str) or not name:
                    raise TransferInputError(
                        f"Track {row} has an artist without an id; leave the credit out or name the artist.",
                        reason="ARTIST_ID_EMPTY",
                        field="artist_ids",
                    )
                role = _role(given[place]) if given else (Role.FEATURED if place else Role.PRIMARY)
                code = codes.setdefault(name, len(codes))
                best[code] = min(role, best.get(code, role))
            artists.extend(best)
            values.extend(best.values())
            indptr.append(len(artists))
        return cls(
            indptr=np.asarray(indptr, dtype=np.int64),
            artists=np.asarray(artists, dtype=np.int64),
            roles=np.asarray(values, dtype=np.int8),
            artist_ids=tuple(codes),
        )

    def __len__(self) -> int:
        return self.indptr.size - 1

    def owners(self) -> IntArray:
        """Name the track of each credit, shape (nnz,), int64."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.indptr))

    def take(self, rows: IntArray) -> "Credits":
        """Take the credits of some tracks, in the order of `rows` (shape (r,), int64), over the same vocabulary."""
        counts = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], counts)
        return Credits(indptr, self.artists[places], self.roles[places], self.artist_ids)

    def primary_artists(self) -> IntArray:
        """Find each track's first artist, as a position in `artist_ids`, -1 without one; (n,), int64."""
        first = np.full(len(self), -1, dtype=np.int64)
        has = np.diff(self.indptr) > 0
        first[has] = self.artists[self.indptr[:-1][has]]
        return first
