"""The unit costs, each with the file of benchmarks/results/ that it was read from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.scale.quantities import Quantity

NEEDED = {
    "unit-costs": "python -m benchmarks.unit_costs --json benchmarks/results/unit-costs.json",
    "bench-encode": "anacrusis bench encode --json benchmarks/results/bench-encode.json",
    "ingest-soundtracks": "anacrusis ingest manifest.csv --json benchmarks/results/ingest-soundtracks.json",
    "backfill": "python -m benchmarks.backfill --copies 2 --json benchmarks/results/backfill.json",
    "transfer": "make results FOLDER=...",
}
"""Results without which there is no page, and the commands that write them."""

METHOD = "anacrusis"  # what serves where there are warm tracks enough; so `transfer.json` calls it


class MissingResultError(SystemExit):
    """A result that the page needs was not measured."""


@dataclass(frozen=True)
class Measured:
    """Results by name, as their benches wrote them.

    Parameters
    ----------
    results : dict of str to the JSON of ``benchmarks/results/NAME.json``
    """

    results: dict[str, Any]
    cores: Quantity = field(init=False)

    def __post_init__(self) -> None:
        # The other benches ran on the same machine; theirs that say how many cores it has say the same.
        found = self.results["unit-costs"]["machine"]["cores"]
        if self.results["transfer"]["machine"]["cpus"] != found:
            raise ValueError(
                "unit-costs.json and transfer.json are of machines with other numbers of cores: measure again"
            )
        object.__setattr__(self, "cores", Quantity.of(found, "core"))

    @classmethod
    def read(cls, folder: Path) -> Measured:
        """Read what is there; raises `MissingResultError` where something needed is not."""
        for name, command in NEEDED.items():
            if not (folder / f"{name}.json").is_file():
                raise MissingResultError(f"benchmarks/results/{name}.json is missing; measure it with: {command}")
        return cls({name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in NEEDED})

    def cost(self, name: str) -> Quantity:
        """Give a figure of ``unit-costs.json``."""
        found = self.results["unit-costs"]["costs"][name]
        return Quantity.of(found["value"], found["unit"])

    def alone(self, name: str) -> Quantity:
        """Give seconds of a process with a core to itself: those on the processor, whatever else the machine did."""
        return self.cost(f"{name}.cpu") / Quantity.of(1, "core")

    def what(self, name: str) -> str:
        """Say what a figure of ``unit-costs.json`` is of."""
        return str(self.results["unit-costs"]["costs"][name]["what"])

    @property
    def content_dim(self) -> Quantity:
        """Length of a content vector."""
        return Quantity.of(self.results["unit-costs"]["content_dim"], "dimension")

    @property
    def decode(self) -> Quantity:
        """Processor seconds to decode a second of audio: files side by side on all cores, so at most this."""
        return self._stage("decode") * self.cores

    @property
    def encode(self) -> Quantity:
        """Processor seconds to encode a second of audio: all cores at once, so at most this."""
        return self._stage("encode") * self.cores

    def _stage(self, name: str) -> Quantity:
        result = self.results["bench-encode"]
        (seconds,) = (one["seconds"] for one in result["stages"] if one["stage"] == name)
        return Quantity.of(seconds, "s") / Quantity.of(result["audio_s"], "audio_s")

    @property
    def ingest(self) -> Quantity:
        """Processor seconds of a whole ingest for a second of audio, all cores taken as busy."""
        result = self.results["ingest-soundtracks"]
        return Quantity.of(result["wall_s"], "s") * self.cores / Quantity.of(result["audio_s"], "audio_s")

    @property
    def ray(self) -> Quantity:
        """Speed of a backfill on Ray beside an ingest of the same tracks on the same cores; a share."""
        ways = self.results["backfill"]["ways"]
        return Quantity.of(ways["backfill"]["tracks_per_s"] / ways["ingest"]["tracks_per_s"])

    @property
    def project(self) -> Quantity:
        """Processor seconds to project a track with the transfer that serves."""
        a_second = Quantity.of(self.results["transfer"]["timing"][METHOD]["projected_per_s"], "track/s")
        return self.cores / a_second

    @property
    def fit(self) -> Quantity:
        """Seconds to fit that transfer, on all cores."""
        return Quantity.of(self.results["transfer"]["timing"][METHOD]["fit_s"], "s")
