"""What the metrics ports of a server tell: asked, added up over its workers, and turned into rates and percentiles."""

from __future__ import annotations

import math
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any

TIMEOUT_S = 5.0
MOST_BYTES = 16 << 20  # of one answer; a server's are some 50 KiB
_CALL, _STAGE = "anacrusis_call_seconds", "anacrusis_query_stage_seconds"


class ScrapeError(Exception):
    """No metrics could be had."""

    reason = "METRICS_UNREACHABLE"


class Scrape:
    """What the workers of one server told at one moment, added up.

    Parameters
    ----------
    texts : sequence of str
        Of each worker, as Prometheus reads it.
    at : float, optional
        When, in seconds since 1970.
    """

    def __init__(self, texts: Sequence[str], at: float | None = None) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        self.at = time.time() if at is None else at
        self.workers = len(texts)
        self.samples: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
        for text in texts:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    self.samples[sample.name].append((sample.labels, sample.value))

    def by(self, name: str, label: str, **wanted: str) -> Counter[str]:
        """Add samples up by one label; those that have the wanted ones."""
        found: Counter[str] = Counter()
        for labels, value in self.samples.get(name, ()):
            if wanted.items() <= labels.items():
                found[labels.get(label, "")] += value  # type: ignore[assignment]  # figures are floats
        return found

    def total(self, name: str, **wanted: str) -> float:
        """Add samples up."""
        return sum(self.by(name, "", **wanted).values())

    def most(self, name: str) -> float | None:
        """Give the largest; None where nobody tells it."""
        return max((value for _, value in self.samples.get(name, ())), default=None)


def scrape(addresses: Sequence[str]) -> Scrape:
    """Ask the workers of a server; those that are away are left out.

    Parameters
    ----------
    addresses : sequence of str
        ``host:port`` of each one's metrics.

    Returns
    -------
    Scrape

    Raises
    ------
    ScrapeError
        When none answers.
    """
    texts, failure = [], None
    for address in addresses:
        try:
            with _opener().open(f"http://{address}/metrics", timeout=TIMEOUT_S) as answer:
                texts.append(answer.read(MOST_BYTES).decode())
        except (OSError, HTTPException, ValueError) as error:  # away; another protocol's port; no address
            failure = error
    try:
        if texts:
            return Scrape(texts)
    except ValueError as error:  # no metrics
        failure = error
    why = failure if str(failure).isprintable() else type(failure).__name__  # the bytes of another protocol
    raise ScrapeError(
        f"There are no metrics at {', '.join(addresses)} ({why}); start the server with metrics.port set, or name "
        "the port by --metrics HOST:PORT."
    ) from failure


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a server is asked itself, whatever is set


def frame(now: Scrape, before: Scrape | None = None) -> dict[str, Any]:
    """Say what a server does.

    Parameters
    ----------
    now, before : Scrape
        Rates and percentiles are of the time between them; of all the time since the start without `before`.

    Returns
    -------
    dict
        Rates in a second, times in milliseconds; None where there is nothing to tell.
    """
    started = [value for _, value in now.samples.get("process_start_time_seconds", ())]
    before = before or Scrape([], at=min(started, default=now.at))
    seconds = max(now.at - before.at, 1e-3)

    def rates(name: str, label: str, **wanted: str) -> dict[str, float]:
        found = now.by(name, label, **wanted)
        earlier = before.by(name, label, **wanted)
        # A worker that was started again counts from 0: then what it has now is what came since.
        grown = {key: value - earlier[key] if value >= earlier[key] else value for key, value in found.items()}
        return {key: value / seconds for key, value in grown.items() if value}

    def percentile(name: str, share: float, **wanted: str) -> float | None:
        found, earlier = now.by(f"{name}_bucket", "le", **wanted), before.by(f"{name}_bucket", "le", **wanted)
        return percentile_ms({float(bound): count - earlier[bound] for bound, count in found.items()}, share)

    def ratio(name: str) -> float | None:
        count = now.total(f"{name}_count") - before.total(f"{name}_count")
        return (now.total(f"{name}_sum") - before.total(f"{name}_sum")) / count if count else None

    served = next((labels for labels, _ in now.samples.get("anacrusis_served_info", ())), {})
    built = now.most("anacrusis_snapshot_timestamp_seconds")
    return {
        "seconds": seconds,
        "workers": now.workers,
        "ready": now.total("anacrusis_ready") == now.workers,
        "served": dict(served),
        "snapshot_age_s": None if built is None else max(now.at - built, 0.0),
        "tracks": {
            tier: _most_of(now, "anacrusis_served_tracks", tier) for tier in now.by("anacrusis_served_tracks", "tier")
        },
        "fresh_rows": now.most("anacrusis_fresh_rows"),
        "calls": {
            method: {
                "per_s": per_s,
                "median_ms": percentile(_CALL, 0.5, method=method),
                "p99_ms": percentile(_CALL, 0.99, method=method),
            }
            for method, per_s in rates("anacrusis_calls_total", "method").items()
        },
        "errors_per_s": rates("anacrusis_call_errors_total", "reason"),
        "in_progress": now.total("anacrusis_calls_in_progress"),
        "stages": {
            stage: {"median_ms": percentile(_STAGE, 0.5, stage=stage), "p99_ms": percentile(_STAGE, 0.99, stage=stage)}
            for stage in now.by(f"{_STAGE}_count", "stage")
        },
        "queries_per_search": ratio("anacrusis_search_queries"),
        "queues": dict(now.by("anacrusis_queue_length", "queue")),
        "releases_per_s": rates("anacrusis_releases_total", "state"),
        "mean_confidence": ratio("anacrusis_placed_confidence"),
        "memory_bytes": now.total("process_resident_memory_bytes"),
        "cores": sum(rates("process_cpu_seconds_total", "").values()),
    }


def percentile_ms(buckets: Mapping[float, float], share: float) -> float | None:
    """Estimate a percentile of durations, as Prometheus does: evenly spread within a bucket.

    Parameters
    ----------
    buckets : mapping of float to float
        How many took so many seconds or fewer.
    share : float
        0 to 1.

    Returns
    -------
    float or None
        In milliseconds; of what lies above the last bound, that bound. None where there is nothing.
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    wanted, low, below = share * buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if math.isinf(bound):
                break
            inside = buckets[bound] - below
            return 1e3 * (low + (bound - low) * ((wanted - below) / inside if inside else 1.0))
        low, below = bound, buckets[bound]
    return 1e3 * low


def _most_of(now: Scrape, name: str, tier: str) -> float:
    """Give the largest of one tier: every worker serves the same tracks."""
    return max(value for labels, value in now.samples[name] if labels.get("tier") == tier)
