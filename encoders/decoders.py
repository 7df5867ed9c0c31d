"""Opens a recognised container and yields its sound in mono blocks: libsndfile first, FFmpeg (PyAV) for the rest.

Both libraries see bytes in memory, never a name or a path, and FFmpeg is told the one demuxer to use: a playlist that
names other files stays text, whatever it is called.
"""

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.containers import ADTS, FLAC, MP3, MP4, OGG, WAV, Declared
from encoders.errors import NotAudioError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

BLOCK_FRAMES = 1 << 15  # 0.74 s at 44.1 kHz; where a stream breaks off, what its last block held is lost

# Container -> the formats that libsndfile may find in it, and FFmpeg's one demuxer for it.
SNDFILE_FORMATS = {
    WAV: ("WAV", "WAVEX", "RF64"),
    FLAC: ("FLAC",),
    OGG: ("OGG",),
    MP3: ("MP3", "MPEG"),
}
FFMPEG_DEMUXERS = {WAV: "wav", FLAC: "flac", OGG: "ogg", MP3: "mp3", MP4: "mp4", ADTS: "aac"}
# libsndfile reports a huge count where the length is unknown.
UNKNOWN_FRAMES = 1 << 48


@dataclass(frozen=True)
class Sound:
    """An opened stream.

    Attributes
    ----------
    sample_rate_hz, channels : int
        Of the stream.
    codec : str
        The decoder library's name for the coding, lower case.
    duration_s : float or None
        As the decoder library declares it.
    blocks : iterator of ndarray of shape (n,), float32
        The mono mix, in order. Raises `DecodingStoppedError` where the stream breaks off.
    """

    sample_rate_hz: int
    channels: int
    codec: str
    duration_s: float | None
    blocks: Iterator[NDArray[np.float32]]


class DecodingStoppedError(Exception):
    """The decoder gave up inside the stream; never leaves the room."""


def open_sound(data: bytes, declared: Declared) -> Sound:
    """Open the first audio stream.

    Parameters
    ----------
    data : bytes
        The whole file.
    declared : Declared
        What `containers.inspect` found.

    Returns
    -------
    Sound

    Raises
    ------
    NotAudioError
        Neither library can open it.
    """
    if declared.container in SNDFILE_FORMATS and not declared.ffmpeg_only:
        sound = _open_sndfile(data, declared.container)
        if sound is not None:
            return sound
    return _open_ffmpeg(data, declared.container)


def _open_sndfile(data: bytes, container: str) -> Sound | None:
    import soundfile

    class Stream(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False  # a seekable file is repositioned after every read, which costs Vorbis time

    try:
        file = Stream(io.BytesIO(data))
    except MemoryError:
        raise  # no damage of the file: `decode_audio` says so
    except Exception:  # whatever a decoder raises on foreign bytes is about the bytes
        return None  # a coding that libsndfile does not know, such as Speex in Ogg: FFmpeg may
    if file.format not in SNDFILE_FORMATS[container] or file.samplerate <= 0 or file.channels <= 0:
        file.close()
        return None
    # For MP3 libsndfile only estimates the length; a header that declares it has been read already.
    known = 0 < file.frames < UNKNOWN_FRAMES and container != MP3
    duration = file.frames / file.samplerate if known else None
    return Sound(file.samplerate, file.channels, str(file.subtype).lower(), duration, _read_sndfile(file))


def _read_sndfile(file: Any) -> Iterator[NDArray[np.float32]]:
    with file:
        while True:
            try:
                block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except MemoryError:
                raise  # no damage of the file: `decode_audio` says so
            except Exception as error:  # as above
                raise DecodingStoppedError(str(error)) from error
            if not len(block):
                return
            yield block[:, 0] if block.shape[1] == 1 else _mix(block, axis=1)


def _open_ffmpeg(data: bytes, container: str) -> Sound:
    import av

    demuxer = FFMPEG_DEMUXERS[container]
    restrictions = {"protocol_whitelist": "none"}
    try:
        file = av.open(io.BytesIO(data), mode="r", format=demuxer, container_options=restrictions)
    except MemoryError:
        raise  # no damage of the file: `decode_audio` says so
    except Exception as error:  # whatever a decoder raises on foreign bytes is about the bytes
        raise NotAudioError(
            f"the audio starts like {container.upper()} but cannot be opened as such: export the track again"
        ) from error
    # A picture of the cover is a video stream: only audio streams are looked at.
    if not file.streams.audio:
        file.close()
        raise NotAudioError(f"the {container.upper()} file holds no audio stream: send the track's audio")
    stream = file.streams.audio[0]
    duration = None
    if container in (MP4, OGG) and stream.duration and stream.time_base:
        duration = float(stream.duration * stream.time_base)
    decoder = stream.codec_context
    if decoder is None:
        file.close()
        raise NotAudioError(
            f"the {container.upper()} file's audio has a coding that is not supported: export the track again"
        )
    frames = _frames(file, decoder)
    try:
        first = next(frames, None)
    except DecodingStoppedError:
        first = None
    if first is None:
        file.close()
        raise NotAudioError(f"nothing in the {container.upper()} file's audio stream decodes: export the track again")
    # The first frame tells the truth: AAC's header gives half the rate where spectral band replication is implicit.
    rate, channels = first.sample_rate, len(first.layout.channels)
    return Sound(rate, channels, decoder.name, duration, _read_ffmpeg(file, first, frames))


def _frames(file: Any, decoder: Any) -> "Iterator[AudioFrame]":
    from av.error import InvalidDataError

    packets = file.demux(file.streams.audio[0])
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except MemoryError:
            raise  # no damage of the file: `decode_audio` says so
        except Exception as error:  # as above
            raise DecodingStoppedError(str(error)) from error
        try:
            yield from decoder.decode(packet)
        except InvalidDataError:
            continue  # one damaged packet: players skip it too; lost length shows in the total
        except MemoryError:
            raise  # no damage of the file: `decode_audio` says so
        except Exception as error:  # as above
            raise DecodingStoppedError(str(error)) from error


def _read_ffmpeg(
    file: Any,
    first: "AudioFrame",
    rest: "Iterator[AudioFrame]",
) -> Iterator[NDArray[np.float32]]:
    import av

    # Frames are short (20 ms in Opus): they are collected before NumPy sees them, which halves the time for Opus.
    waiting, channels = av.AudioFifo(), first.layout.nb_channels
    with file:
        for frame in itertools.chain([first], rest):
            frame.pts = None  # gaps between time stamps are not filled
            if frame.layout.nb_channels != channels:  # PyAV would read beyond the channels that there are
                raise DecodingStoppedError("the number of channels changes midway")
            try:
                waiting.write(frame)
                block = waiting.read(BLOCK_FRAMES)
            except MemoryError:
                raise  # no damage of the file: `decode_audio` says so
            except Exception as error:  # the stream changes its sample rate or format midway
                raise DecodingStoppedError(str(error)) from error
            if block is not None:
                yield _mono(block)
        block = waiting.read(partial=True)
        if block is not None:
            yield _mono(block)


def _mono(frame: "AudioFrame") -> NDArray[np.float32]:
    samples: NDArray[Any] = frame.to_ndarray()  # planar: (channels, n); packed: (1, n * channels)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype.kind == "u":  # 8 bits, centred at 128
        samples = (samples.astype(np.float32) - 128.0) / 128.0
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float64) / (1 << (8 * samples.dtype.itemsize - 1))
    return _mix(samples, axis=0)


def _mix(samples: NDArray[Any], *, axis: int) -> NDArray[np.float32]:
    # Infinite samples are looked for, and refused, in the mix: that their sum has no value is no news.
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(samples.mean(axis=axis, dtype=np.float32))
