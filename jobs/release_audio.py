"""The encoded audio of a release, from its bytes or its file, within the limits."""

from __future__ import annotations

from encoders import AudioFileError, AudioLimits, AudioTooLargeError
from jobs.release import Release


def read_audio(release: Release, limits: AudioLimits) -> bytes:
    """Read the encoded audio of a release.

    Raises
    ------
    encoders.AudioFileError, encoders.AudioTooLargeError
        When there is no file that can be read, or it is larger than is taken.
    """
    if isinstance(release.audio, bytes):
        return release.audio
    try:
        size = release.audio.stat().st_size if release.audio.is_file() else -1
        if size < 0:
            raise AudioFileError(f"There is no audio file at {release.audio_uri or release.audio}.", field="audio")
        if size > limits.max_bytes:
            raise AudioTooLargeError(
                f"The audio of track {release.track_id!r} has {size} bytes; at most {limits.max_bytes} are taken.",
                field="audio",
            )
        return release.audio.read_bytes()
    except OSError as error:
        raise AudioFileError(
            f"The audio file {release.audio_uri or release.audio} cannot be read: {error.strerror}.",
            field="audio",
        ) from None
