"""What a child tries that runs an attacker's code: system calls as they are, without a library in between.

Each attack is one call. What it got is told by the name of the system's error, or `done`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from duikou.progress import Progress

COLUMN: Final = {"x86_64": 0, "aarch64": 1}.get(platform.machine(), 0)
NUMBERS: Final[dict[str, tuple[int, int]]] = {
    # other processes
    "prlimit64": (302, 261),
    "setrlimit": (160, 164),
    "sched_setaffinity": (203, 122),
    "sched_getaffinity": (204, 123),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_getscheduler": (145, 120),
    "sched_setattr": (314, 274),
    "setpriority": (141, 140),
    "getpriority": (140, 141),
    "ioprio_set": (251, 30),
    "ioprio_get": (252, 31),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "kcmp": (312, 272),
    "get_robust_list": (274, 100),
    "getpgid": (121, 155),
    "setpgid": (109, 154),
    "getsid": (124, 156),
    "fcntl": (72, 25),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "perf_event_open": (298, 241),
    "wait4": (61, 260),
    # names and attributes
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "getxattr": (191, 8),
    "truncate": (76, 45),
    "linkat": (265, 37),
    "symlinkat": (266, 36),
    "mknodat": (259, 33),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "openat": (257, 56),
    "openat2": (437, 437),
    "open_tree": (428, 428),
    "quotactl": (179, 60),
    "swapon": (167, 224),
    "acct": (163, 89),
    "flock": (73, 32),
    "chdir": (80, 49),
    "chroot": (161, 51),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "mount_setattr": (442, 442),
    # memory that nobody counts, and what outlives the child
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mmap": (9, 222),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "keyctl": (250, 219),
    "vmsplice": (278, 75),
    "mlock": (149, 228),
    # more of the kernel
    "io_uring_setup": (425, 425),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "sendmsg": (46, 211),
    "bpf": (321, 280),
    "execve": (59, 221),
    "execveat": (322, 281),
    "clone": (56, 220),
    "clone3": (435, 435),
    "unshare": (272, 97),
    "setns": (308, 268),
    "personality": (135, 92),
    "modify_ldt": (154, -1),
    "iopl": (172, -1),
    "setuid": (105, 146),
    "setgid": (106, 144),
    "setgroups": (116, 159),
    "setsid": (112, 157),
    "capset": (126, 91),
    "seccomp": (317, 277),
    "prctl": (157, 167),
    "landlock_create_ruleset": (444, 444),
    "sethostname": (170, 161),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "init_module": (175, 105),
    "kexec_load": (246, 104),
    "ioctl": (16, 29),
    "a call of another set": (0x4000_0000 + 39, -1),
    "a call that does not exist yet": (3000, 3000),
}
KEY: Final = 0x6B61_6765  # of what outlives the child
LOOKS: Final = {"stat": (262, 79), "statx": (332, 291), "access": (269, 48), "readlink": (267, 78), "statfs": (137, 43)}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_HERE = -100  # AT_FDCWD


@dataclass(frozen=True)
class Victims:
    """Whom and what the child attacks: the server's process, a file of its, a link, and the child's own places."""

    server: int
    database: Path
    link: Path
    read: Path
    folder: Path


def attack(victims: Victims, progress: Progress) -> dict[str, dict[str, str]]:
    """Try everything; what each attack got, by kind."""
    return {"calls": dict(calls(victims)), "files": dict(files(victims)), "looks": dict(looks(victims))}


def calls(victims: Victims) -> Iterator[tuple[str, str]]:
    """Calls that must be refused whatever they name."""
    pid, server = os.getpid(), victims.server
    other, own = os.fsencode(victims.database), os.fsencode(victims.folder / "own")
    (victims.folder / "own").write_bytes(b"own")
    file = os.open(victims.folder / "own", os.O_RDWR)
    ends = os.pipe()
    room, limit = ctypes.create_string_buffer(4096), struct.pack("=QQ", 1, 1)
    words = ctypes.create_string_buffer(b"\0" * 8)
    tries: list[tuple[str, str, tuple[object, ...]]] = [
        ("limit of the server's time", "prlimit64", (server, 0, limit, None)),
        ("limit of the server's files", "prlimit64", (server, 7, limit, None)),
        ("server's limits", "prlimit64", (server, 7, None, room)),
        ("own limit by number", "prlimit64", (pid, 7, None, room)),
        ("own limit", "prlimit64", (0, 7, struct.pack("=QQ", 4096, 4096), None)),
        ("own limit as before", "setrlimit", (7, struct.pack("=QQ", 1024, 1024))),
        ("server's cores", "sched_setaffinity", (server, 8, b"\1" + b"\0" * 7)),
        ("where the server runs", "sched_getaffinity", (server, 8, words)),
        ("server's schedule", "sched_setscheduler", (server, 5, struct.pack("=i", 0))),
        ("server's rank", "sched_setparam", (server, struct.pack("=i", 0))),
        ("server's schedule, told", "sched_getscheduler", (server,)),
        (
            "server's schedule, new form",
            "sched_setattr",
            (server, struct.pack("=IIQiIQQQ", 48, 5, 0, 0, 0, 0, 0, 0), 0),
        ),
        ("server's niceness", "setpriority", (0, server, 19)),
        ("niceness of all of the user", "setpriority", (2, 0, 19)),
        ("server's niceness, told", "getpriority", (0, server)),
        ("server's disk", "ioprio_set", (1, server, 3 << 13)),
        ("server's disk, told", "ioprio_get", (1, server)),
        ("is it there", "kill", (server, 0)),
        ("all processes", "kill", (-1, 0)),
        ("all of a group", "kill", (-server, 0)),
        ("a thread", "tkill", (server, 0)),
        ("a thread of the server", "tgkill", (server, server, 0)),
        ("a signal with a value", "rt_sigqueueinfo", (server, 0, room)),
        ("to a thread with a value", "rt_tgsigqueueinfo", (server, server, 0, room)),
        ("a handle of the server", "pidfd_open", (server, 0)),
        ("a signal over a handle", "pidfd_send_signal", (0, 0, None, 0)),
        ("a file of the server", "pidfd_getfd", (0, 0, 0)),
        ("server's pages", "process_madvise", (0, room, 1, 20, 0)),
        ("server's memory, freed", "process_mrelease", (0, 0)),
        ("server's memory, read", "process_vm_readv", (server, room, 0, room, 0, 0)),
        ("server's memory, written", "process_vm_writev", (server, room, 0, room, 0, 0)),
        ("server under control", "ptrace", (0x4206, server, 0, 0)),
        ("server's pages elsewhere", "move_pages", (server, 0, None, None, None, 0)),
        ("server's memory elsewhere", "migrate_pages", (server, 8, b"\1" * 8, b"\1" * 8)),
        ("do they share", "kcmp", (server, pid, 2, 0, 0)),
        ("server's locks", "get_robust_list", (server, room, room)),
        ("server's group", "getpgid", (server,)),
        ("another group", "setpgid", (0, server)),
        ("server's session", "getsid", (server,)),
        ("a signal when a pipe fills", "fcntl", (ends[0], 8, server)),
        ("which signal", "fcntl", (ends[0], 10, 9)),
        ("a signal, new form", "fcntl", (ends[0], 15, struct.pack("=ii", 1, server))),
        ("a lease", "fcntl", (file, 1024, 0)),
        ("a watch", "fcntl", (file, 1026, 1)),
        ("a larger pipe", "fcntl", (ends[1], 1031, 1 << 20)),
        ("server's clock", "clock_gettime", ((~server << 3) | 2, room)),
        ("until the server has worked", "clock_nanosleep", ((~server << 3) | 2, 0, struct.pack("=qq", 0, 1), None)),
        ("counters", "perf_event_open", (room, server, -1, -1, 0)),
        ("somebody's end", "wait4", (-1, None, 1, None)),
        ("mode", "fchmodat", (_HERE, other, 0o666)),
        ("mode, new form", "fchmodat2", (_HERE, other, 0o666, 0)),
        ("own mode", "fchmod", (file, 0o6777)),
        ("owner", "fchownat", (_HERE, other, os.getuid(), os.getgid(), 0)),
        ("own owner", "fchown", (file, os.getuid(), os.getgid())),
        ("times", "utimensat", (_HERE, other, struct.pack("=4q", 1, 0, 1, 0), 0)),
        ("own times", "utimensat", (file, None, None, 0)),
        ("attribute", "setxattr", (other, b"user.x", b"x", 1, 0)),
        ("own attribute", "fsetxattr", (file, b"user.x", b"x", 1, 0)),
        ("no attribute", "removexattr", (other, b"user.x")),
        ("attribute, told", "getxattr", (other, b"user.x", room, 10)),
        ("cut", "truncate", (other, 0)),
        ("own cut by name", "truncate", (own, 0)),
        ("hard link", "linkat", (_HERE, other, _HERE, own + b".hard", 0)),
        ("own hard link", "linkat", (_HERE, own, _HERE, own + b".hard", 0)),
        ("link", "symlinkat", (other, _HERE, own + b".link")),
        ("pipe with a name", "mknodat", (_HERE, own + b".pipe", 0o10600, 0)),
        ("device", "mknodat", (_HERE, own + b".zero", 0o20600, 0x105)),
        ("watching", "inotify_init1", (0,)),
        ("watched", "inotify_add_watch", (file, other, 2)),
        ("watching all", "fanotify_init", (0x200, 0)),
        ("watched all", "fanotify_mark", (file, 1, 2, _HERE, other)),
        ("handle", "name_to_handle_at", (_HERE, other, room, words, 0)),
        ("open by handle", "open_by_handle_at", (file, room, 0)),
        ("only the name", "openat", (_HERE, other, os.O_PATH, 0)),
        ("only the own name", "openat", (_HERE, own, os.O_PATH, 0)),
        ("only the name, new form", "openat2", (_HERE, other, struct.pack("=QQQ", os.O_PATH, 0, 0), 24)),
        ("a copy of the tree", "open_tree", (_HERE, b"/", 1)),
        ("quotas", "quotactl", (0x80000700, None, 0, room)),
        ("swap", "swapon", (own, 0)),
        ("accounting", "acct", (own,)),
        ("lock", "flock", (file, 2)),
        ("another folder", "chdir", (b"/",)),
        ("another root", "chroot", (os.fsencode(victims.folder),)),
        ("mount", "mount", (b"proc", own, b"proc", 0, None)),
        ("unmount", "umount2", (os.fsencode(victims.folder), 2)),
        ("other tree", "pivot_root", (b".", b".")),
        ("writable again", "mount_setattr", (_HERE, b"/", 0, struct.pack("=4Q", 0, 1, 0, 0), 32)),
        ("file in memory", "memfd_create", (b"x", 0)),
        ("secret memory", "memfd_secret", (0,)),
        ("shared memory without a file", "mmap", (None, 4096, 3, 0x21, -1, 0)),
        ("shared memory, new form", "mmap", (None, 4096, 3, 0x23, -1, 0)),
        ("huge pages", "mmap", (None, 2 << 20, 3, 0x40022, -1, 0)),
        ("shared segment", "shmget", (KEY, 4096, 0o1600)),
        ("queue", "msgget", (KEY, 0o1600)),
        ("semaphores", "semget", (KEY, 1, 0o1600)),
        ("queue with a name", "mq_open", (b"cage", 0o102, 0o600, None)),
        ("faults", "userfaultfd", (0,)),
        ("key", "add_key", (b"user", b"cage", b"x", 1, -3)),
        ("keys", "keyctl", (0, -3, 1)),
        ("pages into a pipe", "vmsplice", (ends[1], room, 0, 0)),
        ("locked memory", "mlock", (room, 4096)),
        ("ring", "io_uring_setup", (1, room)),
        ("socket", "socket", (2, 1, 0)),
        ("local socket", "socket", (1, 1, 0)),
        ("pair of sockets", "socketpair", (1, 1, 0, room)),
        ("message", "sendmsg", (file, room, 0)),
        ("programs in the kernel", "bpf", (0, room, 64)),
        ("program", "execve", (b"/bin/true", room, room)),
        ("program, new form", "execveat", (_HERE, b"/bin/true", room, room, 0)),
        ("process", "clone", (signal.SIGCHLD, None, None, None, None)),
        ("process that shares memory", "clone", (0x100 | 0x4000 | signal.SIGCHLD, None, None, None, None)),
        ("process, new form", "clone3", (struct.pack("=8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)),
        ("user namespace", "unshare", (0x1000_0000,)),
        ("other namespace", "setns", (file, 0)),
        ("personality", "personality", (0x0040000,)),
        ("segments", "modify_ldt", (0, room, 16)),
        ("ports", "iopl", (3,)),
        ("user", "setuid", (os.getuid(),)),
        ("group", "setgid", (os.getgid(),)),
        ("groups", "setgroups", (0, None)),
        ("session", "setsid", ()),
        ("capabilities", "capset", (struct.pack("=Ii", 0x2008_0522, 0), room)),
        ("filter", "seccomp", (0, 0, None)),
        ("inspectable", "prctl", (4, 1, 0, 0, 0)),
        ("core of another", "prctl", (62, 2, server, 0, 0)),
        ("rules", "landlock_create_ruleset", (None, 0, 1)),
        ("host's name", "sethostname", (b"x", 1)),
        ("time of day", "settimeofday", (None, None)),
        ("clock's rate", "adjtimex", (room,)),
        ("restart", "reboot", (0, 0, 0, None)),
        ("kernel's log", "syslog", (10, None, 0)),
        ("module", "init_module", (room, 0, b"")),
        ("kernel", "kexec_load", (0, 0, None, 0)),
        ("a signal when a socket hears", "ioctl", (file, 0x8901, struct.pack("=i", server))),
        ("input of a terminal", "ioctl", (0, 0x5412, b"x")),
        ("a call of another set", "a call of another set", ()),
        ("a call that does not exist yet", "a call that does not exist yet", ()),
    ]
    for what, name, arguments in tries:
        if (number := NUMBERS[name][COLUMN]) >= 0:
            yield what, _got(number, *arguments)


def files(victims: Victims) -> Iterator[tuple[str, str]]:
    """Files of others and of the system, and writing where the child may only read."""
    yield "file of the server", _attempt(victims.database.read_bytes)
    yield "file of the server by a thread that was there before", _by_other_threads(victims.database)
    yield "writing what is only read", _attempt(lambda: victims.read.write_bytes(b""))
    yield "removing what is only read", _attempt(victims.read.unlink)
    yield "a file beside", _attempt((victims.read.parent / "beside").touch)
    yield "a file at the root", _attempt(Path("/beside").touch)
    yield "who is there", _attempt(others)
    server = Path(f"/proc/{victims.server}")
    for name in ("environ", "stat", "cmdline", "status"):
        yield f"server's {name}", _attempt((server / name).read_bytes)
    yield "server's files", _attempt(lambda: list((server / "fd").iterdir()))


def looks(victims: Victims) -> Iterator[tuple[str, str]]:
    """What may be told apart of names outside the child's own."""
    room = ctypes.create_string_buffer(4096)
    for what, path in (("database", victims.database), ("link", victims.link), ("passwords", Path("/etc/passwd"))):
        name = os.fsencode(path)
        arguments: dict[str, tuple[object, ...]] = {
            "stat": (_HERE, name, room, 0x100),
            "statx": (_HERE, name, 0x100, 0xFFF, room),
            "access": (_HERE, name, 0),
            "readlink": (_HERE, name, room, 4096),
            "statfs": (name, room),
        }
        for look, numbers in LOOKS.items():
            if (look, what) not in (("readlink", "database"), ("readlink", "passwords")):
                yield f"{look} of {what}", _got(numbers[COLUMN], *arguments[look])


def others() -> None:
    """Find another process in /proc; `PermissionError` where it shows nobody else."""
    names = [entry.name for entry in Path("/proc").iterdir()]
    if not any(name.isdecimal() and name != str(os.getpid()) for name in names):
        raise PermissionError(errno.EACCES, "nobody else")


def _got(number: int, *arguments: object) -> str:
    ctypes.set_errno(0)
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    answer = _libc.syscall(ctypes.c_long(number), *given)
    if answer == 0 and number == NUMBERS["clone"][COLUMN]:
        os._exit(0)  # a new process, which has nothing to do
    if answer >= 0:
        return "done"
    return errno.errorcode[ctypes.get_errno()]


def _attempt(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def _by_other_threads(path: Path) -> str:
    """Make each other thread of this process, such as the sandbox's own, open a file: restrictions are a thread's."""
    name, opened = os.fsencode(path), []
    heard = threading.Event()

    def hear(_number: int) -> None:
        ctypes.set_errno(0)
        descriptor = _libc.open(name, os.O_RDONLY)
        opened.append("done" if descriptor >= 0 else errno.errorcode[ctypes.get_errno()])
        heard.set()

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(hear)
    _libc.signal(signal.SIGUSR1, handler)
    for thread in [int(one.name) for one in Path("/proc/self/task").iterdir()]:
        if thread != os.getpid():
            heard.clear()
            with suppress(OSError):
                _libc.syscall(ctypes.c_long(NUMBERS["tgkill"][COLUMN]), os.getpid(), thread, signal.SIGUSR1)
            heard.wait(20)
    return next((one for one in opened if one == "done"), opened[0] if opened else "no thread heard")


def limits(progress: Progress) -> dict[str, tuple[int, int]]:
    """The limits of the child, soft and hard."""
    import resource

    names = ("RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE")
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def crowd(progress: Progress) -> int:
    """Start threads without end; how many there were when the system refused the next."""
    stop = threading.Event()
    try:
        while True:
            threading.Thread(target=stop.wait, daemon=True).start()
    except RuntimeError:
        return len(list(Path("/proc/self/task").iterdir()))
