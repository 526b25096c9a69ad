"""Reads the index of an mp4 or mov by itself, where FFmpeg must not or does not tell.

`check` refuses indexes that would keep FFmpeg busy for hours: it compares each of some boxes with all those before it.
FFmpeg accepts each type of box in any place, so `check` searches for boxes by type and not by their path. `edits` tells
when edit lists end: FFmpeg mixes this with what headers declare.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from duikou.errors import MediaError
from duikou.units import MIB

MAX_INDEX_BYTES: Final = 64 * MIB  # all but the media data; a million frames and their audio take about 30 MB
MAX_TRACK_ID: Final = (1 << 31) - 1  # FFmpeg reads larger ones as negative and counts up to them in each fragment
MAX_KEYS: Final = 1_000  # of metadata; cameras write up to 30, and FFmpeg compares each with all earlier ones
MAX_EDITS: Final = 1_000  # of one track; FFmpeg goes through the frames again for each
MAX_BOXES: Final = 100_000  # at the top level; two per fragment: more than a day in fragments of two seconds
_MEDIA: Final = frozenset({b"mdat", b"free", b"skip", b"uuid"})  # types of boxes that are skipped
_HIDDEN: Final = frozenset({b"mvhd", b"cmov"})  # a box "free" that begins with one of them is an index to FFmpeg
_TAGS: Final = (b"udta", b"ilst")  # types of boxes each of whose boxes is metadata
_MOST_PACKED: Final = 8
_FEW: Final = (
    (b"pssh", "boxes of copy protection", 64),
    (b"trex", "defaults for fragments", 128),
    (b"cmvd", "packed indexes", _MOST_PACKED),
    (b"tkhd", "tracks", 1_000),
    (b"elst", "lists of edits", 1_000),
    (b"keys", "lists of metadata keys", 1_000),
)
"""Types of boxes that cost more the more there are, what to call them, and how many are accepted."""
_DOLBY: Final = (b"dvcC", b"dvvC", b"dvwC")
_DOLBY_BYTES: Final = 32  # of such a box


def check(path: Path, *, field: str) -> None:
    """Check the index of an mp4 or mov. Raises `MediaError` that names `field`."""
    with Path(path).open("rb") as file:
        index = b"".join(_index(file, field=field))
    index += _unpacked(index, field=field)
    for kind, what, most in _FEW:
        if (count := index.count(kind)) > most:
            raise MediaError(f"the file has {count} {what}; at most {most} are accepted.", field=field)
    _check_tracks(index, field=field)
    _check_tags(index, field=field)


def _check_tracks(index: bytes, *, field: str) -> None:
    for at in _positions(index, b"tkhd"):
        track = _number(index, at + (24 if index[at + 4 : at + 5] == b"\1" else 16))
        if track > MAX_TRACK_ID:
            raise MediaError(f"the file has track number {track}; at most {MAX_TRACK_ID} is accepted.", field=field)
    for at in _positions(index, b"elst"):
        edits = (_end(index, at) - at - 12) // (20 if index[at + 4 : at + 5] == b"\1" else 12)
        if edits > MAX_EDITS:  # whatever the box says of their number
            raise MediaError(f"a track of the file has {edits} edits; at most {MAX_EDITS} are accepted.", field=field)


def _check_tags(index: bytes, *, field: str) -> None:
    keys = index.count(b"----")
    for at in _positions(index, b"keys"):
        count = _number(index, at + 8)
        if 8 * count <= _number(index, at - 4):  # else "keys" is part of some text
            keys = max(keys, count)
    if keys > MAX_KEYS:
        raise MediaError(f"the file has {keys} metadata keys; at most {MAX_KEYS} are accepted.", field=field)
    if _tags(index) > MAX_KEYS:
        raise MediaError(f"the file has more than {MAX_KEYS} pieces of metadata.", field=field)


def _unpacked(index: bytes, *, field: str) -> bytes:
    """The packed indexes in an index, unpacked, as FFmpeg reads them: QuickTime wrote such (File Format, "cmov")."""
    found, rest = b"", index
    while rest and found.count(b"cmvd") < _MOST_PACKED:
        parts = []
        for at in islice(_positions(rest, b"cmvd"), _MOST_PACKED):
            with suppress(zlib.error):
                parts.append(zlib.decompressobj().decompress(memoryview(rest)[at + 8 :], MAX_INDEX_BYTES))
                _check_bytes(sum(map(len, (index, found, *parts))), field=field)
        rest = b"".join(parts)
        found += rest
    return found


def _tags(index: bytes) -> int:
    """How many boxes of metadata there are, and in them; stops where that is more than `MAX_KEYS`."""
    count = 0
    for kind in _TAGS:
        for at in _positions(index, kind):
            count += 1
            if count > MAX_KEYS:
                return count
            end, child = _end(index, at), at + 4
            while child + 8 <= end and count <= MAX_KEYS:
                count += 1
                behind = _end(index, child + 4)
                if behind < child + 8:
                    break
                child = behind
    return count


def _end(index: bytes, at: int) -> int:
    """The end of the box whose type stands at an offset; like FFmpeg, it cuts a box that is too long."""
    size = _number(index, at - 4)
    if size == 1:
        size = int.from_bytes(index[at + 4 : at + 12], "big")
    return min(at - 4 + size if size else len(index), len(index))


@dataclass(frozen=True)
class Edits:
    """What an mp4 or mov says about the times at which its tracks play.

    ends: when the edit list of each track ends, in s on the movie's timeline, by track number; `None` for a list that
        plays to the end of its media, whenever that is.
    fragmented: whether packets lie in movie fragments, which FFmpeg plays without edit lists.
    """

    ends: Mapping[int, Fraction | None]
    fragmented: bool

    @property
    def exact(self) -> bool:
        """Whether the time stamps of FFmpeg's packets count from the movie's start, delays of codecs left out."""
        return bool(self.ends) and not self.fragmented and not self.endless

    @property
    def endless(self) -> bool:
        """Whether an edit list declares no duration. Players play the whole track, where FFmpeg would show nothing."""
        return not self.fragmented and None in self.ends.values()


def edits(path: Path) -> Edits:
    """Read the edit lists of an mp4 or mov. Boxes that make no sense count as absent."""
    ends: dict[int, Fraction | None] = {}
    fragmented = False
    with Path(path).open("rb") as file:
        size = Path(path).stat().st_size
        for at, kind, end in _boxes(file, size):
            fragmented |= kind == b"moof"
            if kind == b"moov":
                file.seek(at)
                ends |= _edit_ends(file.read(min(end, size, at + MAX_INDEX_BYTES) - at))
    return Edits(ends, fragmented)


def _edit_ends(movie: bytes) -> dict[int, Fraction | None]:
    """See `Edits.ends`. movie: the box `moov`."""
    found: dict[int, Fraction | None] = {}
    scale = 0
    for kind, head in _children(movie, 8):
        if kind == b"mvhd":
            scale = _number(head, 20 if head[:1] == b"\1" else 12)
        if kind == b"trak":
            parts = dict(_children(head))
            header, lists = parts.get(b"tkhd", b""), dict(_children(parts.get(b"edts", b"")))
            if b"elst" in lists and scale:
                lasts = _edits_last(lists[b"elst"])
                track = _number(header, 20 if header[:1] == b"\1" else 12)
                found[track] = None if lasts is None else Fraction(lasts, scale)
    return found


def _edits_last(entries: bytes) -> int | None:
    """How long the edits of a box `elst` last together, in the movie's unit; `None` where one has no end of its own."""
    long = entries[:1] == b"\1"
    step = 20 if long else 12
    durations = [
        int.from_bytes(entries[at : at + (8 if long else 4)], "big")
        for at in range(8, min(len(entries) - step + 1, 8 + step * _number(entries, 4)), step)
    ]
    return sum(durations) if durations and all(durations) else None


def _children(box: bytes, at: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of the boxes in the content of another one, up to the first with an invalid size."""
    while at + 8 <= len(box):
        size, start = _number(box, at), at + 8
        if size == 1:
            size, start = int.from_bytes(box[at + 8 : at + 16], "big"), at + 16
        end = len(box) if size == 0 else at + size
        if not start <= end <= len(box):
            return
        yield box[at + 4 : at + 8], box[start:end]
        at = end


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
    for _ in range(MAX_BOXES + 1):
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
    for count, (at, kind, declared) in enumerate(_boxes(file, size)):
        if count >= MAX_BOXES:
            raise MediaError(f"the file has more than {MAX_BOXES} boxes.", field=field)
        end = min(declared, size)
        if kind not in _MEDIA or (kind == b"free" and _inner(file, at) in _HIDDEN):
            total += end - at
            _check_bytes(total, field=field)
            file.seek(at)
            yield file.read(end - at)


def _inner(file: BinaryIO, at: int) -> bytes:
    """Type of the first box in the box at an offset."""
    file.seek(at + 12)
    return file.read(4)


def _check_bytes(count: int, *, field: str) -> None:
    if count > MAX_INDEX_BYTES:
        raise MediaError(f"the index of the file is larger than {MAX_INDEX_BYTES // MIB} MiB.", field=field)


def _positions(index: bytes, kind: bytes) -> Iterator[int]:
    """Offsets of the four letters of a type of box."""
    at = index.find(kind)
    while at >= 0:
        yield at
        at = index.find(kind, at + 1)


def _number(index: bytes, at: int) -> int:
    """The four bytes at an offset as a big-endian number; missing bytes count as 0."""
    return int.from_bytes(index[max(at, 0) : max(at, 0) + 4].ljust(4, b"\0"), "big")
