"""Copies what the result may have from its source as it is; decodes, paints and encodes the other frames once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

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
    mark = Mark(source.info.width, source.info.height)
    files = [file for file in (result, watermarked) if file is not None]
    done = 0.0

    def reached() -> Iterator[Frame]:
        """The frames of the stretch, each when all talks are ready to paint it."""
        for frame in timeline.frames(source, stretch.start, stretch.stop):
            for talk in talks:
                talk.reach(frame.index, lambda stage, _: progress(stage, done))
            yield frame

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
            for index, pts, made in in_order(painted, reached() if wanting else (), cores()):
                for file, picture in made:
                    file.encode(picture, pts)
                done = (index + 1) / len(timeline)
                progress("rendering", done)
            done = stretch.stop / len(timeline)
            progress("rendering", done)


def _spoken(frame: Frame, talks: Sequence[Talk]) -> Frame:
    """A frame with all mouths painted that change."""
    for renderer in (talk.renderer for talk in talks):
        patch = renderer.render(frame) if renderer.changes(frame.index) else None
        frame = frame if patch is None else frame.painted(patch)
    return frame
