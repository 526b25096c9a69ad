"""The data folder: one owner, its own alone, and room that is asked for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from crowd import at_once

from duikou.errors import StorageError
from duikou.storage.data_folder import AHEAD, SPARE, DataFolder, Room
from duikou.units import MIB


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


class Disk:
    """A disk of which tests say what is free."""

    def __init__(self, folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.usage = 0, shutil.disk_usage(folder.root)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: type(self.usage)(self.usage.total, 0, self.free))

    def receive(self, room: Room, size: int, piece: int = 64 << 10) -> None:
        """Receive a file, as far as there is room for it."""
        while size > 0:
            room.take(min(piece, size))
            self.free -= min(piece, size)
            size -= piece


@pytest.fixture
def disk(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(folder, monkeypatch)


def test_a_file_takes_room_as_it_arrives_and_not_before(folder: DataFolder, disk: Disk) -> None:
    disk.free = 300 * MIB
    data = DataFolder(folder.root, 200)
    with ExitStack() as opened:
        rooms = [opened.enter_context(data.reserve("a")) for _ in range(1000)]
        for room in rooms:
            room.take(1000)
        assert data._promised == 1000 * 2 * 1000, "what has arrived, and as much again while that is little"
        data.require_room()
    assert (data._promised, data._incoming) == (0, {})


def test_what_has_been_written_is_not_counted_twice(folder: DataFolder, disk: Disk) -> None:
    disk.free = 300 * MIB
    data = DataFolder(folder.root, 200)
    with data.reserve("a") as room:
        for _ in range(20 * 16):
            room.take(MIB >> 4)
            assert data._promised <= AHEAD + (MIB >> 4)
            disk.free -= MIB >> 4
        assert disk.free == 280 * MIB
        data.require_room()


def test_room_that_is_promised_is_taken(folder: DataFolder, disk: Disk) -> None:
    disk.free = 202 * MIB
    data = DataFolder(folder.root, 200)
    with data.reserve("a") as one, data.reserve("b") as other:
        for room in (one, other):
            room.take(AHEAD)
        disk.free = 200 * MIB + 4 * AHEAD + 2
        sentence = "nearly full: 200 MB are free, and files that are being received must leave 201 MB$"
        with pytest.raises(StorageError, match=sentence), data.reserve("c") as third:
            third.take(1)
        disk.free = 200 * MIB + 4 * AHEAD - 1
        with pytest.raises(StorageError, match="199 MB are free, and no work is accepted below 200 MB"):
            data.require_room()
    data.require_room()


def test_a_file_that_is_refused_keeps_what_it_had_until_it_ends(folder: DataFolder, disk: Disk) -> None:
    disk.free = 210 * MIB
    data = DataFolder(folder.root, 200)
    with data.reserve("a") as room:
        room.take(AHEAD)
        before = data._promised
        with pytest.raises(StorageError):
            room.take(20 * MIB)
        assert (data._promised, room.taken) == (before, AHEAD)
    assert data._promised == 0


def test_who_brings_most_is_refused_first(folder: DataFolder, disk: Disk) -> None:
    disk.free = 300 * MIB
    data = DataFolder(folder.root, 200)
    with ExitStack() as opened:
        rooms = [opened.enter_context(data.reserve("a")) for _ in range(8)]
        with pytest.raises(StorageError, match="are free, and files that are being received must leave 250 MB"):
            while True:
                for room in rooms:
                    disk.receive(room, 1 * MIB)
        assert disk.free >= 249 * MIB
        with data.reserve("b") as small:
            disk.receive(small, 20 * MIB)
        data.require_room()


def test_a_large_file_leaves_a_little_and_not_half_of_a_disk(folder: DataFolder, disk: Disk) -> None:
    disk.free = 200 * MIB + SPARE + 400 * MIB
    data = DataFolder(folder.root, 200)
    with data.reserve("a") as room:
        disk.receive(room, 399 * MIB)
        with pytest.raises(StorageError, match="must leave 264 MB"):
            disk.receive(room, 2 * MIB)


def test_threads_that_take_room_at_once_leave_no_trace(folder: DataFolder) -> None:
    data = DataFolder(folder.root)

    def receive(number: int) -> None:
        with data.reserve(str(number % 3)) as room:
            for _ in range(200):
                room.take(1000)

    at_once(*(partial(receive, number) for number in range(8)))
    assert (data._promised, data._incoming) == (0, {})


def test_the_disk_of_the_stored_files_has_the_same_floor(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share, usage = tmp_path / "share", shutil.disk_usage(folder.root)
    free = {folder.root: 900 * MIB, share: 300 * MIB}
    monkeypatch.setattr(shutil, "disk_usage", lambda place: type(usage)(usage.total, 0, free[place]))
    data = DataFolder(folder.root, 400)
    data.require_room()
    assert data.scarce() is None
    data.watch(share)
    with pytest.raises(StorageError, match="300 MB are free, and no work is accepted below 400 MB"):
        data.require_room()
    assert data.scarce() == -100 * MIB
    free[share] = 799 * MIB
    assert data.scarce() == 399 * MIB
    free[share] = 800 * MIB
    assert data.scarce() is None
    free[share], free[folder.root] = 900 * MIB, 500 * MIB
    assert data.scarce() is None, "what is stored does not fill that disk"
