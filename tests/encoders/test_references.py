"""Files that say that their sound lies elsewhere: refused, and nothing else is opened."""

import contextlib
import struct

import pytest

from encoders import AudioError, decode_audio
from tests.encoders.audio_files import ffmpeg, tone

WAY = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")


def refused(data: bytes) -> str:
    with pytest.raises(AudioError) as caught:
        decode_audio(data, sample_rate_hz=16_000)
    assert caught.value.reason == "AUDIO_NOT_AUDIO"
    return str(caught.value)


def with_inside(data: bytes, names: tuple[bytes, ...], old: bytes, new: bytes) -> bytes:
    """Replace bytes inside of boxes that stand in each other, whose sizes follow."""
    changed = bytearray(data)
    for name in names:
        at = changed.index(name) - 4
        size = struct.unpack_from(">I", changed, at)[0]
        struct.pack_into(">I", changed, at, size + len(new) - len(old))
    return bytes(changed).replace(old, new, 1)


@pytest.fixture(scope="module")
def m4a() -> bytes:
    data = ffmpeg(tone(1.5), "ipod")
    assert data.index(b"mdat") < data.index(b"moov")  # no place in the sound moves when the index grows
    assert decode_audio(data, sample_rate_hz=16_000).samples.size
    return data


OURS = struct.pack(">I4sI", 12, b"url ", 1)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (b"url ", b"file:///etc/passwd\0"),
        (b"url ", b"http://127.0.0.1:9/secret\0"),
        (b"urn ", b"urn:secret\0file:///etc/passwd\0"),
        (b"alis", bytes(200)),
    ],
)
def test_a_track_that_lies_in_another_file(m4a, kind, place):
    reference = struct.pack(">I4sI", 12 + len(place), kind, 0) + place
    assert "lies in other files" in refused(with_inside(m4a, WAY, OURS, reference))
    # One more beside the file's own.
    more = with_inside(m4a, WAY, OURS, OURS + reference)
    count = more.index(b"dref") + 8
    assert "lies in other files" in refused(more[:count] + struct.pack(">I", 2) + more[count + 4 :])


def test_a_movie_that_names_others(m4a):
    reference = struct.pack(">I4s", 24, b"rmda") + struct.pack(">I4sI4s", 16, b"rdrf", 0, b"url ")
    box = struct.pack(">I4s", 8 + len(reference), b"rmra") + reference
    assert "lies in other files" in refused(_with_first(m4a, box))


def _with_first(data: bytes, box: bytes) -> bytes:
    """Put a box at the beginning of moov."""
    at = data.index(b"moov")
    size = struct.unpack_from(">I", data, at - 4)[0]
    return data[: at - 4] + struct.pack(">I", size + len(box)) + b"moov" + box + data[at + 4 :]


def test_a_reference_to_nowhere_is_the_file_itself(m4a):
    """Some writers forget the flag."""
    for end in (b"", b"\0"):
        reference = struct.pack(">I4sI", 12 + len(end), b"url ", 0) + end
        assert decode_audio(with_inside(m4a, WAY, OURS, reference), sample_rate_hz=16_000).samples.size


@pytest.mark.parametrize("size", [0, 1, 8, 9, 0x7FFF_FFFF, 0xFFFF_FFFF])
@pytest.mark.parametrize("rest", [b"", b"\0", bytes(20)])
def test_a_reference_of_any_size_is_survived(m4a, size, rest):
    data = with_inside(m4a, WAY, OURS, struct.pack(">I4s", size, b"url ") + rest)
    with contextlib.suppress(AudioError):
        assert decode_audio(data, sample_rate_hz=16_000).samples.size


@pytest.mark.parametrize("depth", [3, 5000])
def test_boxes_in_boxes_end(m4a, depth):
    boxes = b""
    for _ in range(depth):
        boxes = struct.pack(">I4s", 8 + len(boxes), b"moov") + boxes
    with pytest.raises(AudioError):
        decode_audio(m4a[: m4a.index(b"moov") - 4] + boxes, sample_rate_hz=16_000)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n",
        "[playlist]\nFile1=file:///etc/passwd\nNumberOfEntries=1\n",
        'FILE "/etc/passwd" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>file:///etc/</BaseURL></MPD>',
        '<?xml version="1.0"?><playlist version="1"><trackList/></playlist>',
        "ffconcat version 1.0\nfile /etc/passwd\n",
        "v=0\nm=audio 4 RTP/AVP 0\n",
        "RTSPtextRTSP://127.0.0.1/\n",
        "[Reference]\nRef1=http://127.0.0.1/\n",
    ],
    ids=["m3u", "pls", "cue", "dash", "xspf", "concat", "sdp", "rtsp", "asx"],
)
def test_a_list_of_other_files_is_no_audio(text):
    assert "no supported audio file" in refused(text.encode())
    assert "no supported audio file" in refused(b"\xef\xbb\xbf" + text.encode())
    assert "no supported audio file" in refused(b"ID3\4\0\0\0\0\0\0" + text.encode())
