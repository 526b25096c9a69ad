"""Numbers of system calls, against the system's own headers."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from duikou.sandbox import restrictions
from duikou.sandbox.restrictions import Limits

HEADERS = (
    (0, sorted(Path("/usr/include").glob("x86_64-linux-gnu/asm/unistd_64.h"))),
    (1, sorted(Path("/usr/include").glob("asm-generic/unistd.h"))),  # those of aarch64
)


@pytest.mark.parametrize(("column", "found"), HEADERS, ids=["x86_64", "aarch64"])
def test_numbers_are_the_systems(column: int, found: list[Path]) -> None:
    if not found and "CI" not in os.environ:
        pytest.skip("the system's headers are not installed")
    numbers = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", found[0].read_text()))
    table = {**restrictions._BLOCKED, "clone": restrictions._CLONE, "clone3": restrictions._CLONE3}
    for name, row in table.items():
        assert numbers.get(name) == (None if row[column] is None else str(row[column])), name


def test_every_jump_of_the_filter_stays_inside_it() -> None:
    for architecture, column in restrictions._ARCHITECTURES.values():
        code = restrictions._filter(architecture, column, restrictions._KILL)
        steps = [code[at : at + 8] for at in range(0, len(code), 8)]
        assert len(code) % 8 == 0
        assert len(steps) < 255  # a jump is one byte
        for at, step in enumerate(steps):
            assert at + 1 + max(step[2], step[3]) < len(steps) or step[0] == restrictions._ANSWER


def test_a_system_without_resource_limits_applies_none(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setitem(sys.modules, "resource", None)
    restrictions.apply_limits(Limits(wall_s=1, memory_mb=1, file_mb=1))
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before


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
