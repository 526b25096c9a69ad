"""Copies what the result may have from its source as it is; decodes, paints and encodes the other frames once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from av.video.frame import VideoFrame

from duikou.media.decode import Frame
from duikou.media.encode import VideoWriter
from duikou.media.timeline import Timeline
from duikou.media.video import Video
from duikou.parallel import cores, in_order
from duikou.pipeline.plan import Talk
from duikou.progress import Progress
from duikou.provenance.mark import Mark


def paint(
    source: Video,
    timeline: Timeline,
    talks: Sequence[Talk],
    result: VideoWriter,
    watermarked: VideoWriter | None,
    progress: Progress,
) -> None:
    """Write the result, and the file with the visible mark where one is wanted, from frames of the source."""
    painter = _Painter(talks, result, watermarked, Mark(source.info.width, source.info.height))
    done = 0.0

    def reached(frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames, each when all talks are ready to paint it."""
        for frame in frames:
            for talk in talks:
                talk.reach(frame.index, lambda stage, _: progress(stage, done))
            yield frame

    with ExitStack() as files:
        for file in filter(None, (result, watermarked)):
            files.enter_context(file)
        for stretch in result.stretches:
            if stretch.copied:
                result.keep(stretch)
            if not stretch.copied or watermarked is not None:
                frames = reached(timeline.frames(source, stretch.start, stretch.stop))
                for made in in_order(painter.made, frames, cores()):
                    painter.write(made, copied=stretch.copied)
                    done = (made.index + 1) / len(timeline)
                    progress("rendering", done)
            done = stretch.stop / len(timeline)
            progress("rendering", done)


@dataclass(frozen=True)
class _Made:
    """A frame for the encoders. marked: that of the file with the visible mark, or `None`."""

    index: int
    pts: int
    painted: VideoFrame
    marked: VideoFrame | None


@dataclass(frozen=True)
class _Painter:
    """Paints frames, on any thread, and writes them."""

    talks: Sequence[Talk]
    result: VideoWriter
    watermarked: VideoWriter | None
    mark: Mark

    def made(self, frame: Frame) -> _Made:
        """A frame of the source with all mouths."""
        for renderer in (talk.renderer for talk in self.talks):
            patch = renderer.render(frame) if renderer.changes(frame.index) else None
            frame = frame if patch is None else frame.painted(patch)
        marked = None if self.watermarked is None else self.watermarked.made(self.mark.drawn(frame))
        return _Made(frame.index, frame.pts, self.result.made(frame), marked)

    def write(self, made: _Made, *, copied: bool) -> None:
        """Encode a frame. copied: whether the result has it already."""
        if not copied:
            self.result.encode(made.painted, made.pts)
        if self.watermarked is not None and made.marked is not None:
            self.watermarked.encode(made.marked, made.pts)
