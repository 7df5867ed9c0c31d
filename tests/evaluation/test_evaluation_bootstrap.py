"""Intervals: they cover what they should, and pairs are compared as pairs."""

from __future__ import annotations

import numpy as np

from jobs.evaluation.bootstrap import Interval, differences, mean_intervals, resampled_means, resampled_rows


def intervals_of(values: np.ndarray, **options: int) -> list[Interval]:
    return mean_intervals(values, resampled_means(values, **options))


def test_they_cover_the_truth_as_often_as_promised():
    """200 samples of a known mean: 95 % of the intervals hold it, give or take four standard errors."""
    rng = np.random.default_rng(5)
    values = rng.exponential(size=(150, 200))
    covered = np.mean([one.low <= 1.0 <= one.high for one in intervals_of(values)])
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 200) <= covered <= 1.0


def test_they_are_as_wide_as_the_normal_theory_says():
    values = np.random.default_rng(0).normal(size=(4000, 1))
    (found,) = intervals_of(values)
    width = 2 * 1.96 * values.std() / np.sqrt(len(values))
    assert abs((found.high - found.low) / width - 1) < 0.1
    assert found.low < found.mean < found.high
    assert found.mean == values.mean()


def test_resamples_are_means_of_drawn_users():
    """Of two users with 0 and 1, a mean is 0, a half or 1, in the shares of two coins."""
    means = resampled_means(np.array([[0.0], [1.0]]), resamples=4000)[:, 0]
    shares = [(means == value).mean() for value in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.04)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random((50, 2))
    assert intervals_of(values) == intervals_of(values)
    assert intervals_of(values) != intervals_of(values, seed=1)


def test_pairs_are_narrower_where_methods_go_together():
    rng = np.random.default_rng(0)
    user = rng.random(500)
    values = np.stack([user + 0.01 * rng.random(500), user, rng.permutation(user)], axis=1)
    resampled = resampled_means(values)
    paired, relative = differences(values, resampled, 0, 1)
    unpaired, _ = differences(values, resampled, 0, 2)
    assert (paired.high - paired.low) * 10 < unpaired.high - unpaired.low
    assert 0 < paired.low < paired.mean < paired.high
    assert unpaired.low < 0 < unpaired.high
    np.testing.assert_allclose(relative.mean, paired.mean / user.mean())
    assert relative.low > 0


def test_nobody_and_nothing_to_compare_with():
    nobody = np.empty((0, 2))
    resampled = resampled_means(nobody)
    assert [one.as_dict() for one in mean_intervals(nobody, resampled)] == [
        {"mean": None, "low": None, "high": None},
        {"mean": None, "low": None, "high": None},
    ]
    zeros = np.zeros((10, 2))
    absolute, relative = differences(zeros, resampled_means(zeros), 0, 1)
    assert absolute == Interval(0.0, 0.0, 0.0)
    assert relative.as_dict()["mean"] is None


def test_rows_of_one_owner_are_drawn_together():
    """Ten copies of each of 50 figures are as sure as the 50 are."""
    values = np.random.default_rng(0).normal(size=(50, 1))
    owner = np.repeat(np.arange(50), 10)[::-1] * 7 - 100  # any numbers
    copies = values[::-1].repeat(10, axis=0)
    np.testing.assert_allclose(resampled_means(copies, owner), resampled_means(values))
    alone = np.random.default_rng(1).permutation(50)
    (one,), (other,) = (mean_intervals(values, resampled_means(values, who)) for who in (alone, None))
    assert abs((one.high - one.low) / (other.high - other.low) - 1) < 0.1


def test_drawn_rows_are_whole_owners():
    owner = np.array([3, -1, 3, 8, 8, 8])
    rng = np.random.default_rng(0)
    drawn = [resampled_rows(owner, rng) for _ in range(2000)]
    for rows in drawn:
        times = np.bincount(rows, minlength=6)
        assert times[0] == times[2]
        assert times[3] == times[4] == times[5]
        assert times[[0, 1, 3]].sum() == 3
    means = [owner[rows].mean() for rows in drawn]
    assert abs(np.mean([rows.size for rows in drawn]) - owner.size) < 0.2
    assert min(means) == -1
    assert max(means) == 8
