"""Settings of the servers and workers of tests. Their processes import this module, so it imports little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from duikou.settings import Settings


def settings(data: Path, **more: Any) -> Settings:
    """Settings for a test: all files in `data`, sources on loopback allowed, no limit on the rate of calls."""
    usual = {"port": 0, "min_free_mb": 0, "private_sources": "127.0.0.0/8", "requests_per_s": 0}
    return Settings(data=data, **{**usual, **more})
