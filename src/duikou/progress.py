"""Progress of long work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the completed share of the whole call, from 0 to 1, never decreasing."""


def silent(stage: str, share: float) -> None:
    """A `Progress` that does nothing."""


def scaled(progress: Progress, start: float, end: float) -> Progress:
    """A `Progress` for a part of the call: maps 0 to 1 onto `start` to `end`."""

    def report(stage: str, share: float) -> None:
        progress(stage, start + (end - start) * min(max(share, 0.0), 1.0))

    return report


def rising(progress: Progress) -> Progress:
    """A `Progress` for a call of which a part may be done again: the share never decreases."""
    most = 0.0

    def report(stage: str, share: float) -> None:
        nonlocal most
        most = max(most, share)
        progress(stage, most)

    return report


def split(weights: Sequence[float]) -> list[tuple[float, float]]:
    """Consecutive `(start, end)` shares of the whole, in proportion to `weights`."""
    total, done, shares = sum(weights), 0.0, []
    for weight in weights:
        shares.append((done / total, (done + weight) / total))
        done += weight
    return shares
