"""What comes back from a child, read as data: a child that a stranger's file took over must not take the server along.

Unpickling calls whatever the bytes name. Here they may name the values and errors that work returns, nothing else.
"""

from __future__ import annotations

import io
import pickle
from fractions import Fraction
from multiprocessing.connection import Connection
from typing import Any, Final

from duikou.errors import WorkerError

MAX_BITS: Final = 128  # of a number in a fraction: rates and time bases are of 64
MAX_BYTES: Final = 16 << 20  # of one answer; the tracks of many faces stay in files, what is told of them is small

_VALUES: Final = frozenset(
    {
        "duikou.errors",
        "duikou.faces.track",
        "duikou.tasks.models",
        "duikou.workers.work",
        "duikou.media.probe",
        "duikou.timebase",
    }
)
"""Modules whose own classes may come back."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("fractions", "Fraction"):
            return _fraction
        if (module, name) == ("duikou.errors", "_rebuild"):  # how errors of ours are pickled
            return super().find_class(module, name)
        if module in _VALUES or module == "builtins":
            found = super().find_class(module, name)
            own = isinstance(found, type) and found.__module__ == module and found.__qualname__ == name
            if own and (module != "builtins" or issubclass(found, Exception)):
                return found
        raise pickle.UnpicklingError(f"a worker may not answer with {module}.{name}")


def _fraction(numerator: int, denominator: int) -> Fraction:
    """A fraction as it is pickled. Others that `Fraction` reads, such as 1e999999999, take all memory there is."""
    if not all(isinstance(part, int) and part.bit_length() <= MAX_BITS for part in (numerator, denominator)):
        raise pickle.UnpicklingError("a worker may not answer with such a fraction")
    return Fraction(numerator, denominator)


def readable(text: str) -> str:
    """A child's text as every database takes it: else an attempt could not be ended, nor be said to be alive."""
    return text.encode(errors="replace").decode().replace("\0", "?")


def receive(pipe: Connection) -> Any:
    """The next thing that a child tells. Raises `EOFError` where it is gone, `WorkerError` for what is no answer."""
    try:
        content = pipe.recv_bytes(MAX_BYTES)
    except OSError as error:
        if pipe.readable:  # cut off, within a word or before it; a connection that is sent too much closes for reading
            raise EOFError from error
        raise WorkerError(f"the worker process answered with more than {MAX_BYTES} bytes") from error
    try:
        return _Reader(io.BytesIO(content)).load()
    except Exception as error:
        raise WorkerError(f"the worker process answered with what is no answer: {error}") from error
