"""The paper's model as a method: it learns, it is stopped by cold_val, and it has nothing for a new artist."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from artist_transfer import Credits, FitOptions
from jobs.errors import EvaluationError
from jobs.evaluation.acarec import Acarec
from jobs.evaluation.benchmark_folder import VALIDATION, Benchmark
from jobs.evaluation.methods import ValJudge
from jobs.evaluation.protocol import has_catalogue

QUICK = Acarec(options=FitOptions(learning_rate=5e-3, max_epochs=40, patience=40, device="cpu"))


@pytest.fixture(scope="module")
def fitted(benchmark: Benchmark):
    return QUICK.fit(benchmark, 0)


def test_the_paper_s_numbers_are_the_defaults():
    options = Acarec().options
    assert (options.learning_rate, options.batch_size, options.max_epochs, options.patience) == (5e-4, 1024, 500, 15)
    assert (options.catalogue_sample, options.catalogue_limit) == (5, 250)


def test_it_learns_where_an_artist_s_tracks_stand(fitted, benchmark: Benchmark):
    split = benchmark.splits["cold_test"]
    has = has_catalogue(benchmark, split)
    placed = fitted.project(split.tracks)
    codes = benchmark.warm.credits.primary_artists()
    distance = np.linalg.norm(placed[:, None] - benchmark.warm.collaborative[None], axis=2)
    nearest = [benchmark.warm.credits.artist_ids[codes[row]] for row in distance.argmin(axis=1)]
    own = [split.tracks.credits.artist_ids[code] for code in split.tracks.credits.primary_artists()]
    assert np.mean([one == other for one, other, known in zip(nearest, own, has, strict=True) if known]) > 0.9


def test_a_track_without_a_catalogue_gets_the_zero_vector(fitted, benchmark: Benchmark):
    split = benchmark.splits["cold_test"]
    has = has_catalogue(benchmark, split)
    placed = fitted.project(split.tracks)
    assert (~has).any()
    np.testing.assert_array_equal((placed == 0).all(axis=1), ~has)


def test_what_it_says_of_its_best_epoch_is_what_the_judge_says_of_it(fitted, benchmark: Benchmark):
    judge = ValJudge(benchmark)
    assert judge.ndcg(fitted.project(judge.tracks)) == pytest.approx(fitted.chosen["ndcg"])
    assert 1 <= fitted.chosen["epoch"] <= 40


def test_it_looks_at_no_other_split_and_stops_by_cold_val(benchmark: Benchmark):
    """Other entries of cold_val choose another epoch; those of cold_test change nothing."""
    quick = Acarec(options=replace(QUICK.options, max_epochs=3))
    tracks = benchmark.splits["cold_test"].tracks
    alone = replace(benchmark, splits={VALIDATION: benchmark.splits[VALIDATION]})
    one, two = quick.fit(benchmark, 0), quick.fit(alone, 0)
    np.testing.assert_array_equal(one.project(tracks), two.project(tracks))
    split = benchmark.splits[VALIDATION]
    fewer = replace(benchmark, splits={VALIDATION: replace(split, entries=split.entries[::2])})
    assert quick.fit(fewer, 0).chosen["ndcg"] != one.chosen["ndcg"]


def test_artists_of_one_track_alone_leave_nothing_to_learn_from(benchmark: Benchmark):
    warm = benchmark.warm
    lonely = replace(warm, credits=Credits.from_lists([[f"only-{row}"] for row in range(len(warm))]))
    with pytest.raises(EvaluationError, match=r"nothing to learn from; leave it out") as caught:
        QUICK.fit(replace(benchmark, warm=lonely), 0)
    assert caught.value.field == "methods"
