"""How long an epoch of the ACARec training takes, beside a straightforward one of the same model.

Run it with ``python -m benchmarks.transfer_epoch [FOLDER] [--threads 2] [--rounds 7] [--json FILE]``. FOLDER is a
benchmark folder as ``anacrusis evaluate`` takes it; without one, a made space of 20,000 tracks is used. The
straightforward one draws each target's catalogue with `random.sample`, pads Python lists, and runs the paper's
equations with `torch.nn.MultiheadAttention` and `torch.nn.GRUCell`; both take one Adam step for each 1,024 targets.
Epochs alternate, so that whatever else the machine does falls on all; medians are compared. Each of the two runs on one
thread and on all that are given, and is taken at its faster: on busy cores several threads wait for each other.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from artist_transfer import NO_DATE, Catalogue, Credits, FitOptions, WarmTracks
from artist_transfer.epochs import Epochs
from artist_transfer.network import ACARec
from artist_transfer.scaling import Scaling
from jobs.evaluation.baselines.catalogue_means import primary_only
from jobs.evaluation.benchmark_folder import read_benchmark
from jobs.evaluation.context import Check

OPTIONS = FitOptions(device="cpu")
PROMISED = 5.0


class PlainACARec(nn.Module):
    """The paper's equations, each step where the paper has it."""

    def __init__(self, content_dim: int, dim: int) -> None:
        super().__init__()
        self.key = nn.Linear(content_dim + dim, dim)
        self.value = nn.Linear(dim, dim)
        self.query = nn.Linear(content_dim, dim)
        self.self_attention = nn.MultiheadAttention(dim, 8, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(dim, 8, batch_first=True)
        self.out = nn.Linear(dim, dim)
        self.fusion = nn.GRUCell(dim + content_dim, dim)

    def forward(self, content: Tensor, catalogue_content: Tensor, collaborative: Tensor, padded: Tensor) -> Tensor:
        """Project targets; True in `padded` where there is no catalogue track."""
        keys = self.key(torch.cat([catalogue_content, collaborative], dim=-1))
        keys, _ = self.self_attention(keys, keys, keys, key_padding_mask=padded)
        query = self.query(content)[:, None]
        attended, _ = self.cross_attention(query, keys, self.value(collaborative), key_padding_mask=padded)
        update = self.out(attended[:, 0])
        present = (~padded)[..., None]
        hidden = (collaborative * present).sum(dim=1) / present.sum(dim=1)
        fused: Tensor = self.fusion(torch.cat([update, content], dim=-1), hidden)
        return fused


class PlainEpochs:
    """Batches put together in Python, target by target."""

    def __init__(self, tracks: WarmTracks, scaling: Scaling) -> None:
        self.content = torch.from_numpy(scaling.content(tracks.content))
        self.collaborative = torch.from_numpy(tracks.collaborative / scaling.space_scale)
        self.artist = tracks.credits.primary_artists().tolist()
        self.rows_of: dict[int, list[int]] = defaultdict(list)
        for row, artist in enumerate(self.artist):
            if artist >= 0:
                self.rows_of[artist].append(row)
        self.targets = [row for row, artist in enumerate(self.artist) if len(self.rows_of[artist]) > 1]
        torch.manual_seed(0)
        self.network = PlainACARec(tracks.content_dim, tracks.dim)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=OPTIONS.learning_rate)

    def run(self) -> float:
        """Learn from every target once; return their mean squared error."""
        random.shuffle(self.targets)
        total = 0.0
        for begin in range(0, len(self.targets), OPTIONS.batch_size):
            batch = self.targets[begin : begin + OPTIONS.batch_size]
            rows, padded = [], []
            for target in batch:
                others = [row for row in self.rows_of[self.artist[target]] if row != target]
                drawn = random.sample(others, min(OPTIONS.catalogue_sample, len(others)))
                missing = OPTIONS.catalogue_sample - len(drawn)
                rows.append(drawn + [0] * missing)
                padded.append([False] * len(drawn) + [True] * missing)
            at = torch.tensor(rows)
            found = self.network(self.content[batch], self.content[at], self.collaborative[at], torch.tensor(padded))
            loss = nn.functional.mse_loss(found, self.collaborative[batch])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.item() * len(batch)
        return total / len(self.targets)


def ours(tracks: WarmTracks, scaling: Scaling) -> Epochs:
    """Make the epochs of `artist_transfer.training.learn`."""
    catalogue = Catalogue(tracks)
    targets = np.flatnonzero(catalogue.select(tracks.as_cold(), 1).sizes > 0)
    torch.manual_seed(0)
    return Epochs(catalogue, targets, scaling, ACARec(tracks.content_dim, tracks.dim), OPTIONS)


def read(folder: Path) -> WarmTracks:
    """Read a folder's warm tracks; the straightforward epoch knows one artist a track, so both get the primary one."""
    warm = read_benchmark(folder).warm
    return replace(warm, credits=primary_only(warm.credits))


def made() -> WarmTracks:
    """Make 20,000 tracks of 4,000 artists with 128 dimensions; few artists have many tracks."""
    rng = np.random.default_rng(0)
    n, dim = 20_000, 128
    artist = np.minimum(rng.zipf(1.5, size=n), 4_000)
    return WarmTracks(
        "made",
        "made",
        np.array([f"t{row}" for row in range(n)]),
        rng.normal(size=(n, 11)),
        rng.normal(size=(4_001, dim))[artist] + rng.normal(size=(n, dim)),
        Credits.from_lists([[f"a{one}"] for one in artist]),
        np.full(n, NO_DATE, np.int32),
    )


def measure(tracks: WarmTracks, threads: int, rounds: int) -> dict[str, Any]:
    """Alternate epochs, the first of each uncounted."""
    scaling = Scaling.of(tracks.content, tracks.collaborative)
    plain = PlainEpochs(tracks, scaling)
    runners = {"straightforward": plain, "ours": ours(tracks, scaling)}
    counts = sorted({1, threads})
    cases = [(name, count) for count in counts for name in runners]
    wall: dict[tuple[str, int], list[float]] = defaultdict(list)
    cpu: dict[tuple[str, int], list[float]] = defaultdict(list)
    for round_number in range(rounds + 1):
        for name, count in cases:
            torch.set_num_threads(count)
            start, start_cpu = time.perf_counter(), time.process_time()
            runners[name].run()
            if round_number:
                wall[name, count].append(time.perf_counter() - start)
                cpu[name, count].append(time.process_time() - start_cpu)
    epoch_s = {name: min(statistics.median(wall[name, count]) for count in counts) for name in runners}
    ratio = epoch_s["straightforward"] / epoch_s["ours"]
    check = Check.at_least("an epoch of ACARec's training beside a straightforward one, times as fast", ratio, PROMISED)
    return {
        "tracks": len(tracks),
        "targets": len(plain.targets),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "rounds": rounds,
        "epoch_s": epoch_s,
        "ratio": ratio,
        "cases": [
            {
                "name": name,
                "threads": count,
                "median_s": statistics.median(wall[name, count]),
                "median_cpu_s": statistics.median(cpu[name, count]),
                "all_s": wall[name, count],
            }
            for name, count in cases
        ],
        "checks": [check.as_dict()],
    }


def main() -> None:
    """Print the two medians, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tracks = made() if arguments.folder is None else read(arguments.folder)
    result = measure(tracks, arguments.threads, arguments.rounds)
    for case in result["cases"]:
        seconds = f"{case['median_s']:.3f} s, {case['median_cpu_s']:.3f} s of CPU"
        print(f"{case['name']:16} {case['threads']} threads: {seconds}")
    print(f"{result['ratio']:.2f} times as fast, promised {PROMISED:g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
