"""The data folder: where bytes lie, who may use it, and whether it has room.

lock              held by the one server that uses the folder
duikou.db         the database
certificate/      what results are signed with, where no other is configured
secret            what signs the addresses of files
incoming/         what is being received; emptied at every start
media/ID.mp4      source videos and uploads
sessions/ID/      what is known of a video's faces, with their pictures
tasks/ID/sound_0  the speech of a task
tasks/ID/N/       what attempt N of the task makes
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from duikou.errors import StorageError, WorkerError
from duikou.jobs.confine import MIB

DATABASE = "duikou.db"
PRIVATE = 0o700  # the folder holds what callers sent and what signs for them: its owner's alone
SECRET_BYTES = 32


class DataFolder:
    """A folder with one owner. Keys are paths relative to it, made by us alone, never taken from a caller.

    min_free_mb: free MiB below which no work is taken or begun.
    """

    def __init__(self, root: Path, min_free_mb: int = 0) -> None:
        self.root = root.absolute()
        self._min_free_mb = min_free_mb
        self._promised_mb, self._promising = 0, threading.Lock()
        self._lock: IO[str] | None = None

    def make(self) -> None:
        """Make the folder where there is none, without taking it. Raises `StorageError`."""
        try:
            self.root.mkdir(PRIVATE, parents=True, exist_ok=True)
            for name in ("incoming", "media", "sessions", "tasks"):
                (self.root / name).mkdir(PRIVATE, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def open(self) -> None:
        """Make the folder and take it. Raises `StorageError` where it cannot be used or another server has it."""
        self.make()
        try:
            lock = (self.root / "lock").open("a+")
        except OSError as error:
            raise self._unusable(error) from error
        try:
            # The kernel drops this lock when its holder dies, however it dies. Children do not inherit it.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise StorageError(
                f"data: the folder {self.root} is in use by another duikou server; stop it or choose another folder"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock
        for left_over in (self.root / "incoming").iterdir():
            left_over.unlink()

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(f"data: the folder {self.root} cannot be used: {error.strerror}")

    def close(self) -> None:
        """Let another server have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def database_url(self) -> str:
        """Where the embedded database is."""
        return f"sqlite:///{self.root / DATABASE}"

    def secret(self) -> bytes:
        """Random bytes that are this folder's own, made when first asked; readable by its owner alone."""
        path = self.root / "secret"
        if not path.exists():
            part = self.incoming()
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
            part.rename(path)
        return path.read_bytes()

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.root / key

    def incoming(self) -> Path:
        """A new place to receive a file at."""
        return self.root / "incoming" / secrets.token_hex(8)

    def take(self, received: Path, key: str) -> Path:
        """Move a received file to where it stays."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        return received.rename(path)

    def remove(self, key: str) -> None:
        """Remove a file or a folder; nothing happens where there is none."""
        path = self.path(key)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def size(self, key: str) -> int:
        """Bytes of a file that a worker wrote. Raises `WorkerError` for what is no plain file, such as a link."""
        found = self.path(key).lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise WorkerError(f"the worker process left {self.path(key).name}, which is no plain file")
        return found.st_size

    def require_room(self) -> None:
        """Raise `StorageError` where too little is free, what is promised to files on their way counted as taken."""
        free_mb = max(shutil.disk_usage(self.root).free // MIB - self._promised_mb, 0)
        if free_mb < self._min_free_mb:
            raise StorageError(
                f"the server's disk is nearly full: {free_mb} MB are free, and no work is taken below "
                f"{self._min_free_mb} MB"
            )

    @contextmanager
    def promised(self, megabytes: int) -> Iterator[None]:
        """Keep room for a file that is being received. Raises `StorageError` where there is none."""
        with self._promising:
            self._promised_mb += megabytes
        try:
            self.require_room()
            yield
        finally:
            with self._promising:
                self._promised_mb -= megabytes


def session_key(session_id: str) -> str:
    """Folder of a session."""
    return f"sessions/{session_id}"


def picture_key(session_id: str, face_id: str) -> str:
    """Picture of a face, as `duikou.pipeline.Session.save` names it."""
    return f"{session_key(session_id)}/face_{face_id}.jpg"


def source_key(media_id: str, suffix: str) -> str:
    """File of a source video."""
    return f"media/{media_id}{suffix}"


def task_key(task_id: str) -> str:
    """Folder of a task."""
    return f"tasks/{task_id}"


def sound_key(task_id: str, number: int) -> str:
    """Speech of a task's choice."""
    return f"{task_key(task_id)}/sound_{number}"


def attempt_key(task_id: str, attempt: int) -> str:
    """Folder of one attempt at a task."""
    return f"{task_key(task_id)}/{attempt}"


def result_key(task_id: str, attempt: int) -> str:
    """What an attempt makes."""
    return f"{attempt_key(task_id, attempt)}/result.mp4"


def marked_key(task_id: str, attempt: int) -> str:
    """The same with a visible mark."""
    return f"{attempt_key(task_id, attempt)}/marked.mp4"
