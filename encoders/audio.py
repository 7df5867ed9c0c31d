"""Decodes one audio file, or its bytes, to a mono waveform within limits.

The bytes may come from anyone. Memory is bounded by the limits and not by what a header claims or what a compressed
stream expands to: sound is decoded, mixed down and resampled in blocks, and counted while it flows.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.containers import OGG, Declared, inspect
from encoders.decoders import DecodingStoppedError, Sound, open_sound
from encoders.errors import (
    AudioChannelsError,
    AudioDecodingMemoryError,
    AudioEmptyError,
    AudioFileError,
    AudioNotFiniteError,
    AudioSampleRateError,
    AudioSilentError,
    AudioTooLargeError,
    AudioTooLongError,
    AudioTooShortError,
    AudioTruncatedError,
    InvalidOptionError,
    NotAudioError,
)
from encoders.resample import BlockResampler

FORMATS = "WAV, FLAC, OGG Vorbis, Opus, MP3, M4A or AAC"
MEBIBYTE = 1 << 20
# Encoders pad and trim: an MP3 or AAC stream is some thousand samples off what its header says.
LENGTH_TOLERANCE_S = 0.1
# An Ogg stream may trim up to a page at its end, though its last page's position counts it; whether it was cut off
# shows in its structure (`containers.inspect`).
OGG_LENGTH_TOLERANCE_S = 2.0
LENGTH_TOLERANCE_SHARE = 0.01


@dataclass(frozen=True)
class AudioLimits:
    """What is accepted.

    Attributes
    ----------
    max_bytes : int
        Size of the file.
    min_duration_s, max_duration_s : float
        Length of the track in seconds, both ends accepted.
    min_sample_rate_hz, max_sample_rate_hz : int
        Of the file, both ends accepted.
    max_channels : int
        Of the file.
    silence_peak_dbfs : float
        A track whose highest peak is not above this, in dB relative to full scale, counts as silent.
    max_peak : float
        Largest sample magnitude where 1.0 is full scale. Beyond it a float file holds integers or garbage.
    max_decode_s : float
        How long decoding one file may take, in seconds, of the clock on the wall, and again of a processor's time.
        Kept by `DecodingPool`; `decode_audio` alone, in the caller's own process, has nobody who would end it.
    max_decode_bytes : int
        Memory that decoding one file may take beside the decoding program itself: the encoded file, twice for a
        moment, and the waveform, twice. Kept by `DecodingPool`.

    Raises
    ------
    InvalidOptionError
        For a limit that nothing could meet; `field` names it.
    """

    max_bytes: int = 256 * MEBIBYTE
    min_duration_s: float = 1.0
    max_duration_s: float = 3600.0
    min_sample_rate_hz: int = 4_000
    max_sample_rate_hz: int = 192_000
    max_channels: int = 2
    silence_peak_dbfs: float = -80.0
    max_peak: float = 100.0
    max_decode_s: float = 60.0
    max_decode_bytes: int = 2048 * MEBIBYTE

    def __post_init__(self) -> None:
        for name in (
            "max_bytes",
            "max_duration_s",
            "max_sample_rate_hz",
            "max_channels",
            "max_peak",
            "max_decode_s",
            "max_decode_bytes",
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidOptionError(f"{name} is {getattr(self, name)!r}; it must be a number above 0", field=name)
        for least, most in (("min_duration_s", "max_duration_s"), ("min_sample_rate_hz", "max_sample_rate_hz")):
            if not 0 <= getattr(self, least) <= getattr(self, most):
                raise InvalidOptionError(
                    f"{least} is {getattr(self, least)!r}; it must lie between 0 and {most}, {getattr(self, most)!r}",
                    field=least,
                )
        if not self.silence_peak_dbfs < 0:
            raise InvalidOptionError(
                f"silence_peak_dbfs is {self.silence_peak_dbfs!r}; it must lie below 0, which is full scale",
                field="silence_peak_dbfs",
            )


@dataclass(frozen=True)
class Waveform:
    """A decoded track.

    Attributes
    ----------
    samples : ndarray of shape (n_samples,), float32
        Mono (the mean of the channels), finite, nominally in [-1, 1].
    sample_rate_hz : int
        Of `samples`.
    duration_s : float
        Length of `samples` in seconds.
    source_sample_rate_hz, source_channels : int
        Of the file.
    source_duration_s : float or None
        Length of the whole file in seconds as it declares it, None where it does not.
    container, codec : str
        E.g. "ogg" and "vorbis".
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int
    duration_s: float
    source_sample_rate_hz: int
    source_channels: int
    source_duration_s: float | None
    container: str
    codec: str


DEFAULT_LIMITS = AudioLimits()


def decode_audio(
    source: bytes | Path,
    *,
    sample_rate_hz: int,
    limits: AudioLimits = DEFAULT_LIMITS,
    max_seconds: float | None = None,
) -> Waveform:
    """Decode a track to mono at one sample rate.

    Parameters
    ----------
    source : bytes or Path
        The file's bytes, or where it lies. Only the bytes decide what it is.
    sample_rate_hz : int
        Sample rate of the result, e.g. an encoder's.
    limits : AudioLimits
        What is accepted.
    max_seconds : float, optional
        Decode only the first so many seconds. The limits on length then apply to what the file declares, and missing
        sound is noticed only in the part that is read.

    Returns
    -------
    Waveform

    Raises
    ------
    AudioError
        A subclass for each reason: see `encoders.errors`.
    InvalidOptionError
        `sample_rate_hz` or `max_seconds` is not positive.
    """
    if sample_rate_hz < 1:
        raise InvalidOptionError(
            f"sample_rate_hz is {sample_rate_hz}, expected a positive rate: use the encoder's",
            field="sample_rate_hz",
        )
    if max_seconds is not None and not (math.isfinite(max_seconds) and max_seconds > 0):
        raise InvalidOptionError(
            f"max_seconds is {max_seconds}, expected a positive number: leave it out to decode all",
            field="max_seconds",
        )
    data = _read(source, limits) if isinstance(source, Path) else bytes(source)
    check_size(len(data), limits)
    try:
        return _decode_bytes(data, sample_rate_hz, limits, max_seconds)
    except MemoryError as error:
        raise AudioDecodingMemoryError(out_of_memory(limits)) from error


def _decode_bytes(data: bytes, sample_rate_hz: int, limits: AudioLimits, max_seconds: float | None) -> Waveform:
    declared = inspect(data)
    if declared is None:
        raise NotAudioError(f"the bytes are no supported audio file: send {FORMATS}")
    if declared.elsewhere:
        raise NotAudioError(
            f"the {declared.container.upper()} file says that its sound lies in other files, which are never read: "
            "send one file that holds the sound itself"
        )
    try:
        sound = open_sound(data, declared)
    except NotAudioError as error:
        if declared.damage:
            raise AudioTruncatedError(_cut(declared)) from error
        if declared.duration_s is not None:
            raise AudioTruncatedError(
                f"the audio's header declares {declared.duration_s:.2f} s and none of it can be decoded: "
                "the file is cut off or damaged; send it whole"
            ) from error
        raise
    whole = declared.duration_s if declared.duration_s is not None else sound.duration_s
    _check_form(sound, whole, limits)
    samples, complete = _decode(sound, declared, whole, sample_rate_hz, limits, max_seconds)
    _check_samples(samples, sample_rate_hz, whole, limits, complete=complete)
    return Waveform(
        samples=samples,
        sample_rate_hz=sample_rate_hz,
        duration_s=samples.size / sample_rate_hz,
        source_sample_rate_hz=sound.sample_rate_hz,
        source_channels=sound.channels,
        source_duration_s=whole,
        container=declared.container,
        codec=sound.codec,
    )


def _read(path: Path, limits: AudioLimits) -> bytes:
    try:
        if not path.is_file():
            raise AudioFileError(f"the audio file {path} does not exist or is no regular file: check the path")
        check_size(path.stat().st_size, limits)
        with path.open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except OSError as error:
        raise AudioFileError(
            f"the audio file {path} cannot be read ({error.strerror}): check the path and its permissions"
        ) from error


def check_size(n_bytes: int, limits: AudioLimits) -> None:
    """Refuse audio by its size alone.

    Parameters
    ----------
    n_bytes : int
        Of the encoded file.
    limits : AudioLimits

    Raises
    ------
    AudioEmptyError, AudioTooLargeError
    """
    if not n_bytes:
        raise AudioEmptyError("the audio has 0 bytes: send the file's content")
    if n_bytes > limits.max_bytes:
        raise AudioTooLargeError(
            f"the audio has {n_bytes / MEBIBYTE:.1f} MiB, at most {limits.max_bytes / MEBIBYTE:.1f} MiB are accepted: "
            "send a smaller encoding of it"
        )


def out_of_memory(limits: AudioLimits) -> str:
    """Say that decoding took more memory than there is.

    Parameters
    ----------
    limits : AudioLimits

    Returns
    -------
    str
    """
    return (
        f"decoding the audio takes more memory than may be had ({limits.max_decode_bytes / MEBIBYTE:.0f} MiB in a "
        "process of its own): the file is damaged, or longer than there is room for; export it again, or raise the "
        "limit"
    )


def _check_form(sound: Sound, whole_s: float | None, limits: AudioLimits) -> None:
    if sound.channels > limits.max_channels:
        raise AudioChannelsError(
            f"the audio has {sound.channels} channels, at most {limits.max_channels} are accepted: mix it to stereo"
        )
    if not limits.min_sample_rate_hz <= sound.sample_rate_hz <= limits.max_sample_rate_hz:
        raise AudioSampleRateError(
            f"the audio has a sample rate of {sound.sample_rate_hz} Hz, accepted are {limits.min_sample_rate_hz} to "
            f"{limits.max_sample_rate_hz} Hz: resample it, for instance to 44100 Hz"
        )
    if whole_s is not None and whole_s > limits.max_duration_s:
        raise AudioTooLongError(_too_long("declares", whole_s, limits))


def _decode(
    sound: Sound,
    declared: Declared,
    whole_s: float | None,
    sample_rate_hz: int,
    limits: AudioLimits,
    max_seconds: float | None,
) -> tuple[NDArray[np.float32], bool]:
    """Return the samples at the target rate, and whether the stream was read to its end."""
    rate = sound.sample_rate_hz
    wanted = None if max_seconds is None else math.ceil(max_seconds * rate)
    resampler = BlockResampler(rate, sample_rate_hz)
    parts: list[NDArray[np.float32]] = []
    decoded, stopped = 0, ""
    try:
        for block in _checked(sound.blocks, limits):
            decoded += block.size
            if wanted is not None and decoded >= wanted:
                parts.append(resampler.push(block[: block.size - (decoded - wanted)]))
                break
            if decoded > limits.max_duration_s * rate:
                raise AudioTooLongError(_too_long("has more than", limits.max_duration_s, limits))
            parts.append(resampler.push(block))
    except DecodingStoppedError as error:
        stopped = f"decoding stopped: {error}"
    complete = wanted is None or decoded < wanted
    parts.append(resampler.finish())
    if complete:
        _check_complete(decoded / rate, declared, whole_s, stopped)
    return np.concatenate(parts), complete


def _checked(blocks: Iterator[NDArray[np.float32]], limits: AudioLimits) -> Iterator[NDArray[np.float32]]:
    for block in blocks:
        peak = float(np.abs(block).max(initial=0.0))
        if not math.isfinite(peak):
            raise AudioNotFiniteError("the audio holds NaN or infinite samples: export the track again")
        if peak > limits.max_peak:
            raise AudioNotFiniteError(
                f"the audio's samples reach {peak:.3g}, at most {limits.max_peak:.3g} times full scale is accepted: "
                "scale float samples to [-1, 1]"
            )
        yield block


def _check_complete(decoded_s: float, declared: Declared, whole_s: float | None, stopped: str) -> None:
    if declared.damage:
        raise AudioTruncatedError(_cut(declared))
    if whole_s is not None:
        fixed = OGG_LENGTH_TOLERANCE_S if declared.container == OGG else LENGTH_TOLERANCE_S
        tolerance = fixed + LENGTH_TOLERANCE_SHARE * whole_s
        if decoded_s < whole_s - tolerance:
            raise AudioTruncatedError(
                f"the audio ends after {decoded_s:.2f} s where its header declares {whole_s:.2f} s: "
                "the file is cut off or damaged; send it whole"
            )
    elif stopped:
        raise AudioTruncatedError(
            f"the audio cannot be decoded beyond {decoded_s:.2f} s: the file is cut off or damaged; send it whole"
        )


def _check_samples(
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    whole_s: float | None,
    limits: AudioLimits,
    *,
    complete: bool,
) -> None:
    duration = samples.size / sample_rate_hz
    measured = duration if complete or whole_s is None else whole_s
    if (complete or whole_s is not None) and measured < limits.min_duration_s:
        raise AudioTooShortError(
            f"the audio lasts {measured:.2f} s, at least {limits.min_duration_s:.2f} s are needed: send the whole track"
        )
    peak = max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))  # np.abs would copy an hour
    peak_dbfs = 20 * math.log10(peak) if peak > 0 else -math.inf
    if peak_dbfs <= limits.silence_peak_dbfs:
        raise AudioSilentError(
            f"the audio is silent: its peak is {peak_dbfs:.1f} dBFS, above {limits.silence_peak_dbfs:.1f} dBFS is "
            "needed; check the export"
        )


def _cut(declared: Declared) -> str:
    return f"the {declared.container.upper()} audio is cut off: {declared.damage}; send the whole file"


def _too_long(verb: str, duration_s: float, limits: AudioLimits) -> str:
    return (
        f"the audio {verb} {duration_s:.1f} s, at most {limits.max_duration_s:.1f} s are accepted: "
        "send single tracks, or raise the limit"
    )
