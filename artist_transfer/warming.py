r"""Warming up: what the first listens change about a projected vector.

A cold track's projected vector is the prior, its first listeners' user vectors are the data, and a ridge regression
joins them. User vectors :math:`u` are brought to unit root-mean-square length (the tracks' vectors are scaled the other
way, so that scores :math:`u \cdot v` stay); :math:`G` is the mean of :math:`u u^\top` over the space's users,
:math:`\mu` the mean vector of its warm tracks, :math:`\sigma` the root mean square of the scores of all users for all
warm tracks. With the projected vector :math:`p`, listeners :math:`l` of weight :math:`w_l` and
:math:`n = \sum_{plays} w_l`,

.. math::
    p_n &= \mu + \rho_n (p - \mu), \qquad \rho_n = \frac{\kappa}{\kappa + n} \\
    v &= p_n + \Big(\lambda I + \alpha G + \sum_l w_l u_l u_l^\top\Big)^{-1}
                \sum_l w_l \, (y_l - u_l \cdot p_n) \, u_l

Three things keep the listeners few and the users many in their right proportion. :math:`\lambda` is the ridge.
:math:`\alpha G` is the background of everybody who did not listen, as in a fold-in to a factorisation of implicit
feedback (Hu, Koren and Volinsky, ICDM 2008, where :math:`G` is the sum over all users): a move that would change the
scores of all users costs, a move towards a few does not. And the prior fades as evidence comes, so that what it says of
popularity, right or wrong, does not stay for ever: with many listeners the data speak alone. Without listeners
:math:`v = p` exactly.

A play asks for the score :math:`y = \max(\tau \sigma, u \cdot p_n)`, so that one who already likes the track by the
prior does not pull it back; a skip, for :math:`y = \min(0, u \cdot p_n)`, as little as a user chosen at random, and it
weighs less: a skip is also haste, mood or a song heard too often.

Position. An action at place :math:`k` of a session weighs :math:`1 / \log_2(1 + k)`, the discount of NDCG (Järvelin and
Kekäläinen, TOIS 2002) and of examination in ranked lists: what stands first was chosen or at least looked at; further
down people listen on without choosing, and skip because they have had enough of the session, not of the track.
An unknown position weighs 1. A listener's plays of one track count once, by the one that weighs most; so do the skips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from artist_transfer.credits import IntArray
from artist_transfer.errors import TransferInputError
from artist_transfer.types import FloatArray

Wide = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_BLOCK = 256  # tracks solved together: 256 x 128 x 128 float64 are 34 MB
_LONGEST = 3.0  # a user vector of more than three times the usual length counts as one of three times


@dataclass(frozen=True)
class WarmingOptions:
    r"""How much listens weigh; all of it without a unit, so that it carries over from one space to another.

    Attributes
    ----------
    ridge : float
        :math:`\lambda`, above 0: the weight of staying at the prior, in listeners.
    background : float
        :math:`\alpha`, 0 or more: the weight of leaving everybody else's scores alone, in listeners.
    fade : float
        :math:`\kappa`, above 0: after so many listeners half of the prior is left.
    target : float
        :math:`\tau`, above 0: the score that a play asks for, in units of the space's :math:`\sigma`.
    skip_weight : float
        Weight of a skip beside a play, 0 to 1.
    graduate_at : float
        Effective listeners from which on a track has graduated.
    return_below : float
        Effective listeners below which one that has graduated goes back; below `graduate_at`, so that a track at the
        threshold does not go to and fro.

    Raises
    ------
    TransferInputError
        For a value out of range (``OPTION_OUT_OF_RANGE``).
    """

    ridge: float = 0.07
    background: float = 9.0
    fade: float = 1.7
    target: float = 3.0
    skip_weight: float = 0.25
    graduate_at: float = 10.0
    return_below: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0.0 if field.name in ("background", "skip_weight") else np.finfo(np.float32).tiny
            if not (np.isfinite(value) and value >= least):
                raise _out_of_range(field.name, f"{field.name} is {value}; it must be finite and above 0.")
        if self.skip_weight > 1.0:
            raise _out_of_range("skip_weight", f"skip_weight is {self.skip_weight}; it must be 0 to 1.")
        if self.return_below > self.graduate_at:
            raise _out_of_range(
                "return_below",
                f"return_below is {self.return_below}; it must not be above graduate_at, {self.graduate_at}.",
            )


@dataclass(frozen=True, eq=False)
class Listens:
    """What listeners did with m tracks: e actions in any order.

    Attributes
    ----------
    tracks : ndarray of int64, shape (e,)
        Row of the track, 0 to m - 1.
    listeners : ndarray of int64, shape (e,)
        Row of the listener in `vectors`.
    played : ndarray of bool, shape (e,)
        True for a play, False for a skip.
    positions : ndarray of int64, shape (e,)
        Place in the session from 1; 0 where it is not known.
    vectors : ndarray of float32, shape (n, dim)
        User vectors of distinct listeners, in the space's own scale.
    """

    tracks: IntArray
    listeners: IntArray
    played: BoolArray
    positions: IntArray
    vectors: FloatArray


@dataclass(frozen=True, eq=False)
class Warmed:
    """Where m tracks are after their first listens.

    Attributes
    ----------
    vectors : ndarray of float32, shape (m, dim)
    listeners : ndarray of float64, shape (m,)
        Effective listeners: the weights of those who played the track.
    evidence_share : ndarray of float64, shape (m,)
        How far the prior has faded, n / (fade + n), in [0, 1).
    """

    vectors: FloatArray
    listeners: Wide
    evidence_share: Wide


@dataclass(frozen=True, eq=False)
class Background:
    r"""What the formula knows of a space, in the coordinates in which :math:`G` is diagonal.

    Attributes
    ----------
    axes : ndarray of float64, shape (dim, dim)
        Eigenvectors of :math:`G` as columns.
    spread : ndarray of float64, shape (dim,)
        Its eigenvalues; their sum is 1.
    centre : ndarray of float64, shape (dim,)
        Mean vector of the warm tracks, scaled and rotated.
    user_scale : float
        Root-mean-square length of the space's user vectors.
    score_scale : float
        :math:`\sigma`, root mean square of the scores.
    """

    axes: Wide
    spread: Wide
    centre: Wide
    user_scale: float
    score_scale: float

    @classmethod
    def of(cls, users: FloatArray, tracks: FloatArray) -> Self:
        """Measure a space.

        Parameters
        ----------
        users : ndarray of float32, shape (u, dim)
            User vectors, not all of them zero.
        tracks : ndarray of float32, shape (n, dim)
            Vectors of the warm tracks.

        Returns
        -------
        Background

        Raises
        ------
        TransferInputError
            Dimensions differ (``SHAPE_MISMATCH``), or a value is not finite or all are zero (``NOT_FINITE``).
        """
        if (
            users.ndim != 2
            or tracks.ndim != 2
            or users.shape[1] != tracks.shape[1]
            or not len(users)
            or not len(tracks)
        ):
            raise TransferInputError(
                f"User vectors of shape {users.shape} and tracks of shape {tracks.shape} do not belong together; bring "
                "both from one training.",
                reason="SHAPE_MISMATCH",
                field="users",
            )
        moment = _moment(users)
        scale = float(np.sqrt(np.trace(moment)))
        if not (np.isfinite(scale) and scale > 0.0 and np.isfinite(tracks).all()):
            raise TransferInputError(
                "The space's vectors are not finite, or its user vectors are all zero; export them again.",
                reason="NOT_FINITE",
                field="users",
            )
        spread, axes = np.linalg.eigh(moment / scale**2)
        score = float(np.sqrt(np.sum(moment * _moment(tracks))))
        centre = tracks.mean(axis=0, dtype=np.float64) @ axes * scale
        return cls(axes, np.maximum(spread, 0.0), centre, scale, score)


def position_weight(positions: IntArray) -> Wide:
    """Weigh actions by their place in the session, 1 / log2(1 + k); 1 where it is not known (0)."""
    return 1.0 / np.log2(1.0 + np.maximum(positions, 1))


def warm_up(priors: FloatArray, listens: Listens, background: Background, options: WarmingOptions) -> Warmed:
    """Fold listens into projected vectors; the module's text has the formula.

    Parameters
    ----------
    priors : ndarray of float32, shape (m, dim)
        Projected vectors, in the space's own scale; never vectors that listens were folded into before.
    listens : Listens
        Of these m tracks.
    background : Background
        Of the space.
    options : WarmingOptions

    Returns
    -------
    Warmed
        A track without listens keeps its prior, to the bit. The order of the listens changes nothing, and one that is
        there twice counts once.

    Raises
    ------
    TransferInputError
        Dimensions differ (``SHAPE_MISMATCH``), or a vector is not finite (``NOT_FINITE``).
    """
    if priors.shape[1:] != background.centre.shape or listens.vectors.shape[1:] != background.centre.shape:
        raise TransferInputError(
            f"Priors of shape {priors.shape} and user vectors of shape {listens.vectors.shape} do not fit a space of "
            f"{background.centre.size} dimensions; bring vectors of one space.",
            reason="SHAPE_MISMATCH",
            field="listens",
        )
    if not (np.isfinite(priors).all() and np.isfinite(listens.vectors).all()):
        raise TransferInputError("A vector holds NaN or an infinity; send finite ones.", reason="NOT_FINITE")
    tracks, listeners, played, weights = _each_once(listens, options)
    effective, evidence_share = evidence(listens, len(priors), options)
    vectors = priors.copy()
    users = _bounded(listens.vectors / background.user_scale) @ background.axes
    counts = np.bincount(tracks, minlength=len(priors))
    first = np.concatenate([[0], np.cumsum(counts)])
    for block in _blocks(counts):
        # Padded with listeners of weight 0 to the longest of the block.
        places = first[block, None] + np.arange(counts[block].max())
        there = places < first[block + 1, None]
        rows = np.where(there, places, first[block, None])
        prior = priors[block].astype(np.float64) * background.user_scale @ background.axes
        start = prior + evidence_share[block, None] * (background.centre - prior)
        people, weight = users[listeners[rows]], np.where(there, weights[rows], 0.0)
        score = np.einsum("tld,td->tl", people, start)
        asked = np.where(
            played[rows], np.maximum(options.target * background.score_scale, score), np.minimum(0.0, score)
        )
        step = _step(people, weight, asked - score, options.ridge + options.background * background.spread)
        vectors[block] = (start + step) @ background.axes.T / background.user_scale
    return Warmed(vectors, effective, evidence_share)


def evidence(listens: Listens, tracks: int, options: WarmingOptions) -> tuple[Wide, Wide]:
    """Count what is known of tracks by listening; see `Warmed`.

    Parameters
    ----------
    listens : Listens
    tracks : int
        How many tracks its rows are of.
    options : WarmingOptions

    Returns
    -------
    listeners, evidence_share : ndarray of float64, shape (tracks,)
    """
    rows, _, played, weights = _each_once(listens, options)
    listeners = np.bincount(rows[played], weights=weights[played], minlength=tracks).astype(np.float64)
    return listeners, listeners / (options.fade + listeners)


def graduates(listeners: float, graduated: bool, options: WarmingOptions) -> bool:
    """Say whether a track has graduated: from `graduate_at` listeners on, until it falls below `return_below`.

    Parameters
    ----------
    listeners : float
        Effective listeners, as `Warmed` counts them.
    graduated : bool
        Whether it had graduated before.
    options : WarmingOptions

    Returns
    -------
    bool
    """
    return listeners >= (options.return_below if graduated else options.graduate_at)


def _step(people: Wide, weight: Wide, missing: Wide, penalty: Wide) -> Wide:
    """Solve (diag(penalty) + sum_l w_l u_l u_l') step = sum_l w_l missing_l u_l for each track of a block.

    Shapes (t, l, dim), (t, l), (t, l), (dim,) to (t, dim). With fewer listeners than dimensions the same is solved in
    the space of the listeners (the push-through identity), which is smaller.
    """
    root = np.sqrt(weight)
    weighed = people * root[:, :, None]
    if people.shape[1] < penalty.size:
        over = weighed / penalty
        inner = over @ weighed.transpose(0, 2, 1) + np.eye(people.shape[1])
        solved = np.linalg.solve(inner, (root * missing)[:, :, None])
        return np.asarray((over.transpose(0, 2, 1) @ solved)[:, :, 0])
    inner = weighed.transpose(0, 2, 1) @ weighed + np.diag(penalty)
    return np.asarray(np.linalg.solve(inner, np.einsum("tld,tl->td", weighed, root * missing)[:, :, None])[:, :, 0])


def _each_once(listens: Listens, options: WarmingOptions) -> tuple[IntArray, IntArray, BoolArray, Wide]:
    """Keep of each listener's plays of a track the one that weighs most, and so of the skips; sorted by track."""
    weights = position_weight(listens.positions) * np.where(listens.played, 1.0, options.skip_weight)
    order = np.lexsort((-weights, listens.played, listens.listeners, listens.tracks))
    tracks, listeners, played = listens.tracks[order], listens.listeners[order], listens.played[order]
    same = (tracks[1:] == tracks[:-1]) & (listeners[1:] == listeners[:-1]) & (played[1:] == played[:-1])
    kept = np.concatenate([np.ones(min(1, order.size), dtype=np.bool_), ~same])
    return tracks[kept], listeners[kept], played[kept], weights[order][kept]


def _blocks(counts: IntArray) -> Iterator[IntArray]:
    """Yield rows of tracks that have listens, those with about as many together."""
    rows = np.argsort(counts, kind="stable")
    rows = rows[counts[rows] > 0]
    size = _BLOCK
    while rows.size:
        # The longest list decides how wide a block is: as many elements in all as a block of solves has.
        wide = int(counts[rows[min(size, rows.size) - 1]])
        taken = max(1, min(size, rows.size, _BLOCK * _BLOCK // max(wide, 1)))
        yield rows[:taken]
        rows = rows[taken:]


def _bounded(users: Wide | FloatArray) -> Wide:
    wide = users.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide * (_LONGEST / np.maximum(length, _LONGEST)))


def _moment(vectors: FloatArray) -> Wide:
    """Mean of the outer products of rows; in float64, a block at a time."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for begin in range(0, len(vectors), 65_536):
        block = vectors[begin : begin + 65_536].astype(np.float64)
        total += block.T @ block
    return total / len(vectors)


def _out_of_range(field: str, sentence: str) -> TransferInputError:
    return TransferInputError(sentence, reason="OPTION_OUT_OF_RANGE", field=field)
