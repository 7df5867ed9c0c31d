"""Many audio files decoded at once: a decoder works on one core, whatever machine it is on."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from encoders.audio import DEFAULT_LIMITS, AudioLimits, Waveform, decode_audio
from encoders.errors import EncoderError


def decode_side_by_side(
    sources: Sequence[bytes | Path],
    *,
    sample_rate_hz: int,
    limits: AudioLimits = DEFAULT_LIMITS,
    max_seconds: float | None = None,
) -> Iterator[Waveform | EncoderError]:
    """Decode tracks on all cores that the process may use: the decoders let go of Python's lock.

    Parameters
    ----------
    sources : sequence of bytes or Path
        Files' bytes, or where they lie. All of their waveforms may be held in memory at once.
    sample_rate_hz, limits, max_seconds
        As for `decode_audio`.

    Yields
    ------
    Waveform or EncoderError
        In the order of `sources`; the error where a file has to be refused, so that it does not spoil the others.
    """

    def one(source: bytes | Path) -> Waveform | EncoderError:
        try:
            return decode_audio(source, sample_rate_hz=sample_rate_hz, limits=limits, max_seconds=max_seconds)
        except EncoderError as error:
            return error

    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="decode") as threads:
        yield from threads.map(one, sources)
