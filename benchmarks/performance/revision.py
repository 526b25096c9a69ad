"""Which code was measured, and whether it is still the code that is here."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MEASURED: Final = ("src", "constraints.txt")
"""What decides the figures. A change of anything else leaves them true."""
CHANGED: Final = "+"
"""Ends the name of a commit to which something was changed before it was measured."""


def measured(root: Path = ROOT) -> str:
    """The commit of the code that is here, with `CHANGED` if more was changed; empty outside a git repository."""
    commit = _git(root, "rev-parse", "--short=10", "HEAD").strip()
    if not commit:
        return ""
    return commit + (CHANGED if _git(root, "status", "--porcelain", "--", *MEASURED) else "")


def is_current(commit: str, root: Path = ROOT) -> bool:
    """Whether what a commit measured is what is here. A commit that is unknown, or had changes, is not."""
    if not commit or commit.endswith(CHANGED):
        return False
    known = _git(root, "cat-file", "-t", commit).strip() == "commit"
    return known and not _git(root, "diff", "--name-only", commit, "--", *MEASURED)


def _git(root: Path, *arguments: str) -> str:
    """What git prints; nothing where it fails or is missing."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False, text=True).stdout
    except OSError:
        return ""
