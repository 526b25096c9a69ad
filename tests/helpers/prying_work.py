"""What a worker process looks for, and where it writes, after an untrusted file took it over.

What is looked for arrives in two halves, so that this process itself never holds it as a whole. The "sound" says what
to look for; see `stub_work`.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import stub_work

from duikou.progress import Progress
from duikou.timebase import Milliseconds
from duikou.workers.work import RenderJob, SignJob, Work

BLOCK = 4 << 20
FORGED = b'\n{"event": "forged by a child", "level": "critical", "timestamp": "2026-01-01T00:00:00Z"}\n'
OWN_FILES = ["/dev/null", "pipe", "pipe", "socket"]
"""What the open files of a child are, once those are left out that tell it of the machine and of itself."""
ABOUT_THE_MACHINE = {
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory"),
}
PLANTED = ("PlAnT", "eD-7391")


def pry(halves: list[list[str]], files: list[str], progress: Progress) -> dict[str, list[str]]:
    """Look for secrets everywhere; see `_pry`."""
    return _pry(halves, files)


def _pry(halves: list[list[str]], files: list[str]) -> dict[str, list[str]]:
    """memory: secrets in this process's memory, by their first halves. opened: files that could be read.

    environments: names of variables. descriptors: what the open files of this process are.
    """
    planted = "".join(PLANTED).encode()
    parents = _parents()
    processes: list[str] = []
    with suppress(OSError):
        processes = [path.name for path in Path("/proc").iterdir() if path.name.isdecimal()]
    others = {*parents, *processes} - {str(os.getpid())}
    private = [f"/proc/{pid}/{name}" for pid in sorted(others) for name in ("environ", "mem", "maps", "fd/2")]
    environments = dict(os.environ)
    with suppress(OSError):
        environments |= dict.fromkeys(Path("/proc/self/environ").read_text().split("\0"), "")
    found = {
        "memory": sorted(_in_memory([*halves, list(PLANTED)])),
        "opened": [path for path in [*files, *private] if _opens(path)],
        "environments": sorted(name.partition("=")[0] for name in environments if name),
        "descriptors": sorted(what for what in _descriptors().values() if what not in ABOUT_THE_MACHINE),
    }
    assert planted
    return found


def _parents() -> list[str]:
    """The fork server and the server, as far as this process may ask."""
    found = [str(os.getppid())]
    with suppress(OSError, IndexError):
        found.append(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
    return [pid for pid in found if pid not in ("0", "1")]


def _opens(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return bool(os.read(descriptor, 1)) or path.endswith("environ")
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _in_memory(halves: list[list[str]]) -> set[str]:
    """The first halves of what this process's memory holds."""
    wanted = [(first, first.encode(), second.encode()) for first, second in halves]
    regions = list(_regions())
    found = set()
    block = mmap.mmap(-1, BLOCK, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # not in `regions`
    place = ctypes.addressof(ctypes.c_char.from_buffer(block))
    for start, end in regions:
        for at in range(start, end, BLOCK // 2):  # each part twice: nothing is cut
            size = min(BLOCK, end - at)
            ctypes.memmove(place, at, size)
            found |= {name for name, first, second in wanted if _holds(block, size, first, second)}
    return found


def _holds(block: mmap.mmap, size: int, first: bytes, second: bytes) -> bool:
    at = block.find(first, 0, size)
    while at >= 0:
        if block[at + len(first) : at + len(first) + len(second)] == second:
            return True
        at = block.find(first, at + 1, size)
    return False


def _regions() -> Iterator[tuple[int, int]]:
    """Where this process's memory is that is no unchanged part of a file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, _, _, inode, *_ = [*line.split(maxsplit=5), ""]
        if rights.startswith("r") and (rights[1] == "w" or inode == "0") and "[v" not in line:
            start, end = span.split("-")
            yield int(start, 16), int(end, 16)


def _descriptors() -> dict[int, str]:
    found = {}
    for number in range(256):
        with suppress(OSError):
            os.fstat(number)
            found[number] = "unknown"
            found[number] = str(Path(f"/proc/self/fd/{number}").readlink()).partition(":[")[0]
    return found


def render(order: RenderJob, progress: Progress) -> Milliseconds:
    """Look for what the sound says, and hand out what was found as a result."""
    what = json.loads(order.audio[0].read_bytes())
    order.output.write_text(json.dumps(_pry(what.get("halves", []), what.get("files", []))))
    if what.get("forge"):
        _forge()
    return 10_000


def sign(order: SignJob, progress: Progress) -> None:
    """The same in the process that has a result signed. What to look for lies in the result's place, see `render`."""
    path = order.results[0][0]
    what: dict[str, Any] = json.loads(order.video.read_bytes())
    both = {"render": json.loads(path.read_text()), "sign": _pry(what.get("halves", []), what.get("files", []))}
    path.write_text(json.dumps(both))


def _forge() -> None:
    """Try to write a line of the log to everything that may lead to the server's standard error."""
    import structlog

    for number, what in _descriptors().items():
        if what != "socket":
            with suppress(OSError):
                os.write(number, FORGED)
    parents = _parents()
    paths = [f"/proc/{pid}/fd/{number}" for pid in parents for number in range(8)]
    for name in (*paths, "/dev/tty", "/dev/console", "/dev/stderr", "/dev/pts/0"):
        with suppress(OSError):
            descriptor = os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            os.write(descriptor, FORGED)
            os.close(descriptor)
    text = FORGED.decode()
    structlog.get_logger().info(f"said {text}\x1b[2J", **{f"named {text[:40]}": text})


WORK = Work(
    probe_video=stub_work.probe_video,
    probe_audio=stub_work.probe_audio,
    probe_upload=stub_work.probe_upload,
    probe_reference=stub_work.probe_reference,
    identify=stub_work.identify,
    render=render,
    sign=sign,
    preload=__name__,
)
