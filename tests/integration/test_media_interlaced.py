"""Interlaced videos become progressive, frame for frame, whatever their flags say; others stay as they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media_maker import Image, make_video

from duikou.arrays import Float64Array
from duikou.errors import MediaError
from duikou.faces.scan import scan
from duikou.media import decode
from duikou.media.decode import Frame
from duikou.media.encode import Frames, VideoWriter
from duikou.media.fields import Fields
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import Timeline
from duikou.media.video import Video
from duikou.progress import silent

FLAG = {"x264-params": "tff=1", "g": "10", "crf": "10"}
FLAG_BFF = {"x264-params": "bff=1", "g": "10", "crf": "10"}
NO_FLAG = {"g": "10", "crf": "10"}
SIZE = (160, 128)
TTB, BTT = Fields("tff"), Fields("bff")


def scene(moment: float, width: int, height: int) -> Image:
    """A soft pattern that moves along both axes and turns back before it leaves the picture."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x = x + 30 * np.sin(moment / 5)
    y = y + 11 * np.cos(moment / 6)
    grey = 128 + 50 * np.sin(x / 5) * np.cos(y / 9) + 40 * np.sin((x + y) / 13)
    return np.clip(np.stack([grey, 0.8 * grey + 20, 0.6 * grey + 60], -1), 0, 255).astype(np.uint8)


def progressive(number: int, width: int, height: int) -> Image:
    return scene(number, width, height)


def woven(top: Image, bottom: Image) -> Image:
    frame = top.copy()
    frame[1::2] = bottom[1::2]
    return frame


def top_first(number: int, width: int, height: int) -> Image:
    return woven(scene(number, width, height), scene(number + 0.5, width, height))


def bottom_first(number: int, width: int, height: int) -> Image:
    return woven(scene(number + 0.5, width, height), scene(number, width, height))


def telecined(number: int, width: int, height: int) -> Image:
    """24 frames a second as 60 fields: of five frames two hold fields of two."""
    cycle, place = divmod(number, 5)
    film = [scene(1.25 * (4 * cycle + step), width, height) for step in range(4)]
    return [film[0], film[1], woven(film[1], film[2]), woven(film[2], film[3]), film[3]][place]


def film(number: int, width: int, height: int) -> Image:
    """What `telecined` shows at best: a whole frame of the film."""
    cycle, place = divmod(number, 5)
    return scene(1.25 * (4 * cycle + (0, 1, 1, 2, 3)[place]), width, height)


def still(_number: int, width: int, height: int) -> Image:
    return scene(0, width, height)


def on_twos(number: int, width: int, height: int) -> Image:
    return scene(number // 2 * 2, width, height)


def late(number: int, width: int, height: int) -> Image:
    return still(0, width, height) if number < 55 else top_first(number, width, height)


CASES: dict[str, tuple[dict[str, Any], Fields | None]] = {
    "flagged": ({"paint": top_first, "options": FLAG}, TTB),
    "flagged_bottom_first": ({"paint": bottom_first, "options": FLAG_BFF}, BTT),
    "unflagged": ({"paint": top_first, "options": NO_FLAG}, TTB),
    "unflagged_bottom_first": ({"paint": bottom_first, "options": NO_FLAG}, BTT),
    "flagged_with_the_wrong_order": ({"paint": bottom_first, "options": FLAG}, BTT),
    "one_key_frame": ({"paint": top_first, "options": {"g": "250", "crf": "10"}}, TTB),
    "mpeg4": ({"paint": top_first, "codec": "mpeg4", "options": {"flags": "+ildct+ilme", "b": "8000000"}}, TTB),
    "prores": ({"paint": top_first, "codec": "prores_ks", "pixel_format": "yuv422p10le"}, TTB),
    "telecined": ({"paint": telecined, "options": NO_FLAG}, Fields("tff", mixed=True)),
    "progressive": ({"paint": progressive, "options": NO_FLAG}, None),
    "progressive_but_flagged": ({"paint": progressive, "options": FLAG}, None),
    "on_twos": ({"paint": on_twos, "options": NO_FLAG}, None),
    "still": ({"paint": still, "options": NO_FLAG}, None),
    "still_and_flagged": ({"paint": still, "options": FLAG_BFF}, Fields("auto")),
    "moves_late": ({"paint": late, "options": NO_FLAG, "frames": 75}, TTB),
    "moves_late_after_one_key_frame": (
        {"paint": late, "options": {"g": "250", "x264-params": "scenecut=0"}, "frames": 75},
        TTB,
    ),
}


def made(folder: Path, name: str) -> Path:
    what, _ = CASES[name]
    suffix = "mov" if name == "prores" else "mp4"
    return make_video(folder / f"{name}.{suffix}", size=SIZE, **what)


def luma(frames: Iterator[Frame]) -> list[Float64Array]:
    return [cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY).astype(np.float64) for frame in frames]


def error(found: list[Float64Array], paint: Any) -> float:
    """Mean absolute difference in grey levels from what `paint` shows, without the outermost frames and lines."""
    wanted = [cv2.cvtColor(paint(number, *SIZE), cv2.COLOR_BGR2GRAY) for number in range(len(found))]
    return float(np.mean([np.abs(one - other)[4:-4].mean() for one, other in zip(found, wanted, strict=True)][1:-1]))


@pytest.mark.parametrize("name", CASES)
def test_fields_are_found_in_what_the_frames_show(tmp_path: Path, name: str) -> None:
    video = Video.open(made(tmp_path, name))
    assert video.fields == CASES[name][1]
    found = list(video.frames())
    assert [(frame.index, frame.pts) for frame in found] == list(enumerate(video.frame_times.pts))
    assert not any(frame.stored and frame.stored.interlaced_frame for frame in found) or video.fields is None


@pytest.mark.parametrize("name", CASES)
def test_whoever_reads_all_frames_finds_the_same_fields(tmp_path: Path, name: str) -> None:
    video = Video.open(made(tmp_path, name))
    found = scan(video, silent)
    assert found.fields == CASES[name][1]
    assert found.size == SIZE
    assert found.shot_starts[0] == 0


def test_frames_are_decoded_once_to_find_faces_and_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = Video.open(made(tmp_path, "progressive"))
    monkeypatch.setattr(decode, "examine", lambda *_args, **_given: pytest.fail("decoded once more"))
    assert scan(video, silent).fields is None


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *((name, progressive) for name in ("flagged", "unflagged_bottom_first", "mpeg4", "prores")),
        ("telecined", film),
    ],
)
def test_each_frame_shows_the_moment_of_its_first_field(tmp_path: Path, name: str, wanted: Any) -> None:
    path = made(tmp_path, name)
    combed, smooth = error(luma(decode.frames(path)), wanted), error(luma(Video.open(path).frames()), wanted)
    assert smooth < 2
    assert combed > (1.3 if name == "telecined" else 2) * smooth


@pytest.mark.parametrize(
    ("name", "most"), [("progressive", 0), ("progressive_but_flagged", 0), ("still_and_flagged", 0.5)]
)
def test_what_is_progressive_is_not_softened(tmp_path: Path, name: str, most: float) -> None:
    path = made(tmp_path, name)
    for one, stored in zip(luma(Video.open(path).frames()), luma(decode.frames(path)), strict=True):
        assert np.abs(one - stored).mean() <= most


@pytest.mark.parametrize("name", ["flagged", "telecined"])
def test_any_start_and_either_direction_give_the_same_pixels(tmp_path: Path, name: str) -> None:
    video = Video.open(made(tmp_path, name))
    whole = [frame.image for frame in video.frames()]
    for start in (1, 2, 9, 10, 11, 20, 23, 24):
        for frame in video.frames(start, start + 2):
            assert np.array_equal(frame.image, whole[frame.index])
    for frame in video.backwards(3, 25):
        assert np.array_equal(frame.image, whole[frame.index])


@pytest.mark.parametrize("name", ["flagged", "progressive_but_flagged"])
def test_a_part_of_an_interlaced_frame_is_cut_out_of_the_whole(tmp_path: Path, name: str) -> None:
    # The fields of flagged frames are converted each on its own.
    path = made(tmp_path, name)
    for frame, again in zip(decode.frames(path, stop=4), decode.frames(path, stop=4), strict=True):
        assert frame.stored is not None
        assert frame.stored.interlaced_frame
        for left, top, right, bottom in ((0, 0, 31, 17), (37, 22, 101, 99), (50, 41, 60, 64)):
            part = again.part((left, top, right, bottom))
            assert np.array_equal(part, frame.image[top:bottom, left:right])


def test_a_damaged_frame_costs_no_other(tmp_path: Path) -> None:
    path = made(tmp_path, "prores")  # each frame is decoded on its own
    with av.open(str(path)) as file:
        packet = [one for one in file.demux(video=0) if one.pts is not None][12]
        place, size = packet.pos, packet.size
    assert place is not None
    content = bytearray(path.read_bytes())
    content[place : place + size] = bytes(size)
    path.write_bytes(content)
    video = Video.open(path)
    found = luma(video.frames())
    assert len(found) == 25
    assert np.array_equal(found[12], found[11])
    assert error(found[:11], progressive) < 2
    assert [np.abs(one - two).max() for one, two in zip(luma(video.frames(12)), found[12:], strict=True)] == [0] * 13


def test_fields_that_are_pictures_of_their_own_are_refused(tmp_path: Path) -> None:
    def field(number: int, width: int, height: int) -> Image:
        return scene(number / 2, width, 2 * height)[number % 2 :: 2]

    options = {"x265-params": "interlace=tff"}
    path = make_video(tmp_path / "fields.mp4", size=(160, 64), fps=50, paint=field, codec="libx265", options=options)
    with pytest.raises(MediaError) as caught:
        Video.open(path)
    assert str(caught.value) == "video: the video stores its fields as separate HEVC pictures; export it progressive."


def test_turned_frames_become_progressive_before_they_stand_upright(tmp_path: Path) -> None:
    def sideways(number: int, width: int, height: int) -> Image:
        return np.rot90(top_first(number, height, width), -1)

    path = make_video(tmp_path / "turned.mp4", size=SIZE[::-1], rotation=90, paint=sideways, options=FLAG)
    video = Video.open(path)
    assert video.fields == TTB
    assert error([np.rot90(one) for one in luma(video.frames())], progressive) < 2


@pytest.mark.parametrize("mode", [None, SyncMode.BOUNCE])
def test_a_copy_is_progressive_and_keeps_the_times(tmp_path: Path, mode: SyncMode | None) -> None:
    video = Video.open(made(tmp_path, "flagged"))
    timeline = Timeline.of(video.frame_times, mode, 1_500 if mode else 0)
    output = tmp_path / "copy.mp4"
    with VideoWriter(output, video, frames=Frames(timeline.times)) as writer:
        for frame in timeline.frames(video):
            writer.copy(frame)
    copy = Video.open(output)
    assert copy.fields is None
    assert np.array_equal(copy.frame_times.pts, timeline.times.pts)
    stored = list(decode.frames(output))
    assert not any(frame.stored and frame.stored.interlaced_frame for frame in stored)
    assert error(luma(iter(stored[:25])), progressive) < 2
