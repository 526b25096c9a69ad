"""Units."""

from __future__ import annotations

from typing import Final

MIB: Final = 1 << 20
"""Bytes."""
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

MAX_VOLUME: Final = 2.0
"""Largest factor by which audio may be made louder; the contract: volumes lie in [0, 2]."""
