"""Copies what the result may have from its source as it is; decodes, paints and encodes the other frames once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from av.video.frame import VideoFrame

from duikou.engines.base import Renderer
from duikou.media.decode import Frame
from duikou.media.encode import VideoWriter
from duikou.media.timeline import Timeline
from duikou.media.video import Video
from duikou.parallel import cores, in_order
from duikou.progress import Progress
from duikou.provenance.mark import Mark


def paint(
    source: Video,
    timeline: Timeline,
    renderers: Sequence[Renderer],
    result: VideoWriter,
    watermarked: VideoWriter | None,
    progress: Progress,
) -> None:
    """Write the result, and the file with the visible mark where one is wanted, from frames of the source."""
    mark = Mark(source.info.width, source.info.height)

    def painted(frame: Frame) -> tuple[int, int, VideoFrame, VideoFrame | None]:
        for renderer in renderers:
            patch = renderer.render(frame) if renderer.changes(frame.index) else None
            frame = frame if patch is None else frame.painted(patch)
        marked = None if watermarked is None else watermarked.made(mark.drawn(frame))
        return frame.index, frame.pts, result.made(frame), marked

    with ExitStack() as files:
        for file in filter(None, (result, watermarked)):
            files.enter_context(file)
        for stretch in result.stretches:
            if stretch.copied:
                result.keep(stretch)
            if stretch.copied and watermarked is None:
                progress("rendering", stretch.stop / len(timeline))
                continue
            frames = timeline.frames(source, stretch.start, stretch.stop)
            for index, pts, made, marked in in_order(painted, frames, cores()):
                if not stretch.copied:
                    result.encode(made, pts)
                if watermarked is not None and marked is not None:
                    watermarked.encode(marked, pts)
                progress("rendering", (index + 1) / len(timeline))
