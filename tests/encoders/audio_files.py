"""Test signals and their encodings, made in memory."""

import io
import struct

import av
import numpy as np
import soundfile

RATE = 22_050


def tone(seconds: float = 3.0, *, rate: int = RATE, channels: int = 1, level: float = 0.4) -> np.ndarray:
    """A chord with a beat, (n, channels) float32: the same in every channel."""
    time = np.arange(round(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * f * time) for f in (220.0, 277.2, 330.0)) / 3
    mono = level * chord * (0.6 + 0.4 * np.sin(2 * np.pi * 2 * time))
    return np.repeat(mono[:, None], channels, axis=1).astype(np.float32)


def sndfile(samples: np.ndarray, container: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    target = io.BytesIO()
    soundfile.write(target, samples, rate, format=container, subtype=subtype)
    return target.getvalue()


def ffmpeg(samples: np.ndarray, container: str, codec: str = "aac", rate: int = RATE, *, cover: bool = False) -> bytes:
    """Encode with PyAV; `cover` adds a picture stream, as shops do, before the audio."""
    target = io.BytesIO()
    layout = "stereo" if samples.shape[1] == 2 else "mono"
    with av.open(target, "w", format=container) as file:
        if cover:
            picture = file.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 16
            picture.pix_fmt = "yuvj420p"
        stream = file.add_stream(codec, rate=rate, layout=layout)
        if cover:
            image = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 99, np.uint8), format="rgb24")
            for packet in [*picture.encode(image), *picture.encode(None)]:
                file.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return target.getvalue()


ENCODERS = {
    "wav": lambda x: sndfile(x, "WAV", "PCM_16"),
    "wav-float": lambda x: sndfile(x, "WAV", "FLOAT"),
    "wav-24": lambda x: sndfile(x, "WAVEX", "PCM_24"),
    "rf64": lambda x: sndfile(x, "RF64", "PCM_16"),
    "flac": lambda x: sndfile(x, "FLAC", "PCM_16"),
    "ogg": lambda x: sndfile(x, "OGG", "VORBIS"),
    "opus": lambda x: sndfile(x, "OGG", "OPUS", 24_000),
    "mp3": lambda x: sndfile(x, "MP3"),
    "m4a": lambda x: ffmpeg(x, "ipod"),
    "m4a-cover": lambda x: ffmpeg(x, "mp4", cover=True),
    "alac": lambda x: ffmpeg(x, "ipod", "alac"),
    "aac": lambda x: ffmpeg(x, "adts"),
}


def wav_header(rate: int, channels: int, data_bytes: int) -> bytes:
    """A 16-bit PCM header that may claim anything."""
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    size = min(36 + data_bytes, 0xFFFF_FFFF)
    return (
        b"RIFF"
        + struct.pack("<I", size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + fmt
        + b"data"
        + struct.pack("<I", data_bytes)
    )
