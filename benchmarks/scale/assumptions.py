"""What nobody measured here: the size of the platform, how it is used, and the machines it runs on."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any

from benchmarks.scale.quantities import Quantity
from index import Retention

YEAR_END = "Luminate's year-end report for 2025, as told by Music Ally on 15 January 2026"
CARD = "NVIDIA H100 SXM 80 GB"
DATA_SHEET = f"data sheet of the {CARD}; a bound, not measured: nobody has run this on a GPU"


def _assumed(value: float, unit: str, reason: str) -> Any:
    return field(default=value, metadata={"unit": unit, "reason": reason})


@dataclass(frozen=True)
class Assumptions:
    """Each has a unit and a reason; see `quantity`, `table`."""

    tracks: float = _assumed(100e6, "track", "the question that this page answers")
    streams: float = _assumed(
        5e9,
        "stream/day",
        f"the question that this page answers: about a third of the world's, 5.1 trillion in 2025 ({YEAR_END})",
    )
    new_tracks: float = _assumed(106e3, "track/day", f"delivered to streaming services each day of 2025 ({YEAR_END})")
    warm_share: float = _assumed(
        0.5,
        "",
        "tracks with more than ten streams a year, 132.5 of 253 million in 2025 "
        f"({YEAR_END}): from fewer no recommender learns a place",
    )
    track_length: float = _assumed(200, "audio_s/track", "three to three and a half minutes, as popular music has it")
    audio_rate: float = _assumed(
        20e3, "bytes/audio_s", "160 kbit/s, a common streaming quality; FLAC has about five times as much"
    )
    dim: float = _assumed(128, "dimension", "a common size of collaborative vectors, and the one that was measured")
    users: float = _assumed(500e6, "user", "ten streams a user and day")
    cold_streams: float = _assumed(
        0.01,
        "",
        "no public figure. Tracks of at most ten streams a year have at most 0.03 % of all (the same report), so that "
        "this is the first day of releases, before the next training",
    )
    queries: float = _assumed(0.1, "query/stream", "no public figure: a list of ten tracks is asked for at a time")
    peak: float = _assumed(2, "", "no public figure: evenings against the mean of a day")
    changed_share: float = _assumed(
        0.02, "", "cold tracks a day that are new, or whose artists' catalogues changed; no public figure"
    )
    budget: float = _assumed(0.020, "s", "what a recommender's request may spend on one search")
    trainings: float = _assumed(1, "training/day", "the recommender is retrained every night")
    publishes: float = _assumed(2, "publish/training", "one as soon as the training is there, one after the refit")
    kept: float = _assumed(Retention().days, "day", "how long snapshots stay by default, and with them their trainings")
    backfill: float = _assumed(7 * 86400, "s", "a catalogue is heard once; a week is soon enough")
    cores: float = _assumed(64, "core/machine", "a common server")
    memory: float = _assumed(512e9, "bytes/machine", "the same server")
    used: float = _assumed(0.5, "", "the share of a server's cores that a peak may take, so that queues stay short")
    gpu_memory: float = _assumed(80e9, "bytes/card", DATA_SHEET)
    gpu_bandwidth: float = _assumed(3.35e12, "bytes/(s card)", DATA_SHEET)
    gpu_flops: float = _assumed(989e12, "flop/(s card)", f"dense float16; {DATA_SHEET}")
    gpu_batch: float = _assumed(256, "query", "queries that share one pass over the vectors; the server gathers them")

    def quantity(self, name: str) -> Quantity:
        """Give an assumption with its unit."""
        (found,) = (one for one in fields(self) if one.name == name)
        return Quantity.of(getattr(self, name), found.metadata["unit"])

    def table(self) -> list[tuple[str, Quantity, str]]:
        """Name, value and reason of each."""
        return [(one.name, self.quantity(one.name), _reason(one)) for one in fields(self)]


def _reason(one: Field[Any]) -> str:
    return str(one.metadata["reason"])
