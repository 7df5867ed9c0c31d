"""The section on warming up: what the first listeners of a cold track change, by prior only, data only, and both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artist_transfer import Background, Listens, WarmingOptions, warm_up
from jobs.evaluation.benchmark_folder import VALIDATION, Benchmark, ColdSplit, FloatArray
from jobs.evaluation.bootstrap import differences, mean_intervals, resampled_means
from jobs.evaluation.context import Check, Context, Result
from jobs.evaluation.early_listeners import EarlyListeners
from jobs.evaluation.methods import Projector, placed
from jobs.evaluation.plots import drawing
from jobs.evaluation.report import figure, markdown_table, percentage

COUNTS = (0, 1, 2, 5, 10, 20, 50)
"""Early listeners a track."""

MIXED = "mixed"
"""As many early listeners as chance gives each track, out of `COUNTS`: tracks that are known more and less stand in
one ranking, as they do in a service."""

LINES = ("prior", "data", "both")
PLOT = "warming.png"
DRAWS = 3  # of early listeners, each with another seed of the method where it has several
MARGIN = 0.005  # by which `both` should lead on cold_val, so that it is not below either elsewhere

_JUDGES = 2000  # users; enough to choose by, and several times as fast as all of them
_LEARNED_ON = (*COUNTS[1:], MIXED)
_LEARNED = ("ridge", "background", "fade", "target")
_STEPS = (2.0, 2.0**0.5)
_COLOURS = {"prior": "#9aa7b4", "data": "#c77b30", "both": "#1f4e79"}


@dataclass(frozen=True)
class WarmingUp:
    """Measures NDCG@20 against the number of early listeners.

    Attributes
    ----------
    priors : tuple of str
        Methods whose projected vectors may be the prior; the first that was fitted is taken.
    """

    priors: tuple[str, ...] = ("anacrusis", "acarec", "artist_mean_content", "artist_mean_shrunken", "artist_mean")
    name: str = "warming"

    def measure(self, context: Context) -> Result:
        """Learn the parameters on ``cold_val``, and draw the three lines on the split that is reported."""
        method = next((one for one in self.priors if one in context.runs), None)
        if method is None:
            return {}
        runs = context.runs[method]
        fitted = runs[0].fitted
        if not isinstance(fitted, Projector):
            return {}
        benchmark = context.benchmark
        background = Background.of(benchmark.users, benchmark.warm.collaborative)
        validation = benchmark.splits[VALIDATION]
        prior = placed(fitted, validation.tracks)
        both, data = learn(benchmark, validation, prior, background)
        points = {
            str(count): _measured(
                context, [run.placed for run in runs], background, {"both": both, "data": data}, count
            )
            for count in (*COUNTS, MIXED)
        }
        return {
            "method": method,
            "split": context.split.name,
            "learned": {"both": _shown(both), "data": _shown(data)},
            "points": points,
        }

    def markdown(self, result: Result) -> str:
        """Write the table and name the figure."""
        rows = [
            [
                count,
                f"{point['early']:.1f}",
                f"{point['users']:,}",
                *(figure(point["ndcg@20"][line]) for line in LINES),
                percentage(point["both_over"]["prior"]),
                percentage(point["both_over"]["data"]),
            ]
            for count, point in result["points"].items()
        ]
        columns = ["early listeners", "a track", "users", *LINES, "both over prior", "both over data"]
        chosen = "; ".join(f"{name} {value:.3g}" for name, value in result["learned"]["both"].items())
        return "\n\n".join(
            [
                "## Warming up",
                f"NDCG@20 on `{result['split']}` once the first n listeners of each cold track are known, mean over "
                f"{DRAWS} random draws of them. Early listeners leave the test, and the track leaves their candidates; "
                "of a track with n listeners or fewer all but one are early. Prior: the projected vectors of "
                f"`{result['method']}`. Data: the same fold-in with the mean of the warm tracks for a prior. Both: the "
                f"fold-in with the projected vector for a prior. `{MIXED}`: each track with one of the numbers above, "
                f"at random. Parameters learned on `{VALIDATION}` (both: {chosen}).",
                f"![NDCG@20 against early listeners, with 95 % intervals]({PLOT})",
                markdown_table(columns, rows),
            ]
        )

    def plots(self, result: Result, folder: Path) -> Sequence[Path]:
        """Draw the three lines with their intervals."""
        points = {count: point for count, point in result["points"].items() if count != MIXED}
        path = folder / PLOT
        with drawing(path, width=7.5, height=4.2) as (axis,):
            for shift, line in enumerate(LINES):
                found = [point["ndcg@20"][line] for point in points.values()]
                places = np.arange(len(found)) + (shift - 1) * 0.04  # so that intervals do not hide each other
                mean, low, high = (np.array([one[name] for one in found]) for name in ("mean", "low", "high"))
                axis.errorbar(
                    places,
                    mean,
                    yerr=np.abs(np.stack([mean - low, high - mean])),
                    color=_COLOURS[line],
                    marker="o",
                    markersize=4,
                    capsize=2,
                    label=f"{line} only" if line != "both" else line,
                )
            axis.set_xticks(range(len(points)), list(points))
            axis.set_xlabel("early listeners of each cold track")
            axis.set_ylabel("NDCG@20")
            axis.set_ylim(bottom=0)
            axis.legend(frameon=False, loc="lower right")  # "best" warns where it takes long
        return [path]

    def checks(self, result: Result) -> Sequence[Check]:
        """Promise that `both` is never below either alone; without a listener it is the prior."""
        checks = []
        for count, point in result["points"].items():
            if count == "0":
                continue
            means = {line: point["ndcg@20"][line]["mean"] for line in LINES}
            checks.append(
                Check.at_least(
                    f"warming up, {count} early listeners: NDCG@20 of both over the better of prior and data",
                    means["both"],
                    max(means["prior"], means["data"]),
                )
            )
        return checks


def learn(
    benchmark: Benchmark, split: ColdSplit, prior: FloatArray, background: Background
) -> tuple[WarmingOptions, WarmingOptions]:
    """Choose the parameters of the fold-in on a split, by coordinate search.

    Those of data only are the ones with the highest NDCG@20, mean over the numbers of early listeners and the mixed
    case, from the defaults on. Those of both are looked for from there on: without a prior they are the same. They are,
    among the ones that lead prior and data by `MARGIN` in every case, the ones with the highest mean; or, where none
    lead by as much, the ones whose worst lead is the largest.

    Parameters
    ----------
    benchmark : Benchmark
    split : ColdSplit
        To learn on.
    prior : ndarray, shape (m, dim), float32
        Projected vectors of its tracks.
    background : Background

    Returns
    -------
    both, data : WarmingOptions
    """
    users, tracks = benchmark.users, len(split.tracks)
    cases = [_drawn(split, count, tracks, DRAWS).judged_by(_JUDGES) for count in _LEARNED_ON]  # a seed of its own
    listens = [case.listens(users) for case in cases]

    def line(priors: FloatArray, options: WarmingOptions) -> NDArray[np.float64]:
        return np.array(
            [
                case.ndcg(warm_up(priors, listen, background, options).vectors, users).mean()
                for case, listen in zip(cases, listens, strict=True)
            ]
        )

    middle = _middle(benchmark, tracks)
    data, alone = _search(
        WarmingOptions(),
        lambda options: line(middle, options),
        lambda found: (float(found.mean()),),
        ("fade", "target"),  # which change next to nothing where all priors are one vector
    )
    by_prior = np.array([case.ndcg(prior, users).mean() for case in cases])
    bar = np.maximum(by_prior, alone)
    both, _ = _search(data, lambda options: line(prior, options), lambda found: lead(found, bar), ())
    return both, data


def lead(found: NDArray[np.float64], bar: NDArray[np.float64]) -> tuple[float, float]:
    """Judge figures, shape (c,), by the worst relative lead over others, `MARGIN` at most, and then by their mean.

    Where the others are 0, whatever is found leads by enough.
    """
    compared = bar > 0
    worst = float((found[compared] / bar[compared]).min(initial=np.inf)) - 1.0
    return min(worst, MARGIN), float(found.mean())


def _search(
    best: WarmingOptions,
    measure: Callable[[WarmingOptions], NDArray[np.float64]],
    judge: Callable[[NDArray[np.float64]], tuple[float, ...]],
    fixed: Sequence[str],
) -> tuple[WarmingOptions, NDArray[np.float64]]:
    """Search one parameter after the other, in steps that become finer; what changes no figure is left as it is."""
    found = measure(best)
    for step in _STEPS:
        moved = True
        while moved:
            moved = False
            for name in _LEARNED:
                for factor in (step, 1.0 / step) if name not in fixed else ():
                    tried = replace(best, **{name: getattr(best, name) * factor})
                    measured = measure(tried)
                    if judge(measured) > judge(found):
                        best, found, moved = tried, measured, True
                        break
    return best, found


def _measured(
    context: Context,
    priors: Sequence[FloatArray],
    background: Background,
    options: dict[str, WarmingOptions],
    count: int | str,
) -> Result:
    users = context.benchmark.users
    split, tracks = context.split, len(context.split.tracks)
    total, times = np.zeros((len(users), len(LINES))), np.zeros(len(users))
    early = 0.0
    for draw in range(DRAWS):
        case = _drawn(split, count, tracks, draw)
        prior = priors[draw % len(priors)]
        listens: Listens = case.listens(users)
        vectors = {
            "prior": prior,
            "data": warm_up(_middle(context.benchmark, tracks), listens, background, options["data"]).vectors,
            "both": warm_up(prior, listens, background, options["both"]).vectors,
        }
        total[case.users] += np.stack([case.ndcg(vectors[line], users) for line in LINES], axis=1)
        times[case.users] += 1
        early += len(case.early) / tracks / DRAWS
    asked = times > 0
    values = total[asked] / times[asked, None]  # a user's mean over the draws that left an entry to test
    resampled = resampled_means(values)
    figures = {line: one.as_dict() for line, one in zip(LINES, mean_intervals(values, resampled), strict=True)}
    both = LINES.index("both")
    return {
        "early": early,
        "users": int(asked.sum()),
        "ndcg@20": figures,
        "both_over": {
            line: differences(values, resampled, both, LINES.index(line))[1].as_dict() for line in ("prior", "data")
        },
    }


def _drawn(split: ColdSplit, count: int | str, tracks: int, seed: int) -> EarlyListeners:
    if isinstance(count, int):
        return EarlyListeners.draw(split.entries, count, seed)
    wanted = np.random.default_rng(seed).choice(COUNTS, tracks)
    return EarlyListeners.draw(split.entries, wanted, seed)


def _middle(benchmark: Benchmark, tracks: int) -> FloatArray:
    """Give every track the mean of the warm ones: what is known of it without a projection."""
    mean = benchmark.warm.collaborative.mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(mean, (tracks, mean.size)))


def _shown(options: WarmingOptions) -> dict[str, Any]:
    return {name: float(getattr(options, name)) for name in _LEARNED}
