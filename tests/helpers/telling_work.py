"""The real work of a child, which tells what it had to load: modules, and libraries of the system."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duikou.workers.preload  # noqa: F401  as in the process that forks the children of a server
from duikou.progress import Progress
from duikou.workers import work
from duikou.workers.work import RenderJob, SignJob

PRELOAD = __name__


def identify(video: Path, folder: Path, progress: Progress) -> str:
    with _noted() as found:
        work.identify(video, folder, progress)
    return " ".join(found)


def render(job: RenderJob, progress: Progress) -> str:
    with _noted() as found:
        work.render(job, progress)
    return " ".join(found)


def sign(job: SignJob, progress: Progress) -> str:
    with _noted() as found:
        work.sign(job, progress)
    return " ".join(found)


@contextmanager
def _noted() -> Iterator[list[str]]:
    """The names of what the block loads, once it has ended."""
    found: list[str] = []
    before = _loaded()
    yield found
    found.extend(sorted(_loaded() - before))


def _loaded() -> set[str]:
    libraries: set[str] = set()
    if (maps := Path("/proc/self/maps")).exists():
        paths = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines()}
        libraries = {path for path in paths if ".so" in Path(path).name}
    return libraries | sys.modules.keys()
