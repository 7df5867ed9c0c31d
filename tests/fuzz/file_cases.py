"""Mutated files that whoever runs the service brings: manifests, factors, events, listens, configuration, tokens.

``python -m tests.fuzz.file_cases SEED FIRST COUNT FOLDER`` runs some cases and prints their figures; `in_processes` has
that done, so that a library that crashes ends one such process and is found out.
"""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anacrusis.settings import SettingsError, load_settings
from grpc_service.private_files import PrivateFileError
from grpc_service.tokens import read_tokens
from jobs import FactorsError, FeedbackFileError, ManifestError
from jobs.errors import InteractionsError
from jobs.factors import read_factors
from jobs.feedback_file import record_feedback_file
from jobs.interactions_file import read_interactions
from jobs.manifest import read_manifest
from tests.fuzz.engine import ForgetfulEngine
from tests.fuzz.findings import Findings, FoundError
from tests.fuzz.mutations import mutated

CASES_A_PROCESS = 1000
CASE_S = 0.5  # for each of them, on average: a process that takes longer hangs

ROWS: list[dict[str, Any]] = [
    {
        "track_id": f"track-{row}",
        "title": "Ein Lied, ä漢😀",
        "artist_ids": ["ada", "ben"],
        "roles": ["primary", "remixer"],
        "release_date": "2024-05-01",
        "label": "A label",
        "markets": ["DE", "FR"],
        "isrc": "DEABC2400001",
        "audio": f"audio/{row}.flac",
    }
    for row in range(6)
]
EVENTS: list[dict[str, Any]] = [
    {
        "event_id": f"event-{row}",
        "track_id": f"warm-{row % 5}",
        "user_id": "ann",
        "action": ("play", "skip")[row % 2],
        "position": row + 1,
        "timestamp": "2024-05-01T12:00:00Z",
    }
    for row in range(6)
]
LISTENS: list[dict[str, Any]] = [{"user_id": "ann", "track_id": f"track-{row}", "weight": 1.0} for row in range(6)]
VECTORS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
TOML = """
home = "/srv/anacrusis"
device = "cpu"
log_level = "info"
[audio]
max_bytes = 268435456
min_duration_s = 1.0
max_decode_s = 60.0
silence_peak_dbfs = -80.0
[retention]
snapshots = 5
days = 14.0
[server]
host = "127.0.0.1"
port = 50051
workers = 1
max_query_wait_s = 0.005
allowed_roots = ["/srv/deliveries", "/srv/archive"]
"""
TOKENS: dict[str, Any] = {
    "format": "anacrusis-tokens",
    "version": 1,
    "tokens": [
        {
            "name": f"caller-{row}",
            "role": ("read", "ingest", "admin")[row],
            "public": f"public-{row}",
            "salt": bytes([row] * 16).hex(),
            "sha256": bytes([row] * 32).hex(),
            "created": "2024-05-01T12:00:00+00:00",
            "expires": (None, "2034-05-01T12:00:00+00:00")[row % 2],
        }
        for row in range(3)
    ],
}


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _csv(rows: list[dict[str, Any]]) -> bytes:
    def cell(value: object) -> str:
        return '"' + (";".join(value) if isinstance(value, list) else str(value)) + '"'

    return "\n".join([",".join(rows[0]), *(",".join(cell(value) for value in row.values()) for row in rows)]).encode()


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


@cache
def sources() -> dict[str, bytes]:
    """A valid file of each kind, by a name whose ending is its layout."""
    ids = [row["track_id"] for row in ROWS]
    factors = [{"track_id": one, "vector": vector.tolist()} for one, vector in zip(ids, VECTORS, strict=True)]
    tables = {"manifest": ROWS, "feedback": EVENTS, "interactions": LISTENS}
    return {
        **{f"{name}.csv": _csv(rows) for name, rows in tables.items()},
        **{f"{name}.jsonl": _lines(rows) for name, rows in tables.items()},
        **{f"{name}.parquet": _parquet(pa.Table.from_pylist(rows)) for name, rows in tables.items()},
        "factors.jsonl": _lines(factors),
        "factors.parquet": _parquet(pa.table({"track_id": ids, "vector": list(VECTORS), "popularity": [1.5] * 6})),
        "factors.npy": _npy(VECTORS),
        "factors.ids": "\n".join(map(str, ids)).encode(),  # beside an .npy file that is as it should be
        "settings.toml": TOML.encode(),
        "tokens.json": json.dumps(TOKENS).encode(),
    }


def case(seed: int, number: int) -> tuple[str, bytes]:
    """Make a case: always the same one by its seed and number."""
    rng = random.Random(f"file {seed} {number}")
    names = sorted(sources())
    name = names[number % len(names)]
    return name, mutated(rng, sources()[name], list(sources().values()))


def _read_factors(path: Path) -> object:
    if path.suffix in (".npy", ".ids"):
        for other in (".npy", ".ids"):
            if path.suffix != other:
                path.with_suffix(other).write_bytes(sources()[f"factors{other}"])
        path = path.with_suffix(".npy")
    return read_factors(path, id_column="track_id")


def _read_feedback(path: Path) -> object:
    return record_feedback_file(ForgetfulEngine(), path)  # type: ignore[arg-type]


def _read_interactions(path: Path) -> object:
    warm = SimpleNamespace(space_id="space-1", track_ids=np.array([row["track_id"] for row in ROWS]))
    store = SimpleNamespace(user_vectors=lambda space_id: (["ann"], VECTORS[:1]))
    return read_interactions(path, store, warm)  # type: ignore[arg-type]


def _read_tokens(path: Path) -> object:
    path.chmod(0o600)  # one that others may read is refused before a byte of it is looked at
    return read_tokens(path)


READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "manifest": (read_manifest, ManifestError),
    "factors": (_read_factors, FactorsError),
    "feedback": (_read_feedback, FeedbackFileError),
    "interactions": (_read_interactions, InteractionsError),
    "settings": (load_settings, SettingsError),
    "tokens": (_read_tokens, PrivateFileError),
}


def outcome_of(path: Path) -> str:
    """Read a file.

    Parameters
    ----------
    path : Path
        Named as in `sources`.

    Returns
    -------
    str
        "read" or "refused".

    Raises
    ------
    FoundError
    """
    read, expected = READERS[path.stem]
    try:
        read(path)
    except expected as error:
        if "\n" in str(error) or "Traceback" in str(error):
            raise FoundError(f"is no sentence: {error}") from error
        return "refused"
    except Exception as error:
        raise FoundError(f"{type(error).__name__}: {error}") from error
    return "read"


def fuzz_files(seed: int, first: int, count: int, folder: Path) -> Findings:
    """Read mutated files.

    Parameters
    ----------
    seed, first, count : int
        Which cases.
    folder : Path
        For what is found, and for the file that is being read: should this process crash, it lies there.

    Returns
    -------
    Findings
    """
    findings = Findings(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        name, data = case(seed, number)
        path = folder / name
        path.write_bytes(data)
        try:
            findings.note(name, outcome_of(path))
        except FoundError as found:
            findings.find(name, data, str(found))
    for name in sources():
        (folder / name).unlink(missing_ok=True)
    return findings


def in_processes(seed: int, count: int, folder: Path) -> Findings:
    """Read mutated files in processes of their own.

    Parameters
    ----------
    seed, count : int
    folder : Path
        For what is found.

    Returns
    -------
    Findings
    """
    findings = Findings(folder)
    for first in range(0, count, CASES_A_PROCESS):
        some = min(CASES_A_PROCESS, count - first)
        with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
            command = [sys.executable, "-m", "tests.fuzz.file_cases", str(seed), str(first), str(some), place]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=CASE_S * some, check=False)
                ended = f"ended with {done.returncode}: {done.stderr[-500:]}" if done.returncode else ""
            except subprocess.TimeoutExpired:
                ended = "hung"
            if ended:
                left = [path for path in Path(place).iterdir() if path.name in sources()]
                latest = max(left, key=lambda path: path.stat().st_mtime_ns)
                findings.find(latest.name, latest.read_bytes(), f"the process that read it {ended}")
                continue
            told = json.loads(done.stdout)
            findings.cases += told["cases"]
            findings.outcomes += Counter(told["by_outcome"])
            findings.kinds += Counter(told["by_kind"])
            findings.sentences += told["findings"]
            for path in Path(place).glob("*.bin"):
                folder.mkdir(parents=True, exist_ok=True)
                path.rename(folder / path.name)
    return findings


if __name__ == "__main__":
    print(json.dumps(fuzz_files(*map(int, sys.argv[1:4]), Path(sys.argv[4])).report()))
