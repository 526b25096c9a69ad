"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of that whole call that is done, from 0 to 1, never falling."""


def silent(stage: str, share: float) -> None:
    """A `Progress` that tells nobody."""


def scaled(progress: Progress, start: float, end: float) -> Progress:
    """A `Progress` for a part of the whole call: maps its own 0 to 1 onto `start` to `end`."""

    def tell(stage: str, share: float) -> None:
        progress(stage, start + (end - start) * min(max(share, 0.0), 1.0))

    return tell


def split(weights: Sequence[float]) -> list[tuple[float, float]]:
    """Consecutive `(start, end)` shares of the whole, in proportion to `weights`."""
    total, done, shares = sum(weights), 0.0, []
    for weight in weights:
        shares.append((done / total, (done + weight) / total))
        done += weight
    return shares
