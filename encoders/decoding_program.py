"""The program of a process that decodes audio and does nothing else; `encoders.decoding_process` starts it.

It reads requests from standard input and writes replies to standard output: each a header, which is the length of a
JSON object in four bytes and the object, and behind it as many bytes as the object's ``bytes`` says. What it is given
comes from anyone and is handed to libraries that were written in C, so before the first request it gives up what
decoding does not need: new files, sockets and pipes, writing to files, core dumps, privileges of other programs, and
memory beyond a limit.
"""

import ctypes
import fcntl
import json
import math
import os
import resource
import signal
import struct
import sys
import time
from contextlib import suppress
from typing import Any

from encoders.audio import MEBIBYTE, AudioLimits, Waveform, decode_audio
from encoders.errors import AudioDecodingMemoryError, EncoderError

MAX_HEADER_BYTES = 1 << 16
MAX_FAILURE_CHARACTERS = 4000
PIECE_BYTES = MEBIBYTE
SOURCE_FIELDS = ("source_sample_rate_hz", "source_channels", "source_duration_s", "container", "codec")
"""What a reply says of a `Waveform` beside its samples."""

_LENGTH = struct.Struct("<I")
_SET_NO_NEW_PRIVILEGES = 38  # prctl(2)
_STANDARD_INPUT, _STANDARD_OUTPUT, _STANDARD_ERROR, _LIFELINE = range(4)
OUT_OF_MEMORY = 77
"""Exit code where so much as taking a request in takes more memory than there is."""


def header(fields: dict[str, Any]) -> bytes:
    """Pack the header of a message.

    Parameters
    ----------
    fields : dict
        What JSON can hold.

    Returns
    -------
    bytes
    """
    text = json.dumps(fields).encode()
    return _LENGTH.pack(len(text)) + text


def length_of(raw: bytes) -> int:
    """Read how long the object of a header is.

    Parameters
    ----------
    raw : bytes
        Its first four bytes.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        For more than a header ever has.
    """
    (length,) = _LENGTH.unpack(raw)
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes, where {MAX_HEADER_BYTES} are the most")
    return int(length)


def main() -> None:
    """Decode what standard input brings, until it ends.

    The first argument holds the limits as JSON, the second the number of a pipe's reading end, whose other end the
    caller holds and never writes to.
    """
    limits = AudioLimits(**json.loads(sys.argv[1]))
    _die_with_the_caller(int(sys.argv[2]))
    _load()
    replies = _take_replies_apart()
    _confine(limits, replies)
    _write(replies, header({"ready": True}))
    try:
        while _serve(limits, replies):
            pass
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # to tell more of it would take some


def _serve(limits: AudioLimits, replies: int) -> bool:
    """Answer one request; whether another one may come. Nothing of it is kept."""
    request = _read_request()
    audio = _read(request.pop("bytes")) if request is not None else None
    if request is None or audio is None:
        return False
    _limit_time(limits)
    reply, samples = _answer(audio, request, limits)
    _write(replies, header(reply))
    if samples is not None:
        _write(replies, samples)
    # What state a failure has left behind need not be known.
    return "failure" not in reply and reply.get("reason") != AudioDecodingMemoryError.reason


def _load() -> None:
    """Use both decoder libraries once, and the ways of an error: they are loaded by that, and nothing can be later."""
    rate, seconds = 8000, 2
    sound = bytes([128, 192, 128, 64]) * (rate * seconds // 4)  # 8 bits, a tone of 2 kHz
    form = struct.pack("<4sIHHIIHH4s", b"fmt ", 16, 1, 1, rate, rate, 1, 8, b"data")
    start = b"RIFF" + struct.pack("<I", 36 + len(sound)) + b"WAVE" + form
    for size in (len(sound), 0):  # by libsndfile, and by FFmpeg, which takes a size of 0 as unknown
        decode_audio(start + struct.pack("<I", size) + sound, sample_rate_hz=2 * rate)
    with suppress(EncoderError):
        decode_audio(b"fLaC" + bytes(100), sample_rate_hz=rate)


def _take_replies_apart() -> int:
    """Keep standard output for replies alone: libraries print, some of them for each file that is damaged."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, _STANDARD_ERROR)  # also where it was closed, and its number free
    replies = os.dup(_STANDARD_OUTPUT)
    os.dup2(nowhere, _STANDARD_OUTPUT)
    return replies


def _confine(limits: AudioLimits, replies: int) -> None:
    """Give up what decoding does not need, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_NO_NEW_PRIVILEGES, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise OSError(ctypes.get_errno(), "privileges of other programs cannot be given up")
    with open("/proc/self/statm", encoding="ascii") as file:
        program_bytes = int(file.read().split()[0]) * resource.getpagesize()
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)  # of files that are written; pipes are none
    _lower(resource.RLIMIT_AS, program_bytes + limits.max_decode_bytes)
    # The next free number is the first that may not be given out: no file, no socket, no pipe can be opened.
    _lower(resource.RLIMIT_NOFILE, replies + 1)


def _lower(kind: int, value: int) -> None:
    most = resource.getrlimit(kind)[1]
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (value, value))


def _limit_time(limits: AudioLimits) -> None:
    """Let the system end this process where it calculates for too long, should nobody else."""
    seconds = math.ceil(time.process_time() + limits.max_decode_s) + 1
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds if most == resource.RLIM_INFINITY else min(seconds, most), most))


def _die_with_the_caller(lifeline: int) -> None:
    """Have the system kill this process when the last other end of a pipe is closed, however its holder ends.

    That works on a process that calculates, hangs or was stopped. (A signal at the end of the parent,
    `PR_SET_PDEATHSIG`, comes at the end of the thread that started this process, which may be a short one. And of the
    pipe that requests come by the system tells each write as well, some of them only when what was written is read.)
    """
    if lifeline != _LIFELINE:
        os.dup2(lifeline, _LIFELINE)  # no number below the highest stays free, see `_confine`
        os.close(lifeline)
    fcntl.fcntl(_LIFELINE, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(_LIFELINE, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(_LIFELINE, fcntl.F_SETFL, fcntl.fcntl(_LIFELINE, fcntl.F_GETFL) | os.O_ASYNC)
    # Whoever ends a service tells all of its processes: those that drain may still need this one.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _read_request() -> dict[str, Any] | None:
    raw = _read(_LENGTH.size)
    fields = _read(length_of(raw)) if raw is not None else None
    return None if fields is None else dict(json.loads(fields))


def _answer(audio: bytes, request: dict[str, Any], limits: AudioLimits) -> tuple[dict[str, Any], memoryview | None]:
    """Return a reply and the samples that go with it."""
    try:
        waveform = decode_audio(audio, limits=limits, **request)
    except EncoderError as error:
        return {"bytes": 0, "reason": error.reason, "message": str(error), "field": error.field}, None
    except Exception as error:
        return {"bytes": 0, "failure": f"{type(error).__name__}: {error}"[:MAX_FAILURE_CHARACTERS]}, None
    samples = waveform.samples.data.cast("B")
    return {"bytes": len(samples), "waveform": _described(waveform)}, samples


def _described(waveform: Waveform) -> dict[str, Any]:
    return {name: getattr(waveform, name) for name in SOURCE_FIELDS}


def _read(size: int) -> bytes | None:
    """Read so many bytes from standard input; None where it ends before."""
    parts = []
    while size:
        part = os.read(_STANDARD_INPUT, min(size, PIECE_BYTES))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view[:PIECE_BYTES]) :]
