"""The tree of errors.

Every error that duikou raises on purpose derives from `DuikouError`. Each one also derives from the builtin that fits,
so code can catch it without importing duikou. The text is one sentence that contains the values involved. An error of
another library is kept as the cause.

    DuikouError
    +-- InputError (ValueError)          bad input; `field` names the parameter
    |   +-- MediaError                   a file that cannot be read or that exceeds a limit
    |   +-- FetchError                   an address that cannot or may not be fetched
    |   +-- NotFoundError (LookupError)  an unknown id
    +-- ModelError (RuntimeError)        a model file is missing or altered
    +-- StorageError (OSError)           the disk is full or the data folder is unusable
    +-- WorkerError (RuntimeError)       a worker process died or exceeded its limits
"""

from __future__ import annotations

from typing import Self


class DuikouError(Exception):
    """Root of every error that duikou raises on purpose."""


class InputError(DuikouError, ValueError):
    """Bad input. The text is `field: reason`.

    field: name of the invalid parameter, as the raising function calls it; empty where there is no single one.
    reason: one sentence without the field's name, so that `renamed` can report it under another name.
    """

    def __init__(self, reason: str, *, field: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason, self.field = reason, field

    def renamed(self, field: str) -> Self:
        """The same error with another name for the parameter."""
        return type(self)(self.reason, field=field)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries; default pickling loses keyword-only arguments.
        return (_rebuild, (type(self), self.reason, self.field))


class MediaError(InputError):
    """A media file that cannot be read or that exceeds a limit."""


class FetchError(InputError):
    """An address that cannot or may not be fetched."""


class NotFoundError(InputError, LookupError):
    """An unknown id."""


class ModelError(DuikouError, RuntimeError):
    """A model file is missing or altered; the text holds the command that restores it."""


class StorageError(DuikouError, OSError):
    """The disk is full or the data folder cannot be used."""


class WorkerError(DuikouError, RuntimeError):
    """A worker process died or exceeded its limits."""


def _rebuild(cls: type[InputError], reason: str, field: str) -> InputError:
    return cls(reason, field=field)
