"""Recognises audio containers by their first bytes and reads what they declare about their own length.

Nothing is decoded here and no name or path is looked at. What a header declares may be wrong or a lie: it serves to
refuse early and to notice missing sound, never to trust.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

WAV, FLAC, OGG, MP3, MP4, ADTS = "wav", "flac", "ogg", "mp3", "mp4", "adts"
CONTAINERS = (WAV, FLAC, OGG, MP3, MP4, ADTS)

SYNC_SEARCH_BYTES = 65_536  # junk and padding tolerated between an ID3 tag and the first MPEG frame
SYNC_FRAMES = 3  # consecutive frame headers that have to agree
OPUS_MAGIC = b"OpusHead"  # first bytes of the first packet
OGG_FIRST_PAGE_BYTES = 64  # page header (28 with one segment) and that packet's start
MP4_WAY_TO_REFERENCES = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")  # each a box inside the one before
MP4_REFERENCE_MOVIE = b"rmra"  # in moov: QuickTime's list of other movies, one of which is to be played instead
UNKNOWN_SIZES = (0, 0xFFFF_FFFF)  # what writers that cannot seek leave in a size field

MPEG_BITRATES_KBPS = {  # (MPEG-1?, layer) -> by the header's index; 0 = "free format", not supported
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MPEG_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}

# (data, position) -> (what has to agree between frames, length in bytes), None where there is no frame header
FrameReader = Callable[[bytes, int], tuple[object, int] | None]


@dataclass(frozen=True)
class Declared:
    """What a file's first bytes and structure say.

    Attributes
    ----------
    container : str
        One of `CONTAINERS`.
    duration_s : float or None
        Declared length in seconds; None where nothing is declared here (the decoder may know more).
    damage : str
        What shows that the file was cut off, as a clause, or "".
    ffmpeg_only : bool
        libsndfile is known to misread it.
    elsewhere : bool
        It says that its sound lies in other files.
    """

    container: str
    duration_s: float | None = None
    damage: str = ""
    ffmpeg_only: bool = False
    elsewhere: bool = False


def inspect(data: bytes) -> Declared | None:
    """Recognise the container.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    Declared or None
        None where the bytes are none of the supported containers.
    """
    start = _after_id3(data)
    head = data[start : start + 12]
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _wav(data, start)
    if head[:4] == b"fLaC":
        return _flac(data, start)
    if head[:4] == b"OggS":
        return _ogg(data)
    if head[4:8] == b"ftyp":
        return _mp4(data)
    for frame_at in range(start, min(len(data) - 4, start + SYNC_SEARCH_BYTES)):
        if data[frame_at] == 0xFF and data[frame_at + 1] & 0xE0 == 0xE0:
            if _agreeing(data, frame_at, _adts_frame):
                return Declared(ADTS)
            if _agreeing(data, frame_at, _mpeg_frame):
                return _mp3(data, frame_at)
    return None


def _after_id3(data: bytes) -> int:
    position = 0
    while data[position : position + 3] == b"ID3" and len(data) >= position + 10:
        size = 0
        for byte in data[position + 6 : position + 10]:
            size = size << 7 | byte & 0x7F
        position += 10 + size + (10 if data[position + 5] & 0x10 else 0)
    return position


def _wav(data: bytes, start: int) -> Declared:
    position, byte_rate, long_size = start + 12, 0, 0
    while position + 8 <= len(data):
        name, size = data[position : position + 4], struct.unpack_from("<I", data, position + 4)[0]
        body = position + 8
        if name == b"fmt " and body + 16 <= len(data):
            byte_rate = struct.unpack_from("<I", data, body + 8)[0]
        elif name == b"ds64" and body + 16 <= len(data):
            long_size = struct.unpack_from("<Q", data, body + 8)[0]
        elif name == b"data":
            declared = long_size if size == 0xFFFF_FFFF and long_size else size
            if declared in UNKNOWN_SIZES or not byte_rate:
                # libsndfile takes a size of 0 at its word, though the sound may follow.
                return Declared(WAV, ffmpeg_only=size == 0 and body < len(data))
            return Declared(WAV, declared / byte_rate)
        position = body + size + (size & 1)
    return Declared(WAV, damage="it ends before its data chunk")


def _flac(data: bytes, start: int) -> Declared:
    # STREAMINFO comes first: 20 bits of sample rate, 3 of channels, 5 of depth, 36 of total samples (0 = unknown).
    if len(data) < start + 26:
        return Declared(FLAC, damage="it ends inside its first header")
    fields = int.from_bytes(data[start + 18 : start + 26], "big")
    rate, total = fields >> 44, fields & ((1 << 36) - 1)
    return Declared(FLAC, total / rate if rate and total else None)


def _ogg(data: bytes) -> Declared:
    # libsndfile 1.2 reports "malformed" halfway through sound Opus files of some encoders; FFmpeg reads them all.
    opus = OPUS_MAGIC in data[:OGG_FIRST_PAGE_BYTES]
    damage = _ogg_damage(data)
    return Declared(OGG, damage=damage, ffmpeg_only=opus)


def _ogg_damage(data: bytes) -> str:
    # The last page of a complete file carries the end-of-stream flag (4) and all the bytes that its segment table says.
    page = data.rfind(b"OggS\0")
    if len(data) < page + 27 or len(data) < page + 27 + data[page + 26]:
        return "it ends inside the header of a page"
    table = data[page + 27 : page + 27 + data[page + 26]]
    if len(data) < page + 27 + len(table) + sum(table):
        return "it ends inside a page"
    if not data[page + 5] & 4:
        return "its last page is not marked as the end of the stream"
    return ""


def _mp4(data: bytes) -> Declared:
    end, names = 0, set()
    for name, _, after in _boxes(data, 0, len(data)):
        names.add(name)
        end = after
    if end > len(data):
        return Declared(MP4, damage="it ends inside one of its boxes")
    if b"moov" not in names:
        return Declared(MP4, damage="its index (the moov box) is missing")
    return Declared(MP4, elsewhere=_refers_elsewhere(data, 0, len(data), MP4_WAY_TO_REFERENCES))


def _boxes(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Give name, start of the content, and end of each box; the last one's end may lie beyond the data's."""
    while position + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, position)
        content = position + 8
        if size == 1 and position + 16 <= end:
            size, content = struct.unpack_from(">Q", data, position + 8)[0], position + 16
        elif size == 0:  # up to the end of what it stands in
            size = end - position
        if size < content - position:
            yield name, content, content
            return
        yield name, content, position + size
        position += size


def _refers_elsewhere(data: bytes, position: int, end: int, way: tuple[bytes, ...]) -> bool:
    """Whether a track's sound is said to lie in another file: ISO/IEC 14496-12, section 8.7.2."""
    for name, content, after in _boxes(data, position, end):
        after = min(after, end)
        if name == MP4_REFERENCE_MOVIE:
            return True
        if name == way[0] != MP4_WAY_TO_REFERENCES[-1] and _refers_elsewhere(data, content, after, way[1:]):
            return True
        if name == way[0] == MP4_WAY_TO_REFERENCES[-1]:
            # Version, flags and a count; then a box for each reference, whose lowest flag says "in this file". Some
            # writers forget the flag, but name no place either: a version, flags, and perhaps the end of an empty text.
            for _, reference, reference_end in _boxes(data, content + 8, after):
                if min(reference_end, after) - reference > 5 and not data[reference + 3] & 1:
                    return True
    return False


def _agreeing(data: bytes, position: int, frame: FrameReader) -> bool:
    """Whether `SYNC_FRAMES` frames, or all up to the end of the data, follow each other in one format."""
    found = None
    for _ in range(SYNC_FRAMES):
        if found and position + 4 > len(data):
            return True
        read = frame(data, position)
        if read is None or (found and read[0] != found):
            return False
        found = read[0]
        position += read[1]
    return True


def _adts_frame(data: bytes, position: int) -> tuple[object, int] | None:
    """Return (format, length in bytes) of an ADTS header: 12 sync bits, layer 00, 13 bits of frame length."""
    header = data[position : position + 6]
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return None
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    rate = header[2] >> 2 & 15
    return ((header[1], rate), length) if length > 7 and rate < 13 else None


def _mpeg_frame(data: bytes, position: int) -> tuple[object, int] | None:
    """Return (format, length in bytes) of an MPEG audio header: layer I to III."""
    header = data[position : position + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate_index, rate_index = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or rate_index == 3 or bitrate_index in (0, 15):
        return None
    rate = MPEG_RATES_HZ[version][rate_index]
    bits = MPEG_BITRATES_KBPS[version == 3, layer][bitrate_index] * 1000
    padding = header[2] >> 1 & 1
    if layer == 1:
        length = (12 * bits // rate + padding) * 4
    else:
        length = (72 if layer == 3 and version != 3 else 144) * bits // rate + padding
    return (version, layer, rate), length


def _mp3(data: bytes, position: int) -> Declared:
    """Read the frame count of a Xing, Info or VBRI header in the first frame, where there is one."""
    version, layer = data[position + 1] >> 3 & 3, 4 - (data[position + 1] >> 1 & 3)
    rate = MPEG_RATES_HZ[version][data[position + 2] >> 2 & 3]
    mono = data[position + 3] >> 6 == 3
    side_info = {True: (32, 17), False: (17, 9)}[version == 3][mono]
    checksum = 0 if data[position + 1] & 1 else 2
    samples = (384, 1152, 1152 if version == 3 else 576)[layer - 1]
    tag = position + 4 + checksum + side_info
    if data[tag : tag + 4] in (b"Xing", b"Info") and len(data) >= tag + 12 and data[tag + 7] & 1:
        frames = struct.unpack_from(">I", data, tag + 8)[0]
        return Declared(MP3, frames * samples / rate)
    tag = position + 4 + 32
    if data[tag : tag + 4] == b"VBRI" and len(data) >= tag + 18:
        return Declared(MP3, struct.unpack_from(">I", data, tag + 14)[0] * samples / rate)
    # Without a count libsndfile estimates the length from the first frame, and stops there.
    return Declared(MP3, ffmpeg_only=True)
