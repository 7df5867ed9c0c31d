"""Every exception of this room, drawn once.

::

    EncoderError                        anything below; carries `reason`, `field`
    |-- UnknownEncoderError             ENCODER_UNKNOWN        no encoder has that name
    |-- EncoderFileError                ENCODER_FILE           weights or checkpoint missing, damaged or unsupported
    |-- InvalidWaveformError            WAVEFORM_INVALID       an array that is no (n,) float32 finite waveform
    |-- InvalidOptionError              OPTION_INVALID         an option outside its range
    |-- DecoderUnavailableError         DECODER_UNAVAILABLE    no process could be started to decode in
    `-- AudioError                      one audio file cannot be used; the caller's data, not our failure
        |-- AudioFileError              AUDIO_FILE_MISSING     the path names no readable regular file
        |-- AudioEmptyError             AUDIO_EMPTY            no bytes
        |-- AudioTooLargeError          AUDIO_TOO_LARGE        more bytes than allowed
        |-- NotAudioError               AUDIO_NOT_AUDIO        no supported container, or nothing in it decodes
        |-- AudioTruncatedError         AUDIO_TRUNCATED        ends before the length that it declares
        |-- AudioTooShortError          AUDIO_TOO_SHORT        less sound than allowed
        |-- AudioTooLongError           AUDIO_TOO_LONG         more sound than allowed
        |-- AudioSilentError            AUDIO_SILENT           nothing above the silence limit
        |-- AudioSampleRateError        AUDIO_SAMPLE_RATE      sample rate outside the limits
        |-- AudioChannelsError          AUDIO_CHANNELS         more channels than allowed
        |-- AudioNotFiniteError         AUDIO_NOT_FINITE       NaN, infinite or absurdly large samples
        |-- AudioDecodingTimeError      AUDIO_DECODING_TIME    decoding takes longer than allowed
        |-- AudioDecodingMemoryError    AUDIO_DECODING_MEMORY  decoding takes more memory than allowed
        `-- AudioDecoderDiedError       AUDIO_DECODER_DIED     the process that decoded it ended

`str(error)` is one sentence with what was measured, the limit, and the remedy; it never holds more of a path than the
caller gave.
"""

from typing import ClassVar


class EncoderError(Exception):
    """Base of the room's exceptions.

    Parameters
    ----------
    message : str
        One sentence: what is wrong, and what to do about it.
    field : str, optional
        The argument at fault. Defaults to the class's own.

    Attributes
    ----------
    reason : str
        Stable UPPER_SNAKE code of the class.
    field : str
        The argument at fault, "" where none is.
    """

    reason: ClassVar[str] = "ENCODER_FAILED"
    default_field: ClassVar[str] = ""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = self.default_field if field is None else field


class UnknownEncoderError(EncoderError):
    """No encoder has the name that was asked for."""

    reason = "ENCODER_UNKNOWN"
    default_field = "encoder"


class EncoderFileError(EncoderError):
    """Weights or a checkpoint are missing, damaged, or of an unsupported kind."""

    reason = "ENCODER_FILE"
    default_field = "encoder"


class InvalidWaveformError(EncoderError):
    """A waveform is not a finite, one-dimensional float32 array of usable length."""

    reason = "WAVEFORM_INVALID"
    default_field = "waveforms"


class InvalidOptionError(EncoderError, ValueError):
    """An option lies outside its range; `field` names it."""

    reason = "OPTION_INVALID"


class DecoderUnavailableError(EncoderError):
    """No process could be started to decode in, or the pool of them was closed; no file is to blame."""

    reason = "DECODER_UNAVAILABLE"


class AudioError(EncoderError):
    """One audio file or byte string cannot be used."""

    reason = "AUDIO_INVALID"
    default_field = "audio"


class AudioFileError(AudioError):
    """The path names no readable regular file."""

    reason = "AUDIO_FILE_MISSING"


class AudioEmptyError(AudioError):
    """The audio has no bytes."""

    reason = "AUDIO_EMPTY"


class AudioTooLargeError(AudioError):
    """The audio has more bytes than allowed."""

    reason = "AUDIO_TOO_LARGE"


class NotAudioError(AudioError):
    """The bytes are no supported audio container, or nothing in them decodes."""

    reason = "AUDIO_NOT_AUDIO"


class AudioTruncatedError(AudioError):
    """The audio ends before the length that it declares."""

    reason = "AUDIO_TRUNCATED"


class AudioTooShortError(AudioError):
    """The audio lasts less than allowed."""

    reason = "AUDIO_TOO_SHORT"


class AudioTooLongError(AudioError):
    """The audio lasts longer than allowed."""

    reason = "AUDIO_TOO_LONG"


class AudioSilentError(AudioError):
    """No sample rises above the silence limit."""

    reason = "AUDIO_SILENT"


class AudioSampleRateError(AudioError):
    """The sample rate lies outside the limits."""

    reason = "AUDIO_SAMPLE_RATE"


class AudioChannelsError(AudioError):
    """The audio has more channels than allowed."""

    reason = "AUDIO_CHANNELS"


class AudioNotFiniteError(AudioError):
    """The audio holds NaN, infinite or absurdly large samples."""

    reason = "AUDIO_NOT_FINITE"


class AudioDecodingTimeError(AudioError):
    """Decoding the audio takes longer than allowed."""

    reason = "AUDIO_DECODING_TIME"


class AudioDecodingMemoryError(AudioError):
    """Decoding the audio takes more memory than allowed."""

    reason = "AUDIO_DECODING_MEMORY"


class AudioDecoderDiedError(AudioError):
    """The process that decoded the audio ended, and so did a new one."""

    reason = "AUDIO_DECODER_DIED"
