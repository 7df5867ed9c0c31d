"""The rules that never break, after every step of any life of a home: trainings, releases, takedowns, crashes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from made_catalogue import ARTISTS, audio_bytes, warm_releases

from index import (
    MAX_K,
    FeedbackAction,
    FeedbackEvent,
    NoRollbackError,
    NoSnapshotError,
    Retention,
    Tier,
    WithdrawnTrackError,
)
from jobs import Engine, IngestState, Query, Release, missing
from jobs.bridge import bridge_if_due
from jobs.factors import Factors
from jobs.ingest_manifest import ingest_manifest
from jobs.maintain import maintain
from jobs.manifest import Manifest
from jobs.spaces import import_space, rollback_snapshot
from jobs.train import train_space

FIRST = [one for one in warm_releases() if one.track_id.endswith(("-0", "-1"))]
"""Ingested before anything else; those that end in 0 are in every training and are never withdrawn."""
ALWAYS_WARM = frozenset(one.track_id for one in FIRST if one.track_id.endswith("-0"))
NAMES = tuple(f"new-{number}" for number in range(4))
OTHERS = (*(one.track_id for one in FIRST if one.track_id not in ALWAYS_WARM), *NAMES)
STRANGERS = tuple(f"stranger-{number:02d}" for number in range(20))
"""Known to the recommender alone: enough of them are in every training that one can be bridged to another."""
WHIMSICAL = "stranger-whimsical"
PLACES = {
    name: np.random.default_rng(place).normal(size=8)
    for place, name in enumerate((*sorted(ALWAYS_WARM), *OTHERS, *STRANGERS, WHIMSICAL))
}
"""Where listeners have the tracks, whatever a training's coordinates are."""
AUDIO = {name: audio_bytes(150.0 + 40.0 * place, seed=place) for place, name in enumerate(NAMES)}
WRITES = {
    "": (
        "commit",
        "replace_served",
        "stage_served",
        "note_moved",
        "add_fresh",
        "record_snapshot",
        "publish",
        "rollback",
        "create_space",
    ),
    "registry": ("retire",),
    "space_tables": ("drop_fresh", "discard"),
    "layout.files": ("remove",),
}
"""Methods of the store and its parts that make something durable: where a process may end, before or after."""


class Killed(BaseException):
    """The process ends here."""


class LifeOfASpace(RuleBasedStateMachine):
    """What a caller was told, beside what the home answers."""

    def __init__(self, template: Path) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        self.home = Path(shutil.copytree(template, self.folder / "home"))
        self.engine = Engine.open(self.home)
        self.delivered = {one.track_id: one for one in FIRST}
        self.withdrawn: set[str] = set()
        self.spaces: dict[str, dict[str, np.ndarray]] = {}
        self.trainings = 0  # a space's id is never used again
        self.stack: list[tuple[str, str]] = []  # (snapshot, space): what a rollback goes back through

    def teardown(self) -> None:
        self.engine.close()
        shutil.rmtree(self.folder)

    # What can happen --------------------------------------------------------------------------------------------------

    @initialize()
    def first_training(self) -> None:
        self._import("space-0", seed=0, warm=set(ALWAYS_WARM), dim=8)

    @rule(name=st.sampled_from(NAMES), artist=st.sampled_from(ARTISTS))
    def deliver(self, name: str, artist: str) -> None:
        self._deliver(name, artist)

    @precondition(lambda self: self.trainings < 6)
    @rule(seed=st.integers(1, 99), warm=st.sets(st.sampled_from((*OTHERS, WHIMSICAL))), dim=st.sampled_from((6, 8)))
    def import_training(self, seed: int, warm: set[str], dim: int) -> None:
        self._import(f"space-{self.trainings}", seed=seed, warm=ALWAYS_WARM | warm, dim=dim)

    @rule(pick=st.integers(0, 3))
    def publish(self, pick: int) -> None:
        self._publish(list(self.spaces)[pick % len(self.spaces)])

    @precondition(lambda self: self.stack)
    @rule(artist=st.none() | st.sampled_from(ARTISTS))
    def refresh(self, artist: str | None) -> None:
        before = self.engine.serving()
        report = self.engine.refresh([artist] if artist else None)
        assert report.space_id == before[0]
        if report.snapshot_id != before[1]:
            self.stack.append((report.snapshot_id, report.space_id))

    @precondition(lambda self: self.stack)
    @rule()
    def refresh_again_finds_nothing_to_do(self) -> None:
        self.refresh(None)
        served = self.engine.serving()
        report = self.engine.refresh()
        assert (report.projected, self.engine.serving()) == (0, served)

    @precondition(lambda self: self.stack)
    @rule()
    def roll_back(self) -> None:
        if len(self.stack) == 1:
            with pytest.raises(NoRollbackError):
                rollback_snapshot(self.engine)
            return
        snapshot = rollback_snapshot(self.engine)
        self.stack.pop()
        assert (snapshot.snapshot_id, snapshot.space_id) == self.stack[-1]

    @rule(name=st.sampled_from(OTHERS))
    def withdraw(self, name: str) -> None:
        assert self.engine.withdraw([name], "rights") == ([name] if name not in self.withdrawn else [])
        self.withdrawn.add(name)

    @precondition(lambda self: self.stack)
    @rule(name=st.sampled_from(NAMES), number=st.integers(0, 3))
    def listen(self, name: str, number: int) -> None:
        space_id = self.stack[-1][1]
        vector = next(iter(self.spaces[space_id].values()))
        event = FeedbackEvent(
            event_id=f"{name}-{number}",
            track_id=name,
            user_id=f"user-{number}",
            action=FeedbackAction.PLAY,
            user_vector=vector,
            space_id=space_id,
        )
        self.engine.record_feedback([event], space_id=space_id)

    @precondition(lambda self: self.stack)
    @rule()
    def train(self) -> None:
        train_space(self.engine, self.stack[-1][1], method="artist_mean")

    @rule(keep=st.integers(1, 3))
    def maintain(self, keep: int) -> None:
        maintain(self.engine, Retention(snapshots=keep, days=0.0, grace_s=0.0))
        kept = {snapshot_id for snapshot_id, _ in self.stack[-keep:]}
        assert {one.snapshot_id for one in self.engine.store.snapshots()} == kept
        in_use = {space_id for snapshot_id, space_id in self.stack if snapshot_id in kept} | {list(self.spaces)[-1]}
        assert {one.space_id for one in self.engine.store.spaces()} == in_use
        self._forget_what_is_retired()

    @rule()
    def reopen(self) -> None:
        self.engine.close()
        self.engine = Engine.open(self.home)

    @precondition(lambda self: self.stack)
    @rule(
        what=st.sampled_from(("deliver", "import", "publish", "refresh", "roll back", "withdraw", "maintain")),
        name=st.sampled_from(NAMES),
        artist=st.sampled_from(ARTISTS),
        write=st.integers(0, 3),
        after=st.booleans(),
    )
    def die(self, what: str, name: str, artist: str, write: int, after: bool) -> None:
        """End the process before or after one of the writes of a job; then open the home again."""
        jobs: dict[str, Callable[[], Any]] = {
            "deliver": lambda: self._deliver(name, artist),
            "import": lambda: self._import(f"space-{self.trainings}", seed=7, warm=ALWAYS_WARM | {name}, dim=8),
            "publish": lambda: self._publish(next(iter(self.spaces))),
            "refresh": lambda: self.refresh(None),
            "roll back": self.roll_back,
            "withdraw": lambda: self.withdraw(name),
            "maintain": lambda: self.maintain(2),
        }
        died = False
        try:
            with dying(self.engine, write, after=after):
                jobs[what]()
        except Killed:
            died = True
        self.reopen()
        if died:
            self._believe()

    # What must hold ---------------------------------------------------------------------------------------------------

    @invariant()
    def one_space_answers_with_all_that_it_should_and_nothing_else(self) -> None:
        if not self.stack:
            with pytest.raises(NoSnapshotError):
                self.engine.ask(Query(track_id=FIRST[0].track_id))
            return
        snapshot_id, space_id = self.stack[-1]
        warm = self.spaces[space_id]
        query = np.random.default_rng(0).normal(size=len(next(iter(warm.values())))).astype(np.float32)
        answer = self.engine.ask(Query(vector=query, k=MAX_K))
        assert (answer.space_id, answer.snapshot_id) == (space_id, snapshot_id)
        (hits,) = answer.hits
        assert sorted(hits.track_ids) == sorted((warm.keys() | self.delivered.keys()) - self.withdrawn)
        rows = self.engine.embeddings(hits.track_ids).embeddings
        for track_id, score, tier, row in zip(hits.track_ids, hits.scores, hits.tiers, rows, strict=True):
            assert not isinstance(row, Exception)
            assert row.tier == tier
            assert (tier == Tier.COLLABORATIVE) == (track_id in warm)
            if track_id in warm:
                np.testing.assert_array_equal(row.vector, warm[track_id])
            assert score == pytest.approx(float(query @ row.vector), rel=2e-3, abs=2e-3)
            assert not self.withdrawn & {one for one, _ in row.leaned_on}

    @invariant()
    def what_is_withdrawn_stays_so(self) -> None:
        for track_id in self.withdrawn if self.stack else ():
            with pytest.raises(WithdrawnTrackError):
                self.engine.ask(Query(track_id=track_id))

    @invariant()
    def what_was_taken_in_is_kept_and_taken_in_once(self) -> None:
        records = self.engine.describe(list(self.delivered))
        for track_id, record in zip(self.delivered, records, strict=True):
            assert record is not None
            assert record.artist_ids == self.delivered[track_id].artist_ids
        assert len(self.engine.store.tracks()) == len(self.delivered)

    # How it is done ---------------------------------------------------------------------------------------------------

    def _deliver(self, name: str, artist: str) -> None:
        release = Release(track_id=name, artist_ids=(artist,), audio=AUDIO[name])
        (outcome,) = self.engine.ingest([release])
        if name in self.withdrawn:
            assert outcome.state is IngestState.REFUSED
            return
        known = self.delivered.get(name)
        if known is None:
            assert outcome.state is IngestState.CREATED
        else:
            same = known.artist_ids == release.artist_ids
            assert outcome.state is (IngestState.UNCHANGED if same else IngestState.UPDATED)
        self.delivered[name] = release

    def _import(self, space_id: str, *, seed: int, warm: set[str] | frozenset[str], dim: int) -> None:
        self.trainings += 1
        ids = sorted({*warm, *STRANGERS})
        rng = np.random.default_rng(seed)
        turn = np.linalg.qr(rng.normal(size=(8, 8)))[0][:, :dim]
        places = np.stack([PLACES[one] for one in ids])
        vectors = (places @ turn + 0.1 * rng.normal(size=(len(ids), dim))).astype(np.float32)
        self.spaces_begun = space_id, dict(zip(ids, vectors, strict=True))
        import_space(self.engine, space_id, Factors(np.array(ids), vectors))
        self.spaces[space_id] = self.spaces_begun[1]

    def _publish(self, space_id: str) -> None:
        bridge_if_due(self.engine, space_id)
        report = self.engine.refresh(space_id=space_id)
        if not self.stack or self.stack[-1][0] != report.snapshot_id:
            self.stack.append((report.snapshot_id, space_id))

    def _believe(self) -> None:
        """Take from the home whether the job that was cut off has happened: either is right, half of it is not."""
        store = self.engine.store
        for record in store.tracks():
            known = self.delivered.get(record.track_id)
            if known is None or known.artist_ids != record.artist_ids:
                assert record.track_id in NAMES
                self.delivered[record.track_id] = Release(
                    track_id=record.track_id, artist_ids=record.artist_ids, audio=AUDIO[record.track_id]
                )
        self.withdrawn |= store.withdrawn()
        space_id, vectors = self.spaces_begun
        if space_id in {one.space_id for one in store.spaces()}:
            self.spaces[space_id] = vectors
        served = store.published()
        assert served is not None
        if len(self.stack) > 1 and (served.snapshot_id, served.space_id) == self.stack[-2]:
            self.stack.pop()
        elif served.snapshot_id != self.stack[-1][0]:
            self.stack.append((served.snapshot_id, served.space_id))
        self._forget_what_is_retired()

    def _forget_what_is_retired(self) -> None:
        store = self.engine.store
        snapshots = {one.snapshot_id for one in store.snapshots()}
        spaces = {one.space_id for one in store.spaces()}
        left = [one for one in self.stack if one[0] in snapshots]
        self.stack = [one for one, before in zip(left, [None, *left], strict=False) if one != before]
        self.spaces = {space_id: vectors for space_id, vectors in self.spaces.items() if space_id in spaces}


@contextmanager
def dying(engine: Engine, write: int, *, after: bool) -> Iterator[None]:
    """Raise `Killed` in place of, or right after, one of the next writes."""
    left = write

    def dangerous(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == -1 and not after:
                raise Killed
            done = method(*arguments, **options)
            if left == -1:
                raise Killed
            return done

        return call

    with pytest.MonkeyPatch.context() as patch:
        for part, names in WRITES.items():
            owner = attrgetter(part)(engine.store) if part else engine.store
            for name in names:
                if hasattr(owner, name):
                    patch.setattr(owner, name, dangerous(getattr(owner, name)))
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("life") / "home"
    with Engine.open(home, create=True) as engine:
        assert not ingest_manifest(engine, Manifest(FIRST, list(range(len(FIRST))), [])).refused
    return home


def live(template: Path, lives: int, steps: int) -> None:
    run_state_machine_as_test(
        lambda: LifeOfASpace(template),
        settings=settings(
            max_examples=lives,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two missing tracks are many: what was found is found behind every switch all the same."""
    monkeypatch.setattr(missing, "LEFT_TO_REFRESH", 1)


def test_the_rules_hold_after_every_step(template: Path) -> None:
    live(template, lives=6, steps=12)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_rules_hold_after_every_step_of_many_lives(template: Path) -> None:
    live(template, lives=100, steps=30)
