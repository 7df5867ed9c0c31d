"""Writes the figures of benchmarks/results/ into the README, between its markers, so that nobody types a number.

Run it with ``python -m benchmarks.readme_results`` after the commands that the README's section "Measured" names have
written their JSON; ``--check`` only says whether the README is up to date.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from anacrusis.commands_demo import METHOD_NAMES, show
from benchmarks.pages import write_or_check

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" if place == 0 else "---:" for place in range(len(head))), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def demo_output() -> str:
    """Render what the demo printed."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        show(_read("demo"))
    lines = [line.rstrip() for line in text.getvalue().strip().splitlines()]
    return "\n".join(["```text", *lines, "```"])


def parity() -> str:
    """Tell the worst agreement of each model with the original."""
    rows = []
    for model in ("musicnn-msd", "musicnn-mtt"):
        checks = {one["name"]: one for one in _read("parity")["checks"] if one["name"].startswith(model)}
        cosines = {
            start: min(c["measured"] for name, c in checks.items() if f" {start} " in name and name.endswith("cosine"))
            for start in ("log_mel", "waveform_16k")
        }
        tags = max(c["measured"] for name, c in checks.items() if name.endswith("max_abs"))
        rows.append((model, *(f"1 - {1 - cosines[start]:.1e}" for start in cosines), f"{tags:.1e}"))
    head = ("model", "least cosine from the log-mel", "least cosine from the waveform", "largest difference of a tag")
    return _table(head, rows)


def bench_encode() -> str:
    """Tell seconds and speed of each stage."""
    result = _read("bench-encode")
    rows = [
        (one["stage"], f"{one['seconds']:.2f}", f"{one['times_real_time']:.0f}", f"{one['share']:.0%}")
        for one in result["stages"]
    ]
    checks = [f"- {one['name']}: {one['measured']:.6g} (promised: {one['bound']:g})" for one in result["checks"]]
    return _table(("stage", "seconds", "times real time", "share"), rows) + "\n\n" + "\n".join(checks)


def ingest() -> str:
    """Tell how long the soundtracks took, and the work of each stage."""
    result = _read("ingest-soundtracks")
    rows = [(stage, f"{seconds:.1f}") for stage, seconds in result["stage_s"].items()]
    return (
        f"{result['created']} tracks ({result['audio_s'] / 3600:.1f} h of music) in {result['wall_s']:.0f} s on two "
        f"cores: {result['tracks_per_s']:.1f} a second, {len(result['refused'])} refused. Stages run beside each "
        "other and wait for each other's cores, so that their seconds add up to more.\n\n"
        + _table(("stage", "seconds of work, over all threads"), rows)
    )


def leave_one_out() -> str:
    """Tell the overlap of neighbour lists, by method."""
    result = _read("demo")
    rows = [
        (METHOD_NAMES[method], f"{one['mean']:.3f}", f"{one['standard_error']:.3f}", str(one["tracks"]))
        for method, one in result["overlap_at_10"].items()
    ]
    return _table(("method", "overlap@10", "standard error", "tracks"), rows) + f"\n\n{result['why']}"


def transfer() -> str:
    """Tell how well each method places cold tracks."""
    result = _read("transfer")
    columns = {
        "overall": "overall",
        "discovery": "discovery",
        "exploit": "exploit",
        "without_catalogue_content": "without catalogue, content known",
    }
    rows = [
        (
            f"`{name}`",
            *(_mean(found[one]["ndcg@20"]) for one in columns),
            _mean(found["overall"]["recall@20"]),
            f"{result['timing'][name]['fit_s']:.0f}",
        )
        for name, found in result["methods"].items()
    ]
    users = next(iter(result["methods"].values()))["overall"]["users"]
    held = sum(check["holds"] for check in result["checks"])
    return (
        f"NDCG@20 by slice, and Recall@20, on the split `{result['split']}` of the folder `{result['folder']}`, "
        f"{users:,} users, mean over {len(result['seeds'])} seeds:\n\n"
        + _table(("method", *columns.values(), "Recall@20 overall", "fit, s"), rows)
        + f"\n\nIntervals, other slices, confidence, popularity, warming up, explanations, and which of the "
        f"{len(result['checks'])} promises hold ({held} do): [docs/results/transfer.md](docs/results/transfer.md)."
    )


def spaces() -> str:
    """Tell what a retrain costs and keeps, in a few lines."""
    pair, load = _read("bridge")["pairs"][0], _read("retrain-under-load")
    overlap = {name: f"{one['mean']:.0%}" for name, one in pair["overlap@10"].items() if name != "chance"}
    ndcg = {name: f"{found['ndcg@20']['mean']:.3f}" for name, found in pair["listeners"].items()}
    shares = " and ".join(
        f"{one['ratio']:.1%} at {one['tracks']:,} tracks"
        for name in ("refresh", "refresh-million")
        for one in _read(name)["sizes"]
    )
    return (
        f"- Right after the switch {overlap['bridged']} of a cold track's ten nearest are those that a transfer fitted "
        f"anew finds: {overlap['re-projected']} once the carried transfer has placed it, {overlap['no bridge']} "
        f"without a bridge; two fits anew agree on {overlap['second refit']}. The new training's listeners find cold "
        f"tracks with an NDCG@20 of {ndcg['bridged']} (fitted anew: {ndcg['refit']}, without a bridge: "
        f"{ndcg['no bridge']}).\n"
        f"- A refresh after 1 % of the artists have changed costs, beside one of everything, {shares}, the upkeep "
        "that ends it included.\n"
        f"- Of {load['calls']:,} calls while trainings were imported, published, refitted and rolled back, "
        f"{sum(load['failures'].values())} failed, and no answer mixed two spaces."
    )


def _mean(found: dict[str, float | None]) -> str:
    return "-" if found["mean"] is None else f"{found['mean']:.3f}"


BLOCKS = {
    "demo output": demo_output,
    "parity": parity,
    "bench encode": bench_encode,
    "ingest 336": ingest,
    "leave one out": leave_one_out,
    "transfer": transfer,
    "spaces": spaces,
}


def filled(readme: str) -> str:
    """Return the README with every block made anew."""
    for name, make in BLOCKS.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin not in readme or end not in readme:
            raise SystemExit(f"README.md has no block {begin} ... {end}.")
        block = f"{begin}\n{make()}\n{end}"
        readme = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, block=block: block, readme, flags=re.DOTALL)
    return readme


def main() -> int:
    """Fill the README, or with ``--check`` compare."""
    readme = ROOT / "README.md"
    text = filled(readme.read_text(encoding="utf-8"))
    return write_or_check(text, readme, "benchmarks.readme_results", (__doc__ or "").splitlines()[0])


if __name__ == "__main__":
    sys.exit(main())
