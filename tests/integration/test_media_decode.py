"""Frames and their times, on files that exercise one difficulty each."""

import gc
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from media_maker import clicks, make_sound, make_video, numbered, read_number, sound_frames, to_yuv, tone, trim

from duikou.errors import MediaError
from duikou.media import decode, probe
from duikou.media.video import Video, probe_video

UNEVEN = [0, 100, 700, 1_500, 1_600, 4_000, 4_100, 9_000, 9_100, 9_200]

VIDEOS: dict[str, dict[str, Any]] = {
    "plain": {},
    "b_frames": {"options": {"bf": "3", "b-pyramid": "normal", "g": "12"}},
    "open_groups": {"options": {"bf": "3", "g": "8", "x264-params": "open-gop=1"}},
    "variable": {"pts": UNEVEN, "time_base": Fraction(1, 9_000)},
    "last_frame_longer": {"pts": UNEVEN, "time_base": Fraction(1, 9_000), "last_duration": 777, "options": {"bf": "0"}},
    "late": {"pts": [507 + 512 * number for number in range(20)], "frames": 20, "sound": clicks([300], 800)},
    "hevc": {"codec": "libx265"},
    "hevc_open_groups": {"codec": "libx265", "options": {"x265-params": "open-gop=1:keyint=8:bframes=3"}},
    "hevc_10_bit": {"codec": "libx265", "pixel_format": "yuv420p10le", "matrix": 9},
    "h264_10_bit": {"pixel_format": "yuv420p10le"},
    "mpeg4": {"codec": "mpeg4", "options": {"bf": "2", "q:v": "2"}},
    "bt601": {"matrix": 5},
    "full_range": {"full_range": True},
    "untagged": {"tagged": False, "matrix": 5},
    "turned_90": {"rotation": 90},
    "turned_180": {"rotation": 180},
    "turned_270": {"rotation": 270},
    "mirrored": {"mirror": True},
    "turned_90_mirrored": {"rotation": 90, "mirror": True},
    "odd": {"size": (193, 129), "pixel_format": "yuv444p"},
    "with_sound": {"sound": clicks([300], 1_000), "sound_at_ms": 100},
}


@pytest.fixture(params=VIDEOS)
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_video(tmp_path / "video.mp4", **VIDEOS[request.param])


def test_every_frame_comes_upright_in_order_and_in_its_colours(video: Path) -> None:
    info = probe_video(video)
    found = list(decode.frames(video))
    assert [frame.index for frame in found] == list(range(info.frames))
    for frame in found:
        assert frame.image.shape == (info.height, info.width, 3)
        assert frame.image.flags.c_contiguous
        assert read_number(frame.image) == frame.index
    painted = numbered(4, info.width, info.height).astype(int)
    error = np.abs(found[4].image.astype(int) - painted).mean(axis=(0, 1))
    assert error.max() < (6 if "mpeg4" in info.codec else 1.5), error


def test_times_read_from_packets_are_those_of_the_frames(video: Path) -> None:
    found = list(decode.frames(video))
    assert decode.times(video).tolist() == [frame.time_ms for frame in found]
    assert probe_video(video).frames == len(found)


def test_starting_later_gives_the_same_frames(video: Path) -> None:
    whole = list(decode.frames(video))
    for start in (1, 5, 8, len(whole) - 1):
        part = list(decode.frames(video, start=start, stop=start + 2))
        assert [(frame.index, frame.pts) for frame in part] == [(f.index, f.pts) for f in whole[start : start + 2]]
        for frame in part:
            np.testing.assert_array_equal(frame.image, whole[frame.index].image)


def test_a_part_of_a_frame_is_cut_out_of_the_whole(video: Path) -> None:
    # Decoders tell where the chroma of a frame lies, which decides its colours: a cut-out must not lose that.
    for frame, again in zip(decode.frames(video, stop=3), decode.frames(video, stop=3), strict=True):
        for left, top, right, bottom in ((0, 0, 31, 17), (37, 22, 101, 99), (0, 0, *frame.size)):
            part = again.part((left, top, right, bottom))
            assert np.array_equal(part, frame.image[top:bottom, left:right])


def test_backwards_come_the_same_frames(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "BLOCK_BYTES", 0)
    for path in (video, trim(video, tmp_path / "trimmed.mp4", start_ms=300)):
        forwards = list(decode.frames(path))
        back = list(decode.backwards(path, start=1, stop=1_000))
        assert [(frame.index, frame.pts) for frame in back] == [(frame.index, frame.pts) for frame in forwards[:0:-1]]
        for one, other in zip(back, forwards[:0:-1], strict=True):
            assert np.array_equal(one.image, other.image)


def test_blocks_played_backwards_hold_no_more_than_they_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_video(tmp_path / "video.mp4", frames=60)
    stored = next(decode.frames(video)).stored
    assert stored is not None
    monkeypatch.setattr(decode, "BLOCK_BYTES", 10 * sum(plane.buffer_size for plane in stored.planes))
    held: list[int] = []
    real = decode._filled

    def watched(*arguments: Any) -> Any:
        held.append(arguments[-1] - arguments[-2])
        return real(*arguments)

    monkeypatch.setattr(decode, "_filled", watched)
    assert [read_number(frame.image) for frame in decode.backwards(video, start=0, stop=60)] == list(range(59, -1, -1))
    assert held[0] == decode.MIN_BLOCK
    assert max(held) == 10
    assert sum(held) == 60


def test_variable_frame_times_are_exact(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", **VIDEOS["last_frame_longer"])
    assert [frame.pts for frame in decode.frames(path)] == UNEVEN
    assert decode.times(path).tolist() == [round(pts / 9) for pts in UNEVEN]
    info = probe_video(path)
    assert info.duration_ms == round((9_200 + 777) / 9)
    assert info.rate == Fraction(10 * 9_000, 9_977)


def test_a_picture_that_starts_late_keeps_its_lateness(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", **VIDEOS["late"])
    assert decode.times(path)[0] == 40  # 507 of 12,800
    assert probe_video(path).duration_ms == 840
    alone = make_video(tmp_path / "alone.mp4", **VIDEOS["late"] | {"sound": None})
    assert decode.times(alone)[0] == 0  # nothing that it could be late for
    assert probe_video(alone).duration_ms == 800


@pytest.mark.parametrize("start_ms", [40, 400, 520])
def test_what_an_edit_list_cuts_away_is_not_there(tmp_path: Path, start_ms: int) -> None:
    whole = make_video(tmp_path / "whole.mp4", frames=50, options={"g": "10"}, sound=clicks([900], 2_000))
    path = trim(whole, tmp_path / "cut.mp4", start_ms=start_ms)
    hidden = start_ms // 40
    found = list(decode.frames(path))
    assert [read_number(frame.image) for frame in found] == list(range(hidden, 50))
    assert decode.times(path).tolist() == [40 * number for number in range(50 - hidden)]
    assert probe_video(path).frames == 50 - hidden
    assert [read_number(frame.image) for frame in decode.frames(path, start=7, stop=9)] == [hidden + 7, hidden + 8]


def test_the_probe_tells_all_of_a_file(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "v.mov", size=(128, 192), rotation=90, sound=tone(300, 800, 44_100, 2), sound_rate=44_100
    )
    info = probe_video(path)
    assert info == probe.VideoInfo(
        "mov", "h264", 128, 192, 90, 25, Fraction(25), 1_000, probe.AudioInfo("aac", 44_100, 2, 800)
    )


def test_a_dropped_or_damaged_packet_costs_no_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", options={"g": "5", "bf": "0"}, frames=20)
    data = bytearray(path.read_bytes())
    media, index = data.index(b"mdat"), data.index(b"moov")
    middle = (media + index) // 2
    data[middle : middle + 200] = np.random.default_rng(3).bytes(200)
    path.write_bytes(data)
    found = list(decode.frames(path))
    assert [frame.index for frame in found] == list(range(20))
    assert decode.times(path).tolist() == [frame.time_ms for frame in found]
    assert read_number(found[0].image) == 0
    assert read_number(found[19].image) == 19


def test_a_file_that_was_cut_off_shows_what_is_there(tmp_path: Path) -> None:
    # Index first, then a third of the media.
    path = make_video(tmp_path / "v.mp4", container="mp4", options={"g": "5"}, frames=30, faststart=True)
    data = path.read_bytes()
    media = data.index(b"mdat")
    path.write_bytes(data[: media + (len(data) - media) // 3])
    found = list(decode.frames(path))
    assert 2 < len(found) < 20
    assert probe_video(path).frames == len(found)


def test_range_borders(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", frames=5)
    assert [frame.index for frame in decode.frames(path, start=3, stop=99)] == [3, 4]
    assert list(decode.frames(path, start=5)) == []
    assert list(decode.frames(path, start=2, stop=2)) == []


def _garbage_moov(path: Path) -> None:
    data = bytearray(path.read_bytes())
    moov = data.index(b"moov")
    data[moov + 8 :] = os.urandom(len(data) - moov - 8)
    path.write_bytes(data)


def _no_index(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])


def _no_pixels(path: Path) -> None:
    data = bytearray(path.read_bytes())
    media, moov = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[media:moov] = bytes(moov - media)
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [_garbage_moov, _no_index, _no_pixels])
def test_a_broken_file_is_one_clear_sentence(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    path = make_video(tmp_path / "v.mp4", frames=5)
    harm(path)
    with pytest.raises(MediaError, match=r"^video_url: .*\.$") as error:
        probe_video(path, field="video_url")
    assert error.value.field == "video_url"
    assert "\n" not in str(error.value)
    with pytest.raises(MediaError):
        list(decode.frames(path))


def test_an_empty_track_of_audio_is_no_audio(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", frames=30, options={"g": "10"}, sound=tone(300, 100))
    path = trim(whole, tmp_path / "cut.mp4", start_ms=520)
    with av.open(str(path)) as file:
        assert len(file.streams.audio) == 1
    assert probe_video(path).audio is None


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as file:
        sound = file.add_stream("aac", rate=48_000, layout="mono")
        cover = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        for frame in sound_frames(tone(300, 200), 48_000):
            file.mux(sound.encode(frame))
        file.mux(cover.encode(to_yuv(numbered(1, 64, 64), "yuvj420p", full_range=True)))
        file.mux([*sound.encode(None), *cover.encode(None)])
    with pytest.raises(MediaError, match=r"^video: the file has no video track\.$"):
        probe_video(path)
    assert probe.probe_audio(path).duration_ms == 200  # a song with its cover is audio


def test_audio_is_no_video(tmp_path: Path) -> None:
    wav = make_sound(tmp_path / "v.mp4.wav", tone(300, 200))
    with pytest.raises(MediaError, match=r"video: the file is wav; a video must be mp4 or mov\."):
        probe_video(wav)
    m4a = make_sound(tmp_path / "a.m4a", tone(300, 200))
    with pytest.raises(MediaError, match="a video must be mp4 or mov"):
        probe_video(m4a)


def test_a_picture_too_large_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "v.mp4", frames=2)
    monkeypatch.setattr("duikou.media.limits.MAX_PIXELS", 192 * 128 - 1)
    with pytest.raises(MediaError, match=r"192 x 128 pixels; at most 24575 in total are accepted"):
        probe_video(path)


def test_playlists_never_reach_ffmpeg(tmp_path: Path) -> None:
    make_video(tmp_path / "secret.mp4", frames=2)
    for name, text in (
        ("a.mp4", "ffconcat version 1.0\nfile secret.mp4\n"),
        ("a.m3u8", "#EXTM3U\n#EXTINF:1,\nsecret.mp4\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError, match="the file is a playlist; it must be mp4 or mov"):
            probe_video(tmp_path / name)


def test_names_that_look_like_protocols_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "v.mp4", frames=3).rename(tmp_path / "concat:a|b.mp4")
    assert probe_video(Path("concat:a|b.mp4")).frames == 3


def test_leaving_early_closes_the_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4")
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("open files are counted in /proc, which this system does not have")
    before = len(list(folder.iterdir()))
    for _ in range(20):
        for frame in decode.frames(path):
            if frame.index == 2:
                break
    gc.collect()
    assert len(list(folder.iterdir())) <= before + 1


def test_decoded_frames_leave_memory_at_once(tmp_path: Path) -> None:
    """Not only when Python collects cycles, which is hundreds of frames later."""
    clip = make_video(tmp_path / "clip.mp4", frames=40)
    video = Video.open(clip)
    assert video.fields is None
    gc.collect()
    gc.disable()
    try:
        assert sum(1 for _ in video.frames()) == 40
        assert sum(isinstance(one, av.VideoFrame) for one in gc.get_objects()) < 5
    finally:
        gc.enable()
