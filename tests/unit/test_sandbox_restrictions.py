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
