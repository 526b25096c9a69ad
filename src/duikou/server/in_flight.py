"""How many calls of one kind an account may have under way at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from duikou.tasks.store.errors import TooManyTasksError


class CallLimit:
    """Counts the calls of this process. Used from one event loop.

    most: of one account; 0 is no limit. refusal: the sentence for a call too many.
    """

    def __init__(self, most: int, refusal: str) -> None:
        self._most, self._refusal = most, refusal
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def place(self, account: str) -> Iterator[None]:
        """A place for a call until the block ends. Raises `TooManyTasksError` where the account has none left."""
        if 0 < self._most <= self._under_way[account]:
            raise TooManyTasksError(self._refusal)
        self._under_way[account] += 1
        try:
            yield
        finally:
            self._under_way -= Counter((account,))


def file_calls(most: int) -> CallLimit:
    """The limit of calls that bring, read or search files."""
    refusal = (
        f"This account has {most} calls under way that fetch files or find faces, as many as it may at once; try again "
        "when one of them is answered."
    )
    return CallLimit(most, refusal)


def uploads(most: int) -> CallLimit:
    """The limit of uploads."""
    refusal = (
        f"This account has {most} uploads under way, as many as it may at once; send this one when another has ended."
    )
    return CallLimit(most, refusal)
