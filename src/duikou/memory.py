"""Memory of a process that handles many video frames or imports large packages."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from duikou.units import MIB

LARGE_BLOCK = MIB  # bytes: smaller than a 720p frame, larger than anything allocated by the thousand
FREE_TOP = 32 * MIB  # bytes of free memory that the end of a heap may keep
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h


def return_free_memory() -> None:
    """Return what was freed to the system: after a long piece of work, before one that needs other memory.

    After finding faces in 10 s of 1080p it returns 48 MiB, after following one through it 64 MiB. Frames of which side
    data was read lie in cycles of references that Python finds late, and each keeps all frames that its decoder has
    ever lent: 52 MiB at 1080p. So garbage is collected first.
    """
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def return_large_blocks() -> None:
    """Return blocks of 1 MiB and more to the system when they are freed; keep the memory of smaller ones, in one heap.

    glibc raises the first threshold to 32 MB as soon as a frame is freed. It then keeps the frames of several threads
    in fragmented heaps: 1.4 GB instead of 0.3 GB after 60 s of 1080p (mallopt(3)). Once that is fixed, it gives back
    the end of a heap whenever 128 KiB are free there, and the system clears the same pages for every array again: a
    sixth of the time of painting. With a heap for each thread, every one of them would keep as much at its end, where
    `malloc_trim` does not reach. Other C libraries are not changed.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        mallopt(M_TRIM_THRESHOLD, FREE_TOP)
        mallopt(M_ARENA_MAX, 1)


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
