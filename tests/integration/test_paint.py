"""What is painted on a video reaches the encoder, and all else as it was decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.video.frame import VideoFrame
from media_maker import make_video, tone

from duikou.media.decode import Frame, Patch
from duikou.media.encode import VideoWriter
from duikou.media.picture import view
from duikou.media.sound import Audio
from duikou.media.timeline import Timeline
from duikou.media.video import Video
from duikou.pipeline.paint import paint
from duikou.progress import Progress, silent
from duikou.provenance.mark import Mark

SIZE = (192, 128)
STEPS = (1, 2, 2)


class Square:
    """Brightens a square of every third frame, by as much as it is asked to, on top of what others painted."""

    def __init__(self, left: int, top: int, side: int, by: int) -> None:
        self.box = (left, top, left + side, top + side)
        self._by = by

    def changes(self, frame: int) -> bool:
        return frame % 3 == 1

    def render(self, frame: Frame) -> Patch:
        pixels = np.clip(frame.part(self.box).astype(int) + self._by, 0, 255).astype(np.uint8)
        return Patch(*self.box[:2], pixels)


class Asked:
    """A talk of which each frame must be asked for, in turn, before it is painted."""

    def __init__(self, renderer: Square | Still) -> None:
        self._renderer, self._next = renderer, 0
        self.renderer = self

    def reach(self, frame: int, progress: Progress) -> None:
        assert frame == self._next
        progress("planning", 1.0)
        self._next += 1

    def changes(self, frame: int) -> bool:
        assert frame < self._next
        return self._renderer.changes(frame)

    def render(self, frame: Frame) -> Patch | None:
        return self._renderer.render(frame)


class Still:
    """Says that every frame changes, and changes none."""

    def changes(self, frame: int) -> bool:
        return True

    def render(self, frame: Frame) -> None:
        """Changes nothing."""


def talks(renderers: Sequence[Square | Still]) -> list[Any]:
    return [Asked(renderer) for renderer in renderers]


def sent(
    monkeypatch: pytest.MonkeyPatch,
    source: Video,
    folder: Path,
    renderers: Sequence[Square | Still],
    *,
    marked: bool = False,
) -> dict[str, list[list[Any]]]:
    """The planes that the encoder of each file gets."""
    found: dict[str, list[list[Any]]] = {}
    encode = VideoWriter.encode

    def kept(self: VideoWriter, frame: VideoFrame, pts: int) -> None:
        found.setdefault(self._output.stem, []).append([view(plane).copy() for plane in frame.planes])
        encode(self, frame, pts)

    monkeypatch.setattr(VideoWriter, "encode", kept)
    second = VideoWriter(folder / "marked.mp4", source) if marked else None
    timeline = Timeline.of(source.frame_times, None, 0)
    paint(source, timeline, talks(renderers), VideoWriter(folder / "result.mp4", source), second, silent)
    return found


def changed(was: list[Any], now: list[Any], box: tuple[int, int, int, int]) -> tuple[bool, bool]:
    """Whether planes differ inside a box, and outside it."""
    left, top, right, bottom = box
    inside, outside = False, False
    for one, other, step in zip(was, now, STEPS, strict=True):
        differs = one != other
        place = np.s_[top // step : -(-bottom // step), left // step : -(-right // step)]
        inside = inside or bool(differs[place].any())
        differs[place] = False
        outside = outside or bool(differs.any())
    return inside, outside


def decoded(source: Video) -> list[list[Any]]:
    frames = [frame.stored for frame in source.frames()]
    return [[view(plane).copy() for plane in frame.planes] for frame in frames if frame is not None]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_planes_outside_the_paint_are_those_of_the_source(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # References of the decoder are painted too, if anything is: later frames would show it.
    source = Video.open(make_video(tmp_path / "source.mp4", size=SIZE, frames=30, codec=codec, options={"g": "30"}))
    wanted, square, mark = decoded(source), Square(51, 30, 41, 30), Mark(*SIZE)
    found = sent(monkeypatch, source, tmp_path, [square, Still()], marked=True)
    assert len(found["result"]) == len(found["marked"]) == len(wanted) == 30
    for number, (was, now, marked) in enumerate(zip(wanted, found["result"], found["marked"], strict=True)):
        assert changed(was, now, square.box) == (square.changes(number), False)
        assert changed(now, marked, mark.box) == (True, False)


def test_two_faces_that_overlap_are_both_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Video.open(make_video(tmp_path / "source.mp4", size=SIZE, frames=4, options={"crf": "5"}))
    squares = [Square(50, 40, 40, 20), Square(70, 60, 40, 30)]
    planes = sent(monkeypatch, source, tmp_path, squares)["result"][1]
    luma = planes[0].astype(int) - decoded(source)[1][0]
    assert luma[45:58, 55:68].mean() == pytest.approx(20 * 219 / 255, abs=0.7)
    assert luma[85:98, 95:108].mean() == pytest.approx(30 * 219 / 255, abs=0.7)
    assert luma[62:78, 72:88].mean() == pytest.approx(50 * 219 / 255, abs=0.7)


def test_the_same_job_gives_the_same_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 60, (48, 320, 480, 3), np.uint8)
    source = Video.open(
        make_video(tmp_path / "source.mp4", size=(480, 320), frames=48, paint=lambda number, *_: noise[number])
    )
    found = []
    for name in ("one", "two", "three"):
        writer = VideoWriter(tmp_path / f"{name}.mp4", source, Audio(tone(440, 1_900), 48_000))
        squares = [Square(50, 40, 90, 20), Square(101, 77, 99, 30)]
        paint(source, Timeline.of(source.frame_times, None, 0), talks(squares), writer, None, silent)
        found.append((tmp_path / f"{name}.mp4").read_bytes())
    assert found[0] == found[1] == found[2]
