"""The section on the parts of our own transfer: what each of them gives, by fitting without it.

It is an aid to choosing, and so it looks at ``cold_val`` alone, whatever split is reported.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from artist_transfer import Catalogue, FitOptions, Interactions, fit
from artist_transfer.model import FittedModel
from jobs.evaluation.baselines.catalogue_means import Tracks, primary_only, undated
from jobs.evaluation.benchmark_folder import VALIDATION, Benchmark, FloatArray
from jobs.evaluation.bootstrap import differences, mean_intervals, resampled_means
from jobs.evaluation.context import Check, Context, Result
from jobs.evaluation.ours import FittedAnacrusis
from jobs.evaluation.plots import bars, drawing
from jobs.evaluation.protocol import per_user, slices
from jobs.evaluation.report import markdown_table
from jobs.progress import OnProgress, Progress, silent

SLICES = ("overall", "discovery", "exploit", "without_catalogue_content")
FULL = "one network"
AVERAGED = "full model: several networks, averaged"
PLOT = "ablation.png"

MOST_AT_ONCE = 4
"""Fits side by side at most: each takes the memory of a whole training."""


@dataclass(frozen=True)
class Part:
    """One thing that is taken away, or made otherwise.

    Attributes
    ----------
    name : str
        What is otherwise, in words.
    options : mapping
        Of `artist_transfer.RankingOptions`, other than the full model's.
    listeners : bool
        Whether the fit is told who listened to what.
    without : str
        What tracks are told nothing of: "content", "dates", "listens" or "further credits"; empty for nothing.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    listeners: bool = True
    without: str = ""


PARTS = (
    Part("squared error instead of ranking", {"loss": "squared"}),
    Part("without listeners: tracks stand for them", listeners=False),
    Part("choices alone, no scores of the true vectors", {"soft_share": 0.0}),
    Part("no squared error beside the ranking", {"squared_weight": 0.0}),
    Part("no noise on content", {"content_noise": 0.0}),
    Part("lengths as learned", {"length_power": 1.0}),
    Part("no weight on discovery", {"discovery_weight": 0.0}),
    Part("weight 1 on discovery", {"discovery_weight": 1.0}),
    Part("no catalogue dropout", {"artist_dropout": 0.0}),
    Part("5 catalogue tracks in training", {"catalogue_sample": 5}),
    Part("one head", {"heads": 1}),
    Part("uniform attention", {"frozen": ("query", "role_bias")}),
    Part("no gain", {"frozen": ("gain",)}),
    Part("no residual", {"frozen": ("residual",)}),
    Part("no content", without="content"),
    Part("no dates", without="dates"),
    Part("no listens", without="listens"),
    Part("primary credits alone", without="further credits"),
)


@dataclass(frozen=True)
class Ablation:
    """Fits a single network for each part, seed 0, and judges by ``cold_val``; the evaluated model stands beside them.

    Fits run side by side, as many as there are threads and `MOST_AT_ONCE`, each on one; a GPU is lent to one after the
    other.

    Attributes
    ----------
    on_progress : callable
        Told after each fit.
    parts : tuple of Part
        Those that change nothing are skipped.
    """

    on_progress: OnProgress = silent
    parts: tuple[Part, ...] = PARTS
    name: str = "ablation"

    def measure(self, context: Context) -> Result:
        """Fit and judge."""
        import torch

        run = context.runs["anacrusis"][0] if "anacrusis" in context.runs else None
        if run is None or not isinstance(run.fitted, FittedAnacrusis) or not isinstance(run.fitted.model, FittedModel):
            return {}
        options = run.fitted.model.facts.options
        options = replace(options, ranking=replace(options.ranking, members=1))
        parts = [
            part
            for part in self.parts
            if not part.options or replace(options.ranking, **part.options) != options.ranking
        ]
        placed = {AVERAGED: run.fitted.project(context.benchmark.splits[VALIDATION].tracks)}
        fit_s = {AVERAGED: run.fit_s}
        self.on_progress(Progress("ablation", 0, len(parts) + 1, "one network for each part"))
        every = (Part(FULL), *parts)
        threads = torch.get_num_threads()
        workers = at_once(options, threads)
        # A fit puts the number of threads back that it found. Side by side they would find each other's: all find 1.
        torch.set_num_threads(1)
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
        try:
            fits = pool.map(lambda part: _fitted(context.benchmark, options, part), every)
            for done, (part, (vectors, seconds)) in enumerate(zip(every, fits, strict=True), 1):
                placed[part.name], fit_s[part.name] = vectors, seconds
                self.on_progress(Progress("ablation", done, len(every), part.name))
        finally:
            pool.shutdown(cancel_futures=True)  # waits for what runs; after an error, nothing further begins
            torch.set_num_threads(threads)
        figures = _judged(context.benchmark, placed)
        return {
            "split": VALIDATION,
            "at_once": workers,
            "parts": {name: {"fit_s": fit_s[name], "slices": found} for name, found in figures.items()},
        }

    def markdown(self, result: Result) -> str:
        """Write the table and name the figure."""
        rows = [
            [name, *(_cell(found["slices"][one]) for one in SLICES), f"{found['fit_s']:.0f}"]
            for name, found in result["parts"].items()
        ]
        return "\n\n".join(
            [
                "## What each part gives",
                f"NDCG@20 of `anacrusis` on `{result['split']}`, one network for each line, fitted with seed 0 and one "
                f"thing changed at a time; in brackets the relative difference from `{FULL}`. This table is an aid to "
                f"choosing: the model was chosen on `{result['split']}`, so its lead here is flattered, and no other "
                f"split is looked at. {result['at_once']} of the fits ran at a time, each on one thread.",
                f"![Relative difference in NDCG@20 from one network, with 95 % intervals over users]({PLOT})",
                markdown_table(["model", *(one.replace("_", " ") for one in SLICES), "fit, s"], rows),
            ]
        )

    def plots(self, result: Result, folder: Path) -> Sequence[Path]:
        """Draw the relative differences from the one network."""
        names = [name for name in result["parts"] if name != FULL]
        path = folder / PLOT
        with drawing(path, len(SLICES), width=15, height=1.2 + 0.3 * len(names)) as axes:
            for axis, one in zip(axes, SLICES, strict=True):
                bars(axis, names, [result["parts"][name]["slices"][one]["relative"] for name in names], scale=100)
                axis.axvline(0.0, color="#222222", linewidth=0.8)
                axis.set_title(one.replace("_", " "))
                axis.set_xlabel("NDCG@20 against one network, %")
                if axis is not axes[0]:
                    axis.set_yticklabels([])
        return [path]

    def checks(self, result: Result) -> Sequence[Check]:
        """Promise nothing: a part that gives nothing may still be kept for its simplicity."""
        return []


def at_once(options: FitOptions, threads: int) -> int:
    """Give the number of fits that run side by side on so many threads."""
    from artist_transfer.acarec import resolve_device

    return 1 if resolve_device(options.device).type == "cuda" else min(threads, MOST_AT_ONCE)


def _fitted(benchmark: Benchmark, options: FitOptions, part: Part) -> tuple[FloatArray, float]:
    """Fit with one thing changed; the vectors of ``cold_val`` and the seconds of the fit."""
    begun = time.perf_counter()
    told = _without(benchmark, part.without)
    model = fit(
        told.warm,
        replace(options, ranking=replace(options.ranking, **part.options)),
        interactions=Interactions(told.users, told.warm_entries) if part.listeners else None,
    )
    fit_s = time.perf_counter() - begun
    return model.project(told.splits[VALIDATION].tracks, Catalogue(told.warm)).vectors, fit_s


def _judged(benchmark: Benchmark, placed: Mapping[str, FloatArray]) -> dict[str, dict[str, Result]]:
    """Give each model's NDCG@20 by slice, and its relative difference from the one network, paired by user."""
    every = slices(benchmark, benchmark.splits[VALIDATION])
    cut = [every[one] for one in SLICES]
    found = {name: per_user(vectors, benchmark.users, cut) for name, vectors in placed.items()}
    judged: dict[str, dict[str, Result]] = {name: {} for name in placed}
    for one in SLICES:
        values = np.stack([by_slice[one].ndcg for by_slice in found.values()], axis=1)
        resampled = resampled_means(values)
        full = list(placed).index(FULL)
        for place, (name, figure) in enumerate(zip(placed, mean_intervals(values, resampled), strict=True)):
            _, relative = differences(values, resampled, place, full)
            judged[name][one] = {"ndcg@20": figure.as_dict(), "relative": relative.as_dict()}
    return judged


def _without(benchmark: Benchmark, what: str) -> Benchmark:
    """Make a benchmark whose tracks are told less of; the slices are to be cut from the whole one."""
    if not what:
        return benchmark
    validation = benchmark.splits[VALIDATION]
    warm, cold = _told_less(benchmark.warm, what), _told_less(validation.tracks, what)
    if what == "listens":
        warm = replace(warm, popularity=np.full_like(warm.popularity, np.nan))
    return replace(benchmark, warm=warm, splits={VALIDATION: replace(validation, tracks=cold)})


def _told_less(tracks: Tracks, what: str) -> Tracks:
    if what == "content":
        return replace(tracks, content=np.full_like(tracks.content, np.nan))
    if what == "dates":
        return undated(tracks)
    if what == "further credits":
        return replace(tracks, credits=primary_only(tracks.credits))
    return tracks


def _cell(found: Result) -> str:
    mean, relative = found["ndcg@20"]["mean"], found["relative"]["mean"]
    if mean is None:
        return "-"
    return f"{mean:.4f}" if relative is None else f"{mean:.4f} ({relative:+.1%})"
