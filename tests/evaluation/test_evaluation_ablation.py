"""Every part of the ablation changes something, and is judged by cold_val."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from artist_transfer import NO_DATE, FitOptions, RankingOptions
from jobs.evaluation import ablation
from jobs.evaluation.ablation import AVERAGED, FULL, MOST_AT_ONCE, PARTS, SLICES, Ablation, Part, at_once
from jobs.evaluation.context import Context
from jobs.progress import Progress


def test_every_part_is_another_model():
    default = RankingOptions()
    for part in PARTS:
        changed = replace(default, **part.options)  # checks names and values
        assert (changed != default) + (not part.listeners) + bool(part.without) == 1
    assert len({part.name for part in PARTS}) == len(PARTS)
    assert {part.without for part in PARTS} == {"", "content", "dates", "listens", "further credits"}


def test_what_is_taken_away_is_gone(fitted: Context):
    benchmark = fitted.benchmark
    both = {}
    for what in ("content", "dates", "listens", "further credits"):
        less = ablation._without(benchmark, what)
        both[what] = (less.warm, less.splits["cold_val"].tracks)
    assert all(np.isnan(tracks.content).all() for tracks in both["content"])
    assert all((tracks.release_day == NO_DATE).all() for tracks in both["dates"])
    assert np.isnan(both["listens"][0].popularity).all()
    assert all((np.diff(tracks.credits.indptr) == 1).all() for tracks in both["further credits"])
    assert list(ablation._without(benchmark, "content").splits) == ["cold_val"]


def test_the_section_fits_judges_writes_and_draws(fitted: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[Progress] = []
    real, given = ablation.fit, []

    def watched(warm, options, *, interactions):
        given.append((options.ranking, interactions is not None, warm.content_known.any()))
        return real(warm, options, interactions=interactions)

    monkeypatch.setattr(ablation, "fit", watched)
    parts = (
        Part("no gain", {"frozen": ("gain",)}),
        Part("20 steps", {"steps": 20}),  # as the full model
        Part("without listeners", listeners=False),
        Part("no content", without="content"),
        Part("no listens", without="listens"),
    )
    section = Ablation(told.append, parts)
    found = section.measure(fitted)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["parts"]) == [AVERAGED, FULL, "no gain", "without listeners", "no content", "no listens"]
    assert {one[0].members for one in given} == {1}
    # Side by side, fits begin in any order.
    assert Counter((one[0].frozen, bool(one[1]), bool(one[2])) for one in given) == {
        ((), True, True): 2,
        (("gain",), True, True): 1,
        ((), False, True): 1,
        ((), True, False): 1,
    }
    assert (found["split"], found["at_once"]) == ("cold_val", at_once(FitOptions(), torch.get_num_threads()))
    full, averaged = (found["parts"][name]["slices"] for name in (FULL, AVERAGED))
    judged = fitted.runs["anacrusis"][0].fitted.project(fitted.benchmark.splits["cold_val"].tracks)
    from jobs.evaluation.methods import ValJudge

    assert averaged["overall"]["ndcg@20"]["mean"] == pytest.approx(ValJudge(fitted.benchmark).ndcg(judged))
    assert full["overall"]["relative"]["mean"] == 0.0
    for one in found["parts"].values():
        assert set(one["slices"]) == set(SLICES)
    deaf = found["parts"]["no content"]["slices"]["without_catalogue_content"]
    assert deaf["ndcg@20"]["mean"] < full["without_catalogue_content"]["ndcg@20"]["mean"]
    assert [one.detail for one in told] == [
        "one network for each part",
        FULL,
        "no gain",
        "without listeners",
        "no content",
        "no listens",
    ]
    page = section.markdown(found)
    assert "`cold_val`" in page
    (plot,) = section.plots(found, tmp_path)
    assert plot.name in page
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert section.checks(found) == []


def test_without_our_method_there_is_nothing_to_take_away(simple: Context):
    assert Ablation().measure(simple) == {}


def test_as_many_fits_as_threads_but_not_too_many_and_one_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    cpu = FitOptions(device="cpu")
    assert [at_once(cpu, threads) for threads in (1, 2, 64)] == [1, 2, MOST_AT_ONCE]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert at_once(FitOptions(), 64) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_nothing_further_begins_and_threads_are_as_they_were(
    fitted: Context, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
):
    before, begun = torch.get_num_threads(), []

    def failing(warm, options, *, interactions):
        begun.append(torch.get_num_threads())
        if len(begun) > 1:
            time.sleep(0.2)
        raise error

    monkeypatch.setattr(ablation, "fit", failing)
    try:
        torch.set_num_threads(2)
        with pytest.raises(error):
            Ablation().measure(fitted)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(begun) == {1}
    assert len(begun) < len(PARTS) // 2  # those that ran, and what a slow main thread let them take up
