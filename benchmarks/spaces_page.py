"""Writes docs/results/spaces.md from benchmarks/results/, so that nobody types a number.

Run it with ``python -m benchmarks.spaces_page`` after the commands that the page names have written their JSON;
``--check`` only says whether the page is up to date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import write_or_check

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results" / "spaces.md"

PLACED = {
    "bridged": "carried over as they are",
    "re-projected": "placed by the carried transfer",
    "no bridge": "no bridge: the artist mean of the new space",
    "second refit": "another refit of another seed",
}
"""Ways to place cold tracks in the new space, as benchmarks/bridge.py has them."""

SNAPSHOT = {
    "first_build": "built from every vector",
    "second_build": "patched by the process that serves",
    "third_build_in_another_process": "patched by a process that has to read the files first",
    "switch_in_builder": "switched to by the process that built it",
    "open_searcher_from_files": "opened from files by another process, checksums included",
}
"""What benchmarks/snapshot_costs.py measures."""


def read(name: str) -> Any:
    """Read one result; the two runs of refreshes are one."""
    result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    if name == "refresh":
        million = read("refresh-million")
        return {part: result[part] + million[part] for part in ("sizes", "checks")}
    return result


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; all columns but the first are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bridge(result: Mapping[str, Any]) -> str:
    """Tell how near a bridge comes to a refit."""
    parts = [
        f"The folder `{result['folder']}` brings the first training; two more are trained by `implicit` (Bayesian "
        "personalised ranking) on the same interactions, of other seeds, one of them in fewer dimensions. The "
        f"{result['cold_tracks']:,} tracks of `{result['split']}` are cold. The transfer is fitted on the first "
        f"training ({result['members']} networks); the table says how many of a cold track's nearest warm tracks in "
        "the new space are those that a transfer fitted anew finds, and how well the new training's listeners find the "
        "tracks. Another refit that differs by its seed alone says what can be expected at most.",
    ]
    for pair in result["pairs"]:
        aligned, moved = pair["alignment"], pair["movement"]
        rows = [["the refit itself", "", "", figure(pair["listeners"]["refit"]["ndcg@20"])]]
        for name, words in PLACED.items():
            if name in pair["overlap@10"]:
                rows.append(
                    [
                        words,
                        figure(pair["overlap@10"][name]),
                        figure(pair["overlap@100"][name]),
                        figure(pair["listeners"][name]["ndcg@20"]),
                    ]
                )
        rows.append(["chance", *(f"{pair[f'overlap@{k}']['chance']:.4f}" for k in (10, 100)), ""])
        parts.append(
            f"**From {pair['from']['dim']} to {pair['to']['dim']} dimensions.** The alignment was fitted on "
            f"{aligned['fitted']:,} shared tracks; on {aligned['held_out']:,} others it leaves a residual of "
            f"{aligned['residual']:.3f} and keeps a cosine of {aligned['cosine']:.3f}. A shared track lies "
            f"{moved['q50']:.2f} of its length from where it was carried (median; 99 % within {moved['q99']:.2f}); "
            f"{moved['share_beyond']:.2%} lie beyond the tolerance of {moved['tolerance']:g}, and touch their artists' "
            "cold tracks.\n\n"
            + table(
                ["cold tracks", "overlap@10 with the refit", "overlap@100", "NDCG@20 of the new training's listeners"],
                rows,
            )
        )
    parts.append("![Neighbours shared with the refit](bridge.png)")
    return "\n\n".join(parts)


def figure(found: Mapping[str, float]) -> str:
    """Write a mean with its standard error."""
    return f"{found['mean']:.3f} ± {found['standard_error']:.3f}"


def refresh(result: Mapping[str, Any]) -> str:
    """Tell what a refresh of what changed costs beside one of everything."""
    rows = []
    for size in result["sizes"]:
        everything, changed = size["median_everything"], size["median_changed"]
        rows.append(
            [
                f"{size['tracks']:,}",
                f"{everything['projected']:,}",
                f"{everything['seconds']:.1f}",
                f"{changed['projected']:,}",
                f"{changed['seconds']:.2f}",
                f"{size['ratio']:.1%}",
                f"{size['peak_memory_bytes'] / 2**30:.1f}",
            ]
        )
    stages = list(result["sizes"][0]["median_changed"]["stage_s"])
    parts = [
        [f"{size['tracks']:,}, {words}", *(f"{size[which]['stage_s'][stage]:.2f}" for stage in stages)]
        for size in result["sizes"]
        for which, words in (("median_everything", "everything"), ("median_changed", "what changed"))
    ]
    networks = " and ".join(f"{size['networks']} networks at {size['tracks']:,}" for size in result["sizes"])
    repeats = " and ".join(f"{size['repeats']} at {size['tracks']:,}" for size in result["sizes"])
    return (
        "A made catalogue: clustered vectors, artists with a realistic spread of track counts, a third of the tracks "
        f"warm, a ranking transfer of {networks}. In one run "
        "everything is projected, and then what is touched after 1 % of the artists got or lost a warm track; the "
        f"seconds of projecting go with the tracks, the others hardly. Medians of {repeats} (everything once at "
        "a million), for the share of the ratio of each pair; memory is the process's peak. The seconds hold the "
        "upkeep of the home that ends each refresh, the stages do not.\n\n"
        + table(
            [
                "tracks",
                "cold, all projected",
                "seconds",
                "touched, projected",
                "seconds",
                "share of the cost",
                "peak memory, GiB",
            ],
            rows,
        )
        + "\n\nSeconds by stage:\n\n"
        + table(["tracks", *stages], parts)
    )


def snapshot(result: Mapping[str, Any]) -> str:
    """Tell what building and patching an index costs."""
    rows = [[words, f"{result[f'{name}_s']:.2f}", f"{result[f'{name}_cpu_s']:.2f}"] for name, words in SNAPSHOT.items()]
    return (
        f"{result['tracks']:,} vectors of {result['dim']} dimensions, of which {result['changed_share']:.0%} change "
        "before each patch. A patched index is that of a full build, bit for bit.\n\n"
        + table(["step", "seconds", "of a processor's"], rows)
    )


def load(result: Mapping[str, Any]) -> str:
    """Tell what callers saw of a retrain."""
    rows = [
        [
            one["name"],
            f"{one['seconds']:.1f}",
            f"{one['queries']:,}",
            f"{one['p50_ms']:.1f}",
            f"{one['p99_ms']:.1f}",
            f"{one['p99_ratio']:.1f}",
        ]
        for one in result["steps"]
    ]
    spaces = ", ".join(f"{count:,} of {space}" for space, count in result["answers_by_space"].items())
    return (
        f"A server with {result['tracks']:,} tracks, {result['cold_tracks']:,} of them cold, on {result['cores']} "
        f"cores that server, clients and commands share; {result['rate_per_s']:g} queries a second, planned ahead (a "
        "late answer counts from when it was due), single and in batches, by track, vector and user, with releases "
        "sent in and tracks withdrawn in between. Meanwhile another process brings a second training and then a third "
        "of another dimension, each imported, bridged and published, refitted, refreshed, and rolled back. Of "
        f"{result['calls']:,} calls with {result['answers']:,} answers ({spaces}) {sum(result['failures'].values())} "
        f"failed; {result['refused_rightly']:,} that named a space which was no longer served were refused, as they "
        "have to be. Every answer was recomputed in the space that it names. The machine's load average was "
        f"{result['load_average']:.1f}.\n\n"
        + table(["step", "seconds", "queries", "p50, ms", "p99, ms", "p99 beside quiet"], rows)
    )


def backfill(result: Mapping[str, Any]) -> str:
    """Tell what Ray costs on one small machine."""
    rows = [
        [name, f"{one['created']:,}", f"{one['wall_s']:.1f}", f"{one['tracks_per_s']:.2f}"]
        for name, one in result["ways"].items()
    ]
    return (
        f"{result['tracks']:,} tracks on {result['cores']} cores, heard by `anacrusis ingest` in one process and by "
        "`anacrusis backfill` on Ray, whose start and processes cost on one machine what they are there to spare on "
        f"many. The vectors are the same. The machine's load average before was {result['load_before']:.1f}: "
        "what other work it had is in these seconds.\n\n"
        + table(["command", "tracks", "seconds", "tracks a second"], rows)
    )


def rollback(result: Mapping[str, Any]) -> str:
    """Tell what a rollback costs that has many tracks to take along."""
    rows = [
        [name, *(f"{result[name][figure]:.1f}" for figure in ("seconds", "cpu_s", "query_p50_ms"))]
        for name in ("to another space", "within a space")
    ]
    return "\n\n".join(
        (
            f"{result['tracks_to_take_along']:,} tracks of {result['dim']} dimensions are taken in and folded by a "
            f"refresh ({result['refresh_s']:.0f} s) after the snapshots that are gone back to; with "
            f"{result['tracks_served_before']:,} others they are found right behind each switch. Until the next "
            "refresh they are fresh rows, which queries pay for. One process, one thread; the machine's load average "
            f"was {result['load_average']}.",
            table(["rollback", "seconds", "of a processor's", "query afterwards, p50, ms"], rows),
        )
    )


SECTIONS = (
    (
        "The bridge",
        "bridge",
        "python -m benchmarks.bridge FOLDER \\\n"
        "    --json benchmarks/results/bridge.json --plot docs/results/bridge.png",
        bridge,
    ),
    (
        "A refresh of what changed",
        "refresh",
        "anacrusis bench refresh --tracks 30000 --json benchmarks/results/refresh.json\n"
        "anacrusis bench refresh --tracks 1000000 --json benchmarks/results/refresh-million.json",
        refresh,
    ),
    (
        "An index patched",
        "snapshot-costs",
        "python -m benchmarks.snapshot_costs --json benchmarks/results/snapshot-costs.json",
        snapshot,
    ),
    (
        "A rollback that takes much along",
        "rollback",
        "OMP_NUM_THREADS=1 python -m benchmarks.rollback --json benchmarks/results/rollback.json",
        rollback,
    ),
    (
        "A retrain under load",
        "retrain-under-load",
        "python -m benchmarks.retrain_under_load \\\n    --json benchmarks/results/retrain-under-load.json",
        load,
    ),
    (
        "A backfill on Ray",
        "backfill",
        "python -m benchmarks.backfill --copies 2 --json benchmarks/results/backfill.json",
        backfill,
    ),
)


def promises(results: Mapping[str, Mapping[str, Any]]) -> str:
    """List every check of every result."""
    rows = [
        [check["name"], f"{check['measured']:.4g}", f"{check['bound']:.4g}", "yes" if check["holds"] else "**no**"]
        for result in results.values()
        for check in result.get("checks", [])
    ]
    return table(["promise", "measured", "bound", "holds"], rows)


def page() -> str:
    """Compose the page."""
    results = {name: read(name) for _, name, _, _ in SECTIONS}
    parts = [
        "# The life of a space, measured",
        "Retrains, refreshes and releases side by side. Every figure comes from the command above it, on a machine of "
        "two cores; `python -m benchmarks.spaces_page` writes this page from their JSON in `benchmarks/results/`. That "
        "the rules hold in every state, whatever is imported, published, rolled back, withdrawn or cut off in between, "
        "is tested by `tests/jobs/test_jobs_life_of_a_space.py`: it lives through random histories and checks them "
        "after every step.",
    ]
    for title, name, command, make in SECTIONS:
        parts += [f"## {title}", f"```bash\n{command}\n```", make(results[name])]
    parts += ["## Promises", promises(results)]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Write the page, or with ``--check`` compare."""
    return write_or_check(page(), PAGE, "benchmarks.spaces_page", (__doc__ or "").splitlines()[0])


if __name__ == "__main__":
    sys.exit(main())
