"""Throws at the service what nobody should send, and tells how it took that.

Run it with ``make fuzz``, or ``python -m tests.fuzz [--seed N] [--audio N] [--files N] [--messages N] [--json FILE]``:
mutated audio of every container through the pool that services decode with; mutated manifests, factors and
configuration; mutated bytes, and messages of any fields and values, of every method, to a server with the tests' engine
in memory and to the real one. The cases follow from the seed. What ended as it must not is kept as a file, and the exit
code is 1; such a file, once mended for, stays in ``tests/fuzz/regressions``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anacrusis.bench.promises import at_least, at_most
from jobs.evaluation.machine import machine
from tests.fuzz import audio_cases, file_cases, message_cases, servers
from tests.fuzz.findings import Findings
from tests.fuzz.messages import METHODS

AUDIO, FILES, MESSAGES = 20_000, 10_000, 110_000
LEAST_CALLS = 100_000  # hypothesis stops where a type, such as one without fields, has no more messages to draw
STRUCTURED_SHARE, REAL_SHARE = 0.35, 0.05
WARM_UP_SHARE = 0.1  # of a server's cases, behind which its memory is to stand still
MOST_GROWTH_MIB = 64.0
REAL_METHODS = tuple(name for name in METHODS if not name.endswith("/RefreshArtists"))  # seconds each; the other has it


def _timed(what: str, run: Callable[[], Findings]) -> tuple[Findings, dict[str, Any]]:
    start = time.perf_counter()
    findings = run()
    seconds = time.perf_counter() - start
    print(f"{what}: {findings.cases} cases, {len(findings.sentences)} found, {seconds:.0f} s", file=sys.stderr)
    for sentence in findings.sentences:
        print(f"  {sentence}", file=sys.stderr)
    return findings, findings.report() | {"seconds": round(seconds, 1)}


def _messages(process: servers.Process, seed: int, cases: int, folder: Path, names: tuple[str, ...]) -> Findings:
    """Send a server mutated and drawn messages; `resident_mib` is added to what is found."""
    findings = Findings(folder)
    warm_up = round(cases * WARM_UP_SHARE)
    structured = round((cases - warm_up) * STRUCTURED_SHARE)
    resident = []
    for part, count in (("warm-up", warm_up), ("mutated", cases - warm_up - structured), ("drawn", structured)):
        send = message_cases.fuzz_structured if part == "drawn" else message_cases.fuzz_messages
        findings.add(send(process.served, seed + len(resident), count, folder, names=names))
        if process.handle.poll() is not None:
            findings.find("server", b"", f"the server ended with {process.handle.returncode} during {part}")
            return findings
        resident.append(process.resident_mib)
    findings.resident_mib = [round(one, 1) for one in resident]
    return findings


def main(arguments: list[str] | None = None) -> int:
    """Run all of it.

    Returns
    -------
    int
        The exit status: 1 where something was found.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--audio", type=int, default=AUDIO, help=f"files to decode (default: {AUDIO})")
    parser.add_argument("--files", type=int, default=FILES, help=f"files to read (default: {FILES})")
    parser.add_argument("--messages", type=int, default=MESSAGES, help=f"calls (default: {MESSAGES})")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--keep", type=Path, help="folder for what is found (default: a new one)")
    given = parser.parse_args(arguments)
    folder = given.keep or Path(tempfile.mkdtemp(prefix="anacrusis-fuzz-"))
    real = round(given.messages * REAL_SHARE)
    parts: dict[str, Mapping[str, Any]] = {}
    all_of_it: list[Findings] = []

    def part(name: str, run: Callable[[], Findings]) -> Findings:
        findings, parts[name] = _timed(name, run)
        all_of_it.append(findings)
        return findings

    part("audio", lambda: audio_cases.fuzz_audio(given.seed, given.audio, folder))
    part("files", lambda: file_cases.in_processes(given.seed, given.files, folder))
    growths = []
    for name, serving, cases, names in (
        ("messages", servers.fake_server, given.messages - real, tuple(METHODS)),
        ("messages_real_engine", servers.real_server, real, REAL_METHODS),
    ):
        with serving() as process:
            found = part(name, lambda: _messages(process, given.seed, cases, folder, names))  # noqa: B023 - called here
        growths.append(max(found.resident_mib, default=0.0) - (found.resident_mib or [0.0])[0])
    report = {
        "seed": given.seed,
        "machine": machine(),
        **parts,
        "checks": [
            at_least("mutated audio files", parts["audio"]["cases"], AUDIO),
            at_least("calls", sum(int(parts[name]["cases"]) for name in parts if "messages" in name), LEAST_CALLS),
            at_most("cases that ended as they must not", sum(len(one.sentences) for one in all_of_it), 0),
            at_most("growth of a server's memory behind the first tenth, MiB", max(growths), MOST_GROWTH_MIB),
        ],
    }
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    found_any = any(one.sentences for one in all_of_it)
    print(f"what was found lies in {folder}" if found_any else "nothing was found", file=sys.stderr)
    return 1 if found_any else 0


if __name__ == "__main__":
    sys.exit(main())
