"""Small disks of their own, to be filled up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


@contextmanager
def small(place: Path, size_mb: int) -> Iterator[Path]:
    """An empty folder as a disk of that size. Raises `PermissionError` where none can be mounted."""
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place)]
    try:
        made = subprocess.run(mounting, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        raise PermissionError("a small disk cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def small_or_skip(place: Path, size_mb: int) -> Iterator[Path]:
    """The same; the test is skipped where there can be none, but never in CI."""
    place.mkdir()
    with ExitStack() as mounted:
        try:
            mounted.enter_context(small(place, size_mb))
        except PermissionError as error:
            if "CI" in os.environ:
                raise
            pytest.skip(str(error))
        yield place
