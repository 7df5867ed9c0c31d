"""Processes that decode audio, as many as are needed at once: what is heard comes from anyone."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from encoders.audio import DEFAULT_LIMITS, AudioLimits, Waveform, check_size
from encoders.decoding_process import DecodingProcess
from encoders.errors import AudioDecoderDiedError, DecoderUnavailableError

FILES_A_PROCESS = 1000  # then a new one takes its place: what libraries forget to free stays bounded


class DecodingPool:
    """Decodes audio in processes of their own, which may fail, hang or die and harm nobody. Thread safe.

    They are started when they are needed, one for each call in progress and at most one a core, and stay for the next
    file until the pool is closed.

    Parameters
    ----------
    limits : AudioLimits
        What is accepted, and how much time and memory decoding it may take.

    Attributes
    ----------
    limits : AudioLimits
    """

    def __init__(self, limits: AudioLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._most = len(os.sched_getaffinity(0))
        self._idle: list[DecodingProcess] = []
        self._busy: set[DecodingProcess] = set()
        self._starting = 0
        self._closed = False
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def warm_up(self) -> None:
        """Start a process now, so that the first file does not wait for it.

        Raises
        ------
        DecoderUnavailableError
        """
        with self._process():
            pass

    def decode(self, audio: bytes, *, sample_rate_hz: int, max_seconds: float | None = None) -> Waveform:
        """Decode a track to mono at one sample rate; see `decode_audio`.

        Parameters
        ----------
        audio : bytes
            The file's.
        sample_rate_hz : int
            Of the result.
        max_seconds : float, optional
            Decode only the first so many seconds.

        Returns
        -------
        Waveform

        Raises
        ------
        AudioError
            A subclass for each reason, among them `AudioDecodingTimeError`, `AudioDecodingMemoryError` and
            `AudioDecoderDiedError`: these cost the process, and the next file gets a new one.
        DecoderUnavailableError
            No process can be started, or the pool is closed.
        InvalidOptionError
            `sample_rate_hz` or `max_seconds` is not positive.
        """
        check_size(len(audio), self.limits)  # before so much is handed over
        try:
            with self._process() as process:
                return process.decode(audio, sample_rate_hz=sample_rate_hz, max_seconds=max_seconds)
        except AudioDecoderDiedError:
            # The file may be innocent: the system ends processes where memory runs out, and so may a person.
            with self._process() as process:
                return process.decode(audio, sample_rate_hz=sample_rate_hz, max_seconds=max_seconds)

    def close(self) -> None:
        """End all processes, whatever they are doing, and wait until they have; more than once does no harm."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for process in self._busy:
                process.kill()
            while self._idle:
                self._idle.pop().close()
            self._changed.wait_for(lambda: not self._busy and not self._starting)

    @contextmanager
    def _process(self) -> Iterator[DecodingProcess]:
        """Lend a process that waits for a file."""
        process = self._take() or self._start()
        try:
            yield process
        finally:
            with self._changed:
                keep = process.alive and not self._closed and process.files < FILES_A_PROCESS
                if keep:
                    self._idle.append(process)
                    self._busy.remove(process)
                    self._changed.notify_all()
            if not keep:
                process.close()  # before it is counted out: whoever closes the pool waits until it has ended
                with self._changed:
                    self._busy.remove(process)
                    self._changed.notify_all()

    def _take(self) -> DecodingProcess | None:
        """Take a process that is there; None where one more is to be started, which is counted already."""
        with self._changed:
            while True:
                self._require_open()
                while self._idle:
                    process = self._idle.pop()
                    if process.alive:
                        self._busy.add(process)
                        return process
                    process.close()  # somebody else has ended it
                if len(self._busy) + self._starting < self._most:
                    self._starting += 1
                    return None
                self._changed.wait()

    def _start(self) -> DecodingProcess:
        process = None
        try:
            process = DecodingProcess(self.limits)
        finally:
            with self._changed:
                self._starting -= 1
                if process is not None:
                    self._busy.add(process)
                    if self._closed:  # whoever closes the pool has not seen this one
                        process.kill()
                self._changed.notify_all()
        return process

    def _require_open(self) -> None:
        if self._closed:
            raise DecoderUnavailableError("decoding has ended, as the service stops: try again shortly")
