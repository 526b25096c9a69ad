"""Finds the frames of sound that comes without a container: MPEG audio, and AAC in ADTS or LOAS frames."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from mmap import mmap
from typing import Final, NamedTuple

from duikou.media.limits import MAX_PACKETS

SURE: Final = 4
"""Consecutive frames that cannot be chance: each header fixes the place and about 20 bits of the next one."""
_LONGEST: Final = 8_194  # bytes of the longest frame: LOAS, 13 bits of length and its own header
REACH: Final = SURE * _LONGEST
"""Bytes that show whether sound begins."""
_SYNC_BYTES: Final = 3  # that `_SYNC` looks at

# MPEG audio, ISO 11172-3 and 13818-3: kbit/s by index, for version 1 and for the others, by layer.
_KBITS: Final = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_AAC_RATE_INDEXES: Final = 13  # ISO 14496-3, table 1.18: 13 known sampling frequencies
_ADTS_HEADER, _LOAS_HEADER = 7, 3  # bytes
_LEAST_FREE, _MOST_FREE = 24, 4_096  # bytes of a frame whose header does not state its bit rate
_ID3: Final = re.compile(rb"ID3[^\xff]{2}.[\0-\x7f]{4}", re.DOTALL)
_ID3_HEADER, _ID3_FOOTER = 10, 0x10  # bytes; flag of a tag that repeats its header at its end
_ADTS_SYNC: Final = re.compile(rb"\xff[\xf0-\xff]")
_SYNC: Final = re.compile(rb"(?=\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x00-\xef]|\xff[\xf0\xf1\xf8\xf9]|\x56[\xe0-\xff])")


class Frame(NamedTuple):
    """A frame's header.

    kind: `mp1`, `mp2`, `mp3`, `aac` or `latm`. shape: what the frames of one stream share.
    size: bytes, header included; 0 where the header does not state it (MPEG audio of free format).
    """

    kind: str
    shape: Hashable
    size: int


class Found(NamedTuple):
    """Sound in bytes: its kind, as of `Frame`, and where its first whole frame begins."""

    kind: str
    at: int


def header(data: bytes, at: int = 0) -> Frame | None:
    """The frame header at an offset, or `None`."""
    if at + 4 > len(data):
        return None
    if data[at] == 0x56 and data[at + 1] & 0xE0 == 0xE0:
        return Frame("latm", "latm", ((data[at + 1] & 0x1F) << 8 | data[at + 2]) + _LOAS_HEADER)
    if data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    return _mpeg(data, at) if data[at + 1] & 6 else _adts(data, at)


def begins(data: bytes, frames: int, at: int = 0) -> str | None:
    """Kind of the sound that begins at an offset with so many frames of one stream; `None` for anything else."""
    first = frame = header(data, at)
    for left in reversed(range(frames)):
        if frame is None or first is None or not frame.size or frame.shape != first.shape:
            return None
        at += frame.size
        frame = header(data, at) if left else None
    return first.kind if first else None


def whole(data: bytes) -> str | None:
    """Kind of the sound where the data is a single frame; `None` for anything else."""
    frame = header(data)
    return frame.kind if frame is not None and frame.size == len(data) else None


def find(data: bytes, most: int) -> Found | None:
    """The first of the first `most` places in the data at which `SURE` frames of one stream follow each other."""
    for place in _SYNC.finditer(data, 0, most + _SYNC_BYTES):
        kind = begins(data, SURE, place.start())
        if kind is not None:
            return Found(kind, place.start())
    return None


def without_tags(data: mmap, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The places of AAC in ADTS frames without the ID3 tags between them, from one offset to another.

    It goes from frame to frame as FFmpeg does (`adts_aac_read_packet`), since frames hold the letters by chance.
    """
    tag = data.find(b"ID3", start, end)
    at = shown = start
    for _ in range(MAX_PACKETS):
        if tag < 0 or at + _ID3_HEADER > end:
            break
        if data[at] == 0xFF and data[at + 1] & 0xF0 == 0xF0:
            size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
            if size < _ADTS_HEADER:
                break
            at += size
        elif _ID3.match(data, at):
            yield shown, at
            six, seven, eight, nine = data[at + 6 : at + _ID3_HEADER]
            size = six << 21 | seven << 14 | eight << 7 | nine
            at += size + _ID3_HEADER * (2 if data[at + 5] & _ID3_FOOTER else 1)
            shown = at = min(at, end)
            tag = data.find(b"ID3", at, end)
        else:
            sync = _ADTS_SYNC.search(data, at + _ID3_HEADER, end)
            if sync is None:
                break
            at = sync.start()
        if tag < at:
            tag = data.find(b"ID3", at, end)
    yield shown, end


def is_free_format(data: bytes) -> bool:
    """Whether the data begins with three frames of MPEG audio whose headers do not state a bit rate."""
    first = header(data)
    if first is None or first.size:
        return False
    places = (size for size in range(_LEAST_FREE, _MOST_FREE) if header(data, size) == first)
    return any(header(data, 2 * size + padding) == first for size in places for padding in (-1, 0, 1))


def _mpeg(data: bytes, at: int) -> Frame | None:
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    index, rate_index, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
    if version == 1 or index == 15 or rate_index == 3:
        return None
    bits, rate = _KBITS[version == 3, layer][index] * 1000, _RATES[version][rate_index]
    if not bits:
        size = 0
    elif layer == 1:
        size = (12 * bits // rate + padding) * 4
    else:
        size = (72 if layer == 3 and version != 3 else 144) * bits // rate + padding
    return Frame(f"mp{layer}", (version, layer, rate), size)


def _adts(data: bytes, at: int) -> Frame | None:
    if at + _ADTS_HEADER > len(data) or data[at + 1] & 0xF0 != 0xF0 or data[at + 2] >> 2 & 15 >= _AAC_RATE_INDEXES:
        return None
    size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    shape = (data[at + 1] & 0xF9, data[at + 2], data[at + 3] & 0xC0)
    return Frame("aac", shape, size) if size >= _ADTS_HEADER else None
