"""Memory of a process that handles many video frames or imports large packages."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from duikou.units import MIB

LARGE_BLOCK = MIB  # bytes: smaller than a 720p frame, larger than anything allocated by the thousand
M_MMAP_THRESHOLD = -3  # malloc.h


def return_large_blocks() -> None:
    """Return blocks of 1 MiB and more to the system when they are freed.

    glibc raises this threshold to 32 MB as soon as a frame is freed. It then keeps the frames of several threads in
    fragmented heaps: 1.4 GB instead of 0.3 GB after 60 s of 1080p (mallopt(3)). Other C libraries are not changed.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


@contextmanager
def kept_imports() -> Iterator[None]:
    """Collect no garbage while the block imports modules, and never look again for any in what they define.

    The many objects of large packages are no garbage. Looking for some takes a fifth of the time of their import, and
    later each look at all objects would make the forks of this process copy the memory that they share with it.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()
