"""What a run has found out: counts by outcome, and each case that should not have ended as it did."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

MOST_SENTENCES = 50  # in the report; all cases are kept as files


class FoundError(Exception):
    """A case ended as it must not."""


@dataclass
class Findings:
    """Outcomes of the cases of one kind. Thread safe.

    Attributes
    ----------
    folder : Path
        Where the bytes of a case that found something are kept.
    prefix : str
        Of the names of these files.
    cases : int
    outcomes : Counter
        By what a caller got.
    kinds : Counter
        By what was sent.
    sentences : list of str
        Of what should not have been.
    resident_mib : list of float
        What the server held in memory behind each part of the cases, where there is one.
    """

    folder: Path
    prefix: str = ""
    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    sentences: list[str] = field(default_factory=list)
    resident_mib: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, outcome: str) -> None:
        """Count a case that ended as it may."""
        with self._lock:
            self.cases += 1
            self.kinds[kind] += 1
            self.outcomes[outcome] += 1

    def find(self, kind: str, data: bytes, sentence: str) -> None:
        """Keep a case that ended as it must not."""
        self.note(kind, "found")
        name = f"{self.prefix}{kind}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)
            self.sentences.append(f"{kind}, {name}: {sentence}")

    def add(self, other: Findings) -> None:
        """Take over what another run has found."""
        with self._lock:
            self.cases += other.cases
            self.outcomes += other.outcomes
            self.kinds += other.kinds
            self.sentences += other.sentences

    def report(self) -> dict[str, object]:
        """Give the figures as JSON can hold them."""
        return {
            "cases": self.cases,
            "found": len(self.sentences),
            "findings": self.sentences[:MOST_SENTENCES],
            "by_kind": dict(sorted(self.kinds.items())),
            "by_outcome": dict(sorted(self.outcomes.items())),
            **({"resident_mib": self.resident_mib} if self.resident_mib else {}),
        }
