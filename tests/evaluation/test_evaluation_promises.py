"""Promises are held against the figures of the run, and broken ones are called so."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from jobs.evaluation import promises
from jobs.evaluation.context import Check, Context
from jobs.evaluation.promises import Promises
from jobs.evaluation.protocol import PerUser


def with_figures(context: Context, **ndcg: float) -> Context:
    """The same evaluation with made-up figures, a little of them different for each user."""
    judged = {
        name: by_method
        | {
            method: PerUser(*(value + 0.01 * np.sin(np.arange(len(context.slices[name].users))) for _ in range(2)))
            for method, value in ndcg.items()
        }
        for name, by_method in context.per_user.items()
    }
    return replace(context, per_user=judged)


def promised(context: Context) -> dict[str, Check]:
    section = Promises()
    found = section.measure(context)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    checks = section.checks(found)
    assert [check.as_dict() for check in checks] == found["checks"]
    assert section.markdown(found) == ""
    return {check.name: check for check in checks}


GOOD = {"popularity": 0.05, "content_ridge": 0.1, "artist_mean": 0.2, "acarec": 0.25, "anacrusis": 0.3}


def test_good_figures_keep_every_promise(fitted: Context):
    found = promised(with_figures(fitted, **GOOD))
    assert [name for name, check in found.items() if not check.holds] == []
    strongest = found["anacrusis, overall: NDCG@20, times that of artist_mean, the strongest simple baseline"]
    assert strongest.measured == pytest.approx(1.5, rel=1e-2)
    above = [name for name in found if name.startswith("anacrusis above acarec, ")]
    assert len(above) == sum(one.users.size > 0 for one in fitted.slices.values()) >= 12
    nothing = [name for name in above if "(acarec has nothing there)" in name]
    assert nothing == [name for name in above if "without_catalogue" in name]
    assert len(nothing) >= 3
    assert {"anacrusis: seconds of the slowest fit"} < set(found)


@pytest.mark.parametrize(
    ("figures", "broken"),
    [
        ({"artist_mean": 0.24}, ["anacrusis, discovery: NDCG@20, times"]),
        (
            {"artist_mean": 0.28},
            ["anacrusis, discovery: NDCG@20", "anacrusis, overall: NDCG@20", "acarec above artist_mean"],
        ),
        ({"acarec": 0.31}, ["anacrusis above acarec"]),
        (
            {"content_ridge": 0.16},
            ["anacrusis, overall: Recall@20, times that of content", "anacrusis, overall: NDCG@20, times that of con"],
        ),
        ({"anacrusis": 0.04}, ["anacrusis"]),
    ],
)
def test_broken_promises_are_called_so(fitted: Context, figures, broken):
    found = [name for name, check in promised(with_figures(fitted, **(GOOD | figures))).items() if not check.holds]
    assert found
    assert all(any(name.startswith(one) for one in broken) for name in found)
    assert all(any(name.startswith(one) for name in found) for one in broken)


def test_clearly_above_is_more_than_above(fitted: Context):
    """A lead that one lucky user makes is none."""
    even = with_figures(fitted, **(GOOD | {"popularity": 0.3}))
    name = "without_catalogue_no_content"
    lucky = even.per_user[name]["anacrusis"].ndcg.copy()
    lucky[0] += 0.01
    judged = dict(even.per_user)
    judged[name] = {**judged[name], "anacrusis": PerUser(lucky, lucky)}
    found = promised(replace(even, per_user=judged))
    (check,) = (one for said, one in found.items() if said.startswith(f"anacrusis clearly above popularity, {name}:"))
    assert not check.holds


def test_a_baseline_that_finds_nothing_is_beaten_by_anything(fitted: Context):
    """A multiple of 0 promises nothing."""
    none = {slice_name: dict(by_method) for slice_name, by_method in with_figures(fitted, **GOOD).per_user.items()}
    for method in ("popularity", "content_ridge", "artist_mean"):
        none["discovery"][method] = PerUser(*(np.zeros(fitted.slices["discovery"].users.size) for _ in range(2)))
    found = promised(replace(fitted, per_user=none))
    (check,) = (one for name, one in found.items() if name.startswith("anacrusis, discovery: NDCG@20, above the 0 of "))
    assert check.holds
    none["discovery"]["anacrusis"] = none["discovery"]["artist_mean"]
    (check,) = (
        one
        for name, one in promised(replace(fitted, per_user=none)).items()
        if name.startswith("anacrusis, discovery: NDCG@20, above the 0 of ")
    )
    assert not check.holds


def test_a_small_folder_tells_nothing_of_the_time_that_many_tracks_take(
    fitted: Context, monkeypatch: pytest.MonkeyPatch
):
    warm = len(fitted.benchmark.warm)
    assert warm < promises.LEAST_TIMED
    name = f"anacrusis: seconds to project 26,000 tracks, at the rate of the {warm:,} warm ones"
    assert name not in promised(fitted)
    monkeypatch.setattr(promises, "LEAST_TIMED", warm)
    assert promised(fitted)[name].measured > 0


def test_methods_that_were_not_fitted_are_not_promised_about(simple: Context, fitted: Context):
    assert Promises().measure(simple) == {}
    alone = replace(fitted, runs={"anacrusis": fitted.runs["anacrusis"]})
    assert all(name.startswith("anacrusis: ") for name in promised(alone))
