"""Keeping a process that handles many video frames small."""

from __future__ import annotations

import ctypes
from contextlib import suppress

LARGE_BLOCK = 1 << 20  # bytes: below a frame of 720p, above everything that is made by the thousand
M_MMAP_THRESHOLD = -3  # malloc.h


def return_large_blocks() -> None:
    """Have blocks of 1 MB and more given back to the system when they are freed.

    glibc raises that border to 32 MB by itself as soon as a frame is freed, and then keeps frames of several threads in
    its heaps, full of holes: 1.4 GB instead of 0.3 GB after 60 s of 1080p (mallopt(3)). Other C libraries are left
    alone.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
