"""How much of a full refit is there at once where a retrain is bridged? The figures behind ADR 18.

Run it with ``python -m benchmarks.bridge FOLDER [--json FILE] [--plot FILE]``. FOLDER is a benchmark folder (see
`jobs.evaluation.benchmark_folder`). Its factors are the first training; two more are trained here on the same warm
interactions, of other seeds, one of them in fewer dimensions. The transfer is fitted on the first; the tracks of
``cold_val`` are placed there and carried into the others, and compared with where a transfer that is fitted anew on
those places them: how many of the nearest warm tracks are the same, and what listeners find. A second refit of another
seed says how much two refits agree, which nothing can be expected to exceed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artist_transfer import (
    Alignment,
    Catalogue,
    FitOptions,
    Interactions,
    RankingOptions,
    TransferModel,
    WarmTracks,
    carry_model,
    fit,
)
from jobs.carried_rows import MOVED_MORE, movement
from jobs.evaluation.benchmark_folder import VALIDATION, Benchmark, FloatArray, read_benchmark
from jobs.evaluation.bpr import train_factors
from jobs.evaluation.context import Check
from jobs.evaluation.machine import machine
from jobs.evaluation.plots import INK, QUIET, drawing
from jobs.evaluation.protocol import make_slice, per_user

LENGTHS = (10, 100)
QUANTILES = (0.05, 0.5, 0.95, 0.99, 0.999)
REFIT_SEEDS = (0, 1)
NARROWER = 0.75
"""The third training's dimension, as a share of the first's."""

WORDS = {
    "bridged": "carried over",
    "re-projected": "carried transfer",
    "no bridge": "artist mean",
    "second refit": "another refit",
}
Shares = Mapping[int, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Training:
    """One training of the recommender: its warm tracks, and its users."""

    warm: WarmTracks
    users: FloatArray


def trained(benchmark: Benchmark, dim: int, seed: int) -> Training:
    """Train the recommender again, on the same interactions."""
    tracks, users = train_factors(
        benchmark.warm_entries, len(benchmark.warm), len(benchmark.user_ids), dim=dim, seed=seed
    )
    return Training(replace(benchmark.warm, space_id=f"bpr-{dim}-seed-{seed}", collaborative=tracks), users)


def refit(training: Training, benchmark: Benchmark, ranking: RankingOptions, seed: int) -> TransferModel:
    """Fit the transfer on a training, with its listeners, as ``anacrusis train --interactions`` does."""
    start = time.perf_counter()
    options = FitOptions(method="ranking", seed=seed, ranking=ranking)
    model = fit(training.warm, options, interactions=Interactions(training.users, benchmark.warm_entries))
    seconds = time.perf_counter() - start
    print(f"fitted {model.model_id} on {training.warm.space_id} in {seconds:.0f} s", flush=True)
    return model


def nearest(vectors: FloatArray, warm: FloatArray) -> list[NDArray[np.intp]]:
    """Find each track's nearest warm tracks by inner product, best first, as many as the longest of `LENGTHS`."""
    lists = []
    for vector in vectors:
        scores = warm @ vector
        best = np.argpartition(-scores, LENGTHS[-1])[: LENGTHS[-1]]
        lists.append(best[np.argsort(-scores[best], kind="stable")])
    return lists


def overlaps(found: list[NDArray[np.intp]], wanted: list[NDArray[np.intp]]) -> Shares:
    """Measure for each track the share of its k nearest that both lists have."""
    return {
        k: np.array([np.intersect1d(a[:k], b[:k]).size / k for a, b in zip(found, wanted, strict=True)])
        for k in LENGTHS
    }


def mean_and_error(values: NDArray[np.float64]) -> dict[str, float]:
    """Give the mean over tracks or users, and its standard error."""
    return {"mean": float(values.mean()), "standard_error": float(values.std(ddof=1) / np.sqrt(len(values)))}


def listeners(benchmark: Benchmark, training: Training, placed: FloatArray) -> dict[str, dict[str, float]]:
    """Judge where cold tracks were placed by the users who listened to them."""
    split = benchmark.splits[VALIDATION]
    overall = make_slice("overall", np.ones(len(split.tracks), dtype=np.bool_), split.entries)
    found = per_user(placed, training.users, [overall])["overall"]
    return {"recall@20": mean_and_error(found.recall), "ndcg@20": mean_and_error(found.ndcg)}


def bridge(benchmark: Benchmark, base: TransferModel, to: Training, refits: list[TransferModel]) -> dict[str, Any]:
    """Carry the cold tracks into a training, and compare with a refit."""
    cold = benchmark.splits[VALIDATION].tracks
    before, after = benchmark.warm.collaborative, to.warm.collaborative
    alignment = Alignment.fit(before, after)
    catalogue = Catalogue(to.warm)
    carried = carry_model(base, alignment, to.warm.space_id)
    placed = {
        "bridged": alignment.carry(base.project(cold, Catalogue(benchmark.warm)).vectors),
        "re-projected": carried.project(cold, catalogue).vectors,
        "no bridge": fit(to.warm, FitOptions(method="artist_mean")).project(cold, catalogue).vectors,
    }
    truth, *others = (model.project(cold, catalogue).vectors for model in refits)
    if others:
        placed["second refit"] = others[0]
    wanted = nearest(truth, after)
    shares = {name: overlaps(nearest(vectors, after), wanted) for name, vectors in placed.items()}
    usable = before.any(axis=1) & after.any(axis=1)
    moved = movement(alignment, before[usable], after[usable], directions=False)
    result = {
        "from": {"space": benchmark.warm.space_id, "dim": benchmark.warm.dim},
        "to": {"space": to.warm.space_id, "dim": to.warm.dim},
        "alignment": {name: getattr(alignment, name) for name in ("residual", "cosine", "scale", "fitted", "held_out")},
        "movement": {f"q{100 * share:g}": float(np.quantile(moved, share)) for share in QUANTILES}
        | {"tolerance": MOVED_MORE, "share_beyond": float(np.mean(moved > MOVED_MORE))},
        "listeners": {name: listeners(benchmark, to, vectors) for name, vectors in {"refit": truth, **placed}.items()},
        "gain_of_the_bridge": {
            f"overlap@{k}": mean_and_error(shares["bridged"][k] - shares["no bridge"][k]) for k in LENGTHS
        },
    }
    for k in LENGTHS:
        result[f"overlap@{k}"] = {name: mean_and_error(found[k]) for name, found in shares.items()} | {
            "chance": k / len(after)
        }
    return result


def checks(pair: Mapping[str, Any]) -> list[Check]:
    """Say what a bridge promises: more than none, and no more than what two refits agree on."""
    name = f"{pair['from']['dim']} to {pair['to']['dim']} dimensions"
    made = []
    for k in LENGTHS:
        gain = pair["gain_of_the_bridge"][f"overlap@{k}"]
        least = gain["mean"] - 1.96 * gain["standard_error"]
        made.append(
            Check.above(f"{name}: overlap@{k} gained by the bridge, lower end of the 95 % interval", least, 0.0)
        )
        found = pair[f"overlap@{k}"]
        if "second refit" in found:
            made.append(
                Check.at_most(
                    f"{name}: overlap@{k} of bridged vectors, beside that of another refit",
                    found["bridged"]["mean"],
                    found["second refit"]["mean"],
                )
            )
    ndcg = {name: found["ndcg@20"]["mean"] for name, found in pair["listeners"].items()}
    made.append(
        Check.above(
            f"{name}: NDCG@20 of bridged tracks, beside that of the artist mean", ndcg["bridged"], ndcg["no bridge"]
        )
    )
    return made


def measure(folder: Path, ranking: RankingOptions) -> dict[str, Any]:
    """Train, fit, carry, compare."""
    begun = time.perf_counter()
    benchmark = read_benchmark(folder)
    dim = benchmark.warm.dim
    second, third = trained(benchmark, dim, 1), trained(benchmark, int(NARROWER * dim), 2)
    base = refit(Training(benchmark.warm, benchmark.users), benchmark, ranking, 0)
    pairs = [
        bridge(benchmark, base, to, [refit(to, benchmark, ranking, seed) for seed in seeds])
        for to, seeds in ((second, REFIT_SEEDS), (third, REFIT_SEEDS[:1]))
    ]
    return {
        "folder": benchmark.name,
        "factors": benchmark.factors,
        "split": VALIDATION,
        "cold_tracks": len(benchmark.splits[VALIDATION].tracks),
        "members": ranking.members,
        "steps": ranking.steps,
        "pairs": pairs,
        "checks": [check.as_dict() for pair in pairs for check in checks(pair)],
        "machine": machine(),
        "took_s": time.perf_counter() - begun,
    }


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Draw the overlaps with the refit, a panel for each training that was carried into."""
    with drawing(path, len(result["pairs"])) as axes:
        for axis, pair in zip(axes, result["pairs"], strict=True):
            names = [name for name in WORDS if name in pair[f"overlap@{LENGTHS[0]}"]]
            for row, (k, colour) in enumerate(zip(LENGTHS, (INK, QUIET), strict=True)):
                found = [pair[f"overlap@{k}"][name] for name in names]
                axis.bar(
                    np.arange(len(names)) + 0.4 * row,
                    [one["mean"] for one in found],
                    width=0.38,
                    yerr=[1.96 * one["standard_error"] for one in found],
                    color=colour,
                    label=f"{k} nearest",
                )
            axis.set_xticks(np.arange(len(names)) + 0.2, [WORDS[name] for name in names])
            axis.set_ylim(0, 1)
            axis.set_ylabel("neighbours shared with the refit")
            axis.set_title(f"from {pair['from']['dim']} to {pair['to']['dim']} dimensions")
            axis.legend(frameon=False)


def show(result: Mapping[str, Any]) -> None:
    """Print the figures."""
    for pair in result["pairs"]:
        print(f"\n{pair['from']} -> {pair['to']}")
        print(f"alignment {pair['alignment']}\nmovement {pair['movement']}")
        for name, found in pair["listeners"].items():
            shown = [
                f"overlap@{k} {pair[f'overlap@{k}'][name]['mean']:.3f} ± "
                f"{pair[f'overlap@{k}'][name]['standard_error']:.3f}"
                for k in LENGTHS
                if name in pair[f"overlap@{k}"]
            ]
            print(f"{name:13} NDCG@20 {found['ndcg@20']['mean']:.3f}", *shown, sep="  ")
    for check in result["checks"]:
        print(f"{'holds' if check['holds'] else 'DOES NOT HOLD'}: {check['name']} ({check['measured']:.4g})")


def main() -> None:
    """Print the figures, and write JSON and a plot where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--members", type=int, default=RankingOptions.members, help="networks of each fit")
    parser.add_argument("--steps", type=int, default=RankingOptions.steps, help="steps of each network")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="a .png file")
    arguments = parser.parse_args()
    result = measure(arguments.folder, RankingOptions(members=arguments.members, steps=arguments.steps))
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(result, arguments.plot)


if __name__ == "__main__":
    main()
