"""The filter of system calls, run as the kernel runs it, and its numbers against the system's own headers; limits."""

from __future__ import annotations

import errno
import os
import re
import struct
import sys
from pathlib import Path

import cage_attacks
import pytest

from duikou.sandbox import private_root, restrictions, system_calls
from duikou.sandbox.restrictions import Limits

HEADERS = (
    (0, sorted(Path("/usr/include").glob("x86_64-linux-gnu/asm/unistd_64.h"))),
    (1, sorted(Path("/usr/include").glob("asm-generic/unistd.h"))),  # those of aarch64
)
PID = 4711
ALLOWED, REFUSED, UNKNOWN, KILLED = 0x7FFF_0000, 0x0005_0000 | errno.EACCES, 0x0005_0000 | errno.ENOSYS, 0x8000_0000


@pytest.mark.parametrize(("column", "found"), HEADERS, ids=["x86_64", "aarch64"])
def test_numbers_are_the_systems(column: int, found: list[Path]) -> None:
    if not found and "CI" not in os.environ:
        pytest.skip("the system's headers are not installed")
    text = found[0].read_text()
    numbers = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text))
    numbers["newfstatat"] = numbers.get("newfstatat", numbers.get("fstatat"))  # the generic header's name for it
    for name, row in system_calls._ALLOWED.items():
        assert numbers.get(name) == (None if row[column] is None else str(row[column])), name
    for name, attacked in cage_attacks.NUMBERS.items():
        if name in numbers:  # a header may be older than the call
            assert numbers[name] == str(attacked[column]), name


def answer(machine: str, name: str | int, *arguments: int, architecture: int = 0, pid: int = PID) -> int:
    """What the filter says to a call, run as the kernel runs it."""
    own, column = system_calls._ARCHITECTURES[machine]
    number = name if isinstance(name, int) else system_calls._ALLOWED[name][column]
    assert number is not None
    given = [one & (1 << 64) - 1 for one in (*arguments, 0, 0, 0, 0, 0, 0)][:6]
    data = struct.pack("=IIQ6Q", number, architecture or own, 0, *given)
    code = system_calls._filter(own, column, pid, system_calls._REFUSAL)
    assert len(code) // 8 < 4096  # the kernel takes no more
    at = value = 0
    while True:
        step, yes, no, constant = struct.unpack_from("=HBBI", code, 8 * at)
        at += 1
        if step == system_calls._LOAD:
            (value,) = struct.unpack_from("=I", data, constant)
        elif step == system_calls._MASK:
            value &= constant
        elif step == system_calls._EQUAL:
            at += yes if value == constant else no
        elif step == system_calls._AT_LEAST:
            at += yes if value >= constant else no
        else:
            return int(constant)


MACHINES = pytest.mark.parametrize("machine", system_calls._ARCHITECTURES)
SHARED, PRIVATE, ANONYMOUS, HUGE = 1, 2, 0x20, 0x40000
CALLS: list[tuple[str, tuple[int, ...], int]] = [
    ("read", (3, 0, 1), ALLOWED),
    ("openat", (-100, 0, os.O_RDONLY), ALLOWED),
    ("openat", (-100, 0, os.O_RDONLY | 1 << 21), REFUSED),
    ("prlimit64", (0, 7, 0, 1 << 40), ALLOWED),
    ("prlimit64", (PID, 7, 0, 1), REFUSED),
    ("prlimit64", (0, 7, 1, 0), REFUSED),
    ("prlimit64", (0, 7, 1 << 32, 0), REFUSED),  # a pointer whose lower half is zero
    ("prlimit64", (1 << 32, 7, 0, 0), ALLOWED),  # the kernel reads the lower half of a process id
    ("kill", (PID, 6), ALLOWED),
    ("kill", (0, 9), ALLOWED),
    ("kill", (1, 9), REFUSED),
    ("kill", (-1, 9), REFUSED),
    ("kill", (-PID, 9), REFUSED),
    ("tgkill", (PID, 5, 6), ALLOWED),
    ("tgkill", (PID + 1, 5, 6), REFUSED),
    ("sched_setaffinity", (0, 8, 0), ALLOWED),
    ("sched_setaffinity", (1, 8, 0), REFUSED),
    ("setpriority", (0, 0, 15), ALLOWED),
    ("setpriority", (2, 0, 15), REFUSED),  # all processes of the user
    ("mmap", (0, 4096, 3, PRIVATE | ANONYMOUS, -1, 0), ALLOWED),
    ("mmap", (0, 4096, 3, SHARED, 3, 0), ALLOWED),
    ("mmap", (0, 4096, 3, SHARED | ANONYMOUS, -1, 0), REFUSED),
    ("mmap", (0, 4096, 3, PRIVATE | ANONYMOUS | HUGE, -1, 0), REFUSED),
    ("clone", (0x003D_0F00,), ALLOWED),  # a thread, as glibc starts it
    ("clone", (0x007D_0F00,), ALLOWED),  # and as musl does
    ("clone", (17,), REFUSED),
    ("clone", (0x003D_0F00 | 0x1000_0000,), REFUSED),
    ("clock_gettime", (1, 0), ALLOWED),
    ("clock_gettime", (~PID << 3, 0), REFUSED),
    ("fcntl", (3, 1030, 3), ALLOWED),
    ("fcntl", (3, 8, 1), REFUSED),
    ("ioctl", (3, 0x5401), ALLOWED),
    ("ioctl", (3, 0x8901), REFUSED),
    ("prctl", (15,), ALLOWED),
    ("prctl", (62,), REFUSED),
]


@MACHINES
@pytest.mark.parametrize(("name", "arguments", "expected"), CALLS)
def test_arguments_decide(machine: str, name: str, arguments: tuple[int, ...], expected: int) -> None:
    assert answer(machine, name, *arguments) == expected


@MACHINES
def test_every_call_of_the_list_passes_and_all_others_fail(machine: str) -> None:
    column = system_calls._ARCHITECTURES[machine][1]
    listed = {row[column] for row in system_calls._ALLOWED.values()}
    unchecked = {row[column] for name, row in system_calls._ALLOWED.items() if name not in system_calls._checks(PID)}
    for number in range(600):
        got = answer(machine, number)
        if number in unchecked:
            assert got == ALLOWED
        elif number not in listed:
            assert got == (UNKNOWN if number >= 424 else REFUSED), "new calls have older ones to fall back to"


@MACHINES
def test_other_sets_of_calls_are_closed(machine: str) -> None:
    assert answer(machine, "read", architecture=0x4000_0003) == KILLED  # 32 bits
    assert answer(machine, 0x4000_0000 | 39) == REFUSED


def test_a_system_without_resource_limits_applies_none(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setitem(sys.modules, "resource", None)
    restrictions.apply_limits(Limits(wall_s=1, memory_mb=1, file_mb=1))
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before


# Whose names are left


def test_a_folder_below_another_is_mounted_only_where_it_alone_is_writable(tmp_path: Path) -> None:
    (tmp_path / "read" / "own").mkdir(parents=True)
    (tmp_path / "link").symlink_to("read")
    reads = [tmp_path / "read", tmp_path / "read" / "file", tmp_path / "link"]
    places = {str(place): writable for place, writable in private_root._places(reads, [tmp_path / "link" / "own"])}
    root = str(tmp_path)[1:]
    assert list(private_root._places([Path("//opt/name")], [])) == [(Path("opt/name"), False)]
    assert places == {f"{root}/read": False, f"{root}/link": False, f"{root}/read/own": True}


# Stepping back


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How far the system was asked to let this process step back, which it does not do."""
    levels: list[int] = []
    monkeypatch.setattr(os, "nice", levels.append)
    monkeypatch.setattr(restrictions, "_AUTOGROUP", tmp_path / "autogroup")
    monkeypatch.setattr(restrictions, "_AUTOGROUP_PAUSE_S", 0.0)
    return levels


def test_a_process_steps_back_with_its_session(asked: list[int], tmp_path: Path) -> None:
    restrictions.step_back(0)
    assert (asked, (tmp_path / "autogroup").exists()) == ([], False)
    restrictions.step_back(10)
    assert (asked, (tmp_path / "autogroup").read_text()) == ([10], "10")


def test_a_kernel_that_is_busy_is_asked_again(asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([BlockingIOError(), BlockingIOError(), None])
    written: list[str] = []

    def write(_path: Path, text: str) -> None:
        if error := next(answers):
            raise error
        written.append(text)

    monkeypatch.setattr(Path, "write_text", write)
    restrictions.step_back(10)
    assert (asked, written) == ([10], ["10"])
    answers = iter([BlockingIOError()] * restrictions._AUTOGROUP_TRIES)
    restrictions.step_back(10)  # no more than so often


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
def test_a_system_that_refuses_leaves_the_work_as_it_is(
    asked: list[int], monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "nice", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    restrictions.step_back(10)
