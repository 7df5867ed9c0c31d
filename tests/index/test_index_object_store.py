"""A home on an object store keeps what a local one does; and says in a sentence why where it cannot be reached."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from index import (
    DamagedHomeError,
    HomeUnreachableError,
    InvalidInputError,
    LeaseHeldError,
    Metric,
    Retention,
    Searcher,
    ServedVector,
    SpaceExistsError,
    SpaceRecord,
    Store,
    Tier,
    TrackRecord,
    Upkeep,
    WriteBatch,
    build_snapshot,
)
from index.object_store import StoredFiles, unreachable

DIM = 8
ROOT = Path(__file__).parents[2]
VECTORS = np.random.default_rng(7).integers(1, 9, size=(30, DIM)).astype(np.float32)
IDS = [f"t{place:02d}" for place in range(30)]


@pytest.fixture
def store(s3_home: str) -> Iterator[Store]:
    with Store.open(s3_home) as opened:
        yield opened


@pytest.fixture
def published(store: Store) -> Store:
    store.create_space(SpaceRecord("als", DIM, Metric.INNER_PRODUCT), IDS, VECTORS, ["u1"], VECTORS[:1])
    store.publish(build_snapshot(store, "als").snapshot_id)
    return store


def nearest(searcher: Searcher, query: np.ndarray, k: int = 3) -> list[str]:
    return searcher.search(query[None], k).hits[0].track_ids


def fresh(track_id: str, value: float = 50.0) -> WriteBatch:
    row = ServedVector(track_id, np.full(DIM, value, np.float32), Tier.AUDIO_ONLY, 0.25)
    return WriteBatch(tracks=[TrackRecord(track_id)], fresh={"als": [row]}, content={"e": [(track_id, np.ones(3))]})


def test_what_is_written_is_found_at_once_and_after_reopening(published: Store, tmp_path: Path) -> None:
    with Searcher.open(published, device="cpu") as searcher:
        published.commit(fresh("new"))
        published.commit(WriteBatch(withdrawn={"t00": "rights"}))
        assert nearest(searcher, np.ones(DIM, np.float32), 1) == ["new"]
    for _ in range(2):  # the second time the index comes from the cache
        with (
            Store.open(published.home, create=False, cache=tmp_path / "cache") as again,
            Searcher.open(again, device="cpu") as searcher,
        ):
            found = nearest(searcher, np.ones(DIM, np.float32), 40)
            assert found[0] == "new"
            assert set(found) == {"new", *IDS} - {"t00"}
            assert again.content("e")[0] == ["new"]
            np.testing.assert_array_equal(again.user_vectors("als")[1], VECTORS[:1])


def test_a_rollback_switches_back(published: Store) -> None:
    first = published.published()
    published.commit(fresh("new"))
    published.publish(build_snapshot(published, "als").snapshot_id)
    assert published.published() != first
    published.rollback()
    assert published.published() == first


_WRITER = """
import sys, numpy as np
from index import *
home, name = sys.argv[1:]
with Store.open(home) as store:
    for turn in range(4):
        row = ServedVector("shared", np.full(8, 3.0, np.float32), Tier.AUDIO_ONLY, 0.25)
        store.commit(WriteBatch(tracks=[TrackRecord(f"{name}-{turn}"), TrackRecord("shared")], fresh={"als": [row]}))
        store.publish(store.snapshots()[0].snapshot_id)
"""


def test_two_processes_write_one_home_without_a_duplicate_or_a_loss(published: Store) -> None:
    children = [subprocess.Popen([sys.executable, "-c", _WRITER, published.home, name], cwd=ROOT) for name in "AB"]
    assert [child.wait(60) for child in children] == [0, 0]
    assert sorted(track.track_id for track in published.tracks()) == sorted(
        ["shared", *(f"{name}-{turn}" for name in "AB" for turn in range(4))]
    )
    assert published.fresh_rows("als").track_ids == ["shared"]
    assert [record.sequence for record in published.publishes()] == list(range(1, 10))


def test_upkeep_retires_and_deletes_there_too(published: Store) -> None:
    at_once = Retention(snapshots=1, days=0.0, grace_s=0.0)
    old = published.published()
    published.create_space(SpaceRecord("next", DIM, Metric.INNER_PRODUCT), IDS, VECTORS)
    published.publish(build_snapshot(published, "next").snapshot_id)
    published.layout.files.write("models/als/newest", b"one")
    with published.lease("refresh") as lease, Store.open(published.home) as other:
        with pytest.raises(LeaseHeldError):
            other.lease("refresh").__enter__()
        upkeep = Upkeep(published, at_once)
        upkeep.retire(upkeep.plan())
        assert upkeep.discard() == ([old.snapshot_id], ["als"])
        assert upkeep.leftovers() == ([], [])
        assert all(one.after.versions <= 2 for one in upkeep.tidy())
        lease.check()
        assert [space.space_id for space in other.spaces()] == ["next"]
        with Searcher.open(other, device="cpu") as searcher:
            assert len(nearest(searcher, np.ones(DIM, np.float32), 40)) == 30
    files = published.layout.files
    assert [name.split(".")[0] for name in files.names("served")] == ["next"]
    assert files.names("models") == []
    assert len(files.names("indexes")) == 1


def test_a_home_is_made_once_by_several_who_begin_at_one_moment(s3_home: str) -> None:
    def make(name: str) -> None:
        with Store.open(s3_home) as store:
            store.commit(WriteBatch(tracks=[TrackRecord(name)]))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(make, "abc"))
    with Store.open(s3_home, create=False) as store:
        assert sorted(track.track_id for track in store.tracks()) == ["a", "b", "c"]


def test_of_two_spaces_of_one_name_one_stays_and_the_others_tables_go(published: Store, s3: object) -> None:
    with pytest.raises(SpaceExistsError):
        published.create_space(SpaceRecord("als", DIM), IDS, VECTORS)
    prefix = f"{published.home}/served/als.".removeprefix("s3://").partition("/")[2]
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="anacrusis-tests", Prefix=prefix)["Contents"]]
    assert len({key.removeprefix(prefix).partition("/")[0] for key in keys}) == 1
    table = f"{published.home}/served/als.left-behind.lance"
    published.layout.files.write("served/als.left-behind.lance/_versions/1.manifest", b"")
    assert published.layout.exists(table)
    published.layout.discard(table)
    assert not published.layout.exists(table)


def test_a_damaged_index_is_built_anew_and_a_damaged_copy_fetched_anew(
    published: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    name = f"indexes/{published.published().snapshot_id}/base.faiss"
    good = published.layout.files.read(name)

    def opened() -> None:
        caplog.clear()
        with (
            Store.open(published.home, cache=cache) as store,
            Searcher.open(store, device="cpu") as searcher,
        ):
            assert len(nearest(searcher, np.ones(DIM, np.float32), 40)) == 30

    opened()
    (copy,) = cache.glob("*.copy")
    copy.write_bytes(b"damaged")
    opened()
    assert copy.read_bytes() == good
    assert not caplog.records
    copy.unlink()
    published.layout.files.write(name, b"damaged")
    opened()
    assert "building it anew" in caplog.text
    assert published.layout.files.read(name) == good


def test_a_cache_keeps_the_last_few(s3_home: str, s3: object, tmp_path: Path) -> None:
    from hashlib import sha256

    files = StoredFiles(s3_home, tmp_path)
    for number in range(9):
        content = bytes([number])
        files.write(f"indexes/{number}", content)
        assert files.checked(f"indexes/{number}", sha256(content).hexdigest()).read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 6
    with pytest.raises(ValueError, match="no SHA-256"):
        files.checked("indexes/0", "../../elsewhere")
    with pytest.raises(FileNotFoundError):
        files.checked("indexes/none", sha256(b"").hexdigest())
    assert files.names("indexes") == [str(number) for number in range(9)]
    files.remove("indexes")
    assert files.names() == []


def test_what_killed_processes_left_in_a_cache_goes_after_a_day(s3_home: str, s3: object, tmp_path: Path) -> None:
    import os
    import time

    code = "import os, sys; from pathlib import Path; from index.object_store import StoredFiles as S;"
    code += "S(sys.argv[1], Path(sys.argv[2])).fill('a', lambda path: (path.write_bytes(b'1'), os._exit(9)))"
    assert subprocess.run([sys.executable, "-c", code, s3_home, str(tmp_path)], cwd=ROOT).returncode == 9
    (folder,) = tmp_path.iterdir()
    fetched = tmp_path / f".{'a' * 64}.copy.0123abcd.tmp"  # as `replace_atomically` names it
    fetched.touch()
    others = [tmp_path / "tmp-of-somebody-else", tmp_path / ".hidden.tmp"]
    for one in others:
        one.touch()
    files = StoredFiles(s3_home, tmp_path)
    files.write("b", b"2")
    assert set(tmp_path.iterdir()) == {folder, fetched, *others}, "another process may be at it"
    two_days_ago = time.time() - 2 * 86_400
    for one in (folder, fetched, *others):
        os.utime(one, (two_days_ago, two_days_ago))
    files.write("c", b"3")
    assert set(tmp_path.iterdir()) == set(others)


def test_two_processes_make_room_in_one_cache_at_once(
    s3_home: str, s3: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other one deletes is gone between the listing and the look at it."""
    from hashlib import sha256

    files = StoredFiles(s3_home, tmp_path)
    real = Path.glob

    def listed(self: Path, pattern: str) -> list[Path]:
        return [*real(self, pattern), self / f"{'0' * 64}.copy"]

    monkeypatch.setattr(Path, "glob", listed)
    files.write("indexes/one", b"1")
    assert files.checked("indexes/one", sha256(b"1").hexdigest()).read_bytes() == b"1"


@pytest.mark.parametrize(
    "address",
    ["s3://KEY:SECRET@bucket/p", "s3://KEY:SEC@RET@bucket/p", "https://KEY:SECRET@host/p", "s3:/KEY:SECRET@b"],
)
def test_a_secret_in_an_address_is_not_repeated(address: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Store.open(address)
    assert "...@" in str(caught.value)
    assert not any(part in str(caught.value) for part in ("KEY", "SEC", "RET"))


def test_what_is_kept_for_one_opening_goes_with_it(published: Store) -> None:
    with Store.open(published.home) as store, Searcher.open(store, device="cpu"):
        folder = store.layout.files._folder()
        assert list(folder.iterdir())
    assert not folder.exists()


def test_only_an_empty_place_becomes_a_home(s3: object, s3_home: str) -> None:
    with pytest.raises(DamagedHomeError, match="no home folder") as caught:
        Store.open(s3_home, create=False)
    assert caught.value.reason == "HOME_NOT_FOUND"
    s3.put_object(Bucket="anacrusis-tests", Key=f"{s3_home.partition('tests/')[2]}/report.pdf", Body=b"")
    with pytest.raises(DamagedHomeError, match=r"'report\.pdf'"):
        Store.open(s3_home)


@pytest.mark.parametrize(
    "address",
    ["s3://", "s3:///x", "s3://UPPER/x", "s3://b/../x", "s3://bucket/a//b", "s3://bucket/a?versionId=3", "gs://bucket/x",
     "s3://key:secret@bucket/x", "file:///tmp/x", Path("s3://bucket/x")],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str | Path) -> None:
    with pytest.raises(InvalidInputError, match="write s3://BUCKET/PREFIX"):
        Store.open(address)


def refused(address: str) -> str:
    with pytest.raises(HomeUnreachableError) as caught:
        Store.open(address)
    sentence = str(caught.value)
    assert "a-secret-of-the-tests" not in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code>",
            "refuses these",
        ),
        ("Server returned non-2xx status code: 503 Service Unavailable, after 3 retries", "does not answer"),
        (
            "Generic S3 error: Error performing GET - HTTP error: operation timed out",
            "does not answer",
        ),
        ("Not found: home/t.lance/_versions", None),
        ("Encountered corrupt file: unexpected end of file", None),
    ],
)
def test_only_what_the_store_is_to_blame_for_is_blamed_on_it(text: str, sentence: str | None) -> None:
    error = unreachable("s3://bucket/home/t.lance", OSError(text))
    assert (error is None) if sentence is None else (error is not None and sentence in str(error))
    assert unreachable("/srv/home/t.lance", OSError(text)) is None


# Each with a bucket of its own: Lance keeps the client of an address that it has seen.
def test_a_bucket_that_is_not_there(s3: object) -> None:
    assert "no such bucket" in refused("s3://nowhere/home")


def test_an_endpoint_that_nobody_answers_at(s3: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    assert "does not answer: check AWS_ENDPOINT_URL" in refused("s3://unanswered/home")


def test_an_endpoint_without_encryption_has_to_be_allowed(s3: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert "AWS_ALLOW_HTTP=true" in refused("s3://unencrypted/home")


def test_no_credentials(s3: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "no credentials were found: set AWS_ACCESS_KEY_ID" in refused("s3://uncredited/home")
