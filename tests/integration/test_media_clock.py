"""Files whose clocks do not start at 0, and files whose headers declare wrong durations."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boxes
import numpy as np
import pytest
from boxes import edit_list
from media_maker import FRAGMENTS, clicks, fragmented, make_sound, make_video, onset_ms, read_number

from duikou.media.audio import read_audio
from duikou.media.decode import times
from duikou.media.encode import VideoWriter
from duikou.media.probe import probe_audio
from duikou.media.video import Video

UNIT = 12_800  # units in a second of the video track and of the movie
LENGTH = 20 * 512  # 20 frames of 40 ms, in this unit
DELAY = 1_024  # in this unit: how much later than it is decoded the first frame shows
CLICK_MS = 300
WITH_EDITS = FRAGMENTS + "+delay_moov"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes each kind of source once: 800 ms with frames out of order and a click at 300 ms."""
    folder, known = tmp_path_factory.mktemp("made"), {}

    def make(name: str = "plain", **what: Any) -> Path:
        if name not in known:
            given = {"frames": 20, "size": (96, 64), "options": {"g": "6", "bf": "3"}, "sound": clicks([300], 800)}
            known[name] = make_video(folder / f"{name}.mp4", **(given | what))
        return known[name]

    return make


def agree(path: Path, *, first: int, length: int, click: int | None, frames: int = 20) -> Video:
    """Check that everything which reads a video has one opinion on its times, in ms."""
    video = Video.open(path)
    shown = list(video.frames())
    assert (video.info.frames, video.info.duration_ms) == (frames, length)
    assert [frame.time_ms for frame in shown] == times(path).tolist() == video.frame_times.starts_ms.tolist()
    assert shown[0].time_ms == first
    numbers = [read_number(frame.image) for frame in shown]
    assert [read_number(frame.image) for frame in video.frames(9, 12)] == numbers[9:12]
    assert [read_number(frame.image) for frame in video.backwards(0, len(shown))] == numbers[::-1]
    if click is not None:
        sound = read_audio(path)
        assert abs(onset_ms(sound.samples, sound.rate) - click) < 1
        assert video.info.audio is not None
        assert video.info.audio.duration_ms == sound.duration_ms
    return video


@pytest.mark.parametrize("flags", [FRAGMENTS, WITH_EDITS])
@pytest.mark.parametrize("seconds", [0, 20, 0.37, 5 * 3_600, 1_700_000_000])
def test_fragments_of_any_time_start_at_0(
    made: Callable[..., Path], tmp_path: Path, seconds: float, flags: str
) -> None:
    path = fragmented(made(), tmp_path / "v.mp4", flags)
    path.write_bytes(boxes.later(path.read_bytes(), {1: seconds, 2: seconds}))
    agree(path, first=0, length=800, click=CLICK_MS)


@pytest.mark.parametrize("flags", [FRAGMENTS, WITH_EDITS])
def test_the_clock_of_one_track_alone(made: Callable[..., Path], tmp_path: Path, flags: str) -> None:
    data = fragmented(made(), tmp_path / "v.mp4", flags).read_bytes()
    alone: tuple[dict[int, float], ...] = ({1: 20}, {2: 20}, {1: 1e9, 2: 5})
    for number, seconds in enumerate(alone):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(boxes.later(data, seconds))
        agree(path, first=0, length=800, click=CLICK_MS)


def test_picture_and_sound_keep_their_distance_in_fragments(made: Callable[..., Path], tmp_path: Path) -> None:
    data = fragmented(made(), tmp_path / "v.mp4").read_bytes()
    path = tmp_path / "late_sound.mp4"
    path.write_bytes(boxes.later(data, {1: 20, 2: 20.3}))
    agree(path, first=0, length=800, click=CLICK_MS + 300)
    path = tmp_path / "late_picture.mp4"
    path.write_bytes(boxes.later(data, {1: 20.3, 2: 20}))
    # The sound begins with the silence that the codec needs: here the 80 ms that this file's picture was delayed by.
    agree(path, first=380, length=1_180, click=CLICK_MS + 80)


def test_fragments_without_the_first_one_start_with_the_next(made: Callable[..., Path], tmp_path: Path) -> None:
    path = fragmented(made(), tmp_path / "v.mp4")
    data = path.read_bytes()
    first, second = (boxes.find(data, "moof", number).start for number in (0, 1))
    path.write_bytes(data[:first] + data[second:])
    video = agree(path, first=0, length=14 * 40, click=None, frames=14)
    assert read_number(next(video.frames()).image) == 6


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    ("starts_s", "shown"),
    [
        ((20, 20), (0, 300)),
        ((20, 20.3), (0, 600)),
        ((20.3, 20), (300, 300)),
        ((0.3, 0), (300, 300)),
        ((0, 0.3), (0, 600)),
        ((4 * 3_600, 4 * 3_600), (0, 300)),
        ((20, 0), (0, 300)),  # they never play at the same time
    ],
)
def test_edit_lists_that_start_late(
    made: Callable[..., Path], tmp_path: Path, starts_s: tuple[float, float], shown: tuple[int, int], version: int
) -> None:
    """shown: when the first frame shows and when the click is heard, in ms."""
    data, path = made().read_bytes(), tmp_path / "v.mp4"
    for track, seconds in enumerate(starts_s):
        empty = [(round(seconds * UNIT), -1)] if seconds else []
        data = boxes.replaced(data, "elst", edit_list(*empty, (LENGTH, DELAY), version=version), track)
    path.write_bytes(data)
    agree(path, first=shown[0], length=shown[0] + 800, click=shown[1])


def test_a_video_without_sound_starts_with_its_first_frame(made: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    data = made("silent", sound=None).read_bytes()
    path.write_bytes(boxes.replaced(data, "elst", edit_list((20 * UNIT, -1), (LENGTH, DELAY))))
    agree(path, first=0, length=800, click=None)


@pytest.mark.parametrize(("units", "frames", "length"), [(10 * 512, 10, 400), (10 * 512 + 128, 11, 410)])
def test_an_edit_that_is_shorter_than_its_media_ends_the_picture(
    made: Callable[..., Path], tmp_path: Path, units: int, frames: int, length: int
) -> None:
    path = tmp_path / "v.mov"
    path.write_bytes(boxes.replaced(made().read_bytes(), "elst", edit_list((units, DELAY))))
    agree(path, first=0, length=length, click=None, frames=frames)


@pytest.mark.parametrize(("empty_s", "first"), [(0, 0), (0.3, 300), (20, 0)])
def test_edit_lists_without_a_duration_play_the_whole_track(
    made: Callable[..., Path], tmp_path: Path, empty_s: float, first: int
) -> None:
    empty = [(round(empty_s * UNIT), -1)] if empty_s else []
    path = tmp_path / "v.mp4"
    path.write_bytes(boxes.replaced(made().read_bytes(), "elst", edit_list(*empty, (0, DELAY))))
    agree(path, first=first, length=first + 800, click=CLICK_MS)


def test_fragments_of_sound_alone_start_at_0(made: Callable[..., Path], tmp_path: Path) -> None:
    whole = make_sound(tmp_path / "s.m4a", clicks([CLICK_MS], 800))
    path = fragmented(whole, tmp_path / "f.m4a")
    data = boxes.later(path.read_bytes(), {1: 5 * 3_600})
    path.write_bytes(data.replace(b"iso5", b"M4A ", 1))
    sound = read_audio(path)
    assert abs(onset_ms(sound.samples, sound.rate) - CLICK_MS) < 22  # without an edit list nobody knows of the priming
    assert probe_audio(path).duration_ms < 830


def test_a_result_keeps_the_times_of_a_clock_that_starts_late(made: Callable[..., Path], tmp_path: Path) -> None:
    path = fragmented(made(), tmp_path / "v.mp4")
    path.write_bytes(boxes.later(path.read_bytes(), {1: 20, 2: 20.3}))
    video, copy = Video.open(path), tmp_path / "copy.mp4"
    with VideoWriter(copy, video, read_audio(path)) as writer:
        for frame in video.frames():
            writer.copy(frame)
    agree(copy, first=0, length=800, click=CLICK_MS + 300)


HEADERS = {"mvhd": (16, 1), "tkhd": (20, 2), "mdhd": (16, 2)}
"""Boxes that declare a duration: its offset in their content, and how many there are."""


@pytest.mark.parametrize("name", ["plain", "held"])
@pytest.mark.parametrize("duration", [0, 94, 10 * 800, 3_600 * UNIT, 2**32 - 1])
def test_durations_of_headers_do_not_matter(
    made: Callable[..., Path], tmp_path: Path, name: str, duration: int
) -> None:
    held = {"last_duration": 5 * UNIT, "options": {"g": "6", "bf": "0"}}
    data = made(name, **held if name == "held" else {}).read_bytes()
    for kind, (offset, count) in HEADERS.items():
        for number in range(count):
            data = boxes.patched(data, kind, offset, struct.pack(">I", duration), number)
    path = tmp_path / "v.mp4"
    path.write_bytes(data)
    agree(path, first=0, length=800 if name == "plain" else 760 + 5_000, click=CLICK_MS)


def test_one_frame_lasts_as_long_as_its_packet_says(made: Callable[..., Path], tmp_path: Path) -> None:
    data = made("one", frames=1, last_duration=5 * UNIT, sound=None).read_bytes()
    path = tmp_path / "v.mp4"
    for duration in (94, 3_600 * UNIT):
        path.write_bytes(boxes.patched(data, "mdhd", 16, struct.pack(">I", duration)))
        assert Video.open(path).info.duration_ms == 5_000
        assert np.array_equal(times(path), [0])
