"""One process that decodes audio, from the side of those who have something to decode."""

import json
import logging
import math
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders import errors
from encoders.audio import MEBIBYTE, AudioLimits, Waveform, out_of_memory
from encoders.containers import CONTAINERS
from encoders.decoding_program import (
    MAX_FAILURE_CHARACTERS,
    OUT_OF_MEMORY,
    PIECE_BYTES,
    SOURCE_FIELDS,
    header,
    length_of,
)
from encoders.errors import (
    AudioDecoderDiedError,
    AudioDecodingMemoryError,
    AudioDecodingTimeError,
    DecoderUnavailableError,
    EncoderError,
)

START_S = 60.0  # loading the libraries takes less than one, on a machine that has nothing else to do
END_S = 1.0  # between the last that is heard of a process and its end
PIPE_BYTES = MEBIBYTE  # what the system lends to anybody
MAX_SENTENCE_CHARACTERS = 1000
LENGTH_SLACK = 1.001  # a sample rate's ratio is rounded by up to half of that, see `encoders.resample`
_PROGRAM = "from encoders.decoding_program import main; main()"
# What a process may say of a file, by reason; nothing else that it says is believed.
_ERRORS = {
    kind.reason: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EncoderError)
}

_MAKES_NO_SENSE = (ValueError, KeyError, TypeError, RecursionError)  # what reading a reply of any bytes may raise

_log = logging.getLogger(__name__)


class DecodingProcess:
    """A process of its own, with limits that the system keeps, which decodes one file after the other.

    It inherits no open file, and none of the environment. It ends with this process, however that ends.

    Parameters
    ----------
    limits : AudioLimits

    Attributes
    ----------
    files : int
        That it has decoded or refused.
    ended : bool
        Whether it has been ended, and can decode no more.

    Raises
    ------
    DecoderUnavailableError
        It does not start; the log says why.
    """

    def __init__(self, limits: AudioLimits) -> None:
        self._limits = limits
        self.files = 0
        self.ended = False
        environment = {
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).resolve().parents[1]), *(path for path in sys.path if path)]
            ),
            # One thread a process: a pool of OpenBLAS's would only reserve memory.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        try:
            its_end, self._lifeline = os.pipe()
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-P", "-c", _PROGRAM, json.dumps(asdict(limits)), str(its_end)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    pass_fds=(its_end,),
                    bufsize=0,
                    env=environment,
                    cwd="/",
                    process_group=0,  # an interrupt from the terminal is for this process, which ends the other
                )
            except BaseException:
                os.close(self._lifeline)
                raise
            finally:
                os.close(its_end)
        except OSError as error:
            _log.error("no process to decode in could be started", exc_info=error)
            raise _unavailable() from error
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: PT018 - opened as pipes
        self._requests, self._replies = self._process.stdin.fileno(), self._process.stdout.fileno()
        try:
            for pipe in (self._requests, self._replies):
                os.set_blocking(pipe, False)
                with suppress(PermissionError):  # where many pipes of this user are open: smaller ones are slower
                    fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)
            self._header(time.monotonic() + START_S)
        except (EOFError, TimeoutError, *_MAKES_NO_SENSE) as error:
            _log.error("a process to decode in ended with %d before it was ready", self._end_after(error))
            raise _unavailable() from error
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can be given a file, as far as one knows before."""
        return not self.ended and self._process.poll() is None

    def decode(self, audio: bytes, *, sample_rate_hz: int, max_seconds: float | None) -> Waveform:
        """Have a file decoded; see `encoders.audio.decode_audio`, whose arguments these are.

        Returns
        -------
        Waveform

        Raises
        ------
        AudioError, InvalidOptionError
            What `decode_audio` raised there.
        AudioDecodingTimeError, AudioDecodingMemoryError, AudioDecoderDiedError
            The process has been ended.
        """
        self.files += 1
        in_order = False  # whether the next request will meet a process that waits for it
        try:
            found = self._ask(audio, sample_rate_hz, max_seconds)
            in_order = not isinstance(found, AudioDecodingMemoryError | AudioDecoderDiedError)
        except TimeoutError as error:
            raise self._took_too_long() from error
        except (EOFError, BrokenPipeError, *_MAKES_NO_SENSE) as error:
            raise self._died(error) from error
        finally:
            if not in_order:
                self.close()
        if isinstance(found, EncoderError):
            raise found
        return found

    def kill(self) -> None:
        """End the process from another thread than the one that uses it, which finds out and closes it."""
        self._process.kill()  # by its handle, which knows whether it has ended

    def close(self) -> None:
        """End the process, whatever it is doing, and wait until it has; more than once does no harm."""
        if self.ended:
            return
        self.ended = True
        self.kill()  # it holds nothing that is worth keeping
        self._process.wait()
        os.close(self._lifeline)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, audio: bytes, sample_rate_hz: int, max_seconds: float | None) -> Waveform | EncoderError:
        deadline = time.monotonic() + self._limits.max_decode_s
        request = {"bytes": len(audio), "sample_rate_hz": sample_rate_hz, "max_seconds": max_seconds}
        self._send(header(request), deadline)
        self._send(audio, deadline)
        reply = self._header(deadline)
        if "failure" in reply:
            _log.error("decoding failed in an unexpected way: %s", str(reply["failure"])[:MAX_FAILURE_CHARACTERS])
            return AudioDecoderDiedError("decoding the audio failed: the file is damaged; export it again")
        if "reason" in reply:
            kind = _ERRORS[reply["reason"]]
            return kind(str(reply["message"])[:MAX_SENTENCE_CHARACTERS], field=str(reply["field"])[:80])
        source = {name: reply["waveform"][name] for name in SOURCE_FIELDS}
        if source["container"] not in CONTAINERS:
            raise ValueError("a container that there is not")
        samples = self._samples(reply["bytes"], sample_rate_hz, deadline)
        return Waveform(samples, sample_rate_hz, samples.size / sample_rate_hz, **source)

    def _samples(self, size: int, sample_rate_hz: int, deadline: float) -> NDArray[np.float32]:
        most = math.ceil((self._limits.max_duration_s * LENGTH_SLACK + 1) * sample_rate_hz) * 4
        if not isinstance(size, int) or size % 4 or not 0 < size <= most:
            raise ValueError(f"{size} bytes of samples, where {most} are the most")
        samples = np.empty(size // 4, np.float32)
        self._receive(samples.data.cast("B"), deadline)
        if not np.isfinite(samples).all():
            raise ValueError("samples that are no numbers")
        return samples

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            _wait(self._requests, select.POLLOUT, deadline)
            with suppress(BlockingIOError):  # room for less than a page
                view = view[os.write(self._requests, view[:PIECE_BYTES]) :]

    def _header(self, deadline: float) -> dict[str, Any]:
        raw = bytearray(4)
        self._receive(memoryview(raw), deadline)
        text = bytearray(length_of(bytes(raw)))
        self._receive(memoryview(text), deadline)
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("a header that is no object")
        return fields

    def _receive(self, into: memoryview, deadline: float) -> None:
        while into:
            _wait(self._replies, select.POLLIN, deadline)
            count = os.readv(self._replies, [into])
            if not count:
                raise EOFError
            into = into[count:]

    def _took_too_long(self) -> AudioDecodingTimeError:
        _log.warning("process %d took longer than it may to decode a file, and is killed", self._process.pid)
        return AudioDecodingTimeError(
            f"decoding the audio took longer than {self._limits.max_decode_s:g} s: the file is damaged, or longer than "
            "there is time for; export it again, or raise the limit"
        )

    def _end_after(self, error: Exception) -> int:
        """End the process and return its exit code: its own, where it is about to end by itself."""
        if isinstance(error, EOFError | BrokenPipeError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
        self.close()
        return int(self._process.returncode)

    def _died(self, error: Exception) -> EncoderError:
        code = self._end_after(error)
        if code == -signal.SIGXCPU:
            return self._took_too_long()
        if code == OUT_OF_MEMORY:
            return AudioDecodingMemoryError(out_of_memory(self._limits))
        # SIGKILL is either ours, behind a reply that made no sense, or the system's, where memory ran out.
        _log.warning("process %d ended with %d while it decoded a file: %r", self._process.pid, code, error)
        return AudioDecoderDiedError(
            "the process that decoded the audio ended, and so did a new one: the file is damaged; export it again"
        )


def _unavailable() -> DecoderUnavailableError:
    return DecoderUnavailableError("no process could be started to decode in: try again; the service's log says why")


def _wait(descriptor: int, event: int, deadline: float) -> None:
    """Wait until a pipe can be used or its other end is closed.

    Raises
    ------
    TimeoutError
    """
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
        raise TimeoutError
