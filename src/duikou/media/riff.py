"""Finds wav files whose header has the sound end before it does, as recorders leave it that were switched off."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Final, Literal

_CHUNK: Final = 8  # bytes of a chunk's header: id and size
_WAVE: Final = 12  # bytes before the first chunk
_MAX_CHUNKS: Final = 1_000
_ID: Final = re.compile(rb"[A-Za-z0-9_ ]{4}")
_TAGS: Final = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # what players' editors append, not as a chunk
_LOOKED_AT: Final = 4_096  # bytes behind the sound, in which only zeros are padding


def is_cut_short(path: Path, start: int) -> bool:
    """Whether sound goes on behind the end that the header of a wav file states: no chunk, tag or padding is there.

    start: offset of the header. Sizes of 0 and beyond the file are none of this: FFmpeg then reads to the file's end.
    """
    with Path(path).open("rb") as file:
        length = Path(path).stat().st_size
        order: Literal["big", "little"] = "big" if _read(file, start, 4) == b"RIFX" else "little"
        at, wide = start + _WAVE, 0
        for _ in range(_MAX_CHUNKS):
            head = _read(file, at, _CHUNK)
            size = int.from_bytes(head[4:], order)
            at += _CHUNK
            if head[:4] == b"ds64":
                wide = int.from_bytes(_read(file, at + 8, 8), "little")
            if head[:4] == b"data":
                size = wide if wide and size == 0xFFFFFFFF else size
                return bool(size) and at + size + _CHUNK < length and not _ends(file, at + size, length)
            if len(head) < _CHUNK or at + size >= length:
                return False
            at += size + size % 2
    return False


def _ends(file: BinaryIO, at: int, length: int) -> bool:
    """Whether the sound of a file of that length ends at an offset."""
    rest = _read(file, at, _LOOKED_AT)
    if not rest.strip(b"\0") or rest.startswith(_TAGS):
        return True
    return any(_is_chunk(rest[pad:], length - at - pad) for pad in (0, 1))


def _is_chunk(data: bytes, room: int) -> bool:
    return bool(_ID.match(data)) and int.from_bytes(data[4:_CHUNK], "little") + _CHUNK <= room + 1


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
