"""The estimate of popularity is held against the true counts, and a wrong one is found out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artist_transfer import Projection
from jobs.evaluation.context import Check, Context, Run
from jobs.evaluation.ours import FittedAnacrusis
from jobs.evaluation.popularity_estimate import ARTIST, ESTIMATE, LENGTH, PopularityEstimate
from jobs.evaluation.protocol import has_catalogue


class Prophet(FittedAnacrusis):
    """Knows the true counts of the split, as far as it is told to."""

    def __init__(self, popularity: np.ndarray, width: float) -> None:
        self.chosen = {}
        self._popularity, self._width = popularity.astype(np.float32), np.float32(width)

    def projection(self, tracks):
        n = len(tracks)
        return Projection(
            vectors=np.ones((n, 6), dtype=np.float32),
            tiers=np.full(n, 2, dtype=np.int8),
            confidence=np.ones(n, dtype=np.float32),
            catalogue_size=np.ones(n, dtype=np.int32),
            leaned_on=((),) * n,
            popularity=self._popularity,
            popularity_low=self._popularity - self._width,
            popularity_high=self._popularity + self._width,
        )


def told(context: Context, popularity: np.ndarray, width: float) -> Context:
    prophet = Prophet(popularity, width)
    run = Run("anacrusis", 0, prophet, np.ones((len(popularity), 6), dtype=np.float32), 1.0, 1.0)
    return replace(context, runs={**context.runs, "anacrusis": (run,)})


def counts(context: Context) -> np.ndarray:
    return np.bincount(context.split.entries[:, 1], minlength=len(context.split.tracks)).astype(np.float64)


def test_a_prophet_is_believed_and_a_fool_is_not(simple: Context):
    true = counts(simple)
    section = PopularityEstimate()
    right = section.measure(told(simple, true, 0.5))
    assert right["spearman"][ESTIMATE]["mean"] == pytest.approx(1.0)
    assert right["spearman"][LENGTH]["mean"] is None  # all as long: no order
    assert right["interval"]["all"]["coverage"] == 1.0
    assert right["interval"]["all"]["width"] == pytest.approx(1.0)
    assert [check.holds for check in section.checks(right)] == [True, False, False]  # 100 % is not 90 %
    wrong = section.measure(told(simple, true.max() - true + 100, 0.5))
    assert wrong["spearman"][ESTIMATE]["mean"] == pytest.approx(-1.0)
    assert wrong["interval"]["all"]["coverage"] == 0.0
    assert [check.holds for check in section.checks(wrong)] == [False, False, False]


def test_the_interval_has_to_hold_for_each_group(simple: Context):
    """Off in one of the two groups alone: 90 % of all tracks, and none too few of the other group."""
    true = counts(simple)
    has = has_catalogue(simple.benchmark, simple.split)
    place = np.where(has, np.cumsum(has), np.cumsum(~has))
    section = PopularityEstimate()
    even = section.checks(section.measure(told(simple, np.where(place % 10 == 1, true + 50, true), 1.0)))
    assert [check.holds for check in even] == [True, True, True]
    skewed = section.checks(section.measure(told(simple, np.where(~has & (place % 3 == 1), true + 50, true), 1.0)))
    assert [check.name for check in skewed if "catalogue" in check.name] == [
        "popularity: how far the share of tracks with catalogue inside the interval is from 0.9",
        "popularity: how far the share of tracks without catalogue inside the interval is from 0.9",
    ]
    assert not skewed[2].holds


def test_a_baseline_without_an_order_is_no_bound(simple: Context):
    """All tracks by new artists are alike to the popularity baseline."""
    true = counts(simple)
    alike = replace(simple.runs["popularity"][0], placed=np.ones(true.size, dtype=np.float32))
    told_so = told(replace(simple, runs={**simple.runs, "popularity": (alike,)}), true, 0.5)
    section = PopularityEstimate()
    found = section.measure(told_so)
    assert found["spearman"][ARTIST]["mean"] is None
    checks = section.checks(found)
    assert all("inside the interval" in check.name for check in checks)
    json.dumps([check.as_dict() for check in checks], allow_nan=False)


def test_a_check_that_knows_nothing_is_written_as_such():
    check = Check.above("this above that", 1.0, float("nan"))
    assert check.as_dict() == {"name": "this above that", "measured": 1.0, "bound": None, "holds": False}
    assert Check.from_dict(check.as_dict()).as_dict() == check.as_dict()


def test_the_section_measures_writes_draws_and_promises(fitted: Context, tmp_path: Path):
    section = PopularityEstimate()
    found = section.measure(fitted)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found["spearman"]) == {ESTIMATE, LENGTH, ARTIST}
    assert sum(one["tracks"] for name, one in found["interval"].items() if name != "all") == found["tracks"]
    assert sum(one["tracks"] for one in found["bins"]) == found["tracks"]
    page = section.markdown(found)
    (plot,) = section.plots(found, tmp_path)
    assert plot.name in page
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert len(section.checks(found)) == 3


def test_without_our_method_there_is_no_estimate(simple: Context):
    assert PopularityEstimate().measure(simple) == {}


def test_where_listens_are_not_known_there_is_no_estimate(simple: Context):
    assert PopularityEstimate().measure(told(simple, np.full(len(simple.split.tracks), np.nan), 1.0)) == {}
