"""Jobs on Ray, run by the command line in a process of its own: the same results, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from made_catalogue import ARTISTS, SPACE_ID, audio_bytes, release
from test_jobs_backfill import TOLERANCE, assert_same, backfill, once_it_is_free, run_in_this_process, write_manifest

from index import FeedbackAction, FeedbackEvent, ServedRows, ServedVector
from jobs import Engine
from jobs.backfill import BackfillReport
from jobs.errors import ExtraMissingError, RayError
from jobs.ingest_manifest import ingest_manifest
from jobs.manifest import read_manifest
from jobs.on_ray import RayOptions, ray_cluster
from jobs.projecting import project_here
from jobs.projector import build_projector
from jobs.refresh_on_ray import ProjectBlock

pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short name: a socket's path may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="ar-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def environment(place: Path) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "jobs")])
    given = {"TMPDIR": str(place), "HOME": str(place), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return {**os.environ, **given, "RAY_ADDRESS": "127.0.0.1:1"}  # of some cluster, which nobody asked to be used


def anacrusis(place: Path, *arguments: object, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anacrusis", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment(place), cwd=place)


def processes(place: Path) -> list[str]:
    """Command lines of the living processes that were started with our environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if f"TMPDIR={place}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # it has just ended, or is somebody else's
                continue
    return found


def left_behind(place: Path) -> list[str]:
    """Processes that do not end, and folders of Ray."""
    for _ in range(1200):  # where the job was killed, two agents of Ray notice it after a minute
        if not processes(place):
            break
        time.sleep(0.1)
    return processes(place) + [str(folder) for folder in place.glob("ray-*")]


def test_backfill_does_what_ingest_does_and_leaves_nothing_behind(place: Path) -> None:
    manifest = write_manifest(place / "music")
    ended = anacrusis(place, "--home", place / "home", "backfill", manifest, "--workers", 1, "--json", "-")
    assert ended.returncode == 3, ended.stderr
    report = json.loads(ended.stdout)
    assert (report["created"], report["unchanged"], report["gpus_each"]) == (6, 0, 0)
    assert [(row["row"], row["reason"]) for row in report["refused"]] == [
        (3, "AUDIO_FILE_MISSING"),
        (4, "AUDIO_NOT_AUDIO"),
    ]
    assert "hear 8/8" in ended.stderr
    assert "refused row 3 'missing'" in ended.stderr
    assert left_behind(place) == []
    with Engine.open(place / "home") as engine, Engine.open(place / "ingested", create=True) as ingested:
        ingest_manifest(ingested, read_manifest(manifest))
        assert_same(engine, ingested)


KILLED = """
import functools, os, signal, sys
from pathlib import Path
from index import ContentBackfill, Store
import ray
from anacrusis.settings import keep_ray_quiet
import test_jobs_backfill as these
from jobs import Engine
from jobs.backfill import BackfillReport

keep_ray_quiet()
Store.lease = functools.partialmethod(Store.lease, ttl_s=0.5)
note = ContentBackfill.note
ContentBackfill.note = lambda self, part: (note(self, part), os.kill(os.getpid(), signal.SIGKILL))
with Engine.open(sys.argv[1], create=True) as engine:
    these.backfill(engine, Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_it_leaves_no_process_and_goes_on_from_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[BackfillReport] = []
    manifest = write_manifest(place / "music")
    command = [sys.executable, "-c", KILLED, str(place / "home"), str(manifest)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment(place), cwd=place)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert [one for one in left_behind(place) if not one.startswith(str(place))] == []  # its folder of logs stays
    with Engine.open(place / "home") as engine, Engine.open(place / "ingested", create=True) as ingested:
        assert engine.store.tracks() == []
        run_in_this_process(monkeypatch)  # that what Ray's workers wrote is taken over is what matters here
        once_it_is_free(lambda: reports.append(backfill(engine, manifest)))
        assert reports[0].created == 6
        assert reports[0].went_on >= 1
        ingest_manifest(ingested, read_manifest(manifest))
        assert_same(engine, ingested)


BESIDE_A_GPU = """
import functools, sys
from pathlib import Path
import ray
from anacrusis.settings import keep_ray_quiet
import test_jobs_backfill as these
from jobs import Engine
from jobs.backfill import BackfillReport

keep_ray_quiet()
ray.init = functools.partial(ray.init, num_gpus=1)  # which is none: what runs where is what matters here
with Engine.open(sys.argv[1], create=True) as engine:
    report = these.backfill(engine, Path(sys.argv[2]))
    print(report.created, report.workers, report.gpus_each)
"""


@pytest.mark.slow
def test_beside_a_gpu_decoding_runs_in_processes_of_its_own(place: Path) -> None:
    manifest = write_manifest(place / "music")
    command = [sys.executable, "-c", BESIDE_A_GPU, str(place / "home"), str(manifest)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment(place), cwd=place)
    assert ended.stdout.split() == ["6", "1", "1"], ended.stderr
    with Engine.open(place / "home") as engine, Engine.open(place / "ingested", create=True) as ingested:
        ingest_manifest(ingested, read_manifest(manifest))
        assert_same(engine, ingested)


def ingest_cold_tracks(engine: Engine) -> None:
    """Some by artists with a catalogue, one by nobody known, one with a listener."""
    cold = [release(f"cold-{artist}", artist_ids=(artist,), audio=audio_bytes(300.0)) for artist in (*ARTISTS, "who")]
    assert all(outcome.served for outcome in engine.ingest(cold))
    event = FeedbackEvent("cold-ada", "listener", FeedbackAction.PLAY)
    engine.record_feedback([event])


def assert_same_rows(rows: Sequence[ServedVector], wanted: Sequence[ServedVector]) -> None:
    rows, wanted = (sorted(some, key=lambda row: row.track_id) for some in (rows, wanted))
    assert [(row.track_id, row.tier, row.model_id, row.basis, row.catalogue_basis) for row in rows] == [
        (row.track_id, row.tier, row.model_id, row.basis, row.catalogue_basis) for row in wanted
    ]
    for row, other in zip(rows, wanted, strict=True):
        np.testing.assert_allclose(row.vector, other.vector, rtol=0, atol=TOLERANCE)
        assert row.confidence == pytest.approx(other.confidence, abs=TOLERANCE)
        assert [one for one, _ in row.leaned_on] == [one for one, _ in other.leaned_on]


def test_a_worker_projects_what_one_process_projects(engine: Engine) -> None:
    ingest_cold_tracks(engine)
    plan = engine.plan_refresh(everything=True)
    assert plan.basis is not None
    projector = build_projector(engine.store, engine.home, SPACE_ID, plan.encoder_id, device="cpu")
    assert projector is not None
    given = (str(engine.home), SPACE_ID, plan.encoder_id, "cpu", plan.basis, plan.catalogue_ids.to_pylist())
    block = ProjectBlock(*given, None)(pa.table({"track_id": plan.touched}))
    wanted = [row for _, rows in project_here(engine.store, projector)(plan.touched) for row in rows]
    assert len(wanted) == 5
    assert_same_rows(ServedRows(block).records(), wanted)
    with pytest.raises(RayError, match="is the artist mean by now, and was another when the refresh began"):
        ProjectBlock(*given, "another")


@pytest.mark.slow
def test_a_refresh_on_ray_is_the_refresh_of_one_process(place: Path, engine: Engine) -> None:
    ingest_cold_tracks(engine)
    shutil.copytree(str(engine.home), place / "home")
    ended = anacrusis(place, "--home", place / "home", "refresh", "--all", "--ray", "--workers", 1, "--json", "-")
    assert ended.returncode == 0, ended.stderr
    assert left_behind(place) == []
    report = json.loads(ended.stdout)
    wanted = engine.refresh(everything=True)
    assert (report["projected"], report["tiers"]) == (wanted.projected, wanted.tiers) == (5, report["tiers"])
    with Engine.open(place / "home") as other:
        assert_same_rows(other.store.served_rows(SPACE_ID).records(), engine.store.served_rows(SPACE_ID).records())
        again = anacrusis(place, "--home", place / "home", "refresh", "--ray", "--json", "-")
        assert json.loads(again.stdout)["published"] is False  # Ray was not even started


@pytest.mark.parametrize("address", ["cluster", ":6379", "cluster:", "cluster:70000", "cluster:port"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(RayError, match="HOST:PORT"):
        RayOptions(address)


def test_a_cluster_that_is_not_there_is_said_at_once(place: Path) -> None:
    with (
        pytest.raises(RayError, match=r"No Ray cluster can be reached at 127\.0\.0\.1:1 "),
        ray_cluster(RayOptions("127.0.0.1:1"), device="cpu"),
    ):
        raise AssertionError


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ExtraMissingError, match=r"pip install 'anacrusis\[ray\]'"),
        ray_cluster(RayOptions(), device="cpu"),
    ):
        raise AssertionError
