"""The tree of errors.

Every error duikou raises on purpose derives from `DuikouError`; each also derives from the fitting builtin, so that
plain Python callers can catch it without knowing us. The text of an error is one clear sentence that names the field
and the figure. A third party's error is kept as the cause.

    DuikouError
    +-- InputError (ValueError)          the caller's fault; `field` names the parameter
    |   +-- MediaError                   a file that cannot be read or that breaks a limit
    |   +-- FetchError                   an address that cannot or may not be fetched
    |   +-- NotFoundError (LookupError)  an id nobody knows
    +-- ModelError (RuntimeError)        a model file is missing or altered
    +-- StorageError (OSError)           the disk is full or the data folder is unusable
    +-- WorkerError (RuntimeError)       a worker process died or ran out of its limits
"""

from __future__ import annotations


class DuikouError(Exception):
    """Root of everything raised on purpose."""


class InputError(DuikouError, ValueError):
    """A fault of the caller's; `field` is the parameter at fault."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders; keyword-only arguments do not survive the default pickling.
        return (_rebuild, (type(self), str(self), self.field))


class MediaError(InputError):
    """A media file that cannot be read or that breaks a limit."""


class FetchError(InputError):
    """An address that cannot or may not be fetched."""


class NotFoundError(InputError, LookupError):
    """An id nobody knows."""


class ModelError(DuikouError, RuntimeError):
    """A model file is missing or altered; the text holds the exact command that mends it."""


class StorageError(DuikouError, OSError):
    """The disk is full or the data folder cannot be used."""


class WorkerError(DuikouError, RuntimeError):
    """A worker process died or ran out of its limits."""


def _rebuild(cls: type[InputError], message: str, field: str) -> InputError:
    return cls(message, field=field)
