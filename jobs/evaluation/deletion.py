"""The section on explanations: whether the catalogue track that counted most also moves the projected vector most.

A track's explanation is the weight of each track of its catalogue. One of them is deleted, and the track is projected
again from the rest: an explanation that can be trusted names the tracks without which the answer would be another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from artist_transfer import Catalogue, CatalogueRows, ColdTracks
from jobs.evaluation.benchmark_folder import FloatArray, IntArray
from jobs.evaluation.bootstrap import Interval, mean_intervals, resampled_means
from jobs.evaluation.context import Check, Context, Result
from jobs.evaluation.plots import drawing
from jobs.evaluation.protocol import artist_owners
from jobs.evaluation.report import figure, markdown_table

MIN_SIZE = 3
"""Catalogue tracks that a judged track has at least."""

SIZES = ((3, 5), (6, 10), (11, 25), (26, None))
"""Catalogue sizes that are told apart, first and last; None is without end."""

DELETED = ("most", "random", "least")
PLOT = "deletion.png"

_BATCH_SIZE = 1024
_COLOURS = {"most": "#1f4e79", "random": "#9aa7b4", "least": "#c77b30"}


class CatalogueReading(Protocol):
    """A model that projects from catalogues and says how much each of their tracks counted."""

    def read_catalogues(
        self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int
    ) -> tuple[FloatArray, FloatArray]:
        """See `artist_transfer.model.FittedModel.read_catalogues`."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A fitted method whose model explains itself."""

    @property
    def model(self) -> CatalogueReading: ...  # noqa: D102  # above

    @property
    def catalogue(self) -> Catalogue: ...  # noqa: D102  # whose tracks `select` names

    def select(self, tracks: ColdTracks) -> CatalogueRows:
        """Select what each track leans on, as the method does itself."""
        ...


@dataclass(frozen=True)
class Deletion:
    """Measures how far a projected vector moves when one catalogue track is deleted.

    Attributes
    ----------
    methods : tuple of str
        Methods that explain themselves; the first that was fitted is judged.
    """

    methods: tuple[str, ...] = ("anacrusis", "acarec")
    name: str = "deletion"

    def measure(self, context: Context) -> Result:
        """Delete the most and the least attended catalogue track, and one at random, from each split track's."""
        method = next((one for one in self.methods if one in context.runs), None)
        fitted = context.runs[method][0].fitted if method is not None else None
        if method is None or not isinstance(fitted, Explaining):
            return {}
        selected = fitted.select(context.split.tracks)  # the same for every seed
        judged = np.flatnonzero(selected.sizes >= MIN_SIZE)
        if not judged.size:
            return {}
        targets, rows = context.split.tracks.take(judged), selected.take(judged)
        values = []
        for run in context.runs[method]:
            if not isinstance(run.fitted, Explaining):
                return {}
            moved = movements(run.fitted.model, targets, rows, run.fitted.catalogue, run.seed)
            values.append(np.stack([*moved.values(), moved["most"] > moved["least"]], axis=1))
        mean = np.mean(values, axis=0)  # over the seeds
        artists = artist_owners(targets.credits)
        bins = {_name(first, last): _within(rows.sizes, first, last) for first, last in SIZES}
        return {
            "method": method,
            "split": context.split.name,
            "overall": _summary(mean, artists),
            "sizes": {name: _summary(mean[inside], artists[inside]) for name, inside in bins.items()},
        }

    def markdown(self, result: Result) -> str:
        """Write the table and name the figure."""
        rows = [
            [
                name,
                f"{found['tracks']:,}",
                *(figure(found["movement"][one]) for one in DELETED),
                figure(found["most_over_least"], 3),
            ]
            for name, found in [("all", result["overall"]), *result["sizes"].items()]
        ]
        columns = ["catalogue", "tracks", *(f"{one} attended" if one != "random" else one for one in DELETED)]
        return "\n\n".join(
            [
                "## Explanations: the deletion test",
                f"How far the vectors of `{result['method']}` move (1 - cosine) on `{result['split']}` when one "
                "catalogue track is deleted and the rest is read again: the one with the largest weight, one at "
                f"random, the one with the smallest. Tracks with at least {MIN_SIZE} catalogue tracks, mean over the "
                "seeds, 95 % bootstrap intervals over artists, whose tracks share a catalogue. The last column is the "
                "share of tracks that the most attended one moves more than the least attended one does.",
                f"![Movement when a catalogue track is deleted, by catalogue size]({PLOT})",
                markdown_table([*columns, "most over least"], rows),
            ]
        )

    def plots(self, result: Result, folder: Path) -> Sequence[Path]:
        """Draw the movements by catalogue size."""
        path = folder / PLOT
        groups = {"all": result["overall"], **result["sizes"]}
        with drawing(path, width=7.5, height=4.2) as (axis,):
            for shift, one in enumerate(DELETED):
                drawn = [
                    (place + (shift - 1) * 0.1, found["movement"][one])
                    for place, found in enumerate(groups.values())
                    if found["movement"][one]["mean"] is not None
                ]
                mean, low, high = (np.array([found[name] for _, found in drawn]) for name in ("mean", "low", "high"))
                axis.errorbar(
                    [place for place, _ in drawn],
                    mean,
                    yerr=np.abs(np.stack([mean - low, high - mean])),
                    color=_COLOURS[one],
                    linestyle="none",
                    marker="o",
                    capsize=3,
                    label=f"{one} attended" if one != "random" else one,
                )
            axis.set_yscale("log", nonpositive="clip")
            axis.set_xticks(range(len(groups)), list(groups))
            axis.set_xlabel("catalogue tracks")
            axis.set_ylabel("1 - cosine after the deletion")
            axis.legend(frameon=False, loc="upper right", title="deleted track")
        return [path]

    def checks(self, result: Result) -> Sequence[Check]:
        """Promise that the most attended track moves the vector more than the least attended one."""
        found = result["overall"]
        return [
            Check.above(
                "deletion: movement by the most attended catalogue track less that by the least attended one, low end "
                "of its interval",
                found["most_minus_least"]["low"],
                0.0,
            ),
            Check.at_least(
                "deletion: share of tracks that the most attended one moves more, low end of its interval",
                found["most_over_least"]["low"],
                0.5,
            ),
        ]


def movements(
    model: CatalogueReading, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Delete one catalogue track of each target and measure how far the vector moves.

    Parameters
    ----------
    model : CatalogueReading
    targets : artist_transfer.ColdTracks
        m targets.
    selected : artist_transfer.CatalogueRows
        Their catalogues, each of at least two tracks.
    catalogue : artist_transfer.Catalogue
        Whose tracks `selected` names.
    seed : int
        Of the track deleted at random.

    Returns
    -------
    dict of str to ndarray, shape (m,), float64
        1 - cosine between the vectors with and without the deleted track, in [0, 2], for each of `DELETED`.
    """
    full, weights = model.read_catalogues(targets, selected, catalogue, _BATCH_SIZE)
    owner = np.repeat(np.arange(len(targets)), selected.sizes)
    ascending = np.lexsort((weights, owner))
    anywhere = np.random.default_rng(seed).integers(selected.sizes)
    deleted = {
        "most": ascending[selected.indptr[1:] - 1],
        "random": selected.indptr[:-1] + anywhere,
        "least": ascending[selected.indptr[:-1]],
    }
    return {
        one: _distance(
            full, model.read_catalogues(targets, _without(selected, deleted[one]), catalogue, _BATCH_SIZE)[0]
        )
        for one in DELETED
    }


def _without(selected: CatalogueRows, places: IntArray) -> CatalogueRows:
    """Drop one place of each catalogue."""
    kept = np.ones(selected.rows.size, dtype=np.bool_)
    kept[places] = False
    return CatalogueRows(selected.indptr - np.arange(selected.indptr.size), selected.rows[kept], selected.roles[kept])


def _distance(left: FloatArray, right: FloatArray) -> NDArray[np.float64]:
    """1 - cosine of rows, as half the squared distance of unit vectors: exact also where they hardly differ."""
    units = []
    for vectors in (left, right):
        wide = vectors.astype(np.float64)
        norm = np.linalg.norm(wide, axis=1, keepdims=True)
        units.append(wide / np.where(norm > 0.0, norm, 1.0))
    squared: NDArray[np.float64] = ((units[0] - units[1]) ** 2).sum(axis=1)
    return squared / 2.0


def _summary(values: NDArray[np.float64], artists: IntArray) -> Result:
    """Means over tracks with intervals over their artists; the columns are those of `measure`."""
    columns = np.column_stack([values, values[:, 0] - values[:, DELETED.index("least")]])
    found: list[Interval] = mean_intervals(columns, resampled_means(columns, artists))
    return {
        "tracks": len(values),
        "movement": {one: found[place].as_dict() for place, one in enumerate(DELETED)},
        "most_over_least": found[len(DELETED)].as_dict(),
        "most_minus_least": found[len(DELETED) + 1].as_dict(),
    }


def _within(sizes: IntArray, first: int, last: int | None) -> NDArray[np.bool_]:
    return (sizes >= first) & (sizes <= (sizes.max() if last is None else last))


def _name(first: int, last: int | None) -> str:
    return f"{first}+" if last is None else f"{first}-{last}"
