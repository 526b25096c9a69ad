"""A lip sync of two short speeches: what lies between them is the source's, bit for bit, or all is encoded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import pytest
from h264_rules import check, read_track
from media_maker import make_video, tone
from small_portrait import small_portrait
from spliced import decoded

from demo import portrait
from demo.speech import speak
from duikou import FaceChoice, Output, Session, identify, lip_sync
from duikou.media import copied
from duikou.media.copied import CopiedTrack
from duikou.media.encode import VideoWriter
from duikou.media.groups import Stretch, UnfitError
from duikou.media.splice import Splice
from duikou.media.video import Video

pytestmark = pytest.mark.long

WIDTH, HEIGHT, FRAMES, LENGTH_MS, SPEECH_MS = 360, 640, 100, 4_000, 1_000
GROUP_MS = 1_000


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    with small_portrait(0.5):
        pictures = list(portrait.frames(LENGTH_MS))
    video = make_video(
        tmp_path_factory.mktemp("source") / "source.mp4",
        size=(WIDTH, HEIGHT),
        frames=FRAMES,
        paint=lambda number, _width, _height: pictures[number],
        sound=tone(300, LENGTH_MS, level=0.05),
        options={"g": "25", "bf": "2", "preset": "veryfast"},
    )
    return identify(video)


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> list[FaceChoice]:
    """Speech from the first frame on, and up to the last one."""
    said = speak(tmp_path_factory.mktemp("speech") / "speech.wav", "Every evening, the old man fed the birds.")
    return [FaceChoice(said, "0", 0, SPEECH_MS, at_ms) for at_ms in (0, LENGTH_MS - SPEECH_MS)]


def test_what_lies_between_two_speeches_is_copied(session: Session, choices: list[FaceChoice], tmp_path: Path) -> None:
    result = lip_sync(session, choices, tmp_path / "result.mp4")
    told = copied.read(result.video)
    assert told is not None
    (kept,) = told.picture.intervals
    assert kept.start_ms in (SPEECH_MS, SPEECH_MS + GROUP_MS)  # the group of pictures after the first speech
    assert LENGTH_MS - SPEECH_MS - 500 < kept.end_ms <= LENGTH_MS - SPEECH_MS
    check(read_track(result.video))
    was, now = dict(decoded(session.source.path)), dict(decoded(result.video))
    assert len(now) == FRAMES
    times = session.source.frame_times
    for number, at_ms in enumerate(times.starts_ms):
        if kept.start_ms <= at_ms < kept.end_ms:
            pts = int(times.pts[number])
            assert now[pts] == was[pts + times.origin]
    changed = {number for spoken in result.spoken for number in spoken.frames[spoken.strength > 0].tolist()}
    assert {2, FRAMES - 3} <= changed


def _failing(self: Splice, stretch: Stretch) -> Iterator[Any]:
    yield from islice(copied_packets(self, stretch), 12)
    raise UnfitError("a packet is missing")


copied_packets = Splice.copied


def test_where_copying_fails_midway_all_is_encoded(
    session: Session, choices: list[FaceChoice], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Splice, "copied", _failing)
    output = Output(tmp_path / "result.mp4", tmp_path / "marked.mp4")
    shares: list[float] = []
    result = lip_sync(session, choices, output, progress=lambda _, share: shares.append(share))
    assert shares == sorted(shares)
    told = copied.read(result.video)
    assert told is not None
    assert told.picture == CopiedTrack(reason="a packet is missing")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["marked.mp4", "result.mp4"]
    monkeypatch.undo()
    monkeypatch.setattr(VideoWriter, "_spliced", _never)
    whole = lip_sync(session, choices, tmp_path / "whole.mp4")
    assert _packets(result.video) == _packets(whole.video)
    assert len(Video.open(tmp_path / "marked.mp4").frame_times) == FRAMES


def _never(_self: VideoWriter, _changed: Any) -> Any:
    raise UnfitError("it is not tried")


def _packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(file.streams.video[0])]
