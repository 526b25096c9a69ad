"""What comes back from a child, read as data: a child that a stranger's file took over must not take the server along.

Unpickling calls whatever the bytes name. Here they may name the values and errors that work returns, nothing else.
"""

from __future__ import annotations

import io
import pickle
from multiprocessing.connection import Connection
from typing import Any, Final

from duikou.errors import WorkerError

MAX_BYTES: Final = 16 << 20  # of one answer; the tracks of many faces stay in files, what is told of them is small

_VALUES: Final = frozenset(
    {"duikou.errors", "duikou.jobs.state", "duikou.jobs.work", "duikou.media.probe", "duikou.timebase", "fractions"}
)
"""Modules whose own classes may come back."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("duikou.errors", "_rebuild") or module in _VALUES or module == "builtins":
            found = super().find_class(module, name)
            if module == "duikou.errors" and name == "_rebuild":
                return found
            own = isinstance(found, type) and found.__module__ == module and found.__qualname__ == name
            if own and (module != "builtins" or issubclass(found, Exception)):
                return found
        raise pickle.UnpicklingError(f"a worker may not answer with {module}.{name}")


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
