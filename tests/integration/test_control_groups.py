"""Control groups of children: real ones where this system gives any, and a folder that looks like version 2."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from live_server import until

from duikou.sandbox import control_groups
from duikou.sandbox.control_groups import ControlGroup, Home

HOMES = control_groups.find_homes(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
FILL = "input(); x = bytearray(400 << 20); print(len(x))"
CROWD = """
import threading
input()
stop = threading.Event()
try:
    for number in range(100):
        threading.Thread(target=stop.wait, daemon=True).start()
except RuntimeError:
    print("refused", number)
"""


def grouped(code: str, memory_mb: int, threads: int) -> tuple[int, str, ControlGroup]:
    """Run Python code in a group of its own; its exit code, what it printed, and the group, which is removed."""
    program = [sys.executable, "-c", code]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        group = ControlGroup(process.pid, HOMES)
        group.limit(memory_mb, threads)
        told, _ = process.communicate("go\n", timeout=60)
    group.remove()
    return process.returncode, told, group


@pytest.mark.skipif(not any("memory" in home.controllers for home in HOMES), reason="this system gives no such group")
def test_a_child_that_takes_too_much_memory_is_killed_by_the_kernel_and_that_is_told() -> None:
    code, _, group = grouped(FILL, 50, 100)
    assert (code, group.starved) == (-signal.SIGKILL, True)
    code, told, group = grouped(FILL, 1000, 100)
    assert (code, told, group.starved) == (0, f"{400 << 20}\n", False)


@pytest.mark.skipif(not any("pids" in home.controllers for home in HOMES), reason="this system gives no such group")
def test_a_thread_too_many_is_refused() -> None:
    assert grouped(CROWD, 1000, 20)[1] == "refused 19\n"


@pytest.mark.skipif(not HOMES, reason="this system gives no such group")
def test_no_group_is_left() -> None:
    pid = grouped("import os; print(os.getpid())", 1000, 100)[1].strip()

    def gone() -> bool:
        ControlGroup(1, ()).remove()  # every removal tries again what the kernel did not let go yet
        return not control_groups._left

    until(gone)
    assert [home for home in HOMES if (home.path / f"duikou-child-{pid}").exists()] == []


@pytest.fixture
def handed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a group as systemd hands it over; its controllers."""

    def hand(controllers: str) -> Path:
        folder = tmp_path / "system.slice" / "duikou.service"
        (folder / "main").mkdir(parents=True)
        (folder / "cgroup.controllers").write_text(controllers)
        (folder / "cgroup.subtree_control").write_text("")
        (tmp_path / "own").write_text("0::/system.slice/duikou.service/main\n")
        monkeypatch.setattr(control_groups, "handed_over", lambda group: group == folder)
        return folder

    return hand


def test_a_group_that_was_handed_over_gets_the_children_beside_the_server(
    handed: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = handed("cpu io memory pids\n")
    homes = control_groups.find_homes(tmp_path, tmp_path / "own")
    assert homes == (Home(folder, 2, ("memory", "pids")),)
    assert (folder / "cgroup.subtree_control").read_text() == "+memory +pids"
    group = ControlGroup(4711, homes)
    group.limit(512, 300)
    made = folder / "duikou-child-4711"
    told = {file.name: file.read_text() for file in made.iterdir()}
    assert told == {"cgroup.procs": "4711", "memory.max": str(1 << 30), "pids.max": "300"}
    (made / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n")
    for file in made.iterdir():
        if file.name != "memory.events":
            file.unlink()  # the kernel's own files go with the folder
    group.remove()
    assert group.starved
    control_groups._left.discard(made)


def test_a_group_that_was_not_handed_over_is_left_alone(tmp_path: Path, handed: Callable[[str], Path]) -> None:
    folder = handed("memory pids")
    for own in ("0::/\n", "0::/user.slice/session.scope\n", "nonsense\n", "0::/system.slice\n"):
        (tmp_path / "own").write_text(own)
        assert control_groups.find_homes(tmp_path, tmp_path / "own") == ()
    assert (folder / "cgroup.subtree_control").read_text() == ""


def test_a_system_without_groups_has_none(tmp_path: Path) -> None:
    assert control_groups.find_homes(tmp_path, tmp_path / "missing") == ()
    group = ControlGroup(1, ())
    group.limit(1, 1)
    group.remove()
    assert not group.starved
