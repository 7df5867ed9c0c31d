"""Small spaces whose right answers are obvious."""

from dataclasses import replace

import numpy as np

from artist_transfer import (
    NO_DATE,
    Alignment,
    Credits,
    FitOptions,
    Interactions,
    RankingOptions,
    TransferModel,
    WarmTracks,
    carry_model,
    fit,
)

TINY_RANKING = RankingOptions(steps=4, candidates=50, listeners=16, hidden=8, heads=2, members=2)
"""Learns next to nothing, at once: for what holds whatever was learned."""

QUICK_RANKING = RankingOptions(steps=80, hidden=48, heads=2, dropout=0.0, learning_rate=5e-3)
"""Learns what `clusters` has to teach within a second or two."""


def undated(n):
    return np.full(n, NO_DATE, dtype=np.int32)


def clusters(artists=60, tracks_each=8, *, dim=8, content_dim=6, offset=1.0, noise=0.05, seed=0, days=None):
    """Each artist is a point of the space; a track lies beside it, where its content (and nothing else) says."""
    rng = np.random.default_rng(seed)
    n = artists * tracks_each
    artist = np.repeat(np.arange(artists), tracks_each)
    centre = rng.normal(size=(artists, dim))
    content = rng.normal(size=(n, content_dim))
    shift = content @ rng.normal(size=(content_dim, dim)) / np.sqrt(content_dim)
    vectors = centre[artist] + offset * shift + noise * rng.normal(size=(n, dim))
    return WarmTracks(
        space_id="space-1",
        encoder_id="encoder-1",
        track_ids=[f"t{row:04d}" for row in range(n)],
        content=content,
        collaborative=vectors,
        credits=Credits.from_lists([[f"artist-{code}"] for code in artist]),
        release_day=undated(n) if days is None else days,
    )


def warm(credits, *, days=None, roles=None, ids=None, vectors=None, content=None):
    """A space made by hand: one list of artists for each track."""
    n = len(credits)
    rng = np.random.default_rng(n)
    return WarmTracks(
        space_id="space-1",
        encoder_id="encoder-1",
        track_ids=[f"t{row}" for row in range(n)] if ids is None else ids,
        content=rng.normal(size=(n, 3)) if content is None else content,
        collaborative=rng.normal(size=(n, 4)) if vectors is None else vectors,
        credits=Credits.from_lists(credits, roles),
        release_day=undated(n) if days is None else np.asarray(days, dtype=np.int32),
    )


def listeners(tracks, users=120, seed=0):
    """Users who each listened to the twelve tracks with the largest inner product; their vectors and all of it."""
    people = np.random.default_rng([seed, 1]).normal(size=(users, tracks.dim)).astype(np.float32)
    best = np.argsort(-(people @ tracks.collaborative.T), axis=1)[:, :12]
    return Interactions(people, np.stack([np.repeat(np.arange(users), 12), best.ravel()], axis=1))


def older_training(tracks: WarmTracks, *, more: int = 2, noise: float = 0.0, space_id: str = "space-0") -> WarmTracks:
    """The same tracks as an older training had them: turned, three times as long, `more` dimensions, and noise."""
    rng = np.random.default_rng(tracks.dim)
    turn = np.linalg.qr(rng.normal(size=(tracks.dim + more,) * 2))[0][: tracks.dim]
    vectors = 3.0 * tracks.collaborative @ turn
    vectors += noise * np.linalg.norm(vectors, axis=1, keepdims=True) * rng.normal(size=vectors.shape)
    return replace(tracks, space_id=space_id, collaborative=vectors)


def fitted(tracks: WarmTracks, options: FitOptions, *, carried: bool) -> TransferModel:
    """A model of a space: fitted there, or on the training before it and carried over."""
    if not carried:
        return fit(tracks, options)
    before = older_training(tracks)
    return carry_model(fit(before, options), Alignment.fit(before.collaborative, tracks.collaborative), tracks.space_id)
