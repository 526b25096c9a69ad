"""What the imports of a process leave to its garbage collector, and what is returned to the system."""

import ctypes
import gc
import subprocess
import sys
import weakref

import pytest

from duikou.memory import kept_imports, return_free_memory

HEAPS = """
import ctypes, sys, threading
from duikou.memory import return_large_blocks

if len(sys.argv) > 1:
    return_large_blocks()
libc = ctypes.CDLL(None)
libc.fopen.restype, libc.malloc_info.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes, libc.malloc.restype = [ctypes.c_void_p], ctypes.c_void_p

started = threading.Barrier(3)

def work():
    started.wait()
    libc.malloc(10_000)
    started.wait()

for _ in range(2):
    threading.Thread(target=work).start()
started.wait()
started.wait()
file = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""
"""Tells in XML what heaps there are after two threads have taken some memory."""


@pytest.fixture(autouse=True)
def _unfrozen():
    yield
    gc.unfreeze()


def test_no_garbage_is_collected_during_imports_and_what_they_made_is_never_looked_at():
    with kept_imports():
        assert not gc.isenabled()
        made = [[]]
    assert gc.isenabled()
    assert not any(one is made for one in gc.get_objects())


def test_a_collector_that_was_off_stays_off_and_one_that_was_on_comes_back_after_an_error():
    gc.disable()
    try:
        with kept_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ImportError), kept_imports():
        raise ImportError
    assert gc.isenabled()


def test_what_lies_in_cycles_of_references_is_returned_too():
    class Cycle:
        def __init__(self):
            self.itself = self

    gc.disable()
    try:
        dropped = weakref.ref(Cycle())
        assert dropped()
        return_free_memory()
        assert not dropped()
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="only glibc has a heap for each thread")
@pytest.mark.parametrize(("asked", "least", "most"), [([], 2, 9), (["asked"], 1, 1)])
def test_threads_share_one_heap_once_it_is_asked_for(asked, least, most):
    told = subprocess.run([sys.executable, "-c", HEAPS, *asked], capture_output=True, text=True, check=True).stdout
    assert least <= told.count("<heap nr=") <= most
