"""Several processes on one home, and one that is killed right behind an acknowledgement."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from index import (
    Searcher,
    Store,
    build_snapshot,
)

ROOT = Path(__file__).parents[2]

_WRITER = """
import sys, numpy as np
from index import *
home, name = sys.argv[1:]
with Store.open(home, create=False) as store:
    print("ready", flush=True); sys.stdin.readline()
    for turn in range(8):
        rows = [ServedVector(f"{name}-{turn}", np.full(8, 2.0, np.float32), Tier.AUDIO_ONLY, 0.25),
                ServedVector("shared", np.full(8, 3.0, np.float32), Tier.AUDIO_ONLY, 0.25)]
        store.commit(WriteBatch(tracks=[TrackRecord(row.track_id) for row in rows], fresh={"als": rows}))
print("done", flush=True)
"""

_ACKNOWLEDGED = """
import sys, time, numpy as np
from index import *
store = Store.open(sys.argv[1], create=False)
row = ServedVector("survivor", np.full(8, 50.0, np.float32), Tier.AUDIO_ONLY, 0.25)
content = {"e": [("survivor", np.ones(3))]}
store.commit(WriteBatch(tracks=[TrackRecord("survivor")], fresh={"als": [row]}, content=content))
store.commit(WriteBatch(withdrawn={"t00": "rights"}))
print("acknowledged", flush=True)
time.sleep(600)
"""


def _spawn(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_was_acknowledged_survives_kill_9(searcher, store):
    with _spawn(_ACKNOWLEDGED, str(store.home)) as child:
        assert child.stdout.readline() == "acknowledged\n"
        child.kill()
    with Store.open(store.home, create=False) as reopened, Searcher.open(reopened, device="cpu") as fresh:
        assert reopened.track("survivor") is not None
        assert reopened.content("e")[0] == ["survivor"]
        hits = fresh.search(np.ones((1, 8), dtype=np.float32), 40)[0]
        assert hits.track_ids[0] == "survivor"
        assert "t00" not in hits.track_ids
    assert searcher.sync()
    assert searcher.search(np.ones((1, 8), dtype=np.float32), 1)[0].track_ids == ["survivor"]


def test_processes_write_one_home_without_loss(searcher, store):
    children = [_spawn(_WRITER, str(store.home), name) for name in ("A", "B")]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    seen: set[str] = set()
    while any(child.poll() is None for child in children):
        searcher.sync()
        shown = set(searcher.search(np.ones((1, 8), dtype=np.float32), 100)[0].track_ids)
        assert seen <= shown
        seen = shown
    for child in children:
        assert child.stdout.readline() == "done\n"
        with child:
            assert child.wait() == 0
    searcher.sync()
    expected = {f"{name}-{turn}" for name in "AB" for turn in range(8)} | {"shared"}
    shown = searcher.search(np.ones((1, 8), dtype=np.float32), 100)[0].track_ids
    assert len(shown) == len(set(shown)) == 30 + len(expected)
    assert expected <= set(shown)
    assert sorted(store.fresh_rows("als").track_ids) == sorted(expected)


def test_two_publishers_both_count(store, space):
    first, second = build_snapshot(store, "als"), build_snapshot(store, "als")
    with Store.open(store.home) as other:
        other.publishes()
        store.publish(first.snapshot_id)
        other.publish(second.snapshot_id)
    assert [record.sequence for record in store.publishes()] == [1, 2]
    assert store.published() == second
