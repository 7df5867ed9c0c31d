"""What does it cost to decode in a process of its own? The figures behind ADR 34.

Run it with ``python -m benchmarks.decoding [--rounds N] [--json FILE]``. The bundled music is decoded one file after
the other, each in this process and by a pool's process in turn, and the start of such a process is timed; medians of
the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anacrusis import wesnoth_catalogue
from anacrusis.bench.promises import at_most
from encoders import DecodingPool, decode_audio
from jobs.evaluation.machine import machine

RATE_HZ = 16_000
MOST_SHARE = 1.15  # of the time that decoding takes in this process: promised in ADR 34


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def bench(rounds: int) -> dict[str, Any]:
    """Measure both ways."""
    folder = Path(wesnoth_catalogue.__file__).parent / "wesnoth" / "audio"
    files = [path.read_bytes() for path in sorted(folder.iterdir())]
    starts, here, there, audio_s = [], [], [], 0.0
    for _ in range(rounds):
        with DecodingPool() as pool:
            starts.append(_seconds(pool.warm_up))
            own, others, audio_s = 0.0, 0.0, 0.0
            for audio in files:
                own += _seconds(lambda: decode_audio(audio, sample_rate_hz=RATE_HZ))  # noqa: B023 - called at once
                others += _seconds(lambda: pool.decode(audio, sample_rate_hz=RATE_HZ))  # noqa: B023
                audio_s += decode_audio(audio, sample_rate_hz=RATE_HZ).duration_s
            here.append(own)
            there.append(others)
    share = statistics.median(there) / statistics.median(here)
    return {
        "files": len(files),
        "audio_s": round(audio_s, 1),
        "rounds": rounds,
        "start_s": statistics.median(starts),
        "decode_in_this_process_s": statistics.median(here),
        "decode_in_a_process_of_its_own_s": statistics.median(there),
        "machine": machine(),
        "checks": [at_most("time in a process of its own, as a share of that in this one", share, MOST_SHARE)],
    }


def main() -> None:
    """Measure, print, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    text = json.dumps(bench(given.rounds), indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
