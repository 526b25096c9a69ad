"""The index of an mp4 or mov, looked through before FFmpeg sees it: what it would take hours for is refused here.

Its parser knows each kind of box wherever it stands. So kinds are searched for by name, and not by the way to them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from duikou.errors import MediaError
from duikou.units import MIB

MAX_INDEX_BYTES: Final = 64 * MIB  # all but the media itself; a million frames and their sound take about 30 MB
MAX_TRACK_ID: Final = (1 << 31) - 1  # FFmpeg takes larger ones for negative and counts up to them, in each fragment
MAX_NAMES: Final = 1_000  # of metadata; cameras write up to 30, and FFmpeg compares each with all before it
_MEDIA: Final = frozenset({b"mdat", b"free", b"skip", b"uuid"})  # boxes that are not looked into
_MAX_BOXES: Final = 100_000  # two for each fragment: over a day in fragments of two seconds


def check(path: Path, *, field: str) -> None:
    """Raises `MediaError` that names `field` where a file's index is made to keep FFmpeg busy."""
    with Path(path).open("rb") as file:
        index = b"".join(_index(file, field=field))
    for at in _places(index, b"tkhd"):
        track = _number(index, at + (24 if index[at + 4 : at + 5] == b"\1" else 16))
        if track > MAX_TRACK_ID:
            raise MediaError(f"the file has a track numbered {track}, at most {MAX_TRACK_ID} can be read.", field=field)
    names = index.count(b"----")
    for at in _places(index, b"keys"):
        count = _number(index, at + 8)
        if 8 * count <= _number(index, at - 4):  # else it is the word "keys" in some text
            names = max(names, count)
    if names > MAX_NAMES:
        raise MediaError(f"the file has {names} names of metadata, more than {MAX_NAMES}.", field=field)


def _index(file: BinaryIO, *, field: str) -> Iterator[bytes]:
    """The outermost boxes that are not media, up to the first whose size makes no sense."""
    size = Path(file.name).stat().st_size
    at = total = 0
    for _ in range(_MAX_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return
        length, kind = struct.unpack_from(">I4s", head)
        if length == 1 and len(head) == 16:
            length = struct.unpack_from(">Q", head, 8)[0]
        end = size if length == 0 else min(at + length, size)
        if kind not in _MEDIA:
            total += end - at
            if total > MAX_INDEX_BYTES:
                raise MediaError(f"the file has an index of more than {MAX_INDEX_BYTES // MIB} MB.", field=field)
            file.seek(at)
            yield file.read(end - at)
        if end < at + 8:
            return
        at = end


def _places(index: bytes, kind: bytes) -> Iterator[int]:
    at = index.find(kind)
    while at >= 0:
        yield at
        at = index.find(kind, at + 1)


def _number(index: bytes, at: int) -> int:
    """The four bytes there as a number; what is not there counts as 0."""
    return int.from_bytes(index[max(at, 0) : max(at, 0) + 4].ljust(4, b"\0"), "big")
