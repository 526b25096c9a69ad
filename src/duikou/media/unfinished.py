"""Files that are being written, under temporary names beside their outputs, and those that a killed process has left.

A process locks its files while it writes them. The lock ends with the process, however it ends.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

if sys.platform != "win32":  # there, what a killed process leaves stays
    import fcntl

_NAME: Final = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{32}\.(part|part\.sealed)\.mp4")


def beside(output: Path) -> Path:
    """A new temporary name for a file that becomes `output`."""
    return output.with_name(f".{output.stem}.{uuid.uuid4().hex}.part.mp4")


class Held:
    """An empty file that this process has created, or one that exists, locked until `release`. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        while True:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            if sys.platform == "win32":
                return
            with suppress(OSError):  # some file systems have none, nor has the sandbox, whose folder is its own
                fcntl.flock(self._file, fcntl.LOCK_EX)
            if _is_at(self._file, path):
                return
            os.close(self._file)  # another process took it for abandoned before it was locked

    def release(self) -> None:
        """End the lock. The file stays."""
        os.close(self._file)


def remove_abandoned(folder: Path) -> list[str]:
    """Remove the files that killed processes have left in a folder. Returns the stems of the outputs that they missed.

    Files that a process still writes stay, and so does whatever cannot be removed.
    """
    found = []
    for path in sorted(folder.glob(".*.mp4")):
        name = _NAME.fullmatch(path.name)
        if name is not None and _remove(path):
            found.append(name["stem"])
    return list(dict.fromkeys(found))


def _remove(path: Path) -> bool:
    """Remove a file that no process holds. Returns whether it did."""
    if sys.platform == "win32":
        return False
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(file, path):
            return False
        path.unlink()
        return True
    except OSError:  # a process still writes it, or it belongs to somebody else
        return False
    finally:
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    """Whether a path leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
