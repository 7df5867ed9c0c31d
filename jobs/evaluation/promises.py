"""The promises about the methods' figures, held against what this evaluation measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.evaluation.baselines import CONTENT_ONLY
from jobs.evaluation.bootstrap import differences, resampled_means
from jobs.evaluation.context import Check, Context, Result
from jobs.evaluation.methods import placed
from jobs.evaluation.protocol import METRICS

OURS, RIVAL, PLAIN = "anacrusis", "acarec", "artist_mean"
SIMPLE = ("popularity", *CONTENT_ONLY, PLAIN, "artist_mean_shrunken")
"""Of these the strongest, in each slice anew, is what `anacrusis` and the paper are compared with."""

LEAST_OVERALL = 1.2
LEAST_DISCOVERY = 1.348
"""The gain on discovery that Tamm et al. (UMAP 2026) report over their strongest baseline."""

LEAST_CONTENT = 2.0
MOST_FIT_S = 900.0
TRACKS, MOST_PROJECT_S = 26_000, 10.0
LEAST_TIMED = 2_000
"""Warm tracks from which the time to project more of them can be told: fewer measure what every call costs."""


@dataclass(frozen=True)
class Promises:
    """Nothing but checks: they are listed with those of the other sections at the end of the page."""

    name: str = "promises"

    def measure(self, context: Context) -> Result:
        """Compare the methods that were fitted; a promise about one that was not is left out."""
        checks = [*_about_ours(context), *_about_rival(context)] if context.split.entries.size else []
        return {"checks": [check.as_dict() for check in checks]} if checks else {}

    def markdown(self, result: Result) -> str:
        """Write nothing: the table of checks has it all."""
        return ""

    def plots(self, result: Result, folder: Path) -> Sequence[Path]:
        """Draw nothing."""
        return []

    def checks(self, result: Result) -> Sequence[Check]:
        """List them."""
        return [Check.from_dict(one) for one in result["checks"]]


def _about_ours(context: Context) -> list[Check]:
    if OURS not in context.runs:
        return []
    checks = []
    for slice_name, least in (("overall", LEAST_OVERALL), ("discovery", LEAST_DISCOVERY)):
        strongest = _strongest(context, slice_name, "ndcg@20", SIMPLE)
        if strongest:
            checks.append(
                _times(context, slice_name, "ndcg@20", f"{strongest}, the strongest simple baseline", strongest, least)
            )
    if RIVAL in context.runs:
        checks += [
            _difference(context, slice_name, OURS, RIVAL)
            for slice_name, one in context.slices.items()
            if one.users.size
        ]
    for metric in METRICS:
        content = _strongest(context, "overall", metric, CONTENT_ONLY)
        if content:
            checks.append(
                _times(context, "overall", metric, f"{content}, the best by content alone", content, LEAST_CONTENT)
            )
    for slice_name, rivals in (
        ("without_catalogue_content", CONTENT_ONLY),
        ("without_catalogue_no_content", ("popularity",)),
        ("without_catalogue", (*CONTENT_ONLY, "popularity")),
    ):
        strongest = _strongest(context, slice_name, "ndcg@20", rivals)
        if strongest:
            checks.append(_clearly_above(context, slice_name, strongest))
    return [*checks, *_about_time(context)]


def _about_rival(context: Context) -> list[Check]:
    if not {RIVAL, PLAIN} <= set(context.runs):
        return []
    return [
        _difference(context, slice_name, RIVAL, PLAIN)
        for slice_name in ("overall", "discovery")
        if context.slices[slice_name].users.size
    ]


def _about_time(context: Context) -> list[Check]:
    """Hold the slowest fit, and a projection of all warm tracks as if cold, brought to a round number of tracks."""
    runs = context.runs[OURS]
    fit_s = Check.at_most(f"{OURS}: seconds of the slowest fit", max(run.fit_s for run in runs), MOST_FIT_S)
    targets = context.benchmark.warm.as_cold()
    if len(targets) < LEAST_TIMED:
        return [fit_s]
    start = time.perf_counter()
    placed(runs[0].fitted, targets)
    project_s = (time.perf_counter() - start) / len(targets) * TRACKS
    return [
        fit_s,
        Check.at_most(
            f"{OURS}: seconds to project {TRACKS:,} tracks, at the rate of the {len(targets):,} warm ones",
            project_s,
            MOST_PROJECT_S,
        ),
    ]


def _strongest(context: Context, slice_name: str, metric: str, names: Sequence[str]) -> str:
    """Name the method with the highest mean; an empty text where none was fitted or nobody is asked."""
    fitted = [name for name in names if name in context.runs]
    if not fitted or not context.slices[slice_name].users.size:
        return ""
    return max(fitted, key=lambda name: _mean(context, slice_name, metric, name))


def _mean(context: Context, slice_name: str, metric: str, name: str) -> float:
    return float(context.per_user[slice_name][name].metric(metric).mean())


def _times(context: Context, slice_name: str, metric: str, said: str, reference: str, least: float) -> Check:
    """Promise a multiple of a baseline's figure; where that is 0, more than nothing."""
    ours, theirs = (_mean(context, slice_name, metric, name) for name in (OURS, reference))
    what = f"{OURS}, {slice_name}: {_in_words(metric)}"
    if theirs > 0.0:
        return Check.at_least(f"{what}, times that of {said}", ours / theirs, least)
    return Check.above(f"{what}, above the 0 of {said}", ours, 0.0)


def _difference(context: Context, slice_name: str, name: str, reference: str) -> Check:
    difference = _mean(context, slice_name, "ndcg@20", name) - _mean(context, slice_name, "ndcg@20", reference)
    # The paper's network has the zero vector for a track without a catalogue: to be above it there says little.
    nothing = f" ({RIVAL} has nothing there)" if reference == RIVAL and slice_name.startswith("without_") else ""
    return Check.above(f"{name} above {reference}, {slice_name}{nothing}: difference in NDCG@20", difference, 0.0)


def _clearly_above(context: Context, slice_name: str, reference: str) -> Check:
    by_method = context.per_user[slice_name]
    values = np.stack([by_method[name].ndcg for name in (OURS, reference)], axis=1)
    absolute, _ = differences(values, resampled_means(values), 0, 1)
    return Check.above(
        f"{OURS} clearly above {reference}, {slice_name}: lower 95 % bound of the paired difference in NDCG@20",
        absolute.low,
        0.0,
    )


def _in_words(metric: str) -> str:
    return metric.replace("ndcg", "NDCG").replace("recall", "Recall")
