"""The section on popularity: how well the listeners of a cold track are foretold, and how wide the interval has to be.

A track's popularity is an estimate of its own in the network, apart from where the vector points. Here it is held
against the entries that each track of the split turned out to have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artist_transfer import Projection
from jobs.evaluation.benchmark_folder import FloatArray, IntArray
from jobs.evaluation.bootstrap import RESAMPLES, interval, resampled_rows
from jobs.evaluation.context import Check, Context, Result
from jobs.evaluation.methods import Scorer
from jobs.evaluation.ours import FittedAnacrusis
from jobs.evaluation.plots import INK, drawing
from jobs.evaluation.protocol import artist_owners, has_catalogue
from jobs.evaluation.rank_correlation import spearman
from jobs.evaluation.report import figure, markdown_table

TARGET = 0.9
"""Share of the tracks that the interval is to hold, of those with a catalogue and of those without."""

MOST_OFF = 0.05
"""By how much the share may be off."""

ESTIMATE, LENGTH = "estimate of `anacrusis`", "length of the projected vector"
ARTIST = "`popularity`: mean of the artist's tracks, shrunken"
PLOT = "popularity.png"
_BINS = 20
_RESAMPLES = RESAMPLES // 5  # each sorts all tracks anew


@dataclass(frozen=True)
class PopularityEstimate:
    """Measures the estimate of popularity against the true counts of the split's tracks."""

    name: str = "popularity"

    def measure(self, context: Context) -> Result:
        """Ask the evaluated models, one a seed, and count the split's entries."""
        runs = context.runs.get("anacrusis", ())
        projections = [
            run.fitted.projection(context.split.tracks) for run in runs if isinstance(run.fitted, FittedAnacrusis)
        ]
        if not projections or any(np.isnan(one.popularity).any() for one in projections):
            return {}
        true = np.bincount(context.split.entries[:, 1], minlength=len(context.split.tracks)).astype(np.float64)
        orders = {
            ESTIMATE: [one.popularity for one in projections],
            LENGTH: [np.linalg.norm(one.vectors, axis=1) for one in projections],
        }
        baseline = context.runs["popularity"][0] if "popularity" in context.runs else None
        if baseline is not None and isinstance(baseline.fitted, Scorer):
            orders[ARTIST] = [baseline.placed]
        artists = artist_owners(context.split.tracks.credits)
        has = has_catalogue(context.benchmark, context.split)
        groups = {"all": np.ones_like(has), "with catalogue": has, "without catalogue": ~has}
        return {
            "split": context.split.name,
            "tracks": int(true.size),
            "spearman": {name: _spearman(found, true, artists) for name, found in orders.items()},
            "interval": {
                name: _interval(projections, true, rows) | {"tracks": int(rows.sum())}
                for name, rows in groups.items()
                if rows.any()
            },
            "bins": _bins(projections[0], true),
        }

    def markdown(self, result: Result) -> str:
        """Write the tables and name the figure."""
        orders = [[name, figure(found, 3)] for name, found in result["spearman"].items()]
        intervals = [
            [
                name,
                f"{found['tracks']:,}",
                f"{found['coverage']:.1%}",
                f"{found['width']:,.0f}",
                f"{found['true']:,.0f}",
            ]
            for name, found in result["interval"].items()
        ]
        return "\n\n".join(
            [
                "## Popularity",
                f"How many entries a cold track will have, estimated before the first one, against how many each of "
                f"the {result['tracks']:,} tracks of `{result['split']}` turned out to have. Spearman's correlation "
                "with the true counts, mean over the seeds, 95 % bootstrap intervals over artists:",
                markdown_table(["order of the tracks by", "Spearman"], orders),
                f"Each estimate has an interval, meant to hold {TARGET * 100:.0f} % of the tracks; all in entries. A "
                "track has a catalogue where its primary artist has a warm track, as in the slices:",
                markdown_table(
                    ["group", "tracks", "inside the interval", "median width", "median true count"], intervals
                ),
                f"![True counts against the estimate, bins of equal size]({PLOT})",
                "The estimate stands beside the vector and leaves the ranking alone. A query that wants less of what "
                "is popular says how much less with `--popularity-damping`.",
            ]
        )

    def plots(self, result: Result, folder: Path) -> Sequence[Path]:
        """Draw, bin by bin of the estimate, the true counts and the mean interval; both axes logarithmic."""
        from matplotlib.ticker import LogLocator

        path = folder / PLOT
        bins = result["bins"]
        # One more than the count, so that a track that nobody entered has a place on a logarithmic axis.
        shown = {name: np.array([one[name] for one in bins]) + 1.0 for name in bins[0]}
        predicted, middle = shown["predicted"], shown["true_median"]
        with drawing(path, width=6.5, height=5.0) as (axis,):
            axis.fill_between(
                predicted, shown["low"], shown["high"], color="#e3ebf2", label="interval of the estimate, median"
            )
            axis.plot(predicted, predicted, color="#9aa7b4", linewidth=1.0, linestyle="--")
            axis.errorbar(
                predicted,
                middle,
                yerr=np.stack([middle - shown["true_low"], shown["true_high"] - middle]),
                color=INK,
                marker="o",
                markersize=4,
                capsize=2,
                linestyle="none",
                label="true count: median, and 90 % of the tracks",
            )
            axis.set_xscale("log")
            axis.set_yscale("log")
            for one in (axis.xaxis, axis.yaxis):
                one.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                one.set_major_formatter("{x:,.0f}")
                one.set_minor_formatter("")
            axis.set_xlabel("1 + estimated entries")
            axis.set_ylabel("1 + true entries")
            axis.legend(frameon=False, loc="upper left")
        return [path]

    def checks(self, result: Result) -> Sequence[Check]:
        """Promise an order better than the baseline's, and an interval that holds what it says in each group."""
        found = result["spearman"]
        checks = []
        if ARTIST in found and found[ARTIST]["mean"] is not None:  # a baseline that knows no artist has no order
            mean = found[ESTIMATE]["mean"]
            checks.append(
                Check.above(
                    "popularity: Spearman of the estimate with the true counts, above that of the popularity baseline",
                    float("nan") if mean is None else mean,
                    found[ARTIST]["mean"],
                )
            )
        checks += [
            Check.at_most(
                f"popularity: how far the share of tracks {name} inside the interval is from {TARGET}",
                abs(one["coverage"] - TARGET),
                MOST_OFF,
            )
            for name, one in result["interval"].items()
            if name != "all"  # which is off by no more than the worse of the two
        ]
        return checks


def _spearman(orders: Sequence[FloatArray], true: NDArray[np.float64], artists: IntArray) -> Result:
    """Correlate each seed's order with the true counts; mean over the seeds, interval over artists."""

    def mean(rows: NDArray[np.int64]) -> float:
        return float(np.mean([spearman(one[rows], true[rows]) for one in orders]))

    rng = np.random.default_rng(0)
    resampled = np.array([mean(resampled_rows(artists, rng)) for _ in range(_RESAMPLES)])
    return interval(mean(np.arange(true.size)), resampled).as_dict()


def _interval(projections: Sequence[Projection], true: NDArray[np.float64], rows: NDArray[np.bool_]) -> Result:
    inside = [(one.popularity_low <= true) & (true <= one.popularity_high) for one in projections]
    return {
        "coverage": float(np.mean([one[rows].mean() for one in inside])),
        "width": float(np.mean([np.median((one.popularity_high - one.popularity_low)[rows]) for one in projections])),
        "true": float(np.median(true[rows])),
    }


def _bins(projection: Projection, true: NDArray[np.float64]) -> list[Result]:
    """Sum up bins of equal count by the estimate: no single track's count leaves the folder."""
    order = np.argsort(projection.popularity, kind="stable")
    bins = []
    for part in np.array_split(order, min(_BINS, order.size)):
        low, middle, high = np.quantile(true[part], [0.05, 0.5, 0.95]).tolist()
        bins.append(
            {
                "tracks": int(part.size),
                "predicted": float(np.median(projection.popularity[part])),
                "low": float(np.median(projection.popularity_low[part])),
                "high": float(np.median(projection.popularity_high[part])),
                "true_low": low,
                "true_median": middle,
                "true_high": high,
            }
        )
    return bins
