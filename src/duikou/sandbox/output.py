"""What a child writes to its standard output and error: lines for the parent's log, with the parent's context.

The child may run an attacker's code, so neither the number nor the length of its lines is trusted.
"""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import Final

from duikou.telemetry import output

LINES: Final = 200  # of one child; honest libraries write a few


class ChildOutput:
    """The parent's end of the pipe behind both streams of a child. pid: of the child, 0 before it is known."""

    def __init__(self, pipe: Connection) -> None:
        self.pid = 0
        self._pipe, self._lines, self._told, self._open = pipe, output.Lines(), 0, True
        os.set_blocking(pipe.fileno(), False)

    def waits(self) -> list[Connection]:
        """The pipe to wait for, as long as the child may write to it."""
        return [self._pipe] if self._open else []

    def hear(self) -> bool:
        """Log what has arrived; whether there may be more."""
        content = output.available(self._pipe.fileno())
        if content:
            self._tell(self._lines.feed(content))
        elif content is not None:
            self._open = False
        return bool(content)

    def close(self) -> None:
        """Log what is left, once the child has ended."""
        for _ in range(output.LAST):
            if not self.hear():
                break
        self._tell(self._lines.rest())
        self._pipe.close()

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            self._told += 1
            if self._told <= LINES:
                output.tell(line, process="child", pid=self.pid)
            elif self._told == LINES + 1:
                output.tell("more lines of this process are dropped", process="child", pid=self.pid)
