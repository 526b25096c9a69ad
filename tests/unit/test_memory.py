"""What the imports of a process leave to its garbage collector, and what is returned to the system."""

import gc
import weakref

import pytest

from duikou.memory import kept_imports, return_free_memory


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
