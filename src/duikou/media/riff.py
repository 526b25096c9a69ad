"""Finds what FFmpeg needs of a wav file: its format and its sound.

Headers that have the sound end before it does, as recorders leave them that were switched off, are put right.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Final, Literal

from duikou.errors import MediaError
from duikou.media.seen import Part

MAX_CHUNKS: Final = 1_000  # before the sound; editors write up to twenty
_CHUNK: Final = 8  # bytes of a chunk's header: id and size
_WAVE: Final = 12  # bytes before the first chunk
_NEEDED: Final = frozenset({b"ds64", b"fmt ", b"fact"})  # chunks that are no tags
_LARGE: Final = (b"RF64", b"BW64")  # files whose chunk "ds64" has the size of their sound: EBU Tech 3306
_SOUND_SIZE: Final = 16  # offset of that size in the chunk, header included
_ENDLESS: Final = b"data\xff\xff\xff\xff"
_LONGEST: Final = b"\xff" * 7 + b"\x7f"
_ID: Final = re.compile(rb"[A-Za-z0-9_ ]{4}")
_TAGS: Final = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # what players' editors append, not as a chunk
_LOOKED_AT: Final = 4_096  # bytes behind the sound, in which only zeros are padding


def parts(path: Path, start: int, *, field: str) -> list[Part]:
    """What FFmpeg is to see of a wav file: up to the end of its sound, without tags. start: offset of the header.

    FFmpeg reads to the file's end where a size is 0 or beyond it, and is made to where sound goes on behind the end
    that the header states. Raises `MediaError` that names `field` for a file of far too many chunks.
    """
    with Path(path).open("rb") as file:
        length = Path(path).stat().st_size
        kind = _read(file, start, 4)
        order: Literal["big", "little"] = "big" if kind == b"RIFX" else "little"
        found: list[Part] = [(start, start + _WAVE)]
        at, sized = start + _WAVE, -1  # sized: offset of the chunk with the size of the sound
        for _ in range(MAX_CHUNKS):
            head = _read(file, at, _CHUNK)
            size, body = int.from_bytes(head[4:], order), at + _CHUNK
            if head[:4] == b"data":
                if sized >= 0:
                    size = int.from_bytes(_read(file, sized + _SOUND_SIZE, 8), "little")
                if not size or (body + size + _CHUNK < length and not _ends(file, body + size, length)):
                    return [*_endless(found, sized), _ENDLESS, (body, length)]
                return [*found, (at, min(body + size, length))]
            if kind in _LARGE and head[:4] == b"ds64" and sized < 0:
                sized = at
            end = body + size + size % 2
            if head[:4] in _NEEDED:
                found.append((at, min(end, length)))
            if len(head) < _CHUNK or end >= length:
                return found
            at = end
    raise MediaError(f"the wav file has more than {MAX_CHUNKS} chunks before its sound.", field=field)


def _endless(parts: list[Part], sized: int) -> list[Part]:
    """The same parts with another size of the sound, where a chunk at an offset states it: larger than any file."""
    if sized < 0:
        return parts
    at = parts.index(next(part for part in parts if part[0] == sized))
    end = parts[at][1]
    place = sized + _SOUND_SIZE
    return [*parts[:at], (sized, place), _LONGEST, (place + len(_LONGEST), int(end)), *parts[at + 1 :]]


def _ends(file: BinaryIO, at: int, length: int) -> bool:
    """Whether the sound of a file of that length ends at an offset: a chunk, a tag or padding is there."""
    rest = _read(file, at, _LOOKED_AT)
    if not rest.strip(b"\0") or rest.startswith(_TAGS):
        return True
    return any(_is_chunk(rest[pad:], length - at - pad) for pad in (0, 1))


def _is_chunk(data: bytes, room: int) -> bool:
    return bool(_ID.match(data)) and int.from_bytes(data[4:_CHUNK], "little") + _CHUNK <= room + 1


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
