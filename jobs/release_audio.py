"""The encoded audio of a release, from its bytes or its file, within the limits."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from encoders import AudioFileError, AudioLimits, AudioTooLargeError
from jobs.release import Release

# Nothing that is no file is waited for, or becomes this process's terminal.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def read_audio(release: Release, limits: AudioLimits) -> bytes:
    """Read the encoded audio of a release.

    The file is opened once, and what was opened is judged: another one may stand under its name by then. No more is
    read than may be, whatever is written to it meanwhile.

    Raises
    ------
    encoders.AudioFileError, encoders.AudioTooLargeError
        When there is no file that can be read, or it is larger than is taken.
    """
    if isinstance(release.audio, bytes):
        return release.audio
    try:
        size, data = _read(release, limits.max_bytes)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name with a null character, for one
        raise AudioFileError(
            f"There is no audio file at {release.audio_uri or release.audio}.", field="audio"
        ) from None
    except OSError as error:
        raise AudioFileError(
            f"The audio file {release.audio_uri or release.audio} cannot be read: {error.strerror}.",
            field="audio",
        ) from None
    if size > limits.max_bytes:
        raise AudioTooLargeError(
            f"The audio of track {release.track_id!r} has {size} bytes; at most {limits.max_bytes} are taken.",
            field="audio",
        )
    return data


def _read(release: Release, at_most: int) -> tuple[int, bytes]:
    """Give a file's size, and its bytes where they are not too many."""
    assert isinstance(release.audio, Path)  # the caller looked
    descriptor = os.open(release.audio, _READ) if release.follow_links else _open_without_links(release.audio)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _nothing_there(release.audio)
        if found.st_size > at_most:
            return found.st_size, b""
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(at_most + 1)
        return len(data), data
    finally:
        os.close(descriptor)


def _nothing_there(path: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _open_without_links(path: Path) -> int:
    """Open a file whose path was resolved before, and in which nobody has put a link since.

    Every folder on the way is opened in the one before. What is no regular file is not even opened: opening a device
    may do something.
    """
    folder = os.open("/", _STEP)
    try:
        *folders, name = path.parts[1:] or (".",)
        for each in folders:
            inner = os.open(each, _STEP, dir_fd=folder)
            os.close(folder)
            folder = inner
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _nothing_there(path)
        return os.open(name, _READ | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)
