"""The command line `anacrusis` with an encoder that hears no music, begun in advance: it waits until it is told what.

``python -m benchmarks.soak.command_line`` imports everything, says so, reads one line (a JSON list of arguments) from
standard input and carries it out. All but the encoder is what `anacrusis` runs.
"""

from __future__ import annotations

import faulthandler
import json
import sys

import anacrusis.cli
import grpc_service.server  # noqa: F401  # heavy, and not what is to be measured
import jobs
from anacrusis.bench.given_vectors import GivenVectorsEngine

READY = "imported"


def main() -> None:
    """Wait, then be the command."""
    faulthandler.enable()
    jobs.Engine = GivenVectorsEngine  # type: ignore[misc]  # where the front door looks for it
    print(READY, flush=True)
    line = sys.stdin.readline()
    if line:  # else whoever began this has ended
        sys.argv = ["anacrusis", *json.loads(line)]
        anacrusis.cli.main()


if __name__ == "__main__":
    main()
