"""Checks the index of an mp4 or mov before FFmpeg parses it, and refuses indexes that would keep FFmpeg busy for hours.

FFmpeg accepts each type of box in any place, so boxes are searched for by type and not by their path.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from duikou.errors import MediaError
from duikou.units import MIB

MAX_INDEX_BYTES: Final = 64 * MIB  # all but the media data; a million frames and their audio take about 30 MB
MAX_TRACK_ID: Final = (1 << 31) - 1  # FFmpeg reads larger ones as negative and counts up to them in each fragment
MAX_KEYS: Final = 1_000  # of metadata; cameras write up to 30, and FFmpeg compares each with all earlier ones
_MEDIA: Final = frozenset({b"mdat", b"free", b"skip", b"uuid"})  # types of boxes that are skipped
_DOLBY: Final = (b"dvcC", b"dvvC", b"dvwC")
_DOLBY_BYTES: Final = 32  # of such a box
_MAX_BOXES: Final = 100_000  # two per fragment: more than a day in fragments of two seconds


def check(path: Path, *, field: str) -> None:
    """Check the index of an mp4 or mov. Raises `MediaError` that names `field`."""
    with Path(path).open("rb") as file:
        index = b"".join(_index(file, field=field))
    for at in _positions(index, b"tkhd"):
        track = _number(index, at + (24 if index[at + 4 : at + 5] == b"\1" else 16))
        if track > MAX_TRACK_ID:
            raise MediaError(f"the file has track number {track}; at most {MAX_TRACK_ID} is accepted.", field=field)
    keys = index.count(b"----")
    for at in _positions(index, b"keys"):
        count = _number(index, at + 8)
        if 8 * count <= _number(index, at - 4):  # else "keys" is part of some text
            keys = max(keys, count)
    if keys > MAX_KEYS:
        raise MediaError(f"the file has {keys} metadata keys; at most {MAX_KEYS} are accepted.", field=field)


def missing_share(path: Path) -> float:
    """Share of an mp4 or mov, 0 to 1, that its media data declares and the file lacks, as after a broken download."""
    with Path(path).open("rb") as file:
        size = Path(path).stat().st_size
        end = max((end for _, kind, end in _boxes(file, size) if kind == b"mdat"), default=size)
    return max(1 - size / end, 0.0) if end else 0.0


def dolby_vision(path: Path, *, field: str) -> tuple[int, int] | None:
    """Profile of Dolby Vision and the number of what its base layer is compatible with; `None` for a file without.

    The number is 0 for none, 1 for HDR10, 2 for BT.709, 4 for HLG. Raises `MediaError` that names `field`.
    """
    with Path(path).open("rb") as file:
        index = b"".join(_index(file, field=field))
    for kind in _DOLBY:
        for at in _positions(index, kind):
            # A record of version 1: 7 bits of profile, 6 of level, 3 flags, 4 of compatibility (Dolby, ISOBMFF, 3.2).
            record = index[at + 4 : at + 9]
            if len(record) == 5 and record[0] == 1 and _number(index, at - 4) == _DOLBY_BYTES:
                return record[2] >> 1, record[4] >> 4
    return None


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes, int]]:
    """Start, type and declared end of the top-level boxes, up to the first with an invalid size."""
    at = 0
    for _ in range(_MAX_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return
        length, kind = struct.unpack_from(">I4s", head)
        if length == 1 and len(head) == 16:
            length = struct.unpack_from(">Q", head, 8)[0]
        end = size if length == 0 else at + length
        yield at, kind, end
        if not at + 8 <= end < size:
            return
        at = end


def _index(file: BinaryIO, *, field: str) -> Iterator[bytes]:
    """The top-level boxes that are not media data, up to the first with an invalid size."""
    size = Path(file.name).stat().st_size
    total = 0
    for at, kind, declared in _boxes(file, size):
        end = min(declared, size)
        if kind not in _MEDIA:
            total += end - at
            if total > MAX_INDEX_BYTES:
                raise MediaError(f"the index of the file is larger than {MAX_INDEX_BYTES // MIB} MiB.", field=field)
            file.seek(at)
            yield file.read(end - at)


def _positions(index: bytes, kind: bytes) -> Iterator[int]:
    """Offsets of the four letters of a type of box."""
    at = index.find(kind)
    while at >= 0:
        yield at
        at = index.find(kind, at + 1)


def _number(index: bytes, at: int) -> int:
    """The four bytes at an offset as a big-endian number; missing bytes count as 0."""
    return int.from_bytes(index[max(at, 0) : max(at, 0) + 4].ljust(4, b"\0"), "big")
