"""Whose callbacks are under way: places for every account and, in it, for each of its receivers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

SILENCES = 3  # in a row, after which a receiver rests
FIRST_REST_S, LONGEST_REST_S = 5.0, 60.0  # doubles from the first to the longest with every further silence
REMEMBERED = 10_000  # silent receivers; of more the one that fell silent first is forgotten
MAX_RECEIVER = 262  # characters of a host, a colon and a port
PORTS = {"http": 80, "https": 443}


class Lane(NamedTuple):
    """The callbacks of one account to one receiver. receiver: host and port."""

    account: str
    receiver: str


def lane_of(account: str, url: str) -> Lane:
    """The lane of a callback to that URL."""
    try:
        parts = urlsplit(url)
        receiver = f"{(parts.hostname or '').rstrip('.')}:{parts.port or PORTS.get(parts.scheme, 0)}"
    except ValueError:  # nobody can call it; a task's change is stored all the same
        receiver = ""
    return Lane(account, receiver[:MAX_RECEIVER])


@dataclass
class _Silence:
    """How often in a row a receiver did not answer. Times are of the places' clock."""

    count: int = 0
    counted_at: float = float("-inf")
    rests_until: float = float("-inf")


class Places:
    """Places for callbacks under way. Used by one thread.

    An account may have half of the places that all others leave, and a lane half of those that the account's other
    lanes leave of that. So whoever comes finds a place, until as many accounts as there are places have one each
    (dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6, 1998).

    A receiver that did not answer several times in a row rests for a while, and then has one place until it answers.
    """

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._clock = count, clock
        self._lanes: Counter[Lane] = Counter()
        self._accounts: Counter[str] = Counter()
        self._silent: dict[Lane, _Silence] = {}

    @property
    def free(self) -> int:
        """Places that nobody has."""
        return self._count - self._lanes.total()

    def has_room(self, account: str) -> bool:
        """Whether the account may have one more place."""
        return self.free > 0 and self._accounts[account] < self._share(account)

    def take(self, lane: Lane) -> bool:
        """Take a place for a callback, if its lane may have one more now."""
        silence = self._silent.get(lane, _Silence())
        if silence.count >= SILENCES and (self._lanes[lane] or self._clock() < silence.rests_until):
            return False
        others = self._accounts[lane.account] - self._lanes[lane]
        if not self.has_room(lane.account) or self._lanes[lane] >= _half(self._share(lane.account) - others):
            return False
        self._lanes[lane] += 1
        self._accounts[lane.account] += 1
        return True

    def give(self, lane: Lane) -> None:
        """Give a place back."""
        self._lanes[lane] -= 1
        self._accounts[lane.account] -= 1
        self._lanes, self._accounts = +self._lanes, +self._accounts  # without those that have none

    def answered(self, lane: Lane) -> None:
        """A receiver gave an answer, whichever."""
        self._silent.pop(lane, None)

    def unanswered(self, lane: Lane, began: float) -> None:
        """A receiver gave none. began: when it was called, by the places' clock.

        Of calls that were under way at the same time one counts.
        """
        silence = self._silent.setdefault(lane, _Silence())
        if began >= silence.counted_at:
            silence.count, silence.counted_at = silence.count + 1, self._clock()
            rest_s = FIRST_REST_S * 2.0 ** min(silence.count - SILENCES, 10)
            silence.rests_until = silence.counted_at + min(rest_s, LONGEST_REST_S)
        if len(self._silent) > REMEMBERED:
            del self._silent[next(iter(self._silent))]

    def _share(self, account: str) -> int:
        return _half(self._count - (self._lanes.total() - self._accounts[account]))


def _half(places: int) -> int:
    """Half of them, rounded up."""
    return -(-places // 2)
