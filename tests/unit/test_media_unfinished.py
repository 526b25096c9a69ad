"""What a killed process leaves is removed by the next one, and nothing else is."""

import multiprocessing
import os
from pathlib import Path

from duikou.media.unfinished import Held, beside, remove_abandoned


def write_and_die(path: Path) -> None:
    Held(path)
    path.write_bytes(b"half a video")
    os._exit(9)


def test_what_a_dead_process_held_is_removed(tmp_path: Path) -> None:
    part = beside(tmp_path / "spoken.now.mp4")
    child = multiprocessing.get_context("spawn").Process(target=write_and_die, args=(part,))
    child.start()
    child.join()
    assert child.exitcode == 9 and part.stat().st_size
    assert remove_abandoned(tmp_path) == ["spoken.now"]
    assert not list(tmp_path.iterdir())
    assert remove_abandoned(tmp_path) == []


def test_what_a_process_still_writes_and_what_others_made_stays(tmp_path: Path) -> None:
    mine = beside(tmp_path / "a.mp4")
    held = Held(mine)
    sealed = mine.with_suffix(".sealed.mp4")
    sealed.touch()
    others = [tmp_path / name for name in ("a.mp4", ".a.mp4", ".a.0123.part.mp4", f".a.{'0' * 32}.part", ".notes.mp4")]
    for path in others:
        path.touch()
    (tmp_path / f".folder.{'0' * 32}.part.mp4").mkdir()
    aim = tmp_path / "kept"
    aim.touch()
    (tmp_path / f".link.{'0' * 32}.part.mp4").symlink_to(aim)
    assert remove_abandoned(tmp_path) == ["a"]  # the sealed file, which nobody holds
    assert mine.exists() and not sealed.exists() and aim.exists() and all(path.exists() for path in others)
    held.release()
    assert remove_abandoned(tmp_path) == ["a"]
    assert not mine.exists()


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert remove_abandoned(tmp_path / "none") == []
