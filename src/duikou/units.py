"""Units."""

from __future__ import annotations

from typing import Final

MIB: Final = 1 << 20
"""Bytes."""
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
