"""Which files a caller may name, and that no other one is read: whatever is put in its place behind the check."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from encoders import AudioFileError, AudioLimits, AudioTooLargeError
from grpc_service.errors import TransportError, UriNotAllowedError
from grpc_service.options import InvalidServerOptionError, ServerOptions
from grpc_service.uris import MAX_URI_CHARACTERS, resolve_uri
from jobs import Release
from jobs.release_audio import read_audio

LIMITS = AudioLimits()


def release(path: Path, *, follow_links: bool) -> Release:
    return Release("t", ("a",), path, audio_uri=f"file://{path}", follow_links=follow_links)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"a secret")
    (tmp_path / "root" / "album").mkdir(parents=True)
    (tmp_path / "root" / "album" / "one.wav").write_bytes(b"music")
    return tmp_path / "root"


@pytest.mark.parametrize("follow_links", [True, False])
def test_a_file_is_read(root: Path, follow_links: bool) -> None:
    found = resolve_uri(f"file://{root}/album/one.wav", [root])
    assert read_audio(release(found, follow_links=follow_links), LIMITS) == b"music"


def test_links_are_for_the_command_line(root: Path) -> None:
    (root / "link.wav").symlink_to(root / "album" / "one.wav")
    assert read_audio(release(root / "link.wav", follow_links=True), LIMITS) == b"music"
    with pytest.raises(AudioFileError):
        read_audio(release(root / "link.wav", follow_links=False), LIMITS)
    inside = resolve_uri(str(root / "link.wav"), [root])  # a link that stays inside is resolved, and is none any more
    assert read_audio(release(inside, follow_links=False), LIMITS) == b"music"


def test_a_link_that_is_put_in_behind_the_check_is_not_followed(root: Path) -> None:
    found = resolve_uri(str(root / "album" / "one.wav"), [root])
    found.unlink()
    found.symlink_to(root.parent / "secret")
    with pytest.raises(AudioFileError):
        read_audio(release(found, follow_links=False), LIMITS)


def test_nor_is_one_in_the_place_of_a_folder(root: Path) -> None:
    found = resolve_uri(str(root / "album" / "one.wav"), [root])
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "one.wav").write_bytes(b"a secret")
    (root / "album").rename(root / "gone")
    (root / "album").symlink_to(elsewhere)
    with pytest.raises(AudioFileError):
        read_audio(release(found, follow_links=False), LIMITS)


def test_whatever_is_swapped_meanwhile_no_secret_is_read(root: Path) -> None:
    path, spare = root / "album" / "one.wav", root / "album" / "two.wav"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            spare.symlink_to(root.parent / "secret")
            spare.replace(path)
            spare.write_bytes(b"music")
            spare.replace(path)

    swapping = threading.Thread(target=swap)
    swapping.start()
    read: set[bytes] = set()
    try:
        for _ in range(500):
            try:
                found = resolve_uri(str(path), [root])
                read.add(read_audio(release(found, follow_links=False), LIMITS))
            except (AudioFileError, TransportError):
                continue
    finally:
        stop.set()
        swapping.join()
    assert b"a secret" not in read


@pytest.mark.parametrize("follow_links", [True, False])
def test_what_is_no_file_is_not_waited_for(root: Path, follow_links: bool) -> None:
    os.mkfifo(root / "pipe")
    for path in (root / "pipe", root, root / "none", root / "album" / "one.wav" / "none", Path("/dev/zero")):
        with pytest.raises(AudioFileError):
            read_audio(release(path, follow_links=follow_links), LIMITS)


def test_a_file_that_is_too_long_is_not_read(root: Path) -> None:
    path = root / "long.wav"
    path.touch()
    os.truncate(path, 10 << 30)  # takes no place on the disk
    with pytest.raises(AudioTooLargeError, match=str(10 << 30)):
        read_audio(release(path, follow_links=False), LIMITS)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1/one.wav",
        "https://example.com/one.wav",
        "ftp://127.0.0.1/one.wav",
        "gopher://127.0.0.1:70/_",
        "data:audio/wav;base64,AAAA",
        "concat:/etc/passwd",
        "file://example.com/one.wav",
        "file:one.wav",
        "FILE:///etc/passwd",
        "file:///proc/self/environ",
        "/proc/self/root/etc/passwd",
        "//etc/passwd",
        "one.wav",
        "~/one.wav",
    ],
)
def test_other_schemes_and_places_are_refused(root: Path, uri: str) -> None:
    with pytest.raises(UriNotAllowedError):
        resolve_uri(uri, [root])


@pytest.mark.parametrize(
    "rest", ["../secret", "album/../../secret", "%2e%2e/secret", "album/%2E%2E%2f..%2fsecret", ".", ""]
)
def test_no_path_leads_out(root: Path, rest: str) -> None:
    for uri in (f"file://{root}/{rest}", f"{root}/{rest}"):
        with pytest.raises(TransportError):
            resolve_uri(uri, [root])


def test_no_link_leads_out_and_a_twin_of_the_root_is_not_below_it(root: Path) -> None:
    (root / "link").symlink_to(root.parent)
    (root / "loop").symlink_to(root / "loop")
    (root / "process").symlink_to("/proc/self/environ")
    twin = root.parent / "root-twin"
    twin.mkdir()
    (twin / "one.wav").write_bytes(b"a secret")
    for path in (root / "link" / "secret", root / "loop", root / "process", twin / "one.wav"):
        with pytest.raises(TransportError):
            resolve_uri(str(path), [root])


def test_an_endless_path_is_refused_before_it_is_looked_up(root: Path) -> None:
    with pytest.raises(UriNotAllowedError):
        resolve_uri(f"{root}/" + "a/" * MAX_URI_CHARACTERS, [root])


@pytest.mark.parametrize("folder", ["/", "/proc", "/proc/self", "/dev", "/sys/kernel"])
def test_the_systems_own_folders_are_no_roots(folder: str) -> None:
    with pytest.raises(InvalidServerOptionError) as caught:
        ServerOptions(allowed_roots=(Path(folder),))
    assert caught.value.field == "allowed_roots"
