"""The demo's portrait in fewer pixels or fewer pictures, which are made, read and rendered in less time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from media_maker import make_video

from demo import portrait


@contextmanager
def small_portrait(share: float) -> Iterator[None]:
    """Make `demo.portrait` smaller by this factor, and its grain as much weaker. A server refuses less than 720p."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WIDTH", "HEIGHT", "ZOOM", "GRAIN"):
            usual = getattr(portrait, name)
            patch.setattr(portrait, name, type(usual)(usual * share))
        yield


def repeated_portrait(path: Path, duration_ms: int) -> Path:
    """Write the demo's portrait with its first pictures again and again, for tests in which it is only played."""
    pictures = list(portrait.frames(200))
    return make_video(
        path,
        size=(portrait.WIDTH, portrait.HEIGHT),
        fps=portrait.RATE,
        frames=int(duration_ms * portrait.RATE / 1000),
        paint=lambda number, width, height: pictures[number % len(pictures)],
        options={"preset": "ultrafast", "crf": str(portrait.CRF)},
    )
