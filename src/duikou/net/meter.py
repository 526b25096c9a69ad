"""Sockets that bound what a host may send around the content that was asked for.

Interim answers, headers, the frames of chunks and of TLS: each takes more of this server's time than of the host's.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, Final

HEAD_BYTES: Final = 64 << 10  # before the content: interim answers, the head, TLS with its certificates
HEAD_READ: Final = 8 << 10  # of one read before the content
AHEAD_BYTES: Final = 512 << 10  # of content that is received and not yet counted, and of what is around it
CONTENT_READ: Final = 64 << 10  # of one read
WORTH: Final = 2  # bytes that one of the content allows: itself, and as many around it


class Meter:
    """Counts what one request receives, on all its sockets.

    spent: whether the host has sent more than it may. The socket breaks off then.
    """

    def __init__(self) -> None:
        self.spent = False
        self.expect_head()

    def expect_head(self) -> None:
        """Allow one more head."""
        self._left, self._at_once = HEAD_BYTES, HEAD_READ

    def expect_content(self) -> None:
        """Allow content, from now on."""
        self._left, self._at_once = AHEAD_BYTES, CONTENT_READ

    def count_content(self, size: int) -> None:
        """Allow more, since so many bytes of content have come."""
        self._left = min(self._left + WORTH * size, AHEAD_BYTES)

    def allowed(self, size: int) -> int:
        """How many of so many bytes to read at once. Raises `OSError` where the host has sent too many."""
        if self._left <= 0:
            self.spent = True
            raise ConnectionAbortedError(errno.ECONNABORTED, "the host sends too much around its answer")
        return min(size, self._at_once)

    def count(self, size: int) -> None:
        """Count so many received bytes."""
        self._left -= size


class MeteredSocket(socket.socket):
    """A socket whose reads a meter bounds and counts. asyncio reads with these two methods."""

    def __init__(self, meter: Meter, **options: Any) -> None:
        super().__init__(**options)
        self._meter = meter

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive as much as the meter allows."""
        content = super().recv(self._meter.allowed(size), flags)
        self._meter.count(len(content))
        return content

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        """Receive as much as the meter allows."""
        received = super().recv_into(buffer, self._meter.allowed(size or len(buffer)), flags)
        self._meter.count(received)
        return received
