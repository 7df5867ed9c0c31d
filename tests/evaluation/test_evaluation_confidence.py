"""The confidence is held against hidden warm tracks, and a wrong one is found out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.evaluation.benchmark_folder import Benchmark
from jobs.evaluation.confidence import BINS, GROUPS, SHARE, Confidence, hidden_tracks, reliability
from jobs.evaluation.context import Context
from jobs.evaluation.rank_correlation import spearman


def test_half_of_the_hidden_tracks_are_whole_artists(benchmark: Benchmark):
    warm = benchmark.warm
    whole, single = hidden_tracks(warm, seed=0)
    assert np.intersect1d(whole, single).size == 0
    assert whole.size + single.size == round(SHARE * len(warm))
    artists = warm.credits.primary_artists()
    assert 0 < whole.size <= round(SHARE * len(warm)) // 2
    left = np.setdiff1d(np.arange(len(warm)), whole)
    assert not set(artists[whole]) & set(artists[left])
    np.testing.assert_array_equal(hidden_tracks(warm, seed=0)[1], single)
    assert not np.array_equal(hidden_tracks(warm, seed=1)[1], single)


def test_a_confidence_that_is_right_has_no_error_and_one_that_boasts_has():
    cosine = np.repeat(np.linspace(0.1, 0.9, BINS), 20)
    exact = reliability(cosine.astype(np.float32), cosine)
    assert exact["expected_calibration_error"] == pytest.approx(0.0, abs=1e-6)
    assert exact["spearman"] == pytest.approx(1.0)
    assert [one["tracks"] for one in exact["bins"]] == [20] * BINS
    boast = reliability((cosine + 0.1).astype(np.float32), cosine)
    assert boast["expected_calibration_error"] == pytest.approx(0.1, abs=1e-6)
    shuffled = reliability(np.flip(cosine).astype(np.float32), cosine)
    assert shuffled["spearman"] == pytest.approx(-1.0)
    alike = reliability(np.full(50, 0.5, dtype=np.float32), np.linspace(0, 1, 50))
    assert alike["spearman"] is None
    assert alike["expected_calibration_error"] < 0.2  # bins by the order of rows would say 0.25
    assert len(reliability(np.ones(3, dtype=np.float32), np.ones(3))["bins"]) == 3


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30))
def test_spearman_is_pearson_of_mean_ranks(pairs):
    left, right = (np.array(column) for column in zip(*pairs, strict=True))
    ranks = [[(column < one).sum() + ((column == one).sum() + 1) / 2 for one in column] for column in (left, right)]
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert np.isnan(spearman(left, right))
    else:
        assert spearman(left, right) == pytest.approx(np.corrcoef(ranks)[0, 1])


def test_the_section_hides_measures_writes_draws_and_promises(fitted: Context, tmp_path: Path):
    section = Confidence()
    found = section.measure(fitted)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["hidden"] == round(SHARE * len(fitted.benchmark.warm))
    assert set(found["groups"]) <= set(GROUPS)
    assert sum(one["tracks"] for name, one in found["groups"].items() if name != "all") == found["hidden"]
    for one in found["groups"].values():
        assert 0 <= one["predicted"] <= 1
    checks = section.checks(found)
    assert [check.measured for check in checks] == [
        one["expected_calibration_error"] for one in found["groups"].values()
    ]
    assert [check.bound for check in checks] == [0.03, 0.05, 0.05][: len(checks)]
    page = section.markdown(found)
    (plot,) = section.plots(found, tmp_path)
    assert plot.name in page
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "nan" not in page


def test_hidden_tracks_stand_in_no_catalogue_and_teach_nothing(fitted: Context, monkeypatch: pytest.MonkeyPatch):
    from jobs.evaluation import confidence

    seen = {}
    real = confidence.fit

    def watched(warm, options, *, interactions):
        seen.update(warm=warm, interactions=interactions, options=options)
        return real(warm, options, interactions=interactions)

    monkeypatch.setattr(confidence, "fit", watched)
    Confidence().measure(fitted)
    warm = fitted.benchmark.warm
    hidden = np.concatenate(hidden_tracks(warm, seed=0))
    assert set(seen["warm"].track_ids) == set(warm.track_ids) - set(warm.track_ids[hidden])
    kept = np.isin(fitted.benchmark.warm_entries[:, 1], hidden, invert=True).sum()
    assert len(seen["interactions"].entries) == kept
    assert seen["options"].ranking.steps == 20


def test_without_our_method_there_is_no_confidence(simple: Context):
    assert Confidence().measure(simple) == {}
