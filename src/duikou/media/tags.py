"""Finds where the content of a file lies between tags: ID3, APE, Lyrics3, several of them, some with a wrong size."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path
from typing import BinaryIO, Final

from duikou.errors import MediaError
from duikou.media import elementary
from duikou.media.seen import Part
from duikou.units import MIB

MAX_TAGS: Final = 64  # one after another; editors that do not see the last one's tag leave two or three
_MAX_FRAMES: Final = 1_000  # in one ID3 tag; each of a thousand comments is a frame of its own
_MAX_PADDING: Final = MIB  # bytes of zeros between tags and content
_BLOCK: Final = 4_096  # bytes that are read at a time to find the end of zeros
_ID3, _APE = 10, 32  # bytes of a tag's header; an APE tag has a footer of the same size
_ID3V1: Final = 128  # bytes
_FOOTER: Final = 0x10  # flag of an ID3v2.4 tag that repeats its header at its end
_EXTENDED: Final = 0x40  # flag of an ID3 tag with a second header
_PLAIN: Final = re.compile(rb"LYRICSBEGIN.*?(LYRICS200|LYRICSEND)|(ICY|HTTP/1\.[01]) [0-9]{3} .*?\r\n\r\n", re.DOTALL)
"""Lyrics3, and what a server says before a stream."""
_MAX_PLAIN: Final = 64 * 1024  # bytes of these
_FRAME_ID: Final = re.compile(rb"[A-Z][A-Z0-9]{2,3}")


def content_start(file: BinaryIO) -> int:
    """Offset of the first byte behind the tags at the start of a file, and behind zeros that follow them."""
    at = 0
    for _ in range(MAX_TAGS):
        behind = _behind_tag(file, at)
        if behind == at:
            break
        at = behind
    return _behind_zeros(file, at)


def parts(path: Path, start: int, container: str, *, field: str) -> list[Part]:
    """What FFmpeg is to see of sound without a container: its frames. start: offset of the first one.

    Behind them FFmpeg would read tags, and find frames in their pictures. Between those of AAC it reads ID3 tags.
    Raises `MediaError` that names `field` where far too many tags follow the sound.
    """
    with Path(path).open("rb") as file:
        end = _content_end(file, field=field)
        if container != "aac" or end <= start:
            return [(start, end)]
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return list(elementary.without_tags(data, start, end))


def _content_end(file: BinaryIO, *, field: str) -> int:
    """Offset of the tags at the end of a file, or its size."""
    end = file.seek(0, os.SEEK_END)
    for _ in range(MAX_TAGS):
        before = _before_tag(file, end)
        if not 0 < before < end:
            return end
        end = before
    raise MediaError(f"at least {MAX_TAGS} tags follow the sound; fewer are accepted.", field=field)


def _before_tag(file: BinaryIO, end: int) -> int:
    """Start of the tag that ends at an offset; the offset itself where there is none."""
    last = _read(file, max(end - _ID3V1, 0), min(end, _ID3V1))
    if last[:3] == b"TAG" and len(last) == _ID3V1:
        return end - _ID3V1
    if last[-_APE:-24] == b"APETAGEX":
        before = end - int.from_bytes(last[-20:-16], "little") - (_APE if last[-9] & 0x80 else 0)
        return before if 0 < before < end else end - _APE
    if last[-9:] == b"LYRICS200" and last[-15:-9].isdigit():
        return end - int(last[-15:-9]) - len("000000LYRICS200")
    if last[-_ID3:-7] == b"3DI":
        return end - _number(last[-4:]) - 2 * _ID3
    return end


def _behind_tag(file: BinaryIO, at: int) -> int:
    """End of the tag at an offset; the offset itself where there is none."""
    head = _read(file, at, _APE)
    if head[:8] == b"APETAGEX" and len(head) == _APE:
        # The size counts items and footer; the header's flag tells it from a footer.
        behind = at + int.from_bytes(head[12:16], "little") + (_APE if head[23] & 0x80 else 0)
        return behind if _read(file, behind, 1) else at + _APE
    if head[:3] == b"TAG" and _content(file, at + _ID3V1):
        return at + _ID3V1
    if plain := _PLAIN.match(_read(file, at, _MAX_PLAIN)):
        return at + plain.end()
    if head[:3] != b"ID3" or len(head) < _ID3 or 0xFF in head[3:5]:
        return at
    declared = at + _ID3 + _number(head[6:10]) + (_ID3 if head[5] & _FOOTER else 0)
    counted = _behind_zeros(file, _counted_end(file, at, head))
    if counted != declared and not _content(file, declared) and _content(file, counted):
        return counted
    if counted < declared and elementary.begins(_read(file, counted, elementary.REACH), elementary.SURE):
        return counted  # the size reaches into the sound
    return declared if _read(file, declared, 1) else counted


def _counted_end(file: BinaryIO, at: int, head: bytes) -> int:
    """End of the last frame of the ID3 tag at an offset, whatever its header says of its size."""
    version = head[3]
    wide = 3 if version == 2 else 4  # bytes of an id and of a size
    place = at + _ID3
    if head[5] & _EXTENDED and version > 2:
        extended = _read(file, place, 4)
        place += _number(extended) if version == 4 else 4 + int.from_bytes(extended, "big")
    for _ in range(_MAX_FRAMES):
        frame = _read(file, place, 2 * wide + (0 if version == 2 else 2))
        if not _FRAME_ID.fullmatch(frame[:wide]):
            break
        size = frame[wide : 2 * wide]
        place += len(frame) + (_number(size) if version == 4 else int.from_bytes(size, "big"))
    return place


def _number(four: bytes) -> int:
    """A size of 7 bits a byte, as ID3 has it; of 8 where a high bit shows that the writer did not know that."""
    if any(byte & 0x80 for byte in four):
        return int.from_bytes(four, "big")
    size = 0
    for byte in four:
        size = size << 7 | byte
    return size


def _content(file: BinaryIO, at: int) -> bool:
    """Whether another tag, sound or a wav begins at an offset, or behind zeros there."""
    data = _read(file, _behind_zeros(file, at), elementary.REACH)
    return data.startswith((b"ID3", b"APETAGEX", b"RIFF", b"LYRICSBEGIN")) or elementary.begins(data, 2) is not None


def _behind_zeros(file: BinaryIO, at: int) -> int:
    """Offset of the first byte from `at` on that is not zero; `at` where there are only zeros, or too many."""
    for start in range(at, at + _MAX_PADDING, _BLOCK):
        block = _read(file, start, _BLOCK)
        rest = block.lstrip(b"\0")
        if rest or not block:
            return start + len(block) - len(rest) if rest else at
    return at


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
