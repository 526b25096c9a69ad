"""A file as FFmpeg is to see it: without its tags.

FFmpeg compares each name in tags with all those before it: 100,000 of them, 2 MB, take minutes. Nothing here uses them,
and honest ones hold pictures of any size, so they are left out rather than counted. The index of an mp4 cannot be cut
like this without being written anew: `duikou.media.iso` counts there.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

Part = bytes | tuple[int, int]
"""Some bytes, or the place of some in the file: the offsets of their start and of their end."""


class Seen(io.RawIOBase):
    """Parts of a file, one after another, as a file to read, in blocks as FFmpeg does. Raises `OSError`."""

    def __init__(self, path: Path, parts: Sequence[Part]) -> None:
        self._file = io.FileIO(path)
        self._parts = [part for part in parts if _length(part) > 0]
        self._starts = list(accumulate(map(_length, self._parts), initial=0))  # of each part, and the whole length
        self._at = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from any place."""
        return True

    def tell(self) -> int:
        """Offset of the next byte that is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset, which may be outside."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes, of one part; none at the end."""
        number = bisect_right(self._starts, self._at) - 1
        if not 0 <= number < len(self._parts):
            return b""
        part, skipped = self._parts[number], self._at - self._starts[number]
        count = _length(part) - skipped if size < 0 else min(size, _length(part) - skipped)
        if isinstance(part, bytes):
            found = part[skipped : skipped + count]
        else:
            self._file.seek(part[0] + skipped)
            found = self._file.read(count)
        self._at += len(found)
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _length(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else part[1] - part[0]
