"""Small spaces whose right answers are obvious."""

import numpy as np

from artist_transfer import NO_DATE, Credits, WarmTracks


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
