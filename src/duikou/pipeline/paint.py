"""Copies what the result may have from its source as it is; decodes, paints and encodes the other frames once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import TypeVar

from av.video.frame import VideoFrame

from duikou.media.decode import Frame
from duikou.media.encode import VideoWriter
from duikou.media.groups import Stretch
from duikou.media.timeline import Timeline
from duikou.media.video import Video
from duikou.memory import return_free_memory
from duikou.parallel import cores, in_order
from duikou.pipeline.plan import Talk
from duikou.progress import Progress
from duikou.provenance.mark import Mark

T = TypeVar("T")


def paint(
    source: Video,
    timeline: Timeline,
    talks: Sequence[Talk],
    result: VideoWriter,
    watermarked: VideoWriter | None,
    progress: Progress,
) -> None:
    """Write the result, and the file with the visible mark where one is wanted, from frames of the source."""
    mark = Mark(source.info.width, source.info.height)
    files = [file for file in (result, watermarked) if file is not None]
    done = 0.0

    def planning(stage: str, _: float) -> None:
        progress(stage, done)

    def painted(frame: Frame) -> tuple[int, int, list[tuple[VideoWriter, VideoFrame]]]:
        """The number and time of a frame, and what each file gets of it."""
        frame = _spoken(frame, talks)
        made = [(file, file.made(frame if file is result else mark.drawn(frame))) for file in wanting]
        return frame.index, frame.pts, made

    with ExitStack() as opened:
        for file in files:
            opened.enter_context(file)
        for stretch in result.stretches:
            if stretch.copied:
                result.keep(stretch)
            wanting = [file for file in files if file is not result or not stretch.copied]
            reached = _reached(source, timeline, talks, stretch, planning)
            for index, pts, made in _in_parts(painted, reached, files) if wanting else ():
                for file, picture in made:
                    file.encode(picture, pts)
                done = (index + 1) / len(timeline)
                progress("rendering", done)
            done = stretch.stop / len(timeline)
            progress("rendering", done)


def _reached(
    source: Video, timeline: Timeline, talks: Sequence[Talk], stretch: Stretch, progress: Progress
) -> Iterator[Iterator[Frame]]:
    """The frames of a stretch in parts, each when all talks are ready to paint it.

    Talks plan between two parts: then no decoder holds frames. progress: of planning.
    """
    inner = {frame for talk in talks for frame in talk.planned_at if stretch.start < frame < stretch.stop}
    for start, stop in pairwise([stretch.start, *sorted(inner), stretch.stop]):
        for talk in talks:
            talk.reach(start, progress)
        yield _followed(timeline.frames(source, start, stop), talks)


def _followed(frames: Iterator[Frame], talks: Sequence[Talk]) -> Iterator[Frame]:
    """The frames, while talks drop the windows that lie behind them."""
    for frame in frames:
        for talk in talks:
            talk.reach(frame.index)
        yield frame


def _in_parts(
    function: Callable[[Frame], T], parts: Iterator[Iterator[Frame]], files: Sequence[VideoWriter]
) -> Iterator[T]:
    """`in_order`, which ends its threads after each part. Then decoder and files hold no frames that can be spared."""
    for part in parts:
        yield from in_order(function, part, cores())
        for file in files:
            file.pause()
        return_free_memory()


def _spoken(frame: Frame, talks: Sequence[Talk]) -> Frame:
    """A frame with all mouths painted that change."""
    for renderer in (talk.renderer for talk in talks):
        patch = renderer.render(frame) if renderer.changes(frame.index) else None
        frame = frame if patch is None else frame.painted(patch)
    return frame
