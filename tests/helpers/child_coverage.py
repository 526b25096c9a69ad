"""Coverage of the sandbox's children, as a plugin of coverage.py; `make coverage` loads it.

A restricted child can open no file for its figures, some may write none, and the parent kills it as soon as it has
answered. So each child maps a file into its memory at its fork, and puts its figures there before each message that it
sends.
`python tests/helpers/child_coverage.py` turns those files into one that `coverage combine` takes.
"""

from __future__ import annotations

import functools
import mmap
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import coverage

DATA_FILE = os.environ["COVERAGE_FILE"]  # an absolute path: `make coverage` sets it
FOLDER = Path(DATA_FILE).parent / "children"
SPACE, LENGTH = 4 << 20, 8  # bytes for a child's figures, which take some ten thousand, and for their length
SOURCE = str(Path(__file__).parents[2] / "src/duikou/*")


@dataclass(frozen=True)
class _Child:
    """The file that a child process writes to, and what measures it."""

    space: mmap.mmap
    measured: coverage.Coverage


_children: dict[int, _Child] = {}
"""By process id: a child knows itself, its forks do not take its place."""


def coverage_init(_registry: object, _options: object) -> None:
    """Called by coverage.py in each process that it measures, before it starts."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.register_at_fork(after_in_child=_start)
    Connection.send = _after_writing(Connection.send)  # type: ignore[method-assign]
    Connection.send_bytes = _after_writing(Connection.send_bytes)  # type: ignore[method-assign]


def merge() -> None:
    """Put what all children wrote into one data file beside that of the main process."""
    contents = [content for path in FOLDER.iterdir() if (content := _written(path.read_bytes()))]
    if not contents:
        sys.exit("no child process was measured")
    merged = coverage.CoverageData(f"{DATA_FILE}.children")
    for content in contents:
        one = coverage.CoverageData(no_disk=True)
        one.loads(content)
        merged.update(one)


def _written(space: bytes) -> bytes:
    """What a child wrote: its length, then the content."""
    return space[LENGTH : LENGTH + int.from_bytes(space[:LENGTH])]


def _start() -> None:
    descriptor, _ = tempfile.mkstemp(dir=FOLDER)
    os.ftruncate(descriptor, SPACE)  # a sparse file: it takes no more than what is written
    space = mmap.mmap(descriptor, SPACE)
    os.close(descriptor)
    measured = coverage.Coverage(data_file=None, config_file=False, branch=True, include=[SOURCE])
    _children[os.getpid()] = _Child(space, measured)
    measured.start()


def _after_writing(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def sending(connection: Connection, *args: Any, **kwargs: Any) -> Any:
        child = _children.get(os.getpid())
        # In-memory data belong to one thread; a child sends its answer from the main one.
        if child is not None and threading.current_thread() is threading.main_thread():
            content = child.measured.get_data().dumps()
            child.space[: LENGTH + len(content)] = len(content).to_bytes(LENGTH) + content
        return send(connection, *args, **kwargs)

    return sending


if __name__ == "__main__":
    merge()
