"""Whatever happened before: a refresh ends where projecting everything ends, also one that was killed on its way."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import made_home
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_home import ARTISTS, ENCODER, SPACE_ID, USERS, WARM, hear, open_engine, record, train
from refreshed_rows import assert_same, rows_of

from index import FeedbackAction, FeedbackEvent, LeaseHeldError, WriteBatch
from jobs import Engine
from jobs.spaces import rollback_snapshot

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("encoders.load_encoder", lambda *_, **__: ENCODER)
        home = tmp_path_factory.mktemp("histories") / "home"
        made_home.fill_home(home)
        yield home


artists = st.lists(st.sampled_from((*ARTISTS, "newcomer")), min_size=1, max_size=2, unique=True)
cold_ids = st.sampled_from([f"cold-{name}-{number}" for name in ARTISTS for number in range(3)])
Step = Callable[[Engine], object]


def _hears(track_id: str, credits: list[str], take: int) -> Step:
    return lambda engine: hear(engine, record(track_id, *credits, audio=f"{track_id}, take {take}"))


def _listens(track_id: str, user_id: str) -> Step:
    event = FeedbackEvent(track_id, user_id, FeedbackAction.PLAY)
    return lambda engine: engine.store.commit(WriteBatch(feedback=[event]))


def _reopens(engine: Engine) -> None:
    with open_engine(Path(engine.store.home)):  # projects what was stored only
        pass


def _rolls_back(engine: Engine) -> None:
    if len({one.snapshot_id for one in engine.store.publishes()}) > 1:
        engine.refresh(everything=True)
        hear(engine, record("another", "ada"))
        engine.refresh()
        rollback_snapshot(engine)


steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(_hears, cold_ids, artists, st.integers(0, 1)),
    st.builds(_hears, st.sampled_from(WARM), artists, st.integers(0, 1)),
    st.builds(lambda track_id: lambda engine: engine.withdraw([track_id]), st.one_of(cold_ids, st.sampled_from(WARM))),
    st.builds(_listens, cold_ids, st.sampled_from(USERS)),
    st.just(train),
    st.just(Engine.refresh),
    st.just(_reopens),
    st.just(_rolls_back),
)


@settings(max_examples=8)
@given(history=st.lists(steps, min_size=3, max_size=8))
def test_a_refresh_ends_where_projecting_everything_ends(template: Path, history: list[Step]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        open_engine(Path(shutil.copytree(template, Path(folder) / "home"))) as engine,
    ):
        for step in history:
            step(engine)
        engine.refresh()
        incremental = rows_of(engine)
        assert len(engine.plan_refresh().touched) == 0
        engine.refresh(everything=True)
        assert_same(incremental, rows_of(engine))
        assert engine.serving()[0] == SPACE_ID


_KILLED = """
import os, signal, sys
sys.path.insert(0, "tests")
import encoders, jobs.projecting, jobs.refresh
from index import Store
from index.registry import Registry
from made_home import ENCODER, open_engine

home, where = sys.argv[1:]
encoders.load_encoder = lambda *_, **__: ENCODER
jobs.projecting.BATCH_TRACKS = jobs.projecting.STAGE_TRACKS = 2
lease = Store.lease
Store.lease = lambda self, name: lease(self, name, ttl_s=0.5)

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_after(owner, name, times=1):
    original, calls = getattr(owner, name), []
    def called(*arguments, **fields):
        result = original(*arguments, **fields)
        calls.append(1)
        return die() if len(calls) == times else result
    setattr(owner, name, called)

with open_engine(home) as engine:
    {
        "half staged": lambda: dies_after(Store, "replace_served", 2),
        "all staged": lambda: setattr(jobs.refresh, "build_snapshot", die),
        "index written": lambda: setattr(Store, "record_snapshot", die),
        "snapshot recorded": lambda: dies_after(Store, "record_snapshot"),
        "published": lambda: dies_after(Registry, "publish"),
    }[where]()
    engine.refresh()
"""
STAGES = ("half staged", "all staged", "index written", "snapshot recorded", "published")


def _change(engine: Engine) -> None:
    hear(engine, record("warm-ada-3", "ada"), record("late", "ben"), record("cold-cleo-0", "dana"))
    event = FeedbackEvent("cold-ben-0", USERS[0], FeedbackAction.PLAY)
    engine.store.commit(WriteBatch(feedback=[event]))


def _refresh_when_free(engine: Engine) -> None:
    while True:
        try:
            engine.refresh()
            return
        except LeaseHeldError as held:  # by the one that was killed, until it expires
            time.sleep(max(0.01, (held.expires_at - datetime.now(UTC)).total_seconds()))


def test_a_refresh_that_was_killed_anywhere_ends_as_if_it_had_not_been(template: Path, tmp_path: Path) -> None:
    undisturbed = Path(shutil.copytree(template, tmp_path / "undisturbed"))
    with open_engine(undisturbed) as engine:
        train(engine)
        _change(engine)
    homes = {stage: Path(shutil.copytree(undisturbed, tmp_path / stage)) for stage in STAGES}
    killed = {
        stage: subprocess.Popen([sys.executable, "-c", _KILLED, str(home), stage], cwd=ROOT, stderr=subprocess.PIPE)
        for stage, home in homes.items()
    }
    with open_engine(undisturbed) as engine:
        engine.refresh()
        wanted, found = rows_of(engine), engine.searcher.search(np.eye(made_home.DIM, dtype=np.float32), 30)
    for stage, process in killed.items():
        _, said = process.communicate(timeout=120)
        assert process.returncode == -9, said.decode()
        with open_engine(homes[stage]) as engine:
            _refresh_when_free(engine)
            assert_same(rows_of(engine), wanted)
            assert len(engine.plan_refresh().touched) == 0
            assert engine.refresh().published is False
            answers = engine.searcher.search(np.eye(made_home.DIM, dtype=np.float32), 30)
            for answer, due in zip(answers, found, strict=True):
                assert answer.track_ids == due.track_ids
                np.testing.assert_allclose(answer.scores, due.scores, atol=1e-3)
