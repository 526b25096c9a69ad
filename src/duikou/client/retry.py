"""When a failed call is sent again, and after how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime

from duikou.client.errors import ApiError, ConnectionFailedError, TimedOutError

LASTING = frozenset(
    {1100, 1101, 1102, 1304}
)  # 429 that no wait mends: the account, arrears, a used-up pack, the address

LONGEST_OUTAGE_WAIT_S = 10.0  # between two questions to a server that is away: its return is soon noticed


@dataclass(frozen=True)
class Retry:
    """How calls are repeated after 429, 503 and broken connections.

    tries: in all; 1 never repeats.
    first_wait_s: before the second try. It doubles with every further one; up to half of it is left out at random.
    max_wait_s: the longest wait. A server that asks for a longer one (`Retry-After`) gets no further try.
    outage_s: how long `wait` goes on asking a server that does not answer, whatever `tries` says.
    """

    tries: int = 6
    first_wait_s: float = 0.5
    max_wait_s: float = 60.0
    outage_s: float = 300.0

    def wait_s(self, tries: int, error: ApiError | ConnectionFailedError, *, repeatable: bool) -> float | None:
        """Seconds before the next try, after so many; `None` if there is none.

        repeatable: whether a request may be repeated that may still be worked on.
        """
        asked_s = (isinstance(error, ApiError) and error.retry_after_s) or 0.0
        if tries >= self.tries or not _passes(error, repeatable) or asked_s > self.max_wait_s:
            return None
        usual_s = min(self.first_wait_s * 2.0 ** min(tries - 1, 64), self.max_wait_s)
        return max(asked_s, usual_s * random.uniform(0.5, 1))

    def outlast_s(self, failures: int, error: ApiError | ConnectionFailedError, silent_s: float) -> float | None:
        """Seconds before `wait` asks again, after so many failures in a row; `None` if it gives up.

        silent_s: since the last answer.
        """
        if silent_s >= self.outage_s:
            return self.wait_s(failures, error, repeatable=True)
        wait_s = replace(self, tries=failures + 1).wait_s(failures, error, repeatable=True)
        asked_s = (isinstance(error, ApiError) and error.retry_after_s) or 0.0
        return None if wait_s is None else max(min(wait_s, LONGEST_OUTAGE_WAIT_S), asked_s)


def _passes(error: ApiError | ConnectionFailedError, repeatable: bool) -> bool:
    match error:
        case TimedOutError():
            return repeatable or not error.sent
        case ConnectionFailedError():
            return True
        case ApiError(status=429) | ApiError(code=1302 | 1303):
            return error.code not in LASTING
        case ApiError(status=503):
            return True
        case ApiError(status=502 | 504, code=None):  # a gateway that lost the server
            return repeatable
        case _:
            return False


def is_doubtful(error: ApiError | ConnectionFailedError) -> bool:
    """Whether the server may have acted all the same: the answer was lost, or is a gateway's and not its own."""
    if isinstance(error, ConnectionFailedError):
        return error.sent
    return error.code is None and error.status >= 500


def retry_after_s(header: str | None) -> float | None:
    """Seconds in a `Retry-After` header, a number or a date (RFC 9110, 10.2.3); `None` if it has none."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time(), 0.0)
