"""Restricts a child that reads untrusted files to the files of its own piece of work.

On Linux a process can restrict itself for good, in three ways that do not depend on each other:

* it moves to a root folder of its own, where nothing but those files has a name (`private_root`);
* Landlock denies it all files but those named, and signals to others;
* seccomp refuses it all system calls but those that the work needs (`system_calls`).

The last two need no privileges. What a system lacks is left out and reported by `duikou doctor`; limits on time and
size work on every Unix.

https://www.kernel.org/doc/html/latest/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import math
import os
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from duikou.sandbox import private_root, system_calls
from duikou.units import MIB

_PR_SET_NO_NEW_PRIVS = 38  # prctl(2)
# linux/capability.h, version 3, of this process: two words each of effective, permitted, inheritable
_CAPABILITY_HEADER: Final = struct.pack("=Ii", 0x2008_0522, 0)
_KEPT_CAPABILITIES = 1 << 1 | 1 << 2  # of root: to read and write any owner's files; which ones, is said below

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on every architecture
_LANDLOCK_VERSION_FLAG, _LANDLOCK_PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_OF_FILES = 1 << 0 | 1 << 1 | _READ_FILE | 1 << 14 | 1 << 15  # execute, write, read, truncate, ioctl
_FILE_RIGHTS: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All file rights that Landlock knows from that version on."""
_NET_SINCE, _SCOPES_SINCE = 4, 6  # TCP; signals to other processes and their abstract sockets
_NEVER = 1 << 0 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 15
"""Rights denied even in a writable folder: to run programs, to make devices, sockets, FIFOs and links, ioctl."""

_ALWAYS_READ: Final = (
    *("/usr", "/lib", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/localtime"),
    *("/dev/null", "/dev/urandom", "/sys/devices/system"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory"),
)
"""Shared libraries, and what runtimes read about the machine and their own process."""

THREADS_PER_CORE: Final = 64  # codecs, models and numerical libraries start one to two each
OPEN_FILES: Final = 1024  # honest work opens some fifty

_AUTOGROUP: Final = Path("/proc/self/autogroup")
_AUTOGROUP_TRIES, _AUTOGROUP_PAUSE_S = 20, 0.11


@dataclass(frozen=True)
class Limits:
    """Limits of one piece of work: seconds of wall clock and of processor time, MiB of resident memory, MiB of any one
    file that it writes, and threads.

    niceness: how far it steps back for other work on the machine, from 0, not at all, to 19 (see `step_back`).
    cores: how many its threads are made for, 0 for all that it may use (see `parallel.take_share`).
    """

    wall_s: float
    memory_mb: int
    cpu_s: float = math.inf
    file_mb: float = math.inf
    niceness: int = 0
    cores: int = 0
    threads: int = field(default_factory=lambda: THREADS_PER_CORE * max(os.cpu_count() or 1, 4))


@dataclass(frozen=True)
class AllowedPaths:
    """The files and folders that a piece of work reads, and the folders that it may also write to."""

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()


def apply_limits(limits: Limits) -> None:
    """Limit processor time, file size and open files from now on, and disable core dumps, which would hold callers'
    files.

    Past the first limit SIGXCPU kills the process, and SIGKILL a second later one that ignores it; past the second a
    write fails with EFBIG. The process cannot raise its limits again. A system without resource limits applies none.
    """
    try:
        import resource
    except ImportError:  # not Unix
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = math.ceil(used.ru_utime + used.ru_stime) + limits.cpu_s
    for kind, most, grace in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, cpu_s, 1),
        (resource.RLIMIT_FSIZE, limits.file_mb * MIB, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES, 0),
    ):
        soft, hard = (math.inf if had == resource.RLIM_INFINITY else had for had in resource.getrlimit(kind))
        if math.isfinite(most):
            new = min(most, soft), min(most + grace, hard)
            resource.setrlimit(kind, (int(new[0]), int(new[1])))


def step_back(niceness: int) -> None:
    """Let other work on this machine go first from now on. It needs no rights, and cannot be undone without them.

    Of a core that two threads want, one that is `niceness` levels behind gets a share of 1 / (1 + 1.25 ** niceness): at
    10, a tenth. A core that nobody else wants is its own. Call it in a process that leads its own session, before the
    process starts threads: they inherit it.

    Linux may weigh sessions instead of threads, as desktops do (autogroups, sched(7)): then the niceness of the session
    counts. The kernel takes a new one ten times a second from all processes together, so it may have to be asked again.
    A system that refuses, or knows no niceness, leaves the work as it is.
    """
    if not niceness:
        return
    with suppress(OSError):
        os.nice(niceness)
    for _ in range(_AUTOGROUP_TRIES):
        try:
            _AUTOGROUP.write_text(str(niceness))
        except BlockingIOError:
            time.sleep(_AUTOGROUP_PAUSE_S)
        except OSError:  # no such kernel, or no Linux
            return
        else:
            return


def restrict(allowed: AllowedPaths | None, threads: int) -> None:
    """Take away for good, of this process and the threads that it starts, all that this system can take away.

    What is left are the allowed files (`None` for all), Python's own, shared libraries, and computing. threads: how
    many there may be, where the system counts those of one process. Call it before the process starts any. Raises
    `OSError` where the system stops half way.
    """
    if allowed is not None:
        _leave_files(allowed, threads)
    block_system_calls()


def _leave_files(allowed: AllowedPaths, threads: int) -> None:
    reads = (*_python_paths(allowed), *(path.absolute() for path in allowed.reads))
    writes = [path.absolute() for path in allowed.writes]
    # In a user namespace root could no longer read what belongs to others.
    private_root.take(reads, writes, user_namespace=not _held_capabilities() & _KEPT_CAPABILITIES, threads=threads)
    _restrict_files(reads, writes)


def block_system_calls() -> bool:
    """Refuse for good the system calls that no work needs. False where the system cannot do that."""
    libc = ctypes.CDLL(None, use_errno=True)
    return _no_new_rights(libc) and _drop_capabilities(libc) and system_calls.restrict(libc)


def own_root_available() -> bool:
    """Whether a child can move to a root folder of its own. It is tried in a process that does nothing else."""
    code = "import sys; from duikou.sandbox import restrictions as r; sys.exit(not r.try_own_root())"
    silence = subprocess.DEVNULL
    return subprocess.call([sys.executable, "-c", code], stdin=silence, stdout=silence, stderr=silence) == 0


def try_own_root() -> bool:
    """Move this process to a root folder with nothing but Python. False where this system cannot do that."""
    held = _held_capabilities() & _KEPT_CAPABILITIES
    return private_root.take(_python_paths(AllowedPaths()), (), user_namespace=not held, threads=THREADS_PER_CORE)


def _restrict_files(reads: Iterable[Path], writes: Iterable[Path]) -> bool:
    """Deny every other file, and signals to other processes, for good. False where the system cannot do that."""
    version = landlock_version()
    libc = ctypes.CDLL(None, use_errno=True)
    if version < 1 or not _no_new_rights(libc):
        return False
    every = next(rights for since, rights in reversed(_FILE_RIGHTS.items()) if version >= since)
    attributes = struct.pack("=QQQ", every, 3 if version >= _NET_SINCE else 0, 3 if version >= _SCOPES_SINCE else 0)
    rules = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return False
    try:
        _allow(libc, rules, reads, _READ_FILE | _READ_DIR)
        _allow(libc, rules, writes, every & ~_NEVER)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def landlock_version() -> int:
    """The version of Landlock that this kernel enforces, 0 for none."""
    if sys.platform != "linux":
        return 0
    return max(int(ctypes.CDLL(None).syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_FLAG)), 0)


def _no_new_rights(libc: ctypes.CDLL) -> bool:
    """Give up gaining privileges by running programs: the kernel requires it of unprivileged callers."""
    return bool(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def _held_capabilities() -> int:
    """The capabilities that this process may use, as bits; 0 where the system knows none."""
    held = _capabilities(ctypes.CDLL(None)) if sys.platform == "linux" else None
    return held[0] if held else 0


def _capabilities(libc: ctypes.CDLL) -> tuple[int, int] | None:
    """Those in effect and those that may come into effect; their first 32 are all that matters here."""
    held = ctypes.create_string_buffer(24)
    if libc.capget(_CAPABILITY_HEADER, held) != 0:
        return None
    effective, permitted, *_ = struct.unpack("=6I", held.raw)
    return effective, permitted


def _drop_capabilities(libc: ctypes.CDLL) -> bool:
    """Drop root's capabilities, with which a child could inspect other processes."""
    if (held := _capabilities(libc)) is None:
        return False
    effective, permitted = (mask & _KEPT_CAPABILITIES for mask in held)
    return bool(libc.capset(_CAPABILITY_HEADER, struct.pack("=6I", effective, permitted, 0, 0, 0, 0)) == 0)


def _python_paths(allowed: AllowedPaths) -> Iterator[Path]:
    """Where Python and its packages are, and what runtimes read about the machine. Left out are folders that contain
    the work's own files, such as the server's working directory, which is also on Python's path.
    """
    own = [path.absolute() for path in (*allowed.reads, *allowed.writes)]
    for name in dict.fromkeys([sys.prefix, sys.base_prefix, *sys.path, *_ALWAYS_READ]):
        folder = Path(name).absolute()
        if name and not any(path.is_relative_to(folder) for path in own):
            yield folder


def _allow(libc: ctypes.CDLL, rules: int, paths: Iterable[Path], rights: int) -> None:
    """Allow what is below these paths.

    An entry of /proc stays open: the kernel may forget it in between, and the next look makes one that no rule knows.
    """
    for path in paths:
        with suppress(OSError):  # a missing path needs no rule
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                folder = stat.S_ISDIR(os.fstat(opened).st_mode)
                rule = struct.pack("=Qi", rights if folder else rights & _OF_FILES, opened)
                libc.syscall(_LANDLOCK_ADD, rules, _LANDLOCK_PATH_BENEATH, rule, 0)
            finally:
                if not path.is_relative_to("/proc"):
                    os.close(opened)
