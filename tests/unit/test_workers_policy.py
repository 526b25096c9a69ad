"""What applies to the work of each queue, and the version of the code that does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import duikou
from duikou.settings import Settings
from duikou.storage.data_folder import DataFolder
from duikou.tasks.states import Queue
from duikou.workers import executor, version
from duikou.workers.executor import WorkPolicy
from duikou.workers.work import Work


def test_renders_step_back_for_searches_on_their_machine(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.make()
    limits = WorkPolicy.of(Settings(data=folder.root, render_niceness=7), folder).limits
    assert {queue: limits[queue].niceness for queue in Queue} == {Queue.IDENTIFY: 0, Queue.RENDER: 7, Queue.GPU: 7}


@pytest.mark.parametrize(("workers", "given", "share"), [(1, 0, 0), (2, 0, 4), (3, 0, 2), (16, 0, 1), (2, 1, 1)])
def test_renders_share_the_cores_and_searches_take_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, given: int, share: int
) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.make()
    monkeypatch.setattr(executor, "usable_cores", lambda: 8)
    limits = WorkPolicy.of(Settings(data=folder.root, workers=workers, worker_cores=given), folder).limits
    assert {queue: limits[queue].cores for queue in Queue} == {Queue.IDENTIFY: 0, Queue.RENDER: share, Queue.GPU: share}


CHANGES: dict[str, Callable[[Path], object]] = {
    "a line": lambda root: (root / "faces" / "scan.py").write_text("STEP = 2\n"),
    "a module more": lambda root: (root / "faces" / "masks.py").write_text(""),
    "a module less": lambda root: (root / "faces" / "scan.py").unlink(),
    "another name": lambda root: (root / "faces" / "scan.py").rename(root / "faces" / "scans.py"),
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in place of ours."""
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "scan.py").write_text("STEP = 1\n")
    monkeypatch.setattr(duikou, "__file__", str(tmp_path / "__init__.py"))
    return tmp_path


@pytest.mark.parametrize("change", CHANGES)
def test_other_code_has_another_version(root: Path, change: str) -> None:
    before = version.code_version.__wrapped__()
    assert version.code_version.__wrapped__() == before
    assert len(before) == 64
    CHANGES[change](root)
    assert version.code_version.__wrapped__() != before


def test_other_libraries_make_another_version(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = version.code_version.__wrapped__()
    monkeypatch.setattr(version, "LIBRARIES", (*version.LIBRARIES, "no-such-library"))
    after = version.code_version.__wrapped__()
    monkeypatch.setattr(version, "version", lambda _name: "99")
    assert len({before, after, version.code_version.__wrapped__()}) == 3


def test_work_is_of_the_version_of_its_code() -> None:
    assert Work().analyser == version.code_version()
