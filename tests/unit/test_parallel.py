"""How many threads the work of a process makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import pytest
from media_maker import make_video

from duikou import parallel
from duikou.media import demux
from duikou.media.decode import frames
from duikou.media.encode import VideoWriter
from duikou.media.video import Video


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with eight cores; afterwards no share is left."""
    monkeypatch.setattr(parallel, "usable_cores", lambda: 8)
    before = cv2.getNumThreads()
    yield
    parallel.take_share(0)
    cv2.setNumThreads(before)


@pytest.mark.parametrize(("share", "cores"), [(0, 4), (1, 1), (2, 2), (6, 4), (99, 4)])
def test_a_share_limits_threads(eight_cores: None, share: int, cores: int) -> None:
    parallel.take_share(share)
    assert parallel.cores() == cores


def test_opencv_takes_the_share_too(eight_cores: None) -> None:
    parallel.take_share(1)
    assert cv2.getNumThreads() == 1


def test_codecs_are_opened_with_the_share(eight_cores: None, tmp_path: Path) -> None:
    source = Video.open(make_video(tmp_path / "video.mp4", frames=5))
    parallel.take_share(3)
    with av.open(str(source.path)) as file:
        assert demux.video_stream(file, field="video").codec_context.thread_count == 3
    with VideoWriter(tmp_path / "out.mp4", source) as writer:
        for frame in frames(source.path):
            writer.copy(frame)
    assert b" threads=3 " in (tmp_path / "out.mp4").read_bytes(), "x264 writes its options into the stream"
