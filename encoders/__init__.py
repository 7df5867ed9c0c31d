"""Waveform to content vector: decoding, front ends, encoders.

This is the whole public list of the room; everything else may change.
"""

from encoders.audio import AudioLimits, Waveform, decode_audio
from encoders.decoding_pool import DecodingPool
from encoders.errors import (
    AudioChannelsError,
    AudioDecoderDiedError,
    AudioDecodingMemoryError,
    AudioDecodingTimeError,
    AudioEmptyError,
    AudioError,
    AudioFileError,
    AudioNotFiniteError,
    AudioSampleRateError,
    AudioSilentError,
    AudioTooLargeError,
    AudioTooLongError,
    AudioTooShortError,
    AudioTruncatedError,
    DecoderUnavailableError,
    EncoderError,
    EncoderFileError,
    InvalidOptionError,
    InvalidWaveformError,
    NotAudioError,
    UnknownEncoderError,
)
from encoders.protocol import Encoder
from encoders.registry import DEFAULT_ENCODER, load_encoder
from encoders.side_by_side import decode_side_by_side

__all__ = [
    "DEFAULT_ENCODER",
    "AudioChannelsError",
    "AudioDecoderDiedError",
    "AudioDecodingMemoryError",
    "AudioDecodingTimeError",
    "AudioEmptyError",
    "AudioError",
    "AudioFileError",
    "AudioLimits",
    "AudioNotFiniteError",
    "AudioSampleRateError",
    "AudioSilentError",
    "AudioTooLargeError",
    "AudioTooLongError",
    "AudioTooShortError",
    "AudioTruncatedError",
    "DecoderUnavailableError",
    "DecodingPool",
    "Encoder",
    "EncoderError",
    "EncoderFileError",
    "InvalidOptionError",
    "InvalidWaveformError",
    "NotAudioError",
    "UnknownEncoderError",
    "Waveform",
    "decode_audio",
    "decode_side_by_side",
    "load_encoder",
]
