import dataclasses
from pathlib import Path

import numpy as np
import pytest

from encoders import AudioError, AudioLimits, InvalidOptionError, decode_audio, decode_side_by_side
from tests.encoders.audio_files import ENCODERS, RATE, ffmpeg, sndfile, tone, wav_header

TARGET = 16_000


def decode(source, **options):
    return decode_audio(source, **({"sample_rate_hz": TARGET} | options))


def reason(source, **options) -> str:
    with pytest.raises(AudioError) as caught:
        decode(source, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert ": " in sentence or "; " in sentence  # what is wrong, and the remedy
    assert caught.value.field == "audio"
    return caught.value.reason


@pytest.fixture(scope="module")
def encoded() -> dict[str, bytes]:
    return {name: encode(tone()) for name, encode in ENCODERS.items()}


@pytest.mark.parametrize("name", ENCODERS)
def test_decodes_every_format_to_the_same_sound(encoded, name, tmp_path):
    rate = 24_000 if name == "opus" else RATE
    signal = decode(sndfile(tone(), "WAV", "FLOAT", rate))
    from_bytes = decode(encoded[name])
    path = tmp_path / "no-extension-that-helps.txt"
    path.write_bytes(encoded[name])
    from_path = decode(path)
    np.testing.assert_array_equal(from_bytes.samples, from_path.samples)
    assert from_bytes.samples.dtype == np.float32
    assert from_bytes.samples.ndim == 1
    assert from_bytes.sample_rate_hz == TARGET
    assert from_bytes.duration_s == from_bytes.samples.size / TARGET
    assert from_bytes.duration_s == pytest.approx(signal.duration_s, abs=0.15)
    assert from_bytes.container == name.split("-")[0].replace("rf64", "wav").replace("opus", "ogg").replace(
        "m4a", "mp4"
    ).replace("alac", "mp4").replace("aac", "adts")

    def spectrum(x):
        return np.abs(np.fft.rfft(x[4000:36000] * np.hanning(32_000)))

    ours, true = spectrum(from_bytes.samples), spectrum(signal.samples)
    assert ours @ true / np.linalg.norm(ours) / np.linalg.norm(true) > 0.99
    assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(true), rel=0.1)


def test_facts_of_the_source():
    waveform = decode(sndfile(tone(2.5, rate=44_100, channels=2), "FLAC", rate=44_100))
    assert (waveform.source_sample_rate_hz, waveform.source_channels) == (44_100, 2)
    assert waveform.source_duration_s == pytest.approx(2.5)
    assert waveform.duration_s == pytest.approx(2.5)
    assert (waveform.container, waveform.codec) == ("flac", "pcm_16")


def test_mono_is_the_mean_of_the_channels():
    stereo = tone(1.5, channels=2, rate=TARGET)
    stereo[:, 1] *= 0.5
    waveform = decode(sndfile(stereo, "WAV", "FLOAT", TARGET))
    np.testing.assert_allclose(waveform.samples, stereo.mean(axis=1), atol=1e-7)


def test_blocks_join_without_a_seam():
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, (TARGET * 30, 1)).astype(np.float32)  # several blocks
    np.testing.assert_array_equal(decode(sndfile(noise, "WAV", "FLOAT", TARGET)).samples, noise[:, 0])


@pytest.mark.parametrize("name", ENCODERS)
def test_max_seconds_is_a_prefix(encoded, name):
    whole, part = decode(encoded[name]), decode(encoded[name], max_seconds=1.25)
    assert part.duration_s == pytest.approx(1.25, abs=1e-3)
    # The last filter width sees silence after the cut.
    np.testing.assert_allclose(part.samples[:-50], whole.samples[: part.samples.size - 50], atol=2e-6)
    beyond = decode(encoded[name], max_seconds=60.0)
    np.testing.assert_array_equal(beyond.samples, whole.samples)


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf")])
def test_max_seconds_has_to_be_positive(encoded, bad):
    with pytest.raises(InvalidOptionError) as caught:
        decode(encoded["wav"], max_seconds=bad)
    assert caught.value.field == "max_seconds"


def test_empty():
    assert reason(b"") == "AUDIO_EMPTY"


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 5000,
        b"x",
        b"RIFF",
        b"hello " * 1000,
        b"%PDF-1.7\n" + bytes(range(256)) * 40,
        b"ID3\4\0\0\0\0\1\0" + b"?" * 900,
    ],
)
def test_not_audio(content):
    assert reason(content) == "AUDIO_NOT_AUDIO"


def test_random_bytes():
    assert reason(np.random.default_rng(1).bytes(200_000)) == "AUDIO_NOT_AUDIO"


@pytest.mark.parametrize("form", ["hls", "concat", "sdp", "m3u"])
def test_a_playlist_is_not_audio_whatever_its_name(encoded, form, tmp_path):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(encoded["wav"])
    text = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile {secret}\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 4 RTP/AVP 0\n",
        "m3u": f"{secret}\n",
    }[form]
    evil = tmp_path / "evil.mp3"
    evil.write_text(text)
    assert reason(evil) == "AUDIO_NOT_AUDIO"
    assert reason(text.encode()) == "AUDIO_NOT_AUDIO"
    # Nor does it help to begin like audio.
    assert reason(b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42" + text.encode()) in {"AUDIO_NOT_AUDIO", "AUDIO_TRUNCATED"}


def test_video_without_sound_is_not_audio():
    import io

    import av

    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as file:
        stream = file.add_stream("mjpeg", rate=5)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    assert reason(target.getvalue()) == "AUDIO_NOT_AUDIO"


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "aac"])  # raw AAC declares no length
def test_truncated(encoded, name, share):
    data = encoded[name]
    assert reason(data[: int(len(data) * share)]) == "AUDIO_TRUNCATED"


@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "mp3"])
def test_truncation_behind_the_part_that_is_read_is_not_noticed(name):
    data = ENCODERS[name](tone(12.0))  # several pages of Ogg
    assert decode(data[: int(len(data) * 0.8)], max_seconds=1.0).duration_s == pytest.approx(1.0, abs=1e-3)
    assert reason(data[: int(len(data) * 0.4)], max_seconds=9.0) == "AUDIO_TRUNCATED"


def test_an_mp3_without_a_header_is_not_refused():
    data = ENCODERS["mp3"](tone(6.0))
    info = data.index(b"Info") if b"Info" in data else data.index(b"Xing")
    plain = data[:info] + b"\0\0\0\0" + data[info + 4 :]
    assert decode(plain).duration_s == pytest.approx(6.0, abs=0.2)
    assert decode(plain[: len(plain) // 2]).duration_s < 4


def test_id3_tags_and_padding_are_skipped(encoded):
    tag = b"ID3\4\0\0\0\0\x0f\x00" + b"\0" * (0x0F << 7)
    for name in ("mp3", "aac", "flac"):
        assert decode(tag + tag + encoded[name]).duration_s == pytest.approx(3.0, abs=0.2)
    assert decode(tag + b"\0" * 999 + encoded["mp3"]).duration_s == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF])
def test_a_streamed_wav_declares_nothing(size):
    samples = (tone(2.0)[:, 0] * 32767).astype("<i2").tobytes()
    assert decode(wav_header(RATE, 1, size) + samples).duration_s == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "opus", "mp3", "m4a", "aac"])
def test_too_short(name):
    assert reason(ENCODERS[name](tone(0.2))) == "AUDIO_TOO_SHORT"


def test_no_sound_at_all_is_too_short():
    assert reason(sndfile(tone(0.0), "WAV")) == "AUDIO_TOO_SHORT"


def test_three_hours_are_too_long_and_cost_nothing():
    hours = sndfile(np.zeros((3 * 3600 * 4000, 1), np.float32), "FLAC", rate=4000)
    for max_seconds in (None, 10.0):
        assert reason(hours, max_seconds=max_seconds) == "AUDIO_TOO_LONG"


def test_the_length_is_counted_where_nothing_is_declared():
    limits = AudioLimits(max_duration_s=2.0)
    samples = (tone(5.0)[:, 0] * 32767).astype("<i2").tobytes()
    assert reason(wav_header(RATE, 1, 0xFFFF_FFFF) + samples, limits=limits) == "AUDIO_TOO_LONG"
    assert reason(ENCODERS["aac"](tone(12.0)), limits=limits) == "AUDIO_TOO_LONG"


def test_a_lying_flac_header_does_not_help():
    data = bytearray(ENCODERS["flac"](tone(9.0)))
    data[21] &= 0xF0
    data[22:26] = (RATE * 2).to_bytes(4, "big")  # STREAMINFO claims 2 s
    with pytest.raises(AudioError):
        decode(bytes(data), limits=AudioLimits(max_duration_s=1.5))
    assert decode(bytes(data)).samples.size <= 9.1 * TARGET


def test_declared_length_that_is_a_lie_is_refused_before_decoding():
    assert reason(wav_header(RATE, 1, 4_000_000_000)) == "AUDIO_TOO_LONG"


def test_silence():
    assert reason(sndfile(np.zeros((RATE * 2, 1), np.float32), "WAV")) == "AUDIO_SILENT"
    assert reason(sndfile(tone(level=0.9e-4), "WAV", "FLOAT")) == "AUDIO_SILENT"
    assert decode(sndfile(tone(level=5e-4), "WAV", "FLOAT")).samples.size


def test_sample_rates():
    assert reason(sndfile(tone(1.5, rate=200_000), "WAV", rate=200_000)) == "AUDIO_SAMPLE_RATE"
    assert reason(sndfile(tone(1.5, rate=1_000), "WAV", rate=1_000)) == "AUDIO_SAMPLE_RATE"
    high = decode(sndfile(tone(1.5, rate=192_000, channels=2), "WAV", rate=192_000))
    assert high.samples.size == 1.5 * TARGET
    odd = decode(sndfile(tone(1.5, rate=44_101), "WAV", rate=44_101))
    assert odd.duration_s == pytest.approx(1.5, abs=1e-3)


def test_channels():
    assert reason(sndfile(tone(1.5, channels=8), "WAV")) == "AUDIO_CHANNELS"
    assert reason(sndfile(tone(1.5, channels=3), "FLAC")) == "AUDIO_CHANNELS"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 32_000.0])
def test_not_finite(bad):
    samples = tone(channels=2)
    samples[40_000, 1] = bad
    assert reason(sndfile(samples, "WAV", "FLOAT")) == "AUDIO_NOT_FINITE"


def test_too_large(encoded, tmp_path):
    limits = AudioLimits(max_bytes=1000)
    path = tmp_path / "a.wav"
    path.write_bytes(encoded["wav"])
    assert reason(encoded["wav"], limits=limits) == "AUDIO_TOO_LARGE"
    assert reason(path, limits=limits) == "AUDIO_TOO_LARGE"


def test_missing_files(tmp_path):
    assert reason(tmp_path / "none.wav") == "AUDIO_FILE_MISSING"
    assert reason(tmp_path) == "AUDIO_FILE_MISSING"
    assert reason(Path("/dev/null")) == "AUDIO_FILE_MISSING"


def test_limits_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        AudioLimits().max_bytes = 1


def test_aac_in_stereo():
    waveform = decode(ffmpeg(tone(2.0, channels=2), "ipod"))
    assert waveform.source_channels == 2


def test_many_files_come_back_in_their_order_and_a_bad_one_spoils_no_other(encoded, tmp_path):
    lengths = [1.5, 3.0, 1.0, 2.0]
    sources = [sndfile(tone(length), "WAV", "PCM_16") for length in lengths]
    (tmp_path / "fifth").write_bytes(encoded["flac"])
    found = list(decode_side_by_side([*sources, b"not audio", tmp_path / "fifth"], sample_rate_hz=16_000))
    assert [one.duration_s for one in found[:4]] == pytest.approx(lengths, abs=1e-3)
    assert found[4].reason == reason(b"not audio")
    np.testing.assert_array_equal(found[5].samples, decode(encoded["flac"], sample_rate_hz=16_000).samples)
