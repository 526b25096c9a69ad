"""Restricts a child that reads untrusted files to the files of its own piece of work.

On Linux any process can restrict itself, without privileges: seccomp blocks system calls (no sockets, so no network; no
other program; no other process's memory), Landlock denies all files but those named. Neither can be undone. What a
kernel lacks is left out and reported by `duikou doctor`; limits on time and size work on every Unix.

https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
https://www.kernel.org/doc/html/latest/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import stat
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import EACCES, ENOSYS
from pathlib import Path
from typing import Final

from duikou.units import MIB

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2  # prctl(2)
_ERRNO, _KILL, _ALLOW = 0x0005_0000, 0x8000_0000, 0x7FFF_0000  # linux/seccomp.h: actions of a filter
_REFUSAL = _ERRNO | EACCES  # what a forbidden call gets
_LOAD, _EQUAL, _AT_LEAST, _HAS, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # struct seccomp_data
_STEP = "=HBBI"  # struct sock_filter: code, jump if true, jump if false, value
_X32 = 0x4000_0000  # from here on x86-64 has a second set of the same calls
_ARCHITECTURES: Final = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}  # linux/audit.h; column below
_CLONE, _CLONE3, _CLONE_THREAD = (56, 220), (435, 435), 0x0001_0000
_BLOCKED: Final = {
    "socket": (41, 198),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),  # makes sockets of its own
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
"""System calls that no decoder, model or encoder needs, with their numbers on x86-64 and aarch64."""

_CAPABILITY_VERSION = 0x2008_0522  # linux/capability.h, version 3: two words each of effective, permitted, inheritable
_KEPT_CAPABILITIES = 1 << 1 | 1 << 2  # of root: to read and write any owner's files; Landlock says which

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
    *("/dev/null", "/dev/urandom", "/proc", "/sys/devices/system"),
)
"""Shared libraries, and what runtimes read about the machine. Private entries of other processes in /proc stay closed:
Landlock keeps processes without capabilities from inspecting less restricted ones."""

_AUTOGROUP: Final = Path("/proc/self/autogroup")
_AUTOGROUP_TRIES, _AUTOGROUP_PAUSE_S = 20, 0.11


@dataclass(frozen=True)
class Limits:
    """Limits of one piece of work: seconds of wall clock and of processor time, MiB of resident memory, and MiB of any
    one file that it writes.

    niceness: how far it steps back for other work on the machine, from 0, not at all, to 19 (see `step_back`).
    """

    wall_s: float
    memory_mb: int
    cpu_s: float = math.inf
    file_mb: float = math.inf
    niceness: int = 0


@dataclass(frozen=True)
class AllowedPaths:
    """The files and folders that a piece of work reads, and the folders that it may also write to."""

    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()


def apply_limits(limits: Limits) -> None:
    """Limit processor time and file size from now on, and disable core dumps, which would hold callers' files.

    Past the first limit SIGXCPU kills the process, past the second a write fails with EFBIG. A system without resource
    limits applies none.
    """
    try:
        import resource
    except ImportError:  # not Unix
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = math.ceil(used.ru_utime + used.ru_stime) + limits.cpu_s
    for kind, most in ((resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_FSIZE, limits.file_mb * MIB)):
        soft, hard = resource.getrlimit(kind)
        if math.isfinite(most) and (soft == resource.RLIM_INFINITY or most < soft):
            resource.setrlimit(kind, (int(most), hard))


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


def block_system_calls() -> bool:
    """Deny network, other programs and other processes for good. False where the system cannot do that."""
    if not seccomp_available():
        return False
    code = _filter(*_ARCHITECTURES[platform.machine()], _REFUSAL)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_program = struct.pack("@HP", len(code) // struct.calcsize(_STEP), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if not _no_new_rights(libc) or not _drop_capabilities(libc):
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_program, 0, 0) == 0)


def _filter(architecture: int, column: int, refusal: int) -> bytes:
    """A program that checks each system call: `refusal` for blocked ones, and for a new process but not a thread."""
    blocked = [number for row in _BLOCKED.values() if (number := row[column]) is not None]
    program: list[tuple[int, int | str, int | str, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_ANSWER, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, "refuse", 0, _X32),
        *((_EQUAL, "refuse", 0, number) for number in blocked),
        (_EQUAL, 0, 1, _CLONE3[column]),  # a filter cannot read its flags: the C library falls back to clone
        (_ANSWER, 0, 0, _ERRNO | ENOSYS),
        (_EQUAL, 0, "allow", _CLONE[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_HAS, "allow", "refuse", _CLONE_THREAD),
    ]
    ends = {"allow": len(program), "refuse": len(program) + 1}
    program += [(_ANSWER, 0, 0, _ALLOW), (_ANSWER, 0, 0, refusal)]

    def jump(to: int | str, at: int) -> int:
        return ends[to] - at - 1 if isinstance(to, str) else to

    return b"".join(
        struct.pack(_STEP, code, jump(yes, at), jump(no, at), value)
        for at, (code, yes, no, value) in enumerate(program)
    )


def seccomp_available() -> bool:
    """Whether `block_system_calls` supports this system."""
    return sys.platform == "linux" and platform.machine() in _ARCHITECTURES


def restrict_files(allowed: AllowedPaths) -> bool:
    """Deny every file for good but the allowed ones, Python's own and shared libraries.

    False where the system cannot do that.
    """
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
        _allow(libc, rules, [*_python_paths(allowed), *allowed.reads], _READ_FILE | _READ_DIR)
        _allow(libc, rules, allowed.writes, every & ~_NEVER)
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


def _drop_capabilities(libc: ctypes.CDLL) -> bool:
    """Drop root's capabilities, with which a child could inspect other processes."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    held = ctypes.create_string_buffer(24)
    if libc.capget(header, held) != 0:
        return False
    effective, permitted, *_ = struct.unpack("=6I", held.raw)
    left = struct.pack("=6I", effective & _KEPT_CAPABILITIES, permitted & _KEPT_CAPABILITIES, 0, 0, 0, 0)
    return bool(libc.capset(header, left) == 0)


def _python_paths(allowed: AllowedPaths) -> Iterator[Path]:
    """Where Python and its packages are, without folders that contain the work's own files, such as the server's
    working directory, which is also on Python's path.
    """
    own = [path.absolute() for path in (*allowed.reads, *allowed.writes)]
    for name in dict.fromkeys([sys.prefix, sys.base_prefix, *sys.path, *_ALWAYS_READ]):
        folder = Path(name).absolute()
        if name and not any(path.is_relative_to(folder) for path in own):
            yield folder


def _allow(libc: ctypes.CDLL, rules: int, paths: Iterable[Path], rights: int) -> None:
    for path in paths:
        with suppress(OSError):  # a missing path needs no rule
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                folder = stat.S_ISDIR(os.fstat(opened).st_mode)
                rule = struct.pack("=Qi", rights if folder else rights & _OF_FILES, opened)
                libc.syscall(_LANDLOCK_ADD, rules, _LANDLOCK_PATH_BENEATH, rule, 0)
            finally:
                os.close(opened)
