"""What keeps a bench from measuring."""

from __future__ import annotations

from jobs.errors import JobError


class BenchError(JobError):
    """Something cannot be measured: the message says what, and the remedy."""

    reason = "BENCH_IMPOSSIBLE"
