"""The faces of clips, found once for all tests of a process."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import duikou


@cache
def session_of(clip: Path) -> duikou.Session:
    """The faces of a clip that no test changes. Tests change no session either."""
    return duikou.identify(clip)
