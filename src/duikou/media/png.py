"""Finds what FFmpeg needs of a png photo: its pixels and how to show them (ISO 15948)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from duikou.errors import MediaError
from duikou.media.seen import Part

MAX_CHUNKS: Final = 50_000  # encoders write one for every 8 kB or more of pixels
_SIGNATURE, _FRAME = 8, 12  # bytes: of the file's head; of a chunk without its content
_PIXELS: Final = b"IDAT"
_ONCE: Final = frozenset(
    {b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"eXIf", b"IEND"}
)


def parts(path: Path, *, field: str) -> list[Part]:
    """What FFmpeg is to see of a png: the pixels, and the first chunk of each kind that says how to show them.

    Raises `MediaError` that names `field` for a file of far too many chunks.
    """
    found: list[Part] = [(0, _SIGNATURE)]
    seen: set[bytes] = set()
    with Path(path).open("rb") as file:
        length, at = Path(path).stat().st_size, _SIGNATURE
        for _ in range(MAX_CHUNKS):
            file.seek(at)
            head = file.read(8)
            if len(head) < 8:
                return found
            size, kind = struct.unpack(">I4s", head)
            end = min(at + _FRAME + size, length)
            if kind == _PIXELS or (kind in _ONCE and kind not in seen):
                seen.add(kind)
                found.append((at, end))
            at = end
    raise MediaError(f"the photo has more than {MAX_CHUNKS} chunks.", field=field)
