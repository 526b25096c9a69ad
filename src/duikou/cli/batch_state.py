"""What `duikou batch` has done so far: a file to which each job adds a line, so that a killed run loses one job."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from duikou.errors import InputError, StorageError

MARK: Final = "duikou_batch"  # the first key of a line that begins a batch; its value is the form of the file
FORM: Final = 1
OPTION: Final = "--state"


class BatchState:
    """The state of a batch, which one process uses at a time. A line that was not written whole is forgotten.

    batch: an id that is made with the file, and anew by `begin`.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.batch = path, ""
        self._file, self._writing = file, threading.Lock()
        self._done: dict[str, str] = {}  # the digest of the job that wrote an output, by the output

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """Lock and read a file, which is made where it is missing.

        Raises `StorageError` where it cannot be written or another process holds it, `InputError` if it is no state.
        """
        try:
            file = path.open("a+b")
        except OSError as error:
            raise _unusable(path, error) from error
        with file:
            _lock(path, file)
            state = cls(path, file)
            state._read()
            yield state

    def is_done(self, output: str, digest: str) -> bool:
        """Whether the job with this digest was the last one that wrote this output."""
        return self._done.get(output) == digest

    def name(self, digest: str) -> str:
        """The name of a job's task at a server: the same in every run of this batch."""
        return f"duikou-{self.batch}-{digest[:32]}"

    def begin(self) -> None:
        """Forget what was done. Raises `StorageError`."""
        self.batch = secrets.token_hex(8)
        self._done.clear()
        self._add({MARK: FORM, "batch": self.batch})

    def add(self, output: str, digest: str, *, done: bool, **more: Any) -> None:
        """Note how a job ended; when this returns, the disk has it. Raises `StorageError`."""
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        state = "done" if done else "failed"
        self._add({"output": output, "digest": digest, "state": state, "ended": ended, **more})
        if done:
            self._done[output] = digest

    def _read(self) -> None:
        try:
            self._file.seek(0)
            content = self._file.read()
        except OSError as error:
            raise _unusable(self.path, error) from error
        whole = content.rpartition(b"\n")[0]
        if not whole and not _is_torn_beginning(content):
            raise self._strange(1)
        for number, line in enumerate(whole.splitlines(), 1):
            self._take(line, number)
        with _writing(self.path):
            self._file.truncate(len(whole) + 1 if whole else 0)
        if not self.batch:
            self.begin()

    def _take(self, line: bytes, number: int) -> None:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            raise self._strange(number) from None
        if not isinstance(entry, dict):
            raise self._strange(number)
        if MARK in entry:
            if entry[MARK] != FORM or not isinstance(entry.get("batch"), str):
                raise self._strange(number)
            self.batch = entry["batch"]
            self._done.clear()
        elif not self.batch or not all(isinstance(entry.get(name), str) for name in ("output", "digest", "state")):
            raise self._strange(number)
        elif entry["state"] == "done":
            self._done[entry["output"]] = entry["digest"]

    def _add(self, entry: dict[str, Any]) -> None:
        with self._writing, _writing(self.path):
            self._file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def _strange(self, line: int) -> InputError:
        reason = f"line {line} of {self.path} is not of a batch's state; choose another file, or remove this one."
        return InputError(reason, field=OPTION)


def _is_torn_beginning(content: bytes) -> bool:
    begins = f'{{"{MARK}": '.encode()
    return begins.startswith(content) or content.startswith(begins)


def _lock(path: Path, file: BinaryIO) -> None:
    """Hold the file as long as it is open. The kernel releases the lock when its holder dies in any way."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StorageError(f"another run of this batch holds {path}; wait for its end, or stop it.") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{OPTION}: {path} cannot be written: {error.strerror}.")
