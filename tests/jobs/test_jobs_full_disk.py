"""A disk that fills up in each step that writes: one sentence, nothing half done, and it goes on once there is room."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# In a process of its own: the limit is a process's, and would hit whatever else the tests write.
_SCRIPT = """
import json, logging, resource, sys
import numpy as np
from anacrusis.bench.given_vectors import GivenVectorsEngine
from benchmarks.soak import world
from index import FeedbackAction, FeedbackEvent, MAX_K
from jobs import Query, Release
from jobs.bridge import bridge_if_due
from jobs.factors import Factors
from jobs.maintain import maintain
from jobs.spaces import import_space, rollback_snapshot
from jobs.train import train_space

logging.disable(logging.CRITICAL)
home, limit = sys.argv[1], int(sys.argv[2])
world.make_home(home)
made = iter(range(1, 1000))

def ingest(engine):
    (outcome,) = engine.ingest([Release(f"new-{next(made)}", (world.ARTISTS[0],), world.audio("new"))])
    if outcome.error is not None:
        raise outcome.error

def feedback(engine):
    who = {"track_id": "there", "user_id": world.USERS[0]}
    event = FeedbackEvent(event_id=f"e{next(made)}", action=FeedbackAction.PLAY, **who)
    (outcome,) = engine.record_feedback([event]).outcomes
    if outcome.error is not None:
        raise outcome.error

def bring(engine):
    number = next(made)
    import_space(engine, world.space_id(number), Factors(np.array(world.WARM), world.vectors(number)))

def publish(engine):
    newest = engine.store.spaces()[-1].space_id
    bridge_if_due(engine, newest)
    engine.refresh(space_id=newest, again=True)

steps = {
    "ingest": ingest,
    "withdraw": lambda engine: engine.withdraw([f"gone-{next(made)}"]),
    "feedback": feedback,
    "import": bring,
    "train": lambda engine: train_space(engine, "", method="artist_mean"),
    "publish": publish,
    "refresh": lambda engine: engine.refresh(everything=True),
    "rollback": rollback_snapshot,
}

def shown(engine):
    dim = engine.status().space.dim
    answer = engine.ask(Query(vector=np.ones(dim, np.float32), k=MAX_K))
    ids = answer.hits[0].track_ids
    assert len(set(ids)) == len(ids)
    return answer.space_id, answer.snapshot_id, sorted(ids)

found = {}
with GivenVectorsEngine.open(home, device="cpu") as engine:
    engine.ingest([Release("there", (world.ARTISTS[0],), world.audio("there"))])
    for name, step in steps.items():
        before = shown(engine)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            step(engine)
            found[name] = "done"
        except Exception as error:
            found[name] = f"{getattr(error, 'reason', type(error).__name__)}: {error}"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if found[name] != "done":
            assert shown(engine) == before, name
        step(engine)
        shown(engine)
    maintain(engine)
print(json.dumps(found))
"""


@pytest.mark.parametrize("limit", [0, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_full_disk_is_told_and_harms_nothing(tmp_path: Path, limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path / "home"), str(limit)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if not limit:
        assert "done" not in found.values()
    reasons = {name: told.partition(":")[0] for name, told in found.items() if told != "done"}
    assert set(reasons.values()) <= {"HOME_FULL", "MODEL_NOT_WRITTEN"}, found
    assert all("free space" in told or "File too large" in told for told in found.values() if told != "done")
