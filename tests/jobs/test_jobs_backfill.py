"""A catalogue heard by many: the same result as one process has, whenever it was cut off, whoever else writes.

The stages of the workers run in this process here; test_jobs_on_ray.py has them on Ray.
"""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from made_catalogue import SPACE_ID, audio_bytes, warm_factors, warm_releases

from encoders import AudioLimits
from index import LeaseHeldError, Tier, TrackRecord, WriteBatch
from jobs import Engine, IngestState, Query, Release
from jobs import backfill as backfill_job
from jobs import backfill_stages as stages
from jobs.backfill import BackfillReport, backfill_manifest
from jobs.ingest_manifest import ingest_manifest
from jobs.manifest import Manifest, read_manifest
from jobs.on_ray import Cluster
from jobs.progress import Progress
from jobs.spaces import import_space

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5  # networks may add up in another order where they have another number of threads


def write_manifest(folder: Path, tracks: int = 6, *, bad: bool = True) -> Path:
    """Tracks of two artists, and, where asked for, one file that is missing and one that is no audio."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(tracks):
        (folder / f"t{number}.wav").write_bytes(audio_bytes(200.0 + 30 * number, seed=number))
        rows.append([f"t{number}", f"Track {number}", f"artist-{number % 2}", f"t{number}.wav"])
    if bad:
        (folder / "text.mp3").write_text("no audio")
        rows[2:2] = [["missing", "", "artist-0", "nowhere.wav"], ["text", "", "artist-0", "text.mp3"]]
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([["track_id", "title", "artist_ids", "audio"], *rows])
    return manifest


def run_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stages run one after the other, without Ray."""

    @contextmanager
    def nobody(*_: object, **__: object) -> Iterator[Cluster]:
        yield Cluster(workers=1, gpus_each=0)

    def run(tables: list[pa.Table], _: Cluster, **given: object) -> Iterator[pa.Table]:
        encode = stages.Encode(*given["encode"])  # type: ignore[misc]
        for table in tables:
            decoded = stages.read_and_decode(table, **given["decode"])  # type: ignore[arg-type]
            rows = pa.concat_tables([encode(one) for one in decoded])
            yield stages.write_part(rows, **given["write"])  # type: ignore[arg-type]

    monkeypatch.setattr(backfill_job, "ray_cluster", nobody)
    monkeypatch.setattr(backfill_job, "_pipeline", run)
    monkeypatch.setattr(backfill_job, "results", iter)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_this_process(monkeypatch)


def backfill(engine: Engine, manifest: Path | Manifest, **options: object) -> BackfillReport:
    read = read_manifest(manifest) if isinstance(manifest, Path) else manifest
    given: dict[str, object] = {"encoder": "musicnn-msd", "limits": AudioLimits(), "part_tracks": 2, **options}
    return backfill_manifest(engine, read, **given)  # type: ignore[arg-type]


def once_it_is_free(run: Callable[[], object]) -> None:
    """Wait for the lease of a process that was killed: nothing but the clock says that it has run out."""
    for _ in range(600):
        try:
            run()
        except LeaseHeldError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the lease never ran out")


def stored(engine: Engine) -> tuple[list[TrackRecord], list[str], np.ndarray]:
    """Tracks and content vectors, in order of track id."""
    ids, content = engine.store.content(engine.encoder.encoder_id)
    order = np.argsort(ids)
    records = sorted(engine.store.tracks(), key=lambda record: record.track_id)
    return records, [ids[row] for row in order], content[order]


def assert_same(engine: Engine, other: Engine) -> None:
    (records, ids, content), (wanted_records, wanted_ids, wanted) = stored(engine), stored(other)
    assert records == wanted_records
    assert ids == wanted_ids
    np.testing.assert_allclose(content, wanted, rtol=0, atol=TOLERANCE)


@pytest.fixture
def ingested(tmp_path: Path) -> Iterator[Engine]:
    """What the way through one process makes of the manifest."""
    with Engine.open(tmp_path / "ingested", create=True) as engine:
        report = ingest_manifest(engine, read_manifest(write_manifest(tmp_path / "music")))
        assert [(row.track_id, row.reason) for row in report.refused] == [
            ("missing", "AUDIO_FILE_MISSING"),
            ("text", "AUDIO_NOT_AUDIO"),
        ]
        yield engine


def test_it_does_what_ingest_does(tmp_path: Path, ingested: Engine, without_ray: None) -> None:
    seen = []
    with Engine.open(tmp_path / "home", create=True) as engine:
        report = backfill(engine, tmp_path / "music" / "manifest.csv", on_progress=seen.append)
        assert_same(engine, ingested)
    assert (report.created, report.updated, report.unchanged) == (6, 0, 0)
    again = ingest_manifest(ingested, read_manifest(tmp_path / "music" / "manifest.csv"))
    assert report.refused == again.refused
    assert [(step.done, step.total) for step in seen] == [(0, 8), (2, 8), (4, 8), (6, 8), (8, 8)]


def test_a_home_on_an_object_store(tmp_path: Path, s3_home: str, ingested: Engine, without_ray: None) -> None:
    manifest = tmp_path / "music" / "manifest.csv"
    with Engine.open(s3_home, create=True) as engine:
        with engine.store.lease("refresh"), pytest.raises(LeaseHeldError):
            backfill(engine, manifest)
        report = backfill(engine, manifest)
        assert (report.created, report.went_on) == (6, 6)
        assert_same(engine, ingested)


def test_again_it_hears_nothing_and_leaves_everything(tmp_path: Path, without_ray: None) -> None:
    manifest = write_manifest(tmp_path / "music", bad=False)
    with Engine.open(tmp_path / "home", create=True) as engine:
        backfill(engine, manifest)
        before = stored(engine)[0], engine.store.versions
        (tmp_path / "music" / "t1.wav").unlink()  # not even looked at
        report = backfill(engine, manifest)
        assert (report.created, report.unchanged, report.workers) == (0, 6, 0)
        assert stored(engine)[0] == before[0]


def test_tracks_are_placed_in_the_published_space(engine: Engine, tmp_path: Path, without_ray: None) -> None:
    manifest = write_manifest(tmp_path / "music", tracks=2, bad=False)
    report = backfill(engine, manifest)
    assert report.space_id == SPACE_ID
    found = engine.ask(Query(track_id="t0", k=100)).hits[0]
    assert {"t1", "ada-0"} <= set(found.track_ids)
    with Engine.open(str(engine.home)) as another:
        assert "t0" in another.ask(Query(track_id="ada-0", k=100)).hits[0].track_ids


def test_warm_tracks_that_are_heard_at_last_become_catalogue(tmp_path: Path, without_ray: None) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    releases = []
    for one in warm_releases():
        (folder / f"{one.track_id}.wav").write_bytes(bytes(one.audio))  # type: ignore[arg-type]
        releases.append(Release(one.track_id, one.artist_ids, folder / f"{one.track_id}.wav", one.title))
    new = folder / "new.wav"
    new.write_bytes(audio_bytes(330.0))
    releases.append(Release("new", ("ada",), new))
    with Engine.open(tmp_path / "home", create=True) as engine:
        import_space(engine, SPACE_ID, warm_factors())
        engine.refresh(space_id=SPACE_ID)
        backfill(engine, Manifest(releases, list(range(1, len(releases) + 1)), []))
        row = engine.store.served_vectors(SPACE_ID, ["new"], snapshot=engine.searcher.snapshot)["new"]
        assert row.tier is Tier.ARTIST_TRANSFER
        assert {track_id for track_id, _ in row.leaned_on} == {"ada-0", "ada-1", "ada-2"}


def test_withdrawn_tracks_stay_out_whenever_they_were_withdrawn(tmp_path: Path, without_ray: None) -> None:
    manifest = write_manifest(tmp_path / "music", bad=False)
    with Engine.open(tmp_path / "home", create=True) as engine:
        engine.withdraw(["t0"])

        def withdraw_one_more(step: object) -> None:
            engine.withdraw(["t3"])

        report = backfill(engine, manifest, on_progress=withdraw_one_more)
        assert [(row.row, row.track_id, row.reason) for row in report.refused] == [
            (1, "t0", "TRACK_WITHDRAWN"),
            (4, "t3", "TRACK_WITHDRAWN"),
        ]
        assert stored(engine)[1] == ["t1", "t2", "t4", "t5"]
        assert [record.track_id for record in stored(engine)[0]] == ["t1", "t2", "t4", "t5"]


def test_what_the_service_ingests_meanwhile_stands(tmp_path: Path, ingested: Engine, without_ray: None) -> None:
    """Before it was heard here or after, with the same audio or with another."""
    manifest = tmp_path / "music" / "manifest.csv"
    other = Release("t4", ("somebody",), audio_bytes(900.0), "Theirs")
    with Engine.open(tmp_path / "home", create=True) as engine, Engine.open(tmp_path / "home") as service:

        def ingest_some(step: object) -> None:
            assert service.ingest([other])[0].state in (IngestState.CREATED, IngestState.UNCHANGED)
            service.ingest([one for one in read_manifest(manifest).releases if one.track_id == "t0"])

        report = backfill(engine, manifest, on_progress=ingest_some)
        assert (report.created, report.unchanged) == (4, 2)
        assert stored(engine)[1] == [f"t{number}" for number in range(6)]
        ingested.ingest([other])
        assert_same(engine, ingested)


def test_tracks_of_another_encoder_are_heard_anew(tmp_path: Path, without_ray: None) -> None:
    manifest = write_manifest(tmp_path / "music", tracks=2, bad=False)
    with Engine.open(tmp_path / "home", create=True, encoder="musicnn-mtt") as engine:
        ingest_manifest(engine, read_manifest(manifest))
    (tmp_path / "music" / "t1.wav").write_bytes(audio_bytes(900.0))
    with Engine.open(tmp_path / "home") as engine:
        before = engine.store.track("t1")
        report = backfill(engine, manifest)
        assert (report.created, report.updated, report.unchanged) == (0, 2, 0)
        assert engine.store.track("t1") != before
        assert ingest_manifest(engine, read_manifest(manifest)).outcomes[1].state is IngestState.UNCHANGED


def test_one_at_a_time(tmp_path: Path, without_ray: None) -> None:
    manifest = write_manifest(tmp_path / "music", tracks=2, bad=False)
    with Engine.open(tmp_path / "home", create=True) as engine:
        with engine.store.lease("refresh"), pytest.raises(LeaseHeldError):
            backfill(engine, manifest)
        assert engine.store.tracks() == []
        report = backfill(engine, manifest)  # nothing has to be heard again
        assert (report.created, report.went_on, report.workers) == (2, 2, 0)


def test_what_was_ingested_since_it_was_noted_stands(tmp_path: Path, without_ray: None) -> None:
    manifest = write_manifest(tmp_path / "music", tracks=3, bad=False)
    with Engine.open(tmp_path / "home", create=True) as engine:
        with engine.store.lease("refresh"), pytest.raises(LeaseHeldError):
            backfill(engine, manifest)
        theirs = [Release(one, ("somebody",), audio_bytes(900.0), "Theirs") for one in ("t0", "t1")]
        engine.ingest(theirs)
        before = stored(engine)
        manifest.write_text(manifest.read_text().replace("t1.wav", "t0.wav"))
        report = backfill(engine, manifest)
        assert (report.created, report.updated, report.unchanged, report.went_on) == (1, 0, 2, 1)
        records, ids, content = stored(engine)
        assert (records[:2], ids) == (before[0], ["t0", "t1", "t2"])
        np.testing.assert_array_equal(content[:2], before[2])


def test_what_was_noted_counts_only_as_the_manifest_has_it_now(tmp_path: Path, without_ray: None) -> None:
    manifest = write_manifest(tmp_path / "music", bad=False)
    with Engine.open(tmp_path / "home", create=True) as engine:
        with engine.store.lease("refresh"), pytest.raises(LeaseHeldError):
            backfill(engine, manifest)
        engine.withdraw(["t1"])
        (tmp_path / "music" / "new.wav").write_bytes(audio_bytes(900.0))
        lines = manifest.read_text().splitlines()
        lines = [lines[0], lines[1], lines[2], lines[4].replace("t3.wav", "new.wav"), lines[5].replace("t4.wav", "no")]
        manifest.write_text("\n".join(lines))  # t2 and t5 are gone, t3 has other audio, that of t4 is missing
        report = backfill(engine, manifest)
        assert (report.created, report.went_on) == (2, 1)
        assert [(row.track_id, row.reason) for row in report.refused] == [
            ("t1", "TRACK_WITHDRAWN"),
            ("t4", "AUDIO_FILE_MISSING"),
        ]
        assert stored(engine)[1] == ["t0", "t3"]
        again = ingest_manifest(engine, read_manifest(manifest))
        assert {outcome.state for outcome in again.outcomes} == {IngestState.UNCHANGED}


def cut_off(engine: Engine, manifest: Path) -> None:
    """Hear what is to be heard, note it, and end before anything is taken in."""
    with engine.store.lease("refresh"), pytest.raises(LeaseHeldError):
        backfill(engine, manifest)


def test_a_part_that_a_clean_up_deleted_is_not_taken_in(tmp_path: Path, ingested: Engine, without_ray: None) -> None:
    manifest = write_manifest(tmp_path / "music", bad=False)
    home = tmp_path / "home"

    def clean_up(step: Progress) -> None:
        if step.done == 2:  # as Lance does with files that no version of the table names, after a week
            (file,) = home.glob("content/*.lance/data/*")
            file.unlink()

    with Engine.open(home, create=True) as engine:
        report = backfill(engine, manifest, on_progress=clean_up)
        assert (report.created, report.went_on) == (4, 0)
        assert [(row.track_id, row.reason) for row in report.refused] == [
            ("t0", "HOME_DAMAGED"),
            ("t1", "HOME_DAMAGED"),
        ]
        assert stored(engine)[1] == ["t2", "t3", "t4", "t5"]
        assert backfill(engine, manifest).created == 2
        assert_same(engine, ingested)


def test_corrected_audio_counts_however_often_it_was_cut_off(tmp_path: Path, without_ray: None) -> None:
    manifest = write_manifest(tmp_path / "music", tracks=3, bad=False)
    with Engine.open(tmp_path / "home", create=True) as engine, Engine.open(tmp_path / "in", create=True) as ingested:
        cut_off(engine, manifest)
        manifest.write_text(manifest.read_text().replace("t0.wav", "t2.wav"))
        cut_off(engine, manifest)
        report = backfill(engine, manifest)
        assert (report.created, report.went_on) == (3, 3)
        ingest_manifest(ingested, read_manifest(manifest))
        assert_same(engine, ingested)


def test_a_content_vector_that_a_killed_ingest_left_is_never_another_audios(
    tmp_path: Path, ingested: Engine, without_ray: None
) -> None:
    manifest = write_manifest(tmp_path / "music", bad=False)
    with Engine.open(tmp_path / "home", create=True) as engine:
        vector = np.ones(engine.encoder.dim, np.float32)

        def content_of_a_killed_ingest(track_id: str) -> None:
            engine.store.commit(WriteBatch(content={engine.encoder.encoder_id: [(track_id, vector)]}))

        content_of_a_killed_ingest("t0")
        report = backfill(engine, manifest, on_progress=lambda _: content_of_a_killed_ingest("t3"))
        assert (report.created, report.unchanged) == (5, 1)  # whoever writes t3 may be about to add it
        assert engine.store.track("t3") is None
        assert backfill(engine, manifest).created == 1
        assert_same(engine, ingested)


KILLED = """
import functools, os, signal, sys
import pytest
sys.path[:0] = [{tests!r}, {tests!r} + "/jobs"]
import test_jobs_backfill as these
from index import ContentBackfill, Store
from jobs import Engine

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

Store.lease = functools.partialmethod(Store.lease, ttl_s=0.5)
where = sys.argv[1]
if where == "hearing":
    note = ContentBackfill.note
    noted = []
    ContentBackfill.note = lambda self, part: (note(self, part), noted.append(part), len(noted) == 2 and die())
elif where == "content":
    ContentBackfill.take_in = die
elif where == "tracks":
    Store.add_tracks = die
else:
    ContentBackfill.finish = die
these.run_in_this_process(pytest.MonkeyPatch())
with Engine.open(sys.argv[2], create=True) as engine:
    these.backfill(engine, these.Path(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("where", "heard_again"),
    [
        pytest.param("hearing", 4, marks=pytest.mark.slow),
        ("tracks", 2),
        pytest.param("content", 2, marks=pytest.mark.slow),
        pytest.param("end", 2, marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_and_started_again_it_ends_in_the_same_state(
    tmp_path: Path, ingested: Engine, without_ray: None, where: str, heard_again: int
) -> None:
    manifest = tmp_path / "music" / "manifest.csv"
    script = KILLED.format(tests=str(ROOT / "tests"))
    command = [sys.executable, "-c", script, where, str(tmp_path / "home"), str(manifest)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with Engine.open(tmp_path / "home") as engine:
        seen: list[Progress] = []
        once_it_is_free(lambda: backfill(engine, manifest, on_progress=seen.append))
        assert seen[-1].total == heard_again  # the refused ones, and what was not noted
        assert_same(engine, ingested)
        assert engine.store.backfill(engine.encoder.encoder_id, engine.encoder.dim).noted() == []
