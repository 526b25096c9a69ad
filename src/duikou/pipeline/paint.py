"""Decode every frame once, paint those that change, encode all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from duikou.engines.base import Renderer
from duikou.media import decode
from duikou.media.encode import VideoWriter
from duikou.media.timeline import Extension
from duikou.parallel import cores, in_order
from duikou.pipeline.session import Session
from duikou.progress import Progress
from duikou.provenance.mark import Mark


def paint_all(
    session: Session,
    renderers: Sequence[Renderer],
    plain: VideoWriter,
    marked: VideoWriter | None,
    progress: Progress,
    extension: Extension | None,
) -> None:
    """Decode and change every frame once and encode it; once more with the mark where there is a second file. Those of
    a lengthened video come from the source too.
    """
    mark = Mark(session.info.width, session.info.height)

    def paint(frame: decode.Frame) -> tuple[decode.Frame, npt.NDArray[np.uint8] | None]:
        if not any(renderer.changes(frame.index) for renderer in renderers):
            return frame, None
        image = frame.image
        for renderer in renderers:
            image = renderer.render(frame.index, image)
        return frame, image

    frames = extension.frames(session.video) if extension else decode.frames(session.video)
    count = len(extension) if extension else session.info.frames
    with ExitStack() as files:
        for file in filter(None, (plain, marked)):
            files.enter_context(file)
        for frame, image in in_order(paint, frames, cores()):
            if image is None:
                plain.copy(frame)
            else:
                plain.write(image, frame.pts)
            if marked is not None:
                marked.write(mark.drawn(frame.image if image is None else image), frame.pts)
            progress("rendering", (frame.index + 1) / count)
