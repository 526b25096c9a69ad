"""Errors of the store."""

from __future__ import annotations

from duikou.errors import DuikouError


class ExternalIdTaken(Exception):  # noqa: N818 - a signal to the caller within this program, no failure
    """Another task of the account already has this external id."""


class IdTakenError(Exception):
    """A new id is already in use, by chance; the caller creates another one."""


class TooManyTasksError(DuikouError):
    """The account or the server has reached its limit of unfinished tasks or of uploads under way.

    The text is a sentence for the caller.
    """


class QuotaError(DuikouError):
    """The account stores as much as it may. The text is a sentence for the caller, with the figures."""
