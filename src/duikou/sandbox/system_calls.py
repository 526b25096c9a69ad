"""The system calls that a child may make, as a program that the kernel runs before each of them (seccomp).

Only what stands in a list here is let through: what decoders, models, encoders and Python's own runtime need to compute
and to use the files of their work. Where an argument could name another process or undo a limit, its values are listed,
too. Everything else fails, so a library that tries more goes on without it:

* with EACCES, as a missing right does;
* with ENOSYS where the call is as new as `clone3`. C libraries try new calls first and then fall back to older ones.

https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from errno import EACCES, ENOSYS
from typing import Final

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2  # prctl(2)
_ERRNO, _KILL, _ALLOW = 0x0005_0000, 0x8000_0000, 0x7FFF_0000  # linux/seccomp.h: actions of a filter
_REFUSAL = _ERRNO | EACCES  # what a forbidden call gets
_UNKNOWN = _ERRNO | ENOSYS  # and one that the C library can do without
_LOAD, _MASK, _EQUAL, _AT_LEAST, _ANSWER = 0x20, 0x54, 0x15, 0x35, 0x06  # linux/bpf_common.h
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data
_STEP = "=HBBI"  # struct sock_filter: code, jump if true, jump if false, value
_WORD = 0xFFFF_FFFF
_X32 = 0x4000_0000  # from here on x86-64 has a second set of the same calls
_NEW = 424  # from here on the numbers are the same on every architecture (Linux 5.1)
_ARCHITECTURES: Final = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}  # linux/audit.h; column below

_ALLOWED: Final[Mapping[str, tuple[int | None, int | None]]] = {
    # open files
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "preadv2": (327, 286),
    "pwritev2": (328, 287),
    "lseek": (8, 62),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "pipe2": (293, 59),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "fallocate": (285, 47),
    "ftruncate": (77, 46),
    "fadvise64": (221, 223),
    "sendfile": (40, 71),
    "copy_file_range": (326, 285),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    # names
    "open": (2, None),
    "openat": (257, 56),
    "stat": (4, None),
    "lstat": (6, None),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    # memory
    "brk": (12, 214),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "msync": (26, 227),
    "mincore": (27, 232),
    "membarrier": (324, 283),
    "mbind": (237, 235),
    "get_mempolicy": (239, 236),
    "set_mempolicy": (238, 237),
    # threads, and the process itself
    "clone": (56, 220),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "futex": (202, 98),
    "futex_waitv": (449, 449),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "arch_prctl": (158, None),
    "prctl": (157, 167),
    "gettid": (186, 178),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "sched_setaffinity": (203, 122),
    "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126),
    "getpriority": (140, 141),
    "setpriority": (141, 140),
    "getcpu": (309, 168),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getgroups": (115, 158),
    "getrlimit": (97, 163),
    "prlimit64": (302, 261),
    "getrusage": (98, 165),
    "times": (100, 153),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "getrandom": (318, 278),
    # signals to itself
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigsuspend": (130, 133),
    "rt_sigtimedwait": (128, 137),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "kill": (62, 129),
    "tgkill": (234, 131),
    # time
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, None),
}
"""The calls that the work needs, with their numbers on x86-64 and aarch64. Numbers below 424 differ."""


@dataclass(frozen=True)
class _Check:
    """A call is allowed only where these bits of its argument are one of these values.

    argument: from 0. high: the upper 32 bits of a 64-bit argument; of numbers and flags the kernel reads the lower 32.
    """

    argument: int
    values: tuple[int, ...]
    bits: int = _WORD
    high: bool = False


_NOBODY_ELSE = 0  # as the number of a process or thread: the caller
_NO_CLOCK_OF_A_PROCESS = _Check(0, (0,), bits=1 << 31)  # such a clock is a negative number
_NO_PATH_ALONE = 1 << 21  # O_PATH, whose files Landlock does not check
_CLONE_THREAD, _CLONE_OTHER = 1 << 16, 0x7E02_1000  # a pidfd and namespaces: never
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_HUGETLB = 1 << 0, 1 << 5, 1 << 18


def _checks(pid: int) -> Mapping[str, tuple[_Check, ...]]:
    """What arguments must be, in a process with this number."""
    return {
        "open": (_Check(1, (0,), bits=_NO_PATH_ALONE),),
        "openat": (_Check(2, (0,), bits=_NO_PATH_ALONE),),
        # duplicate, flags, locks, the size of a pipe; not who gets a signal, leases, watches or a larger pipe
        "fcntl": (_Check(1, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)),),
        # terminal? (two forms), its size; do not block; close on exec; how many bytes wait
        "ioctl": (_Check(1, (0x5401, 0x802C_542A, 0x5413, 0x5421, 0x5450, 0x5451, 0x541B)),),
        # Memory that is neither private nor of a file stays when it is not mapped, where nobody counts it. Huge pages
        # are counted nowhere.
        "mmap": (_Check(3, (0, _MAP_SHARED, _MAP_ANONYMOUS), bits=_MAP_SHARED | _MAP_ANONYMOUS | _MAP_HUGETLB),),
        "clone": (_Check(0, (_CLONE_THREAD,), bits=_CLONE_THREAD | _CLONE_OTHER),),
        # names of threads and of memory (PR_SET_NAME, PR_GET_NAME, PR_SET_VMA)
        "prctl": (_Check(0, (15, 16, 0x5356_4D41)),),
        "prlimit64": (_Check(0, (_NOBODY_ELSE,)), _Check(2, (0,)), _Check(2, (0,), high=True)),  # no new limit
        "sched_getaffinity": (_Check(0, (_NOBODY_ELSE,)),),
        "sched_setaffinity": (_Check(0, (_NOBODY_ELSE,)),),
        "getpriority": (_Check(0, (0,)), _Check(1, (_NOBODY_ELSE,))),  # PRIO_PROCESS
        "setpriority": (_Check(0, (0,)), _Check(1, (_NOBODY_ELSE,))),
        "kill": (_Check(0, (_NOBODY_ELSE, pid)),),  # 0 is its process group, which holds nobody else
        "tgkill": (_Check(0, (pid,)),),
        "clock_gettime": (_NO_CLOCK_OF_A_PROCESS,),
        "clock_getres": (_NO_CLOCK_OF_A_PROCESS,),
        "clock_nanosleep": (_NO_CLOCK_OF_A_PROCESS,),
    }


def available() -> bool:
    """Whether `restrict` supports this system."""
    return sys.platform == "linux" and platform.machine() in _ARCHITECTURES


def restrict(libc: ctypes.CDLL) -> bool:
    """Refuse all other calls of this thread, and of those that it starts, for good. False where the system cannot.

    It needs `PR_SET_NO_NEW_PRIVS`.
    """
    if not available():
        return False
    code = _filter(*_ARCHITECTURES[platform.machine()], os.getpid(), _REFUSAL)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // struct.calcsize(_STEP), ctypes.addressof(buffer))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)


def _filter(architecture: int, column: int, pid: int, refusal: int) -> bytes:
    """A program for the process `pid` that answers calls that are not in the list with `refusal`, new ones ENOSYS."""
    checks = _checks(pid)
    program = _steps(
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_ANSWER, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_ANSWER, 0, 0, refusal),
    )
    for name, numbers in _ALLOWED.items():
        if (number := numbers[column]) is not None:
            block = _answer(checks.get(name, ()), refusal)
            program += _steps((_EQUAL, 0, len(block), number)) + block
    program += _steps((_AT_LEAST, 0, 1, _NEW), (_ANSWER, 0, 0, _UNKNOWN), (_ANSWER, 0, 0, refusal))
    return b"".join(program)


def _answer(checks: Iterable[_Check], refusal: int) -> list[bytes]:
    """Allow a call whose arguments pass all checks, and refuse it otherwise. No block runs into the next one."""
    block = _steps((_ANSWER, 0, 0, _ALLOW))
    refused = len(block)  # steps from here to the refusal at the end
    for check in reversed(tuple(checks)):
        tests = [
            (_EQUAL, len(check.values) - 1 - at, refused if at == len(check.values) - 1 else 0, value)
            for at, value in enumerate(check.values)
        ]
        place = _ARGUMENTS_AT + 8 * check.argument + 4 * check.high
        block = _steps((_LOAD, 0, 0, place), (_MASK, 0, 0, check.bits), *tests) + block
        refused = len(block)
    return [*block, *_steps((_ANSWER, 0, 0, refusal))]


def _steps(*steps: tuple[int, int, int, int]) -> list[bytes]:
    return [struct.pack(_STEP, *step) for step in steps]
