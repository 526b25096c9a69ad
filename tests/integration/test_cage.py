"""The cage, attacked from inside: a real child makes the system calls that an attacker would make."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cage_attacks
import hostile_work
import pytest

from duikou.errors import WorkerError
from duikou.sandbox import restrictions, system_calls
from duikou.sandbox.process import SandboxProcess
from duikou.sandbox.restrictions import AllowedPaths, Limits

HELPERS = Path(cage_attacks.__file__).parent
NOBODY = "65534"
REFUSED = {"EACCES", "ENOSYS"}  # by the filter; any other error is the kernel's own, which looked at the call
HIDDEN = REFUSED | {"EPERM", "ENOENT", "EROFS"}

pytestmark = [
    pytest.mark.skipif(not system_calls.available(), reason="this system cannot take system calls away"),
    pytest.mark.skipif(restrictions.landlock_version() < 1, reason="this system cannot take files away"),
]


@cache
def caged(lacks: str, user: str = "") -> dict[str, Any]:
    """What came of an attack on a system that lacks something, as this user or another."""
    words, environment = [sys.executable], dict(os.environ)
    if user:
        paths = [str(HELPERS), *(path for path in sys.path if path and not Path(path).is_relative_to(sys.base_prefix))]
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "HOME": "/", "TMPDIR": "/tmp"}
        words = [*become(user), python_of(user, environment)]
    done = subprocess.run(
        [*words, str(HELPERS / "caged.py"), lacks],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def become(user: str) -> list[str]:
    """Run the rest as this user, without any right, as under a unit of systemd."""
    rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *rights]


def python_of(user: str, environment: dict[str, str]) -> str:
    """A Python that this user may start, with our libraries."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root with setpriv can be somebody else")
    for python in (sys.executable, "/usr/bin/python3"):
        code = "import subprocess as s, sys, caged; s.run([sys.executable, '-V'], check=True)"
        command = [*become(user), python, "-c", code]
        if subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip("no Python that another user may start")


WORLDS = [("nothing", ""), ("nothing", NOBODY), ("namespaces", ""), ("namespaces", NOBODY), ("landlock", "")]


@pytest.fixture(params=WORLDS, ids=["root", "nobody", "no-namespaces", "nobody-no-namespaces", "no-landlock"])
def world(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """What a system lacks, and what came of the attack there."""
    lacks, user = request.param
    found = caged(lacks, user)
    if lacks == "landlock" and not found["own_root"]:
        pytest.skip("this system has neither of the two that take files away")
    return lacks, found


def test_no_system_call_reaches_a_process_a_name_or_memory_that_is_not_the_childs(world) -> None:
    _, found = world
    assert len(found["calls"]) > 130
    assert {what: got for what, got in found["calls"].items() if got not in REFUSED} == {}
    assert {what: got for what, got in found["files"].items() if got not in HIDDEN} == {}


def test_names_of_others_do_not_exist_for_the_child(world) -> None:
    """Where the system has no namespaces they can be looked at, but not opened; `SECURITY.md` says so."""
    lacks, found = world
    assert set(found["looks"].values()) == ({"ENOENT"} if found["own_root"] else {"done"})
    assert not (found["own_root"] and lacks == "namespaces")


def test_nothing_outside_has_changed(world) -> None:
    """The server's limits, cores and niceness; the database's mode, times, owner, links, attributes; shared memory."""
    _, found = world
    assert found["changed"] == {}
    assert found["made"] == ["own"]


def test_limits_are_lowered_for_good(world) -> None:
    _, found = world
    assert found["limits"] == {
        "RLIMIT_CORE": [0, 0],
        "RLIMIT_CPU": [61, 62],  # the next full second of what the child has used, and 60
        "RLIMIT_FSIZE": [2 << 20, 2 << 20],
        "RLIMIT_NOFILE": [1024, 1024],
    }


def test_a_crowd_of_threads_is_stopped(world) -> None:
    """By the supervisor, or by the system where it counts those of one process: in a user namespace, but for root."""
    _, found = world
    if isinstance(found["crowd"], int):
        assert found["crowd"] <= 300
    else:
        assert found["crowd"].startswith("the work was stopped because it ran ")
        assert found["crowd"].endswith(" threads; the limit is 300")


# The cage lets work be


@pytest.fixture
def worker() -> Iterator[SandboxProcess]:
    made = SandboxProcess(Limits(60, 2048), threading.Event(), preload=hostile_work.__name__)
    yield made
    made.stop()


def test_files_reached_over_links_are_the_childs_under_both_names(worker: SandboxProcess, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    (real / "inner").mkdir(parents=True)
    (real / "file").write_bytes(b"content")
    link.symlink_to(real)
    allowed = AllowedPaths((link / "file",), (link / "inner",))
    for folder in (link, real):
        got = worker.run(hostile_work.copy, folder / "file", folder / "inner" / "copy", allowed=allowed)
        assert got == "content"
        (real / "inner" / "copy").unlink()


def test_what_is_read_may_lie_above_what_is_written_and_below(worker: SandboxProcess, tmp_path: Path) -> None:
    (tmp_path / "read" / "written" / "deep").mkdir(parents=True)
    file = tmp_path / "read" / "written" / "deep" / "file"
    file.write_bytes(b"content")
    allowed = AllowedPaths((tmp_path / "read", file), (tmp_path / "read" / "written",))
    copy = tmp_path / "read" / "written" / "copy"
    assert worker.run(hostile_work.copy, file, copy, allowed=allowed) == "content"
    assert copy.stat().st_uid == os.getuid()
    with pytest.raises(OSError, match=r"Read-only|Permission"):
        worker.run(hostile_work.copy, file, tmp_path / "read" / "copy", allowed=allowed)


def test_relative_paths_mean_the_servers_folder(worker: SandboxProcess, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "file").write_bytes(b"content")
    file, folder = (Path(os.path.relpath(tmp_path / name)) for name in ("file", "own"))
    allowed = AllowedPaths((file,), (folder,))
    assert worker.run(hostile_work.copy, file, folder / "copy", allowed=allowed) == "content"


def test_the_supervisor_still_sees_how_a_child_ends(worker: SandboxProcess, tmp_path: Path) -> None:
    for end, manner in ((-9, "by signal SIGKILL"), (-6, "by signal SIGABRT"), (7, "with exit code 7")):
        with pytest.raises(WorkerError, match=manner):
            worker.run(hostile_work.end, end, allowed=AllowedPaths((), (tmp_path,)))
