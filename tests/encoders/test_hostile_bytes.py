"""Whatever the bytes, `decode_audio` answers with a waveform or an AudioError."""

import contextlib
import functools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from encoders import AudioError, AudioLimits, decode_audio
from tests.encoders.audio_files import ENCODERS, tone

FORMATS = sorted(ENCODERS)
LIMITS = AudioLimits(max_duration_s=30.0, min_duration_s=0.05)


@functools.cache
def source(name: str) -> bytes:
    return ENCODERS[name](tone(0.5))


def survives(data: bytes) -> None:
    with contextlib.suppress(AudioError):
        waveform = decode_audio(data, sample_rate_hz=16_000, limits=LIMITS)
        assert np.isfinite(waveform.samples).all()
        assert 0 < waveform.duration_s <= LIMITS.max_duration_s + 1


mutations = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25, deadline=None)
@given(changes=mutations, front=st.booleans(), keep=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_mutated_files(name, changes, front, keep):
    data = bytearray(source(name))
    reach = min(len(data), 200) if front else len(data)  # headers deserve as many hits as all the rest
    for where, value in changes:
        data[int(where * reach)] = value
    survives(bytes(data[: max(1, int(len(data) * keep))]))


@settings(max_examples=60, deadline=None)
@given(
    head=st.sampled_from(
        [
            b"RIFF\xff\xff\xff\xffWAVE",
            b"fLaC\0\0\0\x22",
            b"OggS\0\2",
            b"\xff\xfb\x90\x64",
            b"\xff\xf1\x50\x80",
            b"\0\0\0\x20ftypM4A ",
            b"ID3\4\0\0\0\0\0\0",
        ]
    ),
    tail=st.binary(max_size=600),
)
@example(head=b"RIFF\0\0\0\0WAVE", tail=b"data\0\0\0\0")
def test_magic_and_noise(head, tail):
    survives(head + tail)
