"""What TLS, tokens, limits and metrics cost: a server with all of them beside one with none, under the same load.

Run it with ``python -m benchmarks.defences [--tracks 100000] [--json benchmarks/results/defences.json]``. Both servers
answer from one home, as replicas; clients in two processes ask single queries and batches, each caller again once it is
answered. What is compared takes turns, short ones, as a machine changes its pace within seconds, and each is first as
often as second; the median of the turns' ratios counts. The server's own processor time a call is told beside it: its
callers share its cores here, and pay for TLS as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from anacrusis.bench.load_clients import (
    BATCH,
    BATCH_SEARCH,
    CALLERS,
    CLIENT_PROCESSES,
    SEARCH,
    K,
    clients,
    together,
    write_requests,
)
from anacrusis.bench.our_index import build_home
from anacrusis.bench.processes import Worker
from anacrusis.bench.promises import at_least
from anacrusis.bench.serve import BATCH_CALLERS, QUERIES
from anacrusis.bench.vectors import write_vectors
from anacrusis.server_process import ServerProcess, running_server
from benchmarks.made_certificates import Authority
from benchmarks.unit_costs_serving import processor_s
from grpc_service.roles import Role
from grpc_service.tokens import add_token

MIN_SHARE = 0.85
TOKENS = 50  # as many as a large platform has callers


def measure(tracks: int, repeats: int, seconds: float) -> dict[str, Any]:
    """Both servers, side by side; in JSON's types, with `checks`."""
    with tempfile.TemporaryDirectory(prefix="anacrusis-defences-") as made_for_it, ExitStack() as stack:
        folder = Path(made_for_it)
        made = write_vectors(folder, tracks, queries=QUERIES)
        build_home(folder / "home", made.tracks)
        write_requests(folder, np.array(made.queries))
        config, ca, token = _defended(folder)
        (folder / "open.toml").touch()
        open_to_all = stack.enter_context(running_server(folder / "home", "--read-only", config=folder / "open.toml"))
        defended = stack.enter_context(running_server(folder / "home", "--read-only", config=config))
        found: dict[str, Any] = {}
        for kind, method, callers in (("unary", SEARCH, CALLERS), ("batch", BATCH_SEARCH, BATCH_CALLERS)):
            with (
                clients(open_to_all.address, method, folder / kind) as plain,
                clients(defended.address, method, folder / kind, ca=ca, token=token) as known,
            ):
                turns: dict[str, list[dict[str, Any]]] = {"without": [], "with": []}
                sides = [("without", open_to_all, plain), ("with", defended, known)]
                for number in range(repeats):
                    for name, server, callers_of in sides[:: -1 if number % 2 else 1]:
                        turns[name].append(_turn(server, callers_of, seconds=seconds, callers=callers))
            found[kind] = _compared(turns)
        dim = made.tracks.shape[1]
    return {
        "tracks": tracks,
        "dim": dim,
        "k": K,
        "batch": BATCH,
        "clients": CLIENT_PROCESSES * CALLERS,
        "tokens": TOKENS,
        "repeats": repeats,
        "seconds": seconds,
        "machine_cores": len(os.sched_getaffinity(0)),
        **found,
        "checks": [
            at_least(f"{what} with TLS, tokens, limits and metrics, beside without", found[kind]["share"], MIN_SHARE)
            for kind, what in (("unary", "single queries a second"), ("batch", "batches a second"))
        ],
    }


def _turn(server: ServerProcess, processes: list[Worker], **arguments: Any) -> dict[str, Any]:
    """Load a server for a while, and say what a call cost it."""
    before = processor_s(server.process.pid)
    found = together(processes, "closed", **arguments)
    found["server_us"] = (processor_s(server.process.pid) - before) / max(found["answered"], 1) * 1e6
    return found


def _defended(folder: Path) -> tuple[Path, str, str]:
    """Write certificates, tokens and settings; gives the settings' file, the authority's, and one of the tokens."""
    authority = Authority(folder)
    certificate, key = authority.vouch("server", "server", local=True)
    tokens = folder / "tokens.json"
    secrets = [add_token(tokens, f"caller-{number}", Role.READ)[0] for number in range(TOKENS)]
    config = folder / "defended.toml"
    config.write_text(
        f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n[access]\ntokens = "{tokens}"\n'
        # Counted as ever, and never reached: one caller is to show what all of them take.
        "[limits]\ncalls_per_s = 1e9\nqueries_per_s = 1e9\nbytes_per_s = 1e15\n"
        "[metrics]\nport = 0\n",
        encoding="utf-8",
    )
    return config, str(authority.path), secrets[TOKENS // 2]


def _compared(turns: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    failed = [one["failed"] for each in turns.values() for one in each if one["failed"]]
    if failed:
        raise RuntimeError(f"calls failed: {failed}")
    ratios = [known["per_s"] / plain["per_s"] for plain, known in zip(turns["without"], turns["with"], strict=True)]
    return {
        **{f"per_s_{name}": statistics.median(one["per_s"] for one in each) for name, each in turns.items()},
        **{f"p50_ms_{name}": statistics.median(one["p50_ms"] for one in each) for name, each in turns.items()},
        **{f"server_us_{name}": statistics.median(one["server_us"] for one in each) for name, each in turns.items()},
        "share": statistics.median(ratios),
        "rounds": turns,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defences", description=__doc__.split("\n")[0])
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    found = measure(options.tracks, options.repeats, options.seconds)
    for check in found["checks"]:
        print(f"{check['name']}: {check['measured']:.3f} (promised: {check['bound']}, holds: {check['holds']})")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
