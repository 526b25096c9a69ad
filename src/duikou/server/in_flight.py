"""How many calls of one account bring, read or search files at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from duikou.tasks.store.errors import TooManyTasksError


class CallLimit:
    """Counts the calls of this process. Used from one event loop. most: of one account; 0 is no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def place(self, account: str) -> Iterator[None]:
        """A place for a call until the block ends. Raises `TooManyTasksError` where the account has none left."""
        if 0 < self._most <= self._under_way[account]:
            raise TooManyTasksError(
                f"This account has {self._most} calls under way that fetch files or find faces, as many as it may at "
                "once; try again when one of them is answered."
            )
        self._under_way[account] += 1
        try:
            yield
        finally:
            self._under_way -= Counter((account,))
