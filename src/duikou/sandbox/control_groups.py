"""A control group for each child, where the system gives one: the kernel's own limits on memory and threads.

The supervisor sees what a child has mapped, four times a second. The kernel counts all of it, with what it keeps for
the child itself, and refuses a thread too many at once.

Version 2 gives groups to a process below a group that was handed over to it, and only beside its own: a group with
processes in it hands no controllers down. systemd does so with `Delegate=` and `DelegateSubgroup=`. In
version 1 a process that may write to its own group makes groups below it, as root may outside containers. Elsewhere
children have none.

https://docs.kernel.org/admin-guide/cgroup-v2.html
https://systemd.io/CGROUP_DELEGATION/
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from duikou.units import MIB

MEMORY_FACTOR: Final = 2  # pages of files count here as well, and the supervisor's limit comes first
_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
_NAME: Final = "duikou-child-"
_MEMORY, _THREADS, _KILLS = "memory", "pids", "oom_kill"

_left: set[Path] = set()
"""Groups that could not be removed yet: the kernel lets go of a process a moment after its end."""
_lock = threading.Lock()


@dataclass(frozen=True)
class Home:
    """A folder in which groups are made. version: 1 or 2. controllers: which of `memory` and `pids` limit there."""

    path: Path
    version: int
    controllers: tuple[str, ...]


class ControlGroup:
    """The groups of one child: one of version 2, or one of version 1 for each controller; none without a home.

    A thread moves the child there, since the kernel takes up to 10 ms for it while the child has nothing to do yet.
    """

    def __init__(self, pid: int, homes: tuple[Home, ...] | None = None) -> None:
        self._groups: list[tuple[Home, Path]] = []
        self._starved = False
        self._moving: threading.Thread | None = None
        if homes := _homes() if homes is None else homes:
            self._moving = threading.Thread(target=self._move, args=(pid, homes), daemon=True)
            self._moving.start()

    def _move(self, pid: int, homes: tuple[Home, ...]) -> None:
        for home in homes:
            group = home.path / f"{_NAME}{pid}"
            with suppress(OSError):
                group.mkdir()
                self._groups.append((home, group))
                (group / "cgroup.procs").write_text(str(pid))

    def _settle(self) -> None:
        if self._moving is not None:
            self._moving.join()
        self._moving = None

    @property
    def starved(self) -> bool:
        """Whether the kernel killed the child, which had taken too much memory. Known once it is removed."""
        return self._starved

    def limit(self, memory_mb: int, threads: int) -> None:
        """Limit the child's memory, counted with the pages of its files, and its threads."""
        self._settle()
        for home, group in self._groups:
            with suppress(OSError):
                if _MEMORY in home.controllers:
                    name = "memory.max" if home.version == 2 else "memory.limit_in_bytes"
                    (group / name).write_text(str(MEMORY_FACTOR * memory_mb * MIB))
                if _THREADS in home.controllers:
                    (group / "pids.max").write_text(str(threads))

    def remove(self) -> None:
        """Remove the groups once the child has ended."""
        self._settle()
        for home, group in self._groups:
            if _MEMORY in home.controllers:
                told = group / ("memory.events" if home.version == 2 else "memory.oom_control")
                with suppress(OSError, ValueError):
                    self._starved |= int(dict(line.split() for line in told.read_text().splitlines())[_KILLS]) > 0
        with _lock:
            _left.update(group for _, group in self._groups)
            for group in list(_left):
                if _gone(group):
                    _left.discard(group)
        self._groups = []


def _gone(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # it still holds a process
        return False
    return True


_found: tuple[Home, ...] | None = None


def _homes() -> tuple[Home, ...]:
    """Where groups can be made, looked up once."""
    global _found  # noqa: PLW0603 - the answer for this process
    with _lock:
        if _found is None:
            _found = find_homes(_ROOT, _OWN)
            for home in _found:
                for group in home.path.glob(f"{_NAME}*"):  # of a server that was killed; those in use stay
                    _gone(group)
        return _found


def find_homes(root: Path, own: Path) -> tuple[Home, ...]:
    """Where a process may make groups. root: of the mounted hierarchies. own: a file as /proc/self/cgroup."""
    homes = []
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, named, path = line.split(":", 2)
            if not named:
                homes += _second(root, path)
            elif controllers := tuple({_MEMORY, _THREADS} & set(named.split(","))):
                folder = root / named / path[1:]
                if os.access(folder, os.W_OK) and (folder / "cgroup.procs").exists():
                    homes.append(Home(folder, 1, controllers))
    return tuple(homes)


def _second(root: Path, path: str) -> list[Home]:
    """The home of version 2, beside the process's own group in one that was handed over."""
    folder = (root / path[1:]).parent
    if path == "/" or not handed_over(folder):
        return []
    with suppress(OSError):
        known = (folder / "cgroup.controllers").read_text().split()
        controllers = tuple(name for name in (_MEMORY, _THREADS) if name in known)
        (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
        if controllers:
            return [Home(folder, 2, controllers)]
    return []


def handed_over(folder: Path) -> bool:
    """Whether systemd has handed a group over, which it marks: groups without the mark are its own to change."""
    try:
        return os.getxattr(folder, "user.delegate") == b"1"
    except (OSError, AttributeError):  # no mark, or no Linux
        return False
