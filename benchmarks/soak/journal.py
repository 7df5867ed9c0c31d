"""What was sent, and what of it was acknowledged: that may not be lost; the rest may have happened or not."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class TrackLife:
    """What a client knows of a track.

    Attributes
    ----------
    acknowledged : str or None
        The artist that it was acknowledged with last.
    possible : set of str
        Artists that it was sent with since, without an answer.
    withdrawn : {"no", "asked", "yes"}
        Asked: without an answer.
    """

    acknowledged: str | None = None
    possible: set[str] = field(default_factory=set)
    withdrawn: str = "no"

    @property
    def is_settled(self) -> bool:
        """Whether nothing was sent that may still happen."""
        return not self.possible and self.withdrawn != "asked"

    @property
    def is_there(self) -> bool:
        """Whether it has to be in answers."""
        return self.acknowledged is not None and self.withdrawn == "no" and self.is_settled


class Journal:
    """The journal of all clients. Each track is one client's at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tracks: dict[str, TrackLife] = {}
        self.events: dict[str, tuple[str, bool]] = {}  # of each event its track, and whether it was acknowledged
        self.acknowledged: Counter[str] = Counter()
        self.answers = 0
        self.unanswered: Counter[str] = Counter()  # calls that were given up though their server went on
        self.faults: Counter[str] = Counter()
        self.examples: list[str] = []
        self.withdrawn: set[str] = set()  # acknowledged

    def acknowledge(self, what: str) -> None:
        """Count an answer that promises something."""
        with self.lock:
            self.acknowledged[what] += 1

    def fault(self, kind: str, example: str) -> None:
        """Note something that must not be, by what it is: ``lost``, ``duplicated``, ``wrong_answer`` and so on."""
        with self.lock:
            self.faults[kind] += 1
            if len(self.examples) < 20:
                self.examples.append(f"{kind}: {example}")

    def take_in(self, track_id: str, artist: str, what: str) -> None:
        """Note that a track was acknowledged with an artist."""
        life = self.life(track_id)
        life.acknowledged = artist
        life.possible.clear()
        self.acknowledge(what)

    def life(self, track_id: str) -> TrackLife:
        """Give what is known of a track."""
        with self.lock:
            return self.tracks.setdefault(track_id, TrackLife())

    def lives(self) -> dict[str, TrackLife]:
        """Give all tracks; for a moment at which nobody sends."""
        with self.lock:
            return dict(self.tracks)
