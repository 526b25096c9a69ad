"""The data folder: one owner, its own alone, and room that is asked for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from duikou.errors import StorageError
from duikou.storage.data_folder import DataFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "data")
    folder.open()
    yield folder
    folder.close()


def test_a_folder_has_one_owner(folder: DataFolder, tmp_path: Path) -> None:
    second = DataFolder(tmp_path / "data")
    with pytest.raises(StorageError, match="in use by another duikou server or worker"):
        second.open()
    second.make()  # whoever only reads beside it
    folder.close()
    second.open()
    second.close()


def test_a_system_without_file_locks_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(StorageError, match=r"^data: servers and workers need file locks of Unix \(fcntl\)$"):
        DataFolder(tmp_path / "data").open()


def test_modules_of_unix_are_not_needed_to_import() -> None:
    rooms = "import duikou.storage.factory, duikou.storage.data_folder, duikou.sandbox.pool, duikou.net.fetch"
    code = f"import sys; sys.modules['fcntl'] = sys.modules['resource'] = None; {rooms}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opening_empties_what_was_being_received_and_worked_on(folder: DataFolder) -> None:
    left = folder.incoming()
    left.write_bytes(b"half a video")
    copies = folder.scratch / "1"
    copies.mkdir()
    (copies / "result.mp4").write_bytes(b"half a result")
    folder.close()
    folder.open()
    assert not left.exists()
    assert not copies.exists()


def test_a_folder_that_cannot_be_made_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used: Not a directory"):
        DataFolder(tmp_path / "file" / "data").open()


def test_the_folder_is_its_owners_alone(folder: DataFolder) -> None:
    assert folder.root.stat().st_mode & 0o77 == 0
    assert all(path.stat().st_mode & 0o77 == 0 for path in folder.root.iterdir() if path.is_dir())


def test_the_secret_of_a_former_server_is_found(folder: DataFolder) -> None:
    assert folder.former_secret() is None
    (folder.root / "secret").write_bytes(b"former")
    assert folder.former_secret() == b"former"


def test_a_nearly_full_disk_is_told_with_both_figures(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.used, 300 << 20))
    DataFolder(folder.root, 300).require_room()
    full = DataFolder(folder.root, 301)
    with pytest.raises(StorageError, match="300 MB are free, and no work is accepted below 301 MB"):
        full.require_room()


def test_room_that_is_promised_is_taken(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.used, 300 << 20))
    room = DataFolder(folder.root, 200)
    with room.reserve(100):
        room.require_room()
        with pytest.raises(StorageError, match="199 MB are free"), room.reserve(1):
            raise AssertionError("there is no room")
        room.require_room()
    with room.reserve(50), room.reserve(50):
        room.require_room()
