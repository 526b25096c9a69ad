"""Copies what the result may have from its source as it is; decodes, paints and encodes the other frames once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from duikou.arrays import Image
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

    def painted(frame: Frame) -> tuple[Frame, Image | None]:
        if not any(renderer.changes(frame.index) for renderer in renderers):
            return frame, None
        image = frame.image
        for renderer in renderers:
            image = renderer.render(frame.index, image)
        return frame, image

    with ExitStack() as files:
        for file in filter(None, (result, watermarked)):
            files.enter_context(file)
        for stretch in result.stretches:
            if stretch.copied:
                result.keep(stretch)
            if stretch.copied and watermarked is None:
                progress("rendering", stretch.stop / len(timeline))
                continue
            for frame, image in in_order(painted, timeline.frames(source, stretch.start, stretch.stop), cores()):
                if stretch.copied:
                    pass
                elif image is None:
                    result.copy(frame)
                else:
                    result.paint(frame, image)
                if watermarked is not None:
                    watermarked.paint(frame, mark.drawn(frame.image if image is None else image))
                progress("rendering", (frame.index + 1) / len(timeline))
