"""One suite that every method passes, on a folder whose right answers are obvious."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hasty_methods import hasty

from jobs.errors import EvaluationError
from jobs.evaluation.baselines import BASELINES, CONTENT_ONLY
from jobs.evaluation.benchmark_folder import VALIDATION
from jobs.evaluation.methods import Method, Projector, Scorer, ValJudge, placed
from jobs.evaluation.protocol import per_user, slices
from jobs.evaluation.registry import METHODS, methods_named


@pytest.fixture(scope="module")
def fits(benchmark):
    """Each method fitted once: it sees no split but cold_val. The baselines learn to the end."""
    seen = replace(benchmark, splits={VALIDATION: benchmark.splits[VALIDATION]})
    return {method.name: (method if method.name in BASELINES else hasty(method)).fit(seen, 0) for method in METHODS}


every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def test_names_are_what_they_are_listed_as():
    names = [method.name for method in METHODS]
    assert len(set(names)) == len(names)
    assert set(BASELINES) <= set(names)
    assert set(CONTENT_ONLY) < set(BASELINES)


@every_method
def test_it_places_every_track(method: Method, fits, benchmark):
    fitted = fits[method.name]
    tracks = benchmark.splits["cold_test"].tracks
    where = placed(fitted, tracks)
    assert isinstance(fitted, Projector) != isinstance(fitted, Scorer)
    assert where.shape == ((len(tracks), benchmark.warm.dim) if isinstance(fitted, Projector) else (len(tracks),))
    assert np.isfinite(where).all()
    assert all(isinstance(value, float | str) for value in fitted.chosen.values())


@every_method
def test_a_track_stands_where_it_stands_whatever_is_beside_it(method: Method, fits, benchmark):
    tracks = benchmark.splits["cold_test"].tracks
    rows = np.random.default_rng(0).permutation(len(tracks))[:20]
    np.testing.assert_allclose(
        placed(fits[method.name], tracks.take(rows)), placed(fits[method.name], tracks)[rows], atol=1e-5
    )


@every_method
def test_the_same_seed_gives_the_same_fit(method: Method, benchmark):
    tracks = benchmark.splits["cold_test"].tracks
    one, again, other = (placed(hasty(method).fit(benchmark, seed), tracks) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.array_equal(one, other) != method.by_chance


# NDCG@20 overall, and without a catalogue where content is known; a random order has 0.17 and 0.40.
LEARNED = {
    "popularity": (0.25, 0.0),
    "content_ridge": (0.35, 0.55),
    "content_perceptron": (0.35, 0.55),
    "content_contrastive": (0.3, 0.47),
    "artist_mean": (0.4, 0.0),
    "artist_mean_shrunken": (0.4, 0.0),
    "artist_mean_content": (0.42, 0.5),
}


@pytest.mark.parametrize("name", LEARNED)
def test_it_learns_what_can_be_learned(name: str, fits, benchmark):
    split = benchmark.splits["cold_test"]
    cut = slices(benchmark, split)
    found = per_user(placed(fits[name], split.tracks), benchmark.users, list(cut.values()))
    overall, new_artists = LEARNED[name]
    assert found["overall"].ndcg.mean() > overall
    assert found["without_catalogue_content"].ndcg.mean() > new_artists


@pytest.mark.parametrize("name", ["artist_mean", "artist_mean_shrunken", "artist_mean_content"])
def test_the_artist_means_know_whose_track_it_is(name: str, fits, benchmark):
    """With a catalogue, the vector is nearest to the own artist's warm tracks."""
    tracks = benchmark.splits["cold_test"].tracks
    warm = benchmark.warm
    codes = warm.credits.primary_artists()
    distance = np.linalg.norm(placed(fits[name], tracks)[:, None] - warm.collaborative[None], axis=2)
    nearest = [warm.credits.artist_ids[codes[row]] for row in distance.argmin(axis=1)]
    own = [tracks.credits.artist_ids[code] for code in tracks.credits.primary_artists()]
    has = [name in {warm.credits.artist_ids[code] for code in codes} for name in own]
    right = [found == name for found, name, known in zip(nearest, own, has, strict=True) if known]
    assert np.mean(right) > 0.95


def test_without_any_content_the_content_methods_know_the_mean_alone(benchmark):
    silent = replace(benchmark.warm, content=np.full_like(benchmark.warm.content, np.nan))
    splits = {
        name: replace(split, tracks=replace(split.tracks, content=np.full_like(split.tracks.content, np.nan)))
        for name, split in benchmark.splits.items()
    }
    deaf = replace(benchmark, warm=silent, splits=splits)
    for method in methods_named(CONTENT_ONLY):
        where = placed(method.fit(deaf, 0), splits["cold_test"].tracks)
        assert np.isfinite(where).all()
        assert np.ptp(where, axis=0).max() < 1e-5


def test_the_judge_judges_as_the_protocol_does(benchmark):
    judge = ValJudge(benchmark)
    split = benchmark.splits[VALIDATION]
    projected = np.random.default_rng(0).normal(size=(len(split.tracks), benchmark.warm.dim)).astype(np.float32)
    found = per_user(projected, benchmark.users, [slices(benchmark, split)["overall"]])["overall"]
    assert judge.judge(projected) == (found.ndcg.mean(), found.recall.mean())
    some = ValJudge(benchmark, 30).ndcg(projected)
    assert abs(some - found.ndcg.mean()) < 0.1
    assert some != found.ndcg.mean()


def test_what_is_no_projection_is_not_taken(benchmark):
    class Wrong:
        chosen: dict[str, float | str] = {}  # noqa: RUF012

        def project(self, tracks):
            return np.full((len(tracks), 2), np.nan, dtype=np.float32)

    with pytest.raises(ValueError, match="not finite"):
        placed(Wrong(), benchmark.splits[VALIDATION].tracks)


def test_methods_are_chosen_by_name():
    assert [one.name for one in methods_named(["artist_mean", "popularity"])] == ["popularity", "artist_mean"]
    with pytest.raises(EvaluationError, match=r"no method 'magic'.*popularity"):
        methods_named(["magic"])
    with pytest.raises(EvaluationError, match="No method is named"):
        methods_named([])
