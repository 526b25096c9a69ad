"""What a worker hands to the pipeline, which is replaced by a small stand-in."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from known_video import known_video

import duikou
from duikou.media.probe import VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.progress import silent
from duikou.workers import work


@pytest.mark.parametrize("mode", [None, *SyncMode])
def test_the_sync_mode_of_an_order_is_handed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: SyncMode | None
) -> None:
    seen: list[dict[str, Any]] = []
    info = VideoInfo("mp4", "h264", 1280, 720, 0, 125, Fraction(25), 5_000, None)

    def lip_sync(*_: object, **given: Any) -> duikou.Result:
        seen.append(given)
        return duikou.Result(tmp_path / "out.mp4", info, ())

    def load(_folder: Path, video: Path) -> duikou.Session:
        return duikou.Session(known_video(video, info), ())

    monkeypatch.setattr(duikou, "lip_sync", lip_sync)
    monkeypatch.setattr(duikou.Session, "load", load)
    order = work.RenderJob(tmp_path, tmp_path / "video.mp4", (), (), tmp_path / "out.mp4", "example", "1")
    assert order.sync_mode is None
    order = replace(order, sync_mode=mode)
    assert work.render(order, silent) == 5_000
    assert [given["sync_mode"] for given in seen] == [mode]
