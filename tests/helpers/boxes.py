"""The boxes of an ISO media file (ISO 14496-12), found and patched by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PARENTS = frozenset(
    {b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"edts", b"udta", b"mvex", b"moof", b"traf", b"tref"}
)
"""Boxes that hold nothing but boxes."""


@dataclass(frozen=True)
class Box:
    """One box: its header starts at `start`, its content at `body`. path: kinds from the outermost, `moov/trak`."""

    path: str
    start: int
    body: int
    end: int


def walk(data: bytes | bytearray, start: int = 0, end: int | None = None, path: str = "") -> Iterator[Box]:
    """Every box of a file, a parent before its children; stops where sizes make no sense."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1 and start + 16 <= end:
            size, body = struct.unpack_from(">Q", data, start + 8)[0], start + 16
        stop = end if size == 0 else start + size
        if not body <= stop <= end:
            return
        here = f"{path}/{kind.decode('latin-1')}".lstrip("/")
        yield Box(here, start, body, stop)
        if kind in PARENTS:
            yield from walk(data, body, stop, here)
        start = stop


def find(data: bytes, kind: str, number: int = 0) -> Box:
    """The box of that kind (the last part of its path) with that number in the file."""
    return [box for box in walk(data) if box.path.rpartition("/")[2] == kind][number]


def patched(data: bytes, kind: str, offset: int, content: bytes, number: int = 0) -> bytes:
    """The same file with other bytes at `offset` of a box's content; nothing moves."""
    at = find(data, kind, number).body + offset
    return data[:at] + content + data[at + len(content) :]


def replaced(data: bytes, kind: str, content: bytes, number: int = 0) -> bytes:
    """The same file with other content in a box; its size and its parents' are mended, what lies behind moves."""
    box = find(data, kind, number)
    grown = len(content) - (box.end - box.body)
    new = bytearray(data[: box.body] + content + data[box.end :])
    for outer in walk(data):
        if outer.start <= box.start and box.end <= outer.end and outer.body == outer.start + 8:
            struct.pack_into(">I", new, outer.start, outer.end - outer.start + grown)
    return bytes(new)


def content(data: bytes, kind: str, number: int = 0) -> bytes:
    """What a box holds."""
    box = find(data, kind, number)
    return data[box.body : box.end]


def box(kind: str, body: bytes = b"") -> bytes:
    """A box as bytes."""
    return struct.pack(">I4s", 8 + len(body), kind.encode("latin-1")) + body


def later(data: bytes, seconds: Mapping[int, float]) -> bytes:
    """The same fragments with other times: `seconds` later, by track."""
    new, track, scales = bytearray(data), 0, {}
    for one in walk(data):
        kind, long = one.path.rpartition("/")[2], data[one.body] == 1
        if kind in {"tkhd", "tfhd"}:
            track = _number(data, one.body + (4 if kind == "tfhd" else 20 if long else 12))
        elif kind == "mdhd":
            scales[track] = _number(data, one.body + (20 if long else 12))
        elif kind == "tfdt":
            size = 8 if long else 4
            time = int.from_bytes(data[one.body + 4 : one.body + 4 + size], "big")
            time += round(seconds.get(track, 0) * scales[track])
            new[one.body + 4 : one.body + 4 + size] = time.to_bytes(size, "big")
    return bytes(new)


def edit_list(*edits: tuple[int, int], version: int = 0) -> bytes:
    """The content of a box `elst`. edits: duration in the movie's unit and start in the track's, -1 for nothing."""
    form = ">Iihh" if version == 0 else ">Qqhh"
    rows = b"".join(struct.pack(form, duration, start, 1, 0) for duration, start in edits)
    return struct.pack(">B3xI", version, len(edits)) + rows


def _number(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">I", data, at)[0])
