"""What goes in comes out: size, frame times, colours, audio. The copy has none of the source's difficulties."""

import errno
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_maker import clicks, make_video, numbered, onset_ms, read_number, tone

from duikou.errors import MediaError, StorageError
from duikou.media import decode
from duikou.media.audio import read_audio
from duikou.media.encode import VideoWriter
from duikou.media.mix import Insert, mix
from duikou.media.sound import Audio, Sound
from duikou.media.video import Video, probe_video

SOURCES: dict[str, dict[str, Any]] = {
    "plain": {},
    "variable": {
        "pts": [0, 100, 700, 1_500, 1_600, 4_000, 4_100, 9_000, 9_100, 9_200],
        "time_base": Fraction(1, 9_000),
        "last_duration": 777,
        "options": {"bf": "0"},
    },
    "22_13_fps": {"pts": [507 + round(n * 15_360 * 61 / 1_350) for n in range(30)], "time_base": Fraction(1, 15_360)},
    "coarse_clock": {"fps": 24, "time_base": Fraction(1, 24)},
    "ntsc": {"fps": Fraction(30_000, 1_001), "time_base": Fraction(1, 30_000)},
    "hevc_10_bit": {"codec": "libx265", "pixel_format": "yuv420p10le", "matrix": 9},
    "mpeg4": {"codec": "mpeg4", "options": {"q:v": "2"}},
    "bt601": {"matrix": 5},
    "full_range": {"full_range": True},
    "full_range_601": {"full_range": True, "matrix": 5},
    "untagged": {"tagged": False, "matrix": 5},
    "turned_90": {"rotation": 90},
    "turned_270_mirrored": {"rotation": 270, "mirror": True},
    "odd": {"size": (193, 129), "pixel_format": "yuv444p"},
    "odd_height": {"size": (192, 129), "pixel_format": "yuv444p"},
    "late": {"pts": [507 + 512 * number for number in range(20)], "sound": clicks([300], 900)},
    "with_sound": {"sound": tone(440, 1_000, channels=2)},
}


def copy(source: Path, output: Path, sound: Sound | None = None, *, untouched: bool = False) -> Path:
    with VideoWriter(output, Video.open(source), sound) as writer:
        for frame in decode.frames(source):
            if untouched:
                writer.copy(frame)
            else:
                writer.write(frame.image, frame.pts)
    return output


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_video(tmp_path / "source.mp4", **SOURCES[request.param])


@pytest.mark.parametrize("untouched", [False, True], ids=["over_bgr", "untouched"])
def test_the_copy_is_the_source_upright(source: Path, tmp_path: Path, untouched: bool) -> None:
    sound = read_audio(source) if probe_video(source).audio else None
    output = copy(source, tmp_path / "copy.mp4", sound, untouched=untouched)
    was, now = probe_video(source), probe_video(output)
    assert (now.width, now.height, now.frames, now.duration_ms) == (was.width, was.height, was.frames, was.duration_ms)
    assert (now.codec, now.rotation, now.container) == ("h264", 0, "mp4")
    before, after = decode.read_frame_times(source), decode.read_frame_times(output)
    assert after.time_base == before.time_base
    np.testing.assert_array_equal(after.pts, before.pts)
    assert after.last_duration == before.last_duration
    for old, new in zip(decode.frames(source), decode.frames(output), strict=True):
        assert read_number(new.image) == old.index
        difference = new.image.astype(int) - old.image
        assert np.abs(difference).mean(axis=(0, 1)).max() < 1.3
        assert np.abs(difference.mean(axis=(0, 1))).max() < 0.8
    assert (now.audio is None) == (was.audio is None)


def test_colours_do_not_drift_over_generations(tmp_path: Path) -> None:
    for name in ("plain", "full_range_601"):
        first = make_video(tmp_path / f"{name}.mp4", frames=3, **SOURCES[name])
        path = first
        for generation in range(4):
            path = copy(path, tmp_path / f"{name}{generation}.mp4")
        drift = next(decode.frames(path)).image.astype(int) - next(decode.frames(first)).image
        # swscale's default conversion alone would darken by 7 levels on this way; x264 itself tints by 1 or 2.
        assert abs(drift.mean(axis=(0, 1)) @ [0.0722, 0.7152, 0.2126]) < 0.4
        assert np.abs(drift.mean(axis=(0, 1))).max() < 3.0


@pytest.mark.parametrize("name", ["bt601", "full_range_601", "hevc_10_bit", "untagged"])
def test_colour_tags_are_kept(tmp_path: Path, name: str) -> None:
    source = make_video(tmp_path / "source.mp4", **SOURCES[name])
    old, new = next(decode.frames(source)).stored, next(decode.frames(copy(source, tmp_path / "copy.mp4"))).stored
    assert old is not None
    assert new is not None
    assert new.colorspace == old.colorspace
    assert (new.color_range == 2) == (old.color_range == 2)
    assert new.format.name in ("yuv420p", "yuvj420p")


def test_an_inserted_click_lies_where_it_was_put(tmp_path: Path) -> None:
    source = make_video(tmp_path / "source.mp4", frames=75, sound=tone(200, 3_000, level=0.05))
    speech = Audio(clicks([0], 200), 48_000)
    sound = mix(read_audio(source), [Insert(speech, 1_500, 1.0, 0.0)], 3_000)
    output = copy(source, tmp_path / "copy.mp4", sound)
    assert abs(onset_ms(read_audio(output).samples, 48_000) - 1_500) < 1
    assert abs(_onset_by_pts(output) - 1_500) < 1


def _onset_by_pts(path: Path) -> float:
    """Independent of `read_audio`: the time of the loud sample by its own frame's pts, in ms."""
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()).max(axis=0) > 0.3)
            if len(loud):
                assert frame.pts is not None
                assert frame.time_base is not None
                return float(frame.pts * frame.time_base * 1000) + loud[0] * 1000 / frame.sample_rate
    raise AssertionError("no click")


@pytest.mark.parametrize(("rate", "channels", "kept"), [(16_000, 1, 16_000), (44_100, 2, 44_100), (96_001, 1, 48_000)])
def test_audio_of_any_rate_keeps_its_place_and_length(tmp_path: Path, rate: int, channels: int, kept: int) -> None:
    source = make_video(tmp_path / "source.mp4", frames=50)
    sound = Audio(clicks([700, 1_300], 2_000, rate, channels), rate)
    output = copy(source, tmp_path / "copy.mp4", sound)
    info = probe_video(output).audio
    assert info is not None
    assert (info.sample_rate, info.channels, info.duration_ms) == (kept, channels, 2_000)
    samples = read_audio(output).samples
    assert abs(onset_ms(samples, kept) - 700) < 1
    assert abs(onset_ms(samples, kept, after_ms=1_000) - 1_300) < 1


def test_the_index_comes_first_and_audio_lies_beside_its_frames(tmp_path: Path) -> None:
    source = make_video(tmp_path / "source.mp4", frames=100, sound=tone(440, 4_000))
    data = copy(source, tmp_path / "copy.mp4", read_audio(source)).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(tmp_path / "copy.mp4")) as file:
        order = [packet.stream.type for packet in file.demux() if packet.size]
    assert max(len(run) for run in "".join(kind[0] for kind in order).split("v")) < 100


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    source = make_video(tmp_path / "source.mp4")
    with (
        pytest.raises(RuntimeError, match="of the caller"),
        VideoWriter(tmp_path / "copy.mp4", Video.open(source)) as writer,
    ):
        for frame in decode.frames(source, stop=5):
            writer.write(frame.image, frame.pts)
        raise RuntimeError("of the caller")
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    source = make_video(tmp_path / "source.mp4", frames=3)
    output = tmp_path / "copy.mp4"
    output.write_bytes(b"old")
    with VideoWriter(output, Video.open(source)) as writer:
        for frame in decode.frames(source):
            writer.write(frame.image, frame.pts)
            assert output.read_bytes() == b"old"
    assert probe_video(output).frames == 3


def _full(*_: object) -> Iterator[None]:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_video(tmp_path / "source.mp4", frames=3)
    monkeypatch.setattr(VideoWriter, "_mux_video", _full)
    with pytest.raises(StorageError, match=r"copy\.mp4 cannot be written: No space left on device\."):
        copy(source, tmp_path / "copy.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


def test_a_real_limit_on_file_size_is_a_storage_error(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limits on a process's files")
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    source = make_video(tmp_path / "source.mp4", size=(640, 480), frames=20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with (
            pytest.raises(StorageError, match=r"^copy\.mp4 cannot be written: "),
            VideoWriter(tmp_path / "copy.mp4", Video.open(source)) as writer,
        ):
            for frame in decode.frames(source):
                writer.write(np.roll(noise, frame.index * 7, 0), frame.pts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    source = make_video(tmp_path / "source.mp4", frames=3)
    with pytest.raises(StorageError, match=r"copy\.mp4 cannot be written"):
        copy(source, tmp_path / "nowhere" / "copy.mp4")


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    source = make_video(tmp_path / "source.mp4", frames=5)
    image = numbered(0, 192, 128)
    with pytest.raises(ValueError, match="no frame was written"), VideoWriter(tmp_path / "a.mp4", Video.open(source)):
        pass
    with VideoWriter(tmp_path / "a.mp4", Video.open(source)) as writer:
        with pytest.raises(ValueError, match=r"it must be \(128, 192, 3\) uint8"):
            writer.write(image[:, :-2], 0)
        with pytest.raises(ValueError, match="no frame at pts 100"):
            writer.write(image, 100)
        writer.write(image, 512)
        with pytest.raises(ValueError, match="does not come after"):
            writer.write(image, 0)
    assert len(decode.times(tmp_path / "a.mp4")) == 1


def test_a_source_that_is_no_video_is_a_media_error(tmp_path: Path) -> None:
    (tmp_path / "source.mp4").write_text("text")
    with pytest.raises(MediaError):
        VideoWriter(tmp_path / "copy.mp4", Video.open(tmp_path / "source.mp4"))
