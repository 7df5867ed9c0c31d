"""Writes the figures of benchmarks/results/ into the README, between its markers, so that nobody types a number.

Run it with ``python -m benchmarks.readme_results`` after the commands that the README's section "Measured" names have
written their JSON; ``--check`` only says whether the README is up to date.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from anacrusis.commands_demo import METHOD_NAMES, show

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


BRIDGE_WORDS = {
    "bridged": "carried vectors",
    "re-projected": "projected by the carried transfer",
    "no bridge": "artist mean, without a bridge",
    "second refit": "another refit, other seed",
    "refit": "the refit itself",
}


def bridge() -> str:
    """Tell how much of a refit there is at once where a retrain is bridged."""
    result = _read("bridge")
    tables = []
    for pair in result["pairs"]:
        rows = []
        for name, words in BRIDGE_WORDS.items():
            if name not in pair["listeners"]:
                continue
            shares = [
                f"{one['mean']:.3f} ± {one['standard_error']:.3f}" if one else "1"
                for one in (pair[f"overlap@{k}"].get(name) for k in (10, 100))
            ]
            rows.append((words, *shares, f"{pair['listeners'][name]['ndcg@20']['mean']:.3f}"))
        alignment, moved = pair["alignment"], pair["movement"]
        tables.append(
            f"From {pair['from']['dim']} to {pair['to']['dim']} dimensions; the alignment keeps a cosine of "
            f"{alignment['cosine']:.3f} (residual {alignment['residual']:.3f}); warm tracks have moved by "
            f"{moved['q50']:.2f} of their length in the middle, {moved['q99.9']:.2f} at most but for one in a "
            f"thousand:\n\n"
            + _table(("cold tracks placed by", "overlap@10 with a refit", "overlap@100", "NDCG@20"), rows)
        )
    return "\n\n".join(tables)


def _mean(found: dict[str, float | None]) -> str:
    return "-" if found["mean"] is None else f"{found['mean']:.3f}"


BLOCKS = {
    "demo output": demo_output,
    "parity": parity,
    "bench encode": bench_encode,
    "ingest 336": ingest,
    "leave one out": leave_one_out,
    "transfer": transfer,
    "bridge": bridge,
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the README differs")
    check = parser.parse_args().check
    path = ROOT / "README.md"
    before = path.read_text(encoding="utf-8")
    after = filled(before)
    if check:
        if before != after:
            print("README.md differs from benchmarks/results; run python -m benchmarks.readme_results", file=sys.stderr)
        return int(before != after)
    path.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
