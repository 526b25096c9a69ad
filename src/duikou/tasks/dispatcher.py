"""What the service needs of whoever runs the submitted tasks. `duikou.workers` has the adapters."""

from __future__ import annotations

from typing import Protocol

from duikou.tasks.states import Queue


class Dispatcher(Protocol):
    """Runs submitted tasks, or has them run."""

    def start(self) -> None:
        """Begin."""

    def wake(self, queue: Queue) -> None:
        """Take note that a task was submitted."""

    def resend_lost_wakeups(self) -> None:
        """Wake again where a wakeup was lost on its way; returns at once."""

    def join(self) -> None:
        """Wait, after the stop was requested, until nothing runs here."""

    @property
    def elsewhere(self) -> bool:
        """Whether tasks run in other processes, which may be missing."""

    @property
    def busy(self) -> bool:
        """Whether a task runs in this process."""

    def ping(self) -> None:
        """Raise `StorageError` where tasks cannot be handed on."""
