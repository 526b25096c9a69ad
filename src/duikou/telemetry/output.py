"""What processes write to their standard error without asking the log: C++ libraries, interpreters, crashes.

Every line becomes a line of the log. A stream may hold anything: bytes that are no text, parts of lines, lines without
an end.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import selectors
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from duikou.telemetry import logs

STDERR: Final = 2
MAX_LINE: Final = 4096  # bytes of a line; the rest of a longer one is dropped
READ: Final = 64 << 10  # bytes of one read, as many as a pipe holds
LAST: Final = 16  # reads of what is left at the end: a grandchild that writes on is not waited for
_END = re.compile(rb"[\r\n]")
_CHATTER = re.compile(r"INFO\b|I[0-9]{4} ")  # of LiteRT and of Google's logging library


class Lines:
    """Cuts a stream of bytes into lines of text. Empty lines are dropped, long ones are cut to `MAX_LINE` bytes."""

    def __init__(self) -> None:
        self._part, self._skipping = b"", False

    def feed(self, content: bytes) -> list[str]:
        """The lines that these bytes complete."""
        *whole, part = _END.split(content)
        found = []
        for end in whole:
            found.append(self._cut(end))
            self._part, self._skipping = b"", False
        if line := self._cut(part, ended=False):
            found.append(line)
        return [line for line in found if line.strip()]

    def rest(self) -> list[str]:
        """A last line without an end."""
        return self.feed(b"\n")

    def _cut(self, content: bytes, *, ended: bool = True) -> str:
        """The line so far, if it has ended or is too long to wait for its end; else an empty text."""
        if self._skipping:
            return ""
        self._part += content[: MAX_LINE + 1 - len(self._part)]
        if len(self._part) > MAX_LINE:
            self._skipping = True
            return self._part[:MAX_LINE].decode(errors="replace") + " [cut]"
        return self._part.decode(errors="replace") if ended else ""


def tell(line: str, *, process: str, pid: int) -> None:
    """Write a line that a process has written to its standard error. process: what it is for."""
    level = "info" if _CHATTER.match(line) else "warning"
    logs.write(level, line, {"logger": "stderr", "process": process, "pid": pid})


@contextmanager
def captured() -> Iterator[None]:
    """Until the block ends, whatever arrives at this process's standard error becomes lines of the log.

    That includes processes that inherit it, such as those that multiprocessing starts. The log itself keeps the real
    one.
    """
    if not _is_ours():
        yield
        return
    kept, (end, start) = os.dup(STDERR), os.pipe()
    told, over = os.pipe()  # closing `over` ends the thread
    os.set_blocking(end, False)
    reader = threading.Thread(target=_read, args=(end, told), name="duikou-stderr", daemon=True)
    with logs.writing_to(kept) as target:
        os.dup2(start, STDERR)
        os.close(start)
        if faulthandler.is_enabled():  # no thread is left to read what a dying process writes
            faulthandler.enable(target)
        reader.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(kept, STDERR)
            os.close(over)
            reader.join()
            if faulthandler.is_enabled():
                faulthandler.enable(STDERR)


def _is_ours() -> bool:
    """Whether Python writes to the standard error: there may be none, and a test runner has its own."""
    try:
        return sys.stderr is not None and sys.stderr.fileno() == STDERR
    except (OSError, ValueError):
        return False


def _read(end: int, told: int) -> None:
    """Write what arrives at `end` until `told` is closed at its other side, and then what is left."""
    lines = Lines()

    def say(found: list[str]) -> None:
        for line in found:
            tell(line, process="main", pid=os.getpid())

    with selectors.DefaultSelector() as ready:
        for descriptor in (end, told):
            ready.register(descriptor, selectors.EVENT_READ)
        reading = True
        while reading:
            reading = all(key.fd != told for key, _ in ready.select())
            for _ in range(1 if reading else LAST):
                if not (content := available(end)):
                    break
                say(lines.feed(content))
    say(lines.rest())
    for descriptor in (end, told):
        os.close(descriptor)


def available(descriptor: int) -> bytes | None:
    """What can be read from a non-blocking descriptor now: nothing is `None`, and no bytes are the end."""
    try:
        return os.read(descriptor, READ)
    except BlockingIOError:
        return None
