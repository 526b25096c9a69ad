"""Ids of sessions, tasks and media: numeric strings of 19 digits, as clients of the contract expect."""

from __future__ import annotations

import secrets
import time

RANDOM_DIGITS = 6  # after the 13 digits of the millisecond: 19 in all, and below 2**63 until the year 2262


def now_ms() -> int:
    """Unix time in whole milliseconds."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A new id: the millisecond, then random digits. Ids sort by time and are hard to guess."""
    return f"{now_ms()}{secrets.randbelow(10**RANDOM_DIGITS):0{RANDOM_DIGITS}d}"
