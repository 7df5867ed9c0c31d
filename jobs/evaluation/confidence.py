"""The section on confidence: whether the cosine that a projection promises is the one that its track turns out to have.

A cold track has no true vector, so warm tracks are hidden: a sample of them leaves the training set, a model is fitted
on the rest, and the sample is projected as if it were new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artist_transfer import Catalogue, Interactions, NotEnoughTracksError, WarmTracks, fit
from artist_transfer.model import FittedModel
from artist_transfer.ranking import row_cosine
from jobs.evaluation.benchmark_folder import IntArray
from jobs.evaluation.bootstrap import mean_intervals, resampled_means
from jobs.evaluation.context import Check, Context, Result, known
from jobs.evaluation.ours import FittedAnacrusis
from jobs.evaluation.plots import INK, drawing
from jobs.evaluation.protocol import artist_owners, has_primary
from jobs.evaluation.rank_correlation import spearman
from jobs.evaluation.report import markdown_table

SHARE = 0.1
"""Share of the warm tracks that is hidden."""

BINS = 10
MOST_ERROR = 0.03
"""Expected calibration error that is promised for all hidden tracks together."""

MOST_GROUP_ERROR = 0.05
"""The same for those with and those without a catalogue, each on its own."""

PLOT = "confidence.png"
GROUPS = ("all", "with catalogue", "without catalogue")


@dataclass(frozen=True)
class Confidence:
    """Measures how reliable the confidence of `anacrusis` is, on hidden warm tracks."""

    name: str = "confidence"

    def measure(self, context: Context) -> Result:
        """Fit on what is left, with seed 0 and the options of the evaluated model, and project what was hidden."""
        fitted = context.runs["anacrusis"][0].fitted if "anacrusis" in context.runs else None
        if not isinstance(fitted, FittedAnacrusis) or not isinstance(fitted.model, FittedModel):
            return {}
        warm = context.benchmark.warm
        whole, single = hidden_tracks(warm, seed=0)
        hidden = np.sort(np.concatenate([whole, single]))
        if hidden.size < BINS:
            return {}
        left = np.setdiff1d(np.arange(len(warm)), hidden)
        seen = warm.take(left)
        interactions = Interactions(context.benchmark.users, context.benchmark.warm_entries)
        try:
            model = fit(
                seen,
                replace(fitted.model.facts.options, seed=0),
                interactions=interactions.of_tracks(left, len(warm)),
            )
        except NotEnoughTracksError:  # all tracks were just enough to learn from, nine tenths are not
            return {}
        projection = model.project(warm.as_cold(hidden), Catalogue(seen))
        cosine = row_cosine(projection.vectors, warm.collaborative[hidden])
        has = has_primary(warm.credits.take(hidden), seen.credits)
        artists = artist_owners(warm.credits)[hidden]
        inside = dict(zip(GROUPS, (np.ones_like(has), has, ~has), strict=True))
        return {
            "hidden": int(hidden.size),
            "of_whole_artists": int(whole.size),
            "groups": {
                name: reliability(projection.confidence[rows], cosine[rows], artists[rows])
                for name, rows in inside.items()
                if rows.any()
            },
        }

    def markdown(self, result: Result) -> str:
        """Write the tables and name the figure."""
        groups: Mapping[str, Result] = result["groups"]
        summary = [
            [
                name,
                f"{found['tracks']:,}",
                f"{found['predicted']:.3f}",
                f"{found['realised']:.3f}",
                f"{found['expected_calibration_error']:.4f}",
                "-" if found["spearman"] is None else f"{found['spearman']:.3f}",
            ]
            for name, found in groups.items()
        ]
        bins = [
            [
                str(place),
                f"{one['tracks']:,}",
                f"{one['predicted']:.3f}",
                f"{one['realised']['mean']:.3f} [{one['realised']['low']:.3f}, {one['realised']['high']:.3f}]",
            ]
            for place, one in enumerate(groups["all"]["bins"], start=1)
        ]
        return "\n\n".join(
            [
                "## Confidence",
                "The confidence of a projected vector is the cosine to be expected between it and the vector that "
                "listeners would give the track. Cold tracks have no such vector, so this is measured on warm ones: "
                f"{result['hidden']:,} of them ({result['of_whole_artists']:,} by hiding whole artists, the others "
                "one by one) were hidden together with their entries, `anacrusis` was fitted anew on the rest, and the "
                "hidden tracks were projected as if cold. They are put into ten bins of equal size by confidence. The "
                "expected calibration error is the mean over the bins of the distance between the confidence and the "
                "cosine that came out; a track has a catalogue where its primary artist has another track that is not "
                "hidden, as in the slices. Spearman's correlation tells whether the surer of two tracks is the one "
                "that is placed better.",
                f"![Confidence against the cosine that came out, ten bins, with 95 % intervals]({PLOT})",
                markdown_table(
                    ["group", "tracks", "confidence", "cosine", "expected calibration error", "Spearman"],
                    summary,
                ),
                "The ten bins of all hidden tracks, with 95 % bootstrap intervals over artists:",
                markdown_table(["bin", "tracks", "confidence", "cosine"], bins),
            ]
        )

    def plots(self, result: Result, folder: Path) -> Sequence[Path]:
        """Draw the reliability diagrams, side by side."""
        path = folder / PLOT
        groups: Mapping[str, Result] = result["groups"]
        with drawing(path, len(groups), width=4.2 * len(groups), height=4.8) as axes:
            for axis, (name, found) in zip(axes, groups.items(), strict=True):
                predicted = np.array([one["predicted"] for one in found["bins"]])
                mean, low, high = (
                    np.array([one["realised"][part] for one in found["bins"]]) for part in ("mean", "low", "high")
                )
                ends = (
                    min(0.0, float(low.min()), float(predicted.min())),
                    max(1.0, float(high.max()), float(predicted.max())),
                )
                axis.plot(ends, ends, color="#9aa7b4", linewidth=1.0, linestyle="--")
                axis.errorbar(
                    predicted,
                    mean,
                    yerr=np.abs(np.stack([mean - low, high - mean])),
                    color=INK,
                    marker="o",
                    markersize=4,
                    capsize=2,
                )
                axis.set_title(f"{name}, {found['tracks']:,} tracks")
                axis.set_xlabel("confidence")
                axis.set_ylabel("cosine with the true vector")
                axis.set_aspect("equal")
        return [path]

    def checks(self, result: Result) -> Sequence[Check]:
        """Promise a small calibration error, also where it could hide behind the other group's."""
        return [
            Check.at_most(
                f"confidence: expected calibration error on hidden warm tracks, {name}",
                found["expected_calibration_error"],
                MOST_ERROR if name == "all" else MOST_GROUP_ERROR,
            )
            for name, found in result["groups"].items()
        ]


def hidden_tracks(warm: WarmTracks, seed: int) -> tuple[IntArray, IntArray]:
    """Draw the tracks to hide: `SHARE` of all, up to half of that by whole (primary) artists, the others one by one.

    Parameters
    ----------
    warm : artist_transfer.WarmTracks
    seed : int

    Returns
    -------
    whole, single : ndarray of int64
        Rows of `warm`, apart from each other.
    """
    rng = np.random.default_rng(seed)
    wanted = round(SHARE * len(warm))
    artists = warm.credits.primary_artists()
    sizes = np.bincount(artists[artists >= 0])
    order = rng.permutation(np.flatnonzero(sizes))
    chosen = order[np.cumsum(sizes[order]) <= wanted // 2]
    whole = np.flatnonzero(np.isin(artists, chosen)).astype(np.int64)
    rest = np.setdiff1d(np.arange(len(warm)), whole)
    return whole, np.sort(rng.choice(rest, wanted - whole.size, replace=False)).astype(np.int64)


def reliability(
    confidence: NDArray[np.floating], cosine: NDArray[np.float64], artists: IntArray | None = None
) -> Result:
    """Hold what was promised against what came out.

    Parameters
    ----------
    confidence, cosine : ndarray, shape (n,)
        At least one track.
    artists : ndarray, shape (n,), int64, optional
        Whose each track is, for the intervals; each its own where None.

    Returns
    -------
    dict
        ``tracks``, means ``predicted`` and ``realised``, ``expected_calibration_error`` (Naeini et al. 2015, over bins
        of equal count), ``spearman`` (None where all are equally sure) and ``bins``, by ascending confidence.
    """
    # Equally sure tracks are parted at random: the order of a file's rows may tell which ones are popular.
    order = np.lexsort((np.random.default_rng(0).random(confidence.size), confidence))
    parts = np.array_split(order, min(BINS, confidence.size))
    bins = []
    for part in parts:
        values = cosine[part][:, None]
        (realised,) = mean_intervals(values, resampled_means(values, None if artists is None else artists[part]))
        bins.append(
            {
                "tracks": int(part.size),
                "predicted": float(confidence[part].mean(dtype=np.float64)),
                "realised": realised.as_dict(),
            }
        )
    distances = [abs(float(confidence[part].mean(dtype=np.float64)) - float(cosine[part].mean())) for part in parts]
    return {
        "tracks": int(confidence.size),
        "predicted": float(confidence.mean(dtype=np.float64)),
        "realised": float(cosine.mean()),
        "expected_calibration_error": float(np.average(distances, weights=[part.size for part in parts])),
        "spearman": known(spearman(confidence, cosine)),
        "bins": bins,
    }
