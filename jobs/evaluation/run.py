"""Running an evaluation: fit every method, place the cold tracks, judge, compare."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jobs.errors import EvaluationError
from jobs.evaluation.ablation import Ablation
from jobs.evaluation.baselines import BASELINES
from jobs.evaluation.benchmark_folder import VALIDATION, Benchmark, ColdSplit, read_benchmark
from jobs.evaluation.bootstrap import differences, mean_intervals, resampled_means
from jobs.evaluation.context import Context, Result, Run, Section
from jobs.evaluation.machine import machine
from jobs.evaluation.methods import Fitted, Method, placed
from jobs.evaluation.protocol import METRICS, PerUser, per_user, slices
from jobs.evaluation.registry import SECTIONS, methods_named
from jobs.progress import OnProgress, Progress, silent


def evaluate(
    folder: Path,
    split: str = "cold_test",
    seeds: int = 3,
    methods: Sequence[str] | None = None,
    *,
    ablation: bool = False,
    report_to: Path | None = None,
    command: str = "",
    on_progress: OnProgress = silent,
) -> Result:
    """Evaluate methods on a benchmark folder.

    Every method is fitted on the warm tracks and chooses on ``cold_val``; the split is looked at once, in the end.

    Parameters
    ----------
    folder : Path
        See `jobs.evaluation.benchmark_folder`.
    split : str
        The cold split to report.
    seeds : int
        Fit each method with the seeds 0 to ``seeds - 1``; those that depend on no chance once.
    methods : sequence of str, optional
        Names of `registry.METHODS`; all of them where None.
    ablation : bool
        Whether to fit `anacrusis` again and again, each time without one of its parts; judged by ``cold_val``.
    report_to : Path, optional
        A folder to write ``transfer.md`` and its plots into; made where it is not there.
    command : str
        What a person typed, for the report.
    on_progress : callable
        Told after each fit and each section.

    Returns
    -------
    dict
        As JSON has it: ``folder, split, seeds, factors, methods, differences, timing, chosen, sections, checks``, and
        ``command``, ``machine`` (`jobs.evaluation.machine`) and ``took_s``.
        ``methods[NAME][SLICE]`` holds ``recall@20`` and ``ndcg@20`` (``mean, low, high``; 95 % over users of the mean
        over seeds) and ``users``. ``differences[SLICE][METRIC]`` holds the strongest baseline as ``reference`` and,
        under ``methods``, each method's ``absolute`` and ``relative`` difference from it, paired by user.

    Raises
    ------
    BenchmarkError
        When the folder cannot be taken.
    EvaluationError
        When the split, a method or the number of seeds is none, or parts are to be taken from what is not evaluated.
    ExtraMissingError
        When plots are asked for, or factors have to be trained, without the extra ``evaluate``.
    """
    chosen_methods = methods_named(methods)
    if seeds < 1:
        raise EvaluationError(f"The number of seeds is {seeds}; give at least 1.", field="seeds")
    if ablation and all(method.name != "anacrusis" for method in chosen_methods):
        raise EvaluationError(
            "Parts are taken away from anacrusis, which is not among the methods; name it, or leave ablation out.",
            field="ablation",
        )
    begun = time.perf_counter()
    if report_to is not None:
        from jobs.evaluation.report import require_plots

        require_plots()  # before hours of work, not after
    benchmark = read_benchmark(folder, on_progress=on_progress)
    if split not in benchmark.splits:
        raise EvaluationError(
            f"{folder} has no split {split!r}; choose from {', '.join(benchmark.splits)}.", field="split"
        )
    context = fit_and_judge(benchmark, benchmark.splits[split], chosen_methods, range(seeds), on_progress=on_progress)
    result = summary(context)
    measured = _sections(context, (*SECTIONS, Ablation(on_progress)) if ablation else SECTIONS, on_progress)
    result["sections"] = {section.name: found for section, found in measured}
    result["checks"] = [check.as_dict() for section, found in measured for check in section.checks(found)]
    result |= {"command": command, "machine": machine(), "took_s": time.perf_counter() - begun}
    if report_to is not None:
        from jobs.evaluation.report import write_report

        write_report(result, measured, report_to)
    return result


def fit_and_judge(
    benchmark: Benchmark,
    split: ColdSplit,
    methods: Sequence[Method],
    seeds: Sequence[int],
    *,
    on_progress: OnProgress = silent,
) -> Context:
    """Fit methods and judge where they place a split's tracks.

    Parameters
    ----------
    benchmark : Benchmark
    split : ColdSplit
        One of its splits.
    methods : sequence of Method
    seeds : sequence of int
    on_progress : callable

    Returns
    -------
    Context
    """
    seen = replace(
        benchmark, splits={VALIDATION: benchmark.splits[VALIDATION]}
    )  # no method can look at what is reported
    planned = [(method, seed) for method in methods for seed in (seeds if method.by_chance else seeds[:1])]
    runs: dict[str, list[Run]] = {method.name: [] for method in methods}
    for done, (method, seed) in enumerate(planned):
        on_progress(Progress("fit", done, len(planned), f"{method.name}, seed {seed}"))
        runs[method.name].append(_run(method, seen, split, seed))
    on_progress(Progress("fit", len(planned), len(planned)))
    cut = slices(benchmark, split)
    judged: dict[str, dict[str, PerUser]] = {name: {} for name in cut}
    for done, (name, fitted) in enumerate(runs.items()):
        on_progress(Progress("judge", done, len(runs), name))
        by_seed = [per_user(run.placed, benchmark.users, list(cut.values())) for run in fitted]
        for one in cut:
            judged[one][name] = PerUser(
                *(np.mean([found[one].metric(metric) for found in by_seed], axis=0) for metric in METRICS)
            )
    on_progress(Progress("judge", len(runs), len(runs)))
    return Context(benchmark, split, tuple(seeds), cut, {name: tuple(fitted) for name, fitted in runs.items()}, judged)


def _run(method: Method, benchmark: Benchmark, split: ColdSplit, seed: int) -> Run:
    start = time.perf_counter()
    fitted: Fitted = method.fit(benchmark, seed)
    fit_s = time.perf_counter() - start
    start = time.perf_counter()
    where = placed(fitted, split.tracks)
    return Run(method.name, seed, fitted, where, fit_s, time.perf_counter() - start)


def summary(context: Context) -> Result:
    """Give every method's figures in every slice, with intervals; see `evaluate` for the keys."""
    names = list(context.runs)
    figures: dict[str, Result] = {name: {} for name in names}
    compared: Result = {}
    for slice_name, cut in context.slices.items():
        by_method = context.per_user[slice_name]
        for name in names:
            figures[name][slice_name] = {"users": len(cut.users)}
        compared[slice_name] = {}
        for metric in METRICS:
            values = np.stack([by_method[name].metric(metric) for name in names], axis=1)
            resampled = resampled_means(values)
            for name, found in zip(names, mean_intervals(values, resampled), strict=True):
                figures[name][slice_name][metric] = found.as_dict()
            compared[slice_name][metric] = _compared(names, values, resampled)
    return {
        "folder": context.benchmark.name,
        "split": context.split.name,
        "seeds": list(context.seeds),
        "factors": context.benchmark.factors,
        "methods": figures,
        "differences": compared,
        "timing": {name: _timing(runs, len(context.split.tracks)) for name, runs in context.runs.items()},
        "chosen": {name: [run.fitted.chosen for run in runs] for name, runs in context.runs.items()},
    }


def _compared(names: Sequence[str], values: np.ndarray, resampled: np.ndarray) -> Result:
    """Compare all methods with the baseline that is best in this very slice, which favours the baselines."""
    baselines = [place for place, name in enumerate(names) if name in BASELINES]
    if not baselines or not len(values):
        return {"reference": None, "methods": {}}
    reference = max(baselines, key=lambda place: float(values[:, place].mean()))
    pairs = {
        name: differences(values, resampled, place, reference) for place, name in enumerate(names) if place != reference
    }
    return {
        "reference": names[reference],
        "methods": {
            name: {"absolute": absolute.as_dict(), "relative": relative.as_dict()}
            for name, (absolute, relative) in pairs.items()
        },
    }


def _timing(runs: Sequence[Run], tracks: int) -> Mapping[str, float]:
    return {
        "fit_s": float(np.mean([run.fit_s for run in runs])),
        "projected_per_s": tracks / max(float(np.mean([run.project_s for run in runs])), 1e-9),
    }


def _sections(context: Context, sections: Sequence[Section], on_progress: OnProgress) -> list[tuple[Section, Result]]:
    """Measure the sections; those that find nothing to measure are left out."""
    measured = []
    for done, section in enumerate(sections):
        on_progress(Progress("sections", done, len(sections), section.name))
        found = section.measure(context)
        if found:
            measured.append((section, found))
    on_progress(Progress("sections", len(sections), len(sections)))
    return measured
