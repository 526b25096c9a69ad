"""Copies of videos with high dynamic range: still so, or tone-mapped where nothing encodes HEVC."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import boxes
import c2pa
import numpy as np
import pytest
from media_maker import make_video, read_number, tone

from duikou.errors import MediaError
from duikou.media import hdr
from duikou.media.decode import Frame, Patch
from duikou.media.encode import Frames, VideoWriter
from duikou.media.hdr import HLG, PQ, LightLevels
from duikou.media.picture import view16
from duikou.media.sound import Audio
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import Timeline
from duikou.media.video import Video
from duikou.pipeline.output import Output, OutputFiles
from duikou.pipeline.paint import paint
from duikou.progress import Progress, silent
from duikou.provenance import label
from duikou.provenance.certificates import self_signed
from duikou.provenance.producer import Producer
from duikou.timebase import Interval

MASTERED = (35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450, 10_000_000, 1)
LIGHT = LightLevels(MASTERED, (1_000, 400))
UNEVEN = [507, 607, 1_207, 2_007, 2_107, 4_507, 4_607, 5_000, 5_100, 5_207]
HEVC: dict[str, Any] = {"codec": "libx265", "pixel_format": "yuv420p10le", "matrix": 9, "primaries": 9, "frames": 10}
VIDEOS: dict[str, dict[str, Any]] = {
    "pq": {**HEVC, "transfer": PQ, "options": {"x265-params": LIGHT.x265}},
    "hlg": {**HEVC, "transfer": HLG},
    "variable_and_late": {**HEVC, "transfer": PQ, "pts": UNEVEN, "time_base": Fraction(1, 9_000), "last_duration": 777},
    "turned_90": {**HEVC, "transfer": HLG, "rotation": 90},
    "mirrored": {**HEVC, "transfer": PQ, "mirror": True},
    "odd": {**HEVC, "transfer": PQ, "size": (193, 129), "pixel_format": "yuv444p10le"},
    "h264": {**HEVC, "transfer": PQ, "codec": "libx264"},
    "prores": {**HEVC, "transfer": HLG, "codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "8_bit": {**HEVC, "transfer": HLG, "pixel_format": "yuv420p"},
    "full_range": {**HEVC, "transfer": PQ, "full_range": True},
}


def made(folder: Path, name: str) -> Path:
    return make_video(folder / f"{name}.{'mov' if name == 'prores' else 'mp4'}", **VIDEOS[name])


def copy(source: Video, output: Path) -> Video:
    with VideoWriter(output, source, Audio(tone(440, 500), 48_000)) as writer:
        for frame in source.frames():
            writer.copy(frame)
    return Video.open(output)


@pytest.mark.parametrize("name", VIDEOS)
def test_the_copy_has_ten_bits_the_same_colours_and_the_same_times(tmp_path: Path, name: str) -> None:
    source = Video.open(made(tmp_path, name))
    result = copy(source, tmp_path / "copy.mp4")
    assert (result.info.codec, result.picture.bits, result.info.rotation) == ("hevc", 10, 0)
    assert (result.info.width, result.info.height) == (source.info.width, source.info.height)
    for one in ("transfer", "primaries", "matrix", "full_range", "light"):
        assert getattr(result.picture, one) == getattr(source.picture, one)
    assert source.picture.light == (LIGHT if name == "pq" else LightLevels())
    assert np.array_equal(result.frame_times.pts, source.frame_times.pts)
    assert result.frame_times.edges_ms.tolist() == source.frame_times.edges_ms.tolist()
    for old, new in zip(source.frames(), result.frames(), strict=True):
        assert read_number(new.image) == old.index
        assert np.abs(new.image.astype(int) - old.image).mean() < 2
    with av.open(str(result.path)) as file:
        assert file.streams.video[0].codec_tag == "hvc1"
    content = result.path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert source.info.losses == ()


class Square:
    """A talk that paints a square on every frame but the first."""

    @property
    def renderer(self) -> Square:
        return self

    @property
    def planned_at(self) -> list[int]:
        return []

    def reach(self, frame: int, progress: Progress = silent) -> None:
        """Nothing is planned."""

    def changes(self, frame: int) -> bool:
        return frame > 0

    def render(self, frame: Frame) -> Patch:
        return Patch(100, 60, np.full((20, 30, 3), (90, 110, 170), np.uint8))


@pytest.mark.parametrize("mode", [None, SyncMode.LOOP])
def test_painted_results_are_labelled_signed_and_marked(tmp_path: Path, mode: SyncMode | None) -> None:
    source = Video.open(made(tmp_path, "pq"))
    timeline = Timeline.of(source.frame_times, mode, 600 if mode else 0)
    maker = Producer("duikou", self_signed(tmp_path))
    files = OutputFiles(source, Output(tmp_path / "result.mp4", tmp_path / "marked.mp4", maker))
    frames = Frames(timeline.times, np.arange(len(timeline)) > 0)
    result, marked = files.writers(timeline, Audio(tone(440, 500), 48_000), [("0", Interval(0, 400))], frames)
    talks: Any = [Square()]
    paint(source, timeline, talks, result, marked, silent)
    assert marked is not None
    for path in (tmp_path / "result.mp4", tmp_path / "marked.mp4"):
        video = Video.open(path)
        assert (video.picture.bits, video.picture.light, len(video.frame_times)) == (10, LIGHT, len(timeline))
        assert label.read(path) is not None
        with path.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
            assert reader.get_validation_state() != "Invalid"
        frame = list(video.frames())[-1]
        assert np.abs(frame.image[62:78, 102:128].astype(int) - (90, 110, 170)).mean() < 6
    corner = [next(Video.open(tmp_path / f"{name}.mp4").frames()).image[-12:, -40:] for name in ("result", "marked")]
    assert np.abs(corner[0].astype(int) - corner[1]).mean() > 10


def test_pixels_outside_the_paint_reach_the_encoder_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Video.open(made(tmp_path, "hlg"))
    sent = []
    monkeypatch.setattr(VideoWriter, "encode", lambda _, frame, pts: sent.append(frame))
    writer = VideoWriter(tmp_path / "result.mp4", source)
    frames = list(source.frames())
    for frame in frames:
        writer.copy(frame.painted(Square().render(frame)))
    for frame, new in zip(frames, sent, strict=True):
        assert frame.stored is not None
        for old, plane, step in zip(frame.stored.planes, new.planes, (1, 2, 2), strict=True):
            same = np.equal(view16(old), view16(plane))
            assert not same[60 // step : 80 // step, 100 // step : 130 // step].all()
            same[60 // step : 80 // step, 100 // step : 130 // step] = True
            assert same.all()


@pytest.mark.parametrize("name", ["pq", "turned_90", "8_bit"])
def test_without_an_encoder_of_hevc_the_result_is_bt_709(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, name)
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx265"})
    assert not hdr.encodable()
    source = Video.open(path)
    result = copy(source, tmp_path / "copy.mp4")
    picture = result.picture
    assert (result.info.codec, picture.bits, picture.pixel_format) == ("h264", 8, "yuv420p")
    assert (picture.transfer, picture.primaries, picture.matrix, picture.light) == (1, 1, 1, LightLevels())
    assert [loss.code for loss in source.info.losses] == ["tone_mapped"]
    for old, new in zip(source.frames(), result.frames(), strict=True):
        assert np.abs(new.image.astype(int) - old.image).mean() < 2.5


def test_ten_bits_of_ordinary_range_become_eight_and_are_told(tmp_path: Path) -> None:
    source = Video.open(make_video(tmp_path / "source.mp4", **HEVC))
    result = copy(source, tmp_path / "copy.mp4")
    assert (result.info.codec, result.picture.bits, result.picture.matrix) == ("h264", 8, 9)
    assert [loss.code for loss in source.info.losses] == ["fewer_bits"]


def with_dolby_vision(path: Path, profile: int, compatible: int) -> Path:
    """The same file with a record of Dolby Vision, as phones write it, in the description of its samples."""
    data = path.read_bytes()
    record = bytes([1, 0, profile << 1, 0b101 | 6 << 3, compatible << 4]) + bytes(19)
    stsd = boxes.content(data, "stsd")
    entry = int.from_bytes(stsd[8:12]) + 32
    stsd = stsd[:8] + entry.to_bytes(4) + stsd[12:] + (32).to_bytes(4) + b"dvvC" + record
    path.write_bytes(boxes.replaced(data, "stsd", stsd))
    return path


@pytest.mark.parametrize(("profile", "compatible", "name"), [(8, 4, "hlg"), (8, 1, "pq")])
def test_dolby_vision_with_a_base_is_read_without_its_own_data(
    tmp_path: Path, profile: int, compatible: int, name: str
) -> None:
    source = Video.open(with_dolby_vision(made(tmp_path, name), profile, compatible))
    assert source.picture.light.dynamic == ("Dolby Vision",)
    assert [loss.code for loss in source.info.losses] == ["dynamic_metadata"]
    result = copy(source, tmp_path / "copy.mp4")
    assert result.picture.light.dynamic == ()
    assert read_number(list(result.frames())[7].image) == 7


def test_dolby_vision_without_a_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError) as caught:
        Video.open(with_dolby_vision(made(tmp_path, "pq"), 5, 0))
    assert str(caught.value) == (
        "video: the video is Dolby Vision of profile 5, whose colours only Dolby's decoder can read; export it as "
        "HDR10, HLG or without high dynamic range."
    )
