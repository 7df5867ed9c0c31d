"""Writes docs/results/serving.md from benchmarks/results/, so that nobody types a number.

Run it with ``python -m benchmarks.serving_page`` after the commands that the page names have written their JSON and
their plots; ``--check`` only says whether the page is up to date. What was not measured yet is left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages import write_or_check
from benchmarks.spaces_page import promises, table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results" / "serving.md"

Result = Mapping[str, Any]


def index(result: Result) -> str:
    """Tell how the search in process does at each size."""
    parts = [
        f"Single queries for {result['k']} neighbours in process, each library in a process of its own on "
        f"{result['search_cores']} of {result['machine_cores']} cores, all asked in turns; medians of "
        f"{result['repeats']} rounds of {result['queries']} queries. Peers are tuned on other queries to recall@"
        f"{result['k']} of {result['least_recall']}; this search answers as it is served. Bytes a vector are what "
        "opening the index and one answer add to the process."
    ]
    for size in result["sizes"]:
        parts.append(f"**{size['tracks']:,} x {size['dim']}** ({size['source']})")
        rows = [
            [
                f"{one['name']} {one['version']}" + (f", {size['kind']}" if number == 0 else ""),
                f"{one['recall']:.4f}",
                f"{one['queries_per_s']:,.0f}",
                f"{one['p50_ms']:.3f}",
                f"{one['p99_ms']:.3f}",
                f"{one['build_s']:.1f}",
                f"{one['resident_bytes'] / size['tracks']:,.0f}",
            ]
            for number, one in enumerate(size["contenders"])
        ]
        head = ["search", "recall", "queries/s", "p50, ms", "p99, ms", "build, s", "bytes a vector"]
        parts.append(table(head, rows))
        parts += [f"{one['name']} took no part: {one['reason']}" for one in size["skipped"]]
        rows = [
            [f"{one['share']:.1%}", f"{one['recall']:.4f}", f"{one['p50_ms']:.3f}", f"{one['times_unfiltered']:.2f}"]
            for one in size["filters"]
        ]
        parts.append(table(["tracks that pass the filter", "recall", "p50, ms", "times the unfiltered"], rows))
        start, again = size["start"], size["start_after_crash"]
        parts.append(
            f"From disk to the first answer {start['first_answer_s']:.2f} s; {again['first_answer_s']:.2f} s after a "
            f"process that had just committed {again['fresh_rows']:,} fresh rows was killed. The float16 vectors "
            f"are {size['vector_bytes'] / 2**20:,.0f} MiB; opening them took {start['peak_bytes'] / 2**20:,.0f} MiB "
            f"at most and holds {start['resident_bytes'] / 2**20:,.0f} MiB. Opening hardly any takes "
            f"{size['few_peak_bytes'] / 2**20:.0f} MiB; what the flat kind takes at most beside that is "
            f"{size['memory_ratio']:.2f} times the float16 vectors."
        )
    if result["growth"]:
        parts.append(
            f"Over these sizes the latency grows as the number of tracks to the power of "
            f"{result['growth']['latency_exponent']:.2f}, resident memory {result['growth']['memory_exponent']:.2f}."
        )
    return "\n\n".join(parts)


def serve(result: Result) -> str:
    """Tell how near a server comes to what the machine can do."""
    unary, batch, milvus, load = (result[part] for part in ("unary", "batch", "milvus", "load"))
    ingest = result["ingest"]
    rows = [
        ["one query a call, 8 clients", f"{unary['per_s']:,.0f}", f"{unary['p50_ms']:.2f}", f"{unary['p99_ms']:.2f}"],
        ["an echo server of the same bytes", f"{unary['echo_per_s']:,.0f}", f"{unary['echo_p50_ms']:.2f}", ""],
        ["256 queries a call", f"{batch['queries_per_s']:,.0f}", "", ""],
        [f"FAISS called directly, {batch['faiss_threads']} threads", f"{batch['faiss_queries_per_s']:,.0f}", "", ""],
    ]
    if "skipped" not in milvus:
        rows += [
            [f"{name}, 8 clients of its own library", *(f"{turn[key]:,.2f}" for key in ("per_s", "p50_ms", "p99_ms"))]
            for name, turn in (("this service", milvus["ours"]), (f"milvus-lite {milvus['version']}", milvus["theirs"]))
        ]
    offered = [
        [
            f"{one['share']:.0%}",
            *(f"{one[key]:,.0f}" for key in ("offered_per_s", "per_s")),
            *(f"{one[key]:.2f}" for key in ("p50_ms", "p90_ms", "p99_ms", "late_p99_ms")),
        ]
        for one in load["offered"]
    ]
    parts = [
        f"{result['tracks']:,} x {result['dim']} ({result['source']}), k = {result['k']}; server and clients are "
        f"processes of their own on the same {result['machine_cores']} cores; medians of {result['repeats']} turns of "
        f"{result['seconds']:g} s.",
        table(["asked", "queries/s", "p50, ms", "p99, ms"], rows),
    ]
    if "skipped" in milvus:
        parts.append(f"milvus-lite took no part: {milvus['skipped']}")
    parts += [
        f"Calls that come at random moments, whether or not they are answered, at shares of the top rate of "
        f"{load['top_per_s']:,.0f} a second. Latency is that of calls that were answered, from when they were sent; "
        "what the clients, which use the same cores, sent late stands in the last column:",
        table(["offered", "calls/s", "answered/s", "p50, ms", "p90, ms", "p99, ms", "late, p99, ms"], offered),
        f"While {ingest['ingested_per_s']:.0f} tracks a second were ingested (content vectors given) and a snapshot "
        f"was published in each turn, queries went on at {ingest['share']:.0%} of their quiet rate.",
    ]
    return "\n\n".join(parts)


def transfer(result: Result) -> str:
    """Tell what projecting together is worth."""
    rows = [
        [
            one["method"],
            f"{one['together_per_s']:,.0f}",
            f"{one['alone_per_s']:,.1f}",
            f"{one['speed_up']:,.0f}",
        ]
        for one in result["methods"]
    ]
    return (
        f"{result['cold']:,} cold tracks of a made catalogue of {result['artists']:,} artists, {result['networks']} "
        f"networks; medians of {result['repeats']}.\n\n"
        + table(["transfer", "tracks/s together", "one after the other", "times as fast"], rows)
    )


def encode(result: Result) -> str:
    """Tell where the time of hearing goes."""
    rows = [
        [one["part"], f"{one['seconds']:.2f}", f"{one['times_real_time']:,.0f}", f"{one['share']:.0%}"]
        for one in result.get("parts", [])
    ]
    text = f"{result['tracks']} tracks, {result['audio_s']:,.0f} s of music; {result['tracks_per_s']:.1f} tracks/s."
    return text + ("\n\n" + table(["part", "seconds", "times real time", "share"], rows) if rows else "")


def gpu(result: Result) -> str:
    """Tell how near a GPU comes to its memory's bound."""
    if "skipped" in result:
        return str(result["skipped"])
    parts = [f"{result['device']}, bound by {result['bandwidth_tb_per_s']:g} TB/s; medians of {result['repeats']}."]
    for size in result["sizes"]:
        rows = [
            [
                f"{one['batch']:,}",
                f"{one['gpu_ms']:.3f}",
                f"{one['gpu_per_s']:,.0f}",
                f"{one['share_of_bound']:.0%}",
                f"{one['cpu_per_s']:,.1f}" if one["cpu_per_s"] is not None else "",
            ]
            for one in size["batches"]
        ]
        parts.append(f"**{size['tracks']:,} x {size['dim']}**; one scan takes {size['bound_ms']:.3f} ms at least")
        parts.append(
            table(["queries a call", "GPU, ms", "GPU, queries/s", "share of the bound", "CPU, queries/s"], rows)
        )
    return "\n\n".join(parts)


SECTIONS: tuple[tuple[str, str, str, Callable[[Result], str], tuple[str, ...]], ...] = (
    (
        "In process, beside other libraries",
        "bench-index",
        "anacrusis bench index --plots docs/results --json benchmarks/results/bench-index.json",
        index,
        ("recall-speed.png", "size-cost.png"),
    ),
    (
        "In process, a million",
        "bench-index-million",
        "anacrusis bench index --tracks 1000000 --library hnswlib --json benchmarks/results/bench-index-million.json",
        index,
        (),
    ),
    (
        "Over gRPC",
        "bench-serve",
        "anacrusis bench serve --plots docs/results --json benchmarks/results/bench-serve.json",
        serve,
        ("latency-load.png",),
    ),
    (
        "The transfer",
        "bench-transfer",
        "anacrusis bench transfer --json benchmarks/results/bench-transfer.json",
        transfer,
        (),
    ),
    ("The encoder", "bench-encode", "anacrusis bench encode --json benchmarks/results/bench-encode.json", encode, ()),
    (
        "On a GPU",
        "bench-gpu",
        "anacrusis bench gpu --plots docs/results --json benchmarks/results/bench-gpu.json",
        gpu,
        ("gpu-batches.png",),
    ),
)


def page() -> str:
    """Compose the page."""
    parts = [
        "# Searching and serving, measured",
        "Every figure comes from the command above it; `python -m benchmarks.serving_page` writes this page from their "
        "JSON in `benchmarks/results/`. Ratios are of one run, in which what is compared takes turns. The peers are "
        "those of the extra `bench`, with their own defaults but for the sizes of the graph, the same for all.",
    ]
    results: dict[str, Result] = {}
    for title, name, command, make, plots in SECTIONS:
        file = RESULTS / f"{name}.json"
        if not file.is_file():
            continue
        results[name] = json.loads(file.read_text(encoding="utf-8"))
        parts += [f"## {title}", f"```bash\n{command}\n```", make(results[name])]
        parts += [f"![{title}]({plot})" for plot in plots if (PAGE.parent / plot).is_file()]
    parts += ["## Promises", promises(results)]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Write the page, or with ``--check`` compare."""
    return write_or_check(page(), PAGE, "benchmarks.serving_page", (__doc__ or "").splitlines()[0])


if __name__ == "__main__":
    sys.exit(main())
