"""The demo's portrait in fewer pixels, which are made, read and rendered in less time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from demo import portrait


@contextmanager
def small_portrait(share: float) -> Iterator[None]:
    """Make `demo.portrait` smaller by this factor, and its grain as much weaker. A server refuses less than 720p."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WIDTH", "HEIGHT", "ZOOM", "GRAIN"):
            usual = getattr(portrait, name)
            patch.setattr(portrait, name, type(usual)(usual * share))
        yield
