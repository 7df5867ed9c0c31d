"""What a server has counted, and what it is asked at a scrape, under the names that Prometheus stores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from grpc_service.errors import RULES
from grpc_service.gpu_memory import gpu_memory
from index import Tier

if TYPE_CHECKING:
    from grpc_service.figures import Figures, Histogram
    from grpc_service.work import Work
    from jobs import EngineStatus

_OURS = "/anacrusis.v1."
_log = logging.getLogger(__name__)


def registry_of(
    figures: Figures, work: Work, calls_in_progress: Callable[[], int], is_ready: Callable[[], bool]
) -> CollectorRegistry:
    """Make what is asked at a scrape of a server.

    Parameters
    ----------
    figures : Figures
    work : Work
    calls_in_progress, is_ready : callable

    Returns
    -------
    prometheus_client.CollectorRegistry
        The server's metrics, and memory, processor time and open files of the process.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Server(figures, work, calls_in_progress, is_ready))
    ProcessCollector(registry=registry)
    return registry


class _Server(Collector):
    """Makes metrics of the figures, and of what it asks."""

    def __init__(
        self, figures: Figures, work: Work, calls_in_progress: Callable[[], int], is_ready: Callable[[], bool]
    ) -> None:
        self._figures = figures
        self._work = work
        self._calls_in_progress = calls_in_progress
        self._is_ready = is_ready

    def collect(self) -> Iterator[Metric]:
        """Read all figures."""
        yield from self._calls()
        yield from self._queries()
        yield from self._ingests()
        yield from self._queues()
        try:
            status = self._work.engine.status()
        except Exception:  # whatever befell the store: a scrape that failed would hide every other figure, too
            _log.exception("what is served could not be counted; a scrape goes without it")
        else:
            yield from _served(status)
        yield from _gpus()

    def _calls(self) -> Iterator[Metric]:
        figures, methods = self._figures, list(self._figures.methods.items())
        calls = CounterMetricFamily("anacrusis_calls", "Calls that have ended.", labels=("method", "code"))
        for method, one in methods:
            calls.add_metric((_short(method), "OK"), one.ok)
            for code, count in list(one.failed.items()):
                calls.add_metric((_short(method), code), count)
        yield calls
        yield _histograms(
            "anacrusis_call_seconds",
            "Time from a call's coming until its status has left.",
            "method",
            {_short(method): one.seconds for method, one in methods if method.startswith(_OURS)},
        )
        yield _counts(
            "anacrusis_call_errors",
            "Calls that were refused or failed, by reason.",
            "reason",
            # At 0 from the start: of what appears at 1, Prometheus does not see that it has risen.
            dict.fromkeys((*RULES, "INTERNAL"), 0) | figures.reasons,
        )
        yield _gauge("anacrusis_calls_in_progress", "Calls that are being handled.", self._calls_in_progress())

    def _queries(self) -> Iterator[Metric]:
        figures = self._figures
        yield _histograms(
            "anacrusis_query_stage_seconds",
            "Where queries spend their time: waiting for their search, being searched for, being packed and sent.",
            "stage",
            figures.query_stage_s,
        )
        yield _histogram("anacrusis_search_queries", "Queries that one search took.", figures.search_queries)
        yield _counts(
            "anacrusis_refused_queries", "Queries, of those searched for, by reason.", "reason", figures.refused_queries
        )
        yield _gauge(
            "anacrusis_oldest_query_wait_seconds",
            "How long the first of the queries that wait has waited.",
            self._work.searches.oldest_wait_s(),
        )

    def _ingests(self) -> Iterator[Metric]:
        figures = self._figures
        yield _histograms(
            "anacrusis_ingest_stage_seconds",
            "Where ingests spend their time; write is the commit.",
            "stage",
            figures.ingest_stage_s,
        )
        yield _histogram("anacrusis_ingest_releases", "Releases that went in together.", figures.group_releases)
        yield _counts("anacrusis_releases", "Releases, by what became of them.", "state", figures.states)
        yield _counts("anacrusis_refused_releases", "Of those, by reason.", "reason", figures.refused_releases)
        yield _counts("anacrusis_placed_tracks", "Tracks that an ingest placed, by tier.", "tier", figures.tiers)
        yield _histogram("anacrusis_placed_confidence", "Confidence of those that were projected.", figures.confidence)

    def _queues(self) -> Iterator[Metric]:
        work, figures = self._work, self._figures
        waiting = GaugeMetricFamily(
            "anacrusis_queue_length", "What waits; but for queries, what is worked on, too.", labels=("queue",)
        )
        for queue, length in (
            ("queries", work.searches.waiting),
            ("releases", work.ingests.held),
            ("lookups", work.lookups.held),
            ("feedback", work.feedback.held),
            ("refreshes", work.refreshes.held),
        ):
            waiting.add_metric((queue,), length)
        yield waiting
        yield _gauge("anacrusis_upload_bytes", "Bytes that unfinished uploads hold.", work.uploads.taken)
        yield _gauge("anacrusis_ready", "1 where the server takes calls and serves a snapshot.", int(self._is_ready()))
        yield _counts("anacrusis_syncs", "Looks for what other processes did to the home.", "outcome", figures.syncs)
        yield _gauge(
            "anacrusis_last_sync_timestamp_seconds", "When such a look was last done; 0 before.", figures.last_sync_at
        )


def _served(status: EngineStatus) -> Iterator[Metric]:
    tracks = GaugeMetricFamily("anacrusis_served_tracks", "Tracks that answers may hold.", labels=("tier",))
    for tier in Tier:
        tracks.add_metric((tier.name.lower(),), status.tier_counts.get(tier, 0))
    yield tracks
    yield _gauge("anacrusis_fresh_rows", "Of those, the ones newer than the built index.", status.fresh_rows)
    yield _gauge("anacrusis_withdrawn_tracks", "Tracks that were withdrawn.", status.withdrawn)
    yield _gauge("anacrusis_read_only", "1 where the server is a replica.", int(status.read_only))
    if status.snapshot is not None:
        snapshot = status.snapshot
        yield _gauge(
            "anacrusis_snapshot_timestamp_seconds",
            "When the served snapshot was built.",
            snapshot.created_at.timestamp(),
        )
        labels = ("space_id", "snapshot_id", "index_kind", "encoder_id", "model_id", "device")
        served = GaugeMetricFamily("anacrusis_served_info", "What is served; always 1.", labels=labels)
        what = (snapshot.space_id, snapshot.snapshot_id, snapshot.index_kind)
        served.add_metric((*what, status.encoder_id, status.model_id, status.device), 1)
        yield served
    if status.upkeep is not None:
        upkeep = status.upkeep
        yield _gauge(
            "anacrusis_table_small_fragments",
            "Small fragments of the home's table that has most.",
            upkeep.small_fragments,
        )
        yield _gauge("anacrusis_table_versions", "Versions of the home's table that has most.", upkeep.versions)
        yield _gauge(
            "anacrusis_upkeep_alerts",
            "What somebody should look into; `anacrusis status` has the sentences.",
            len(upkeep.alerts),
        )


def _gpus() -> Iterator[Metric]:
    memory = GaugeMetricFamily(
        "anacrusis_gpu_memory_bytes", "Memory of each GPU, whoever has taken it.", labels=("gpu", "kind")
    )
    for number, (used, total) in enumerate(gpu_memory()):
        memory.add_metric((str(number), "used"), used)
        memory.add_metric((str(number), "total"), total)
    yield memory


def _short(method: str) -> str:
    return method.removeprefix(_OURS).removeprefix("/")


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counts(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in list(counts.items()):
        family.add_metric((value,), count)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, text, buckets=_buckets(histogram), sum_value=histogram.total)


def _histograms(name: str, text: str, label: str, histograms: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=(label,))
    for value, histogram in list(histograms.items()):
        family.add_metric((value,), _buckets(histogram), histogram.total)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Add up as Prometheus wants it: each bucket holds those below it."""
    buckets, seen = [], 0
    for bound, count in zip((*map(repr, map(float, histogram.bounds)), "+Inf"), list(histogram.counts), strict=True):
        seen += count
        buckets.append((bound, float(seen)))
    return buckets
