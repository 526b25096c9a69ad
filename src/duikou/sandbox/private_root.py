"""A root folder of the child's own, in which only the files of its work have names.

The child leaves the system's tree for an empty one, in which its files and folders are mounted at their usual places.
Other names do not exist there, not even for a look at their attributes. The namespaces for System V shared memory and
for networks are the child's own, too, and empty.

Root may do this as it is. Others first enter a user namespace of their own, in which their number is the same. Some
systems refuse that: containers with the default profile of Docker or Kubernetes, and Ubuntu since 24.04 to programs
without an AppArmor profile.

https://man7.org/linux/man-pages/man7/mount_namespaces.7.html
https://man7.org/linux/man-pages/man7/user_namespaces.7.html
"""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_MOUNTS, _IPC, _NET, _USER = 0x0002_0000, 0x0800_0000, 0x4000_0000, 0x1000_0000  # linux/sched.h: namespaces
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same on every architecture
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE, _CLOEXEC = -100, 0x1000, 0x8000, 0o2000000  # linux/fcntl.h
_COPY, _MOVE_EMPTY_PATH = 1 | _AT_RECURSIVE | _CLOEXEC, 4  # linux/mount.h
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC = 1, 2, 4, 8  # the same as flags and as attributes
_RECURSIVE, _PRIVATE, _DETACH = 1 << 14, 1 << 18, 2
_WORKSHOP: Final = "/proc"  # where the new root is made, in the child's eyes alone; any folder that exists would do


def take(reads: Iterable[Path], writes: Iterable[Path], *, user_namespace: bool, threads: int) -> bool:
    """Leave every name but those of these files and folders, for good. They must be absolute; missing ones are skipped.

    user_namespace: whether the process may enter one where it lacks the rights. There it has no rights over files of
    other owners, and at most `threads` threads (root has no such limit). Call it in a process with a single
    thread. False where the system cannot do that; the names are as before then. Raises `OSError` where the system stops
    half way.
    """
    if (pivot_root := _PIVOT_ROOT.get(platform.machine())) is None:
        return False
    import resource  # Unix has it; later its file may be out of reach

    libc = ctypes.CDLL(None, use_errno=True)
    folder = _here()
    trees: list[tuple[Path, int]] = []
    try:
        alone = _leave_namespaces(libc, user_namespace=user_namespace)
        _check(libc.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None))
        for place, writable in _places(reads, writes):
            if (tree := libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode("/" / place), _COPY)) >= 0:
                trees.append((place, tree))
                devices = 0 if place.is_relative_to("dev") else _NO_DEVICES
                _set(libc, tree, _NO_SUID | devices | (0 if writable else _READ_ONLY), recursive=True)
        bare = _NO_SUID | _NO_DEVICES | _NO_EXEC
        _check(libc.mount(b"tmpfs", _WORKSHOP.encode(), b"tmpfs", bare, b"size=1m,mode=755"))
        try:
            root = os.open(_WORKSHOP, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for place, tree in trees:
                _make(root, place, folder=stat.S_ISDIR(os.fstat(tree).st_mode))
                _check(libc.syscall(_MOVE_MOUNT, tree, b"", root, os.fsencode(place), _MOVE_EMPTY_PATH))
            trees.append((Path(), root))
            _make(root, folder, folder=True)
            _set(libc, root, _READ_ONLY, recursive=False)
            os.fchdir(root)
            _check(libc.syscall(pivot_root, b".", b"."))
        except OSError:
            libc.umount2(_WORKSHOP.encode(), _DETACH)
            _go(folder)
            raise
    except OSError:
        return False
    finally:
        for _, tree in trees:
            os.close(tree)
    _check(libc.umount2(b".", _DETACH))  # the system's tree, which lies over the new root
    _go(folder)
    if alone:  # threads are counted in each user namespace, since Linux 5.14
        resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))
    return True


def _here() -> Path:
    """The working directory, relative to the root; the root itself where it is gone."""
    try:
        return Path.cwd().relative_to("/")
    except OSError:
        return Path()


def _go(folder: Path) -> None:
    with suppress(OSError):  # it may be closed to this user
        os.chdir("/" / folder)


def _leave_namespaces(libc: ctypes.CDLL, *, user_namespace: bool) -> bool:
    """Whether the process is in a user namespace of its own now."""
    own = _MOUNTS | _IPC | _NET
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(own) == 0:
        return False
    if not user_namespace:
        raise PermissionError
    _check(libc.unshare(_USER | own))
    process = Path("/proc/self")
    (process / "uid_map").write_text(f"{user} {user} 1")
    (process / "setgroups").write_text("deny")  # else an unprivileged process may not write the next one
    (process / "gid_map").write_text(f"{group} {group} 1")
    return True


def _places(reads: Iterable[Path], writes: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """What to mount, relative to the root, and whether it is writable; folders above others come first.

    What is reached over links has its place under both names.
    """
    wanted: dict[Path, bool] = {}
    for path, writable in [*((path, False) for path in reads), *((path, True) for path in writes)]:
        for name in (os.path.normpath(path), os.path.realpath(path)):
            place = Path("/", name.lstrip("/"))  # two slashes at the beginning are a root of another kind
            wanted[place] = writable or wanted.get(place, False)
    taken: dict[Path, bool] = {}
    for place, writable in sorted(wanted.items(), key=lambda item: len(item[0].parts)):
        above = next((parent for parent in place.parents if parent in taken), None)
        # Below another one it is there already, unless it alone is writable. Links there may lead out of the new root.
        if above is None or (writable and not taken[above] and place == Path(os.path.realpath(place))):
            taken[place] = writable
            yield place.relative_to("/"), writable


def _set(libc: ctypes.CDLL, tree: int, attributes: int, *, recursive: bool) -> None:
    wanted = struct.pack("=4Q", attributes, 0, 0, 0)  # struct mount_attr
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _check(libc.syscall(_MOUNT_SETATTR, tree, b"", flags, wanted, ctypes.c_size_t(len(wanted))))


def _make(root: int, place: Path, *, folder: bool) -> None:
    """Make a place to mount something on. Below a mounted folder it exists already."""
    for parent in reversed(place.parents[:-1]):
        with suppress(OSError):
            os.mkdir(parent, 0o755, dir_fd=root)
    with suppress(OSError):
        if folder:
            os.mkdir(place, 0o755, dir_fd=root)
        else:
            os.mknod(place, stat.S_IFREG | 0o600, dir_fd=root)


def _check(answer: int) -> None:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
