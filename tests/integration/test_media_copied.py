"""Packets of the source in a result: bit for bit where nothing changes, in a stream that a strict decoder takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from h264_rules import read_track
from media_maker import fragmented, make_video, trim
from spliced import FRAMES, QUALIFY, Spliced, check_result, make_source, splice, spliced

from duikou.cli import main
from duikou.media import copied
from duikou.media.copied import CopiedTrack
from duikou.media.encode import Finish, VideoWriter
from duikou.media.groups import LEAST
from duikou.media.h264 import ParameterSets, Sps
from duikou.media.video import Video
from duikou.provenance.label import Label
from duikou.timebase import Interval


@pytest.mark.parametrize("kind", QUALIFY)
def test_the_rest_is_the_source_bit_for_bit(kind: str, tmp_path: Path) -> None:
    made = spliced(tmp_path, kind, (70, 80))
    assert len(made.kept) >= LEAST
    check_result(made)


@pytest.mark.parametrize(
    "parts", [((60, 61),), ((0, 1),), ((149, 150),), ((49, 51),), ((99, 100),), ((10, 12), (60, 99), (148, 149)), ()]
)
@pytest.mark.parametrize("kind", ["medium", "strict_b_pyramid", "late"])
def test_parts_anywhere(kind: str, parts: tuple[tuple[int, int], ...], tmp_path: Path) -> None:
    made = spliced(tmp_path, kind, *parts)
    assert made.kept
    check_result(made)


def test_the_parameter_sets_are_read_as_ffmpeg_reads_them(tmp_path: Path) -> None:
    for kind in QUALIFY:
        source = make_source(tmp_path / f"{kind}.mp4", **QUALIFY[kind] | {"frames": 3, "pts": None})
        told = read_track(source.path).sps
        with av.open(str(source.path)) as file:
            sets = ParameterSets.of(file.streams.video[0].codec_context.extradata or b"")
        (sps,) = map(Sps.parse, sets.sps)
        one = told[sps.number]
        assert (sps.profile, sps.level) == (one["profile_idc"], one["level_idc"])
        assert sps.size == (16 * one["pic_width_in_mbs_minus1"] + 16, 16 * one["pic_height_in_map_units_minus1"] + 16)
        assert sps.crop == tuple(one.get(f"frame_crop_{side}_offset", 0) for side in ("left", "right", "top", "bottom"))
        assert sps.buffered == one["max_dec_frame_buffering"]
        assert sps.look.matrix == one.get("matrix_coefficients", 2)
        assert sps.look.full_range == bool(one.get("video_full_range_flag", 0))


def test_of_key_frames_alone_those_behind_the_change_are_copied(tmp_path: Path) -> None:
    made = splice(make_source(tmp_path / "source.mp4", options={"g": "1"}), tmp_path / "result.mp4", (70, 80))
    assert made.kept == [*range(80, FRAMES)]
    check_result(made)


def test_changes_in_every_group(tmp_path: Path) -> None:
    made = splice(make_source(tmp_path / "source.mp4"), tmp_path / "result.mp4", (2, 5), (52, 55), (102, 105))
    check_encoded(made, "the changes leave no group of pictures")


def test_the_same_work_gives_the_same_bytes(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4")
    first, second = (splice(source, tmp_path / name, (70, 80)).output.read_bytes() for name in ("a.mp4", "b.mp4"))
    assert first == second


def test_frames_that_an_edit_list_hides_are_left_out(tmp_path: Path) -> None:
    whole = make_source(tmp_path / "whole.mp4")
    source = Video.open(trim(whole.path, tmp_path / "source.mp4", start_ms=1_000))
    assert len(source.frame_times) == FRAMES - 25
    made = splice(source, tmp_path / "result.mp4", (60, 65))
    first, last = (one for one in made.stretches if one.copied)
    assert first.start == 25  # the first key frame that shows
    assert 50 < first.stop <= 60
    assert (last.start, last.stop) == (75, 125)
    check_result(made)


def test_fragments(tmp_path: Path) -> None:
    whole = make_source(tmp_path / "whole.mp4", options={"bf": "0"})
    made = splice(Video.open(fragmented(whole.path, tmp_path / "source.mp4")), tmp_path / "result.mp4", (60, 65))
    assert made.kept
    check_result(made)


def test_ffmpeg_seeks_to_both_sides_of_each_seam(tmp_path: Path) -> None:
    made = spliced(tmp_path, "medium", (20, 25), (70, 80))
    every = {frame.index: frame.image for frame in Video.open(made.output).frames()}
    for seam in [one.start for one in made.stretches[1:]]:
        for first in (seam - 1, seam, seam + 1):
            found = next(Video.open(made.output).frames(first, first + 1))
            np.testing.assert_array_equal(found.image, every[first])


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "hevc": ({"codec": "libx265"}, "the codec is hevc"),
    "turned": ({"rotation": 90}, "the picture is turned"),
    "deep": ({"pixel_format": "yuv420p10le"}, "the result has fewer bits than the source"),
    "full_chroma": ({"pixel_format": "yuv444p"}, "the result stores pixels in another way"),
    "odd": ({"size": (193, 129), "pixel_format": "yuv444p"}, "the result stores pixels in another way"),
    "fields": ({"options": {"x264-params": "tff=1"}}, "the track may hold fields"),
    "lossless": ({"options": {"qp": "0"}}, "the profile is 244"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_otherwise_all_is_encoded_and_the_file_says_why(name: str, tmp_path: Path) -> None:
    what, reason = UNFIT[name]
    made = splice(make_source(tmp_path / "source.mp4", **what), tmp_path / "result.mp4", (70, 80))
    check_encoded(made, reason)


def check_encoded(made: Spliced, reason: str) -> None:
    """Nothing is copied, and the result is the one that is written when nothing else is asked for."""
    assert made.kept == []
    told = copied.read(made.output)
    assert told is not None
    assert told.picture == CopiedTrack(reason=reason)
    with VideoWriter(made.output.with_name("plain.mp4"), made.source) as writer:
        for frame in made.source.frames():
            if made.changed[frame.index]:
                writer.write(255 - frame.image, frame.pts)
            else:
                writer.copy(frame)
    assert payload(made.output) == payload(made.output.with_name("plain.mp4"))


def payload(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(file.streams.video[0])]


def nal(unit: bytes) -> bytes:
    return len(unit).to_bytes(4, "big") + unit


SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "other_set": (lambda data: nal(b"\x68\xff\xff") + data, "the parameter sets change"),
    "other_kind": (lambda data: nal(b"\x6e\x00\x00") + data, "the track has NAL units of type 14"),
    "too_long": (lambda data: data + b"\0\0\1\0\x0c", "a NAL unit is longer than its packet"),
    "empty": (lambda data: nal(b"\x06\x05\x01\x00\x80"), "a packet does not hold one picture"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_packets_that_are_not_understood(name: str, tmp_path: Path) -> None:
    spoil, reason = SPOILT[name]
    whole = make_source(tmp_path / "whole.mp4")
    path = remade(whole.path, tmp_path / "source.mp4", lambda number, data: spoil(data) if number == 120 else data)
    made = splice(Video.open(path), tmp_path / "result.mp4", (70, 80))
    assert made.kept == []
    told = copied.read(made.output)
    assert told is not None
    assert told.picture.reason == reason


def test_parameter_sets_that_are_repeated_are_copied_too(tmp_path: Path) -> None:
    whole = make_source(tmp_path / "whole.mp4")
    with av.open(str(whole.path)) as file:
        sets = ParameterSets.of(file.streams.video[0].codec_context.extradata or b"")
    repeated = b"".join(map(nal, sets.sps + sets.pps))
    path = remade(whole.path, tmp_path / "source.mp4", lambda number, data: (b"" if number % 50 else repeated) + data)
    made = splice(Video.open(path), tmp_path / "result.mp4", (70, 80))
    assert len(made.kept) == 120
    check_result(made)


def remade(source: Path, output: Path, change: Callable[[int, bytes], bytes]) -> Path:
    """A copy of a video with other packets. change: called with the number and the bytes of each."""
    with av.open(str(source)) as old, av.open(str(output), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(packet for packet in old.demux() if packet.size):
            other = av.Packet(change(number, bytes(packet)))
            other.pts, other.dts, other.duration = packet.pts, packet.dts, packet.duration
            other.time_base, other.stream, other.is_keyframe = packet.time_base, stream, packet.is_keyframe
            new.mux(other)
    return output


def test_a_container_that_tells_another_shape_of_pixels(tmp_path: Path) -> None:
    whole = make_source(tmp_path / "whole.mp4")
    with av.open(str(whole.path)) as old, av.open(str(tmp_path / "source.mp4"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        for packet in old.demux():
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    made = splice(Video.open(tmp_path / "source.mp4"), tmp_path / "result.mp4", (70, 80))
    check_encoded(made, "the encoder cannot make pictures of the same form")


def test_the_file_tells_what_is_copied(tmp_path: Path) -> None:
    tags = {"AIGC": "a label"}
    made = splice(make_source(tmp_path / "source.mp4"), tmp_path / "result.mp4", (70, 80), finish=Finish(tags))
    told = copied.read(made.output)
    assert told is not None
    assert told.picture == CopiedTrack((Interval(0, 2_800), Interval(4_000, 6_000)), 0.8)
    with av.open(str(made.output)) as file:
        assert file.metadata["AIGC"] == "a label"
        assert json.loads(file.metadata[copied.KEY]) == told.json


def test_inspect_tells_what_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = Label.first("somebody", "1").tags
    made = splice(make_source(tmp_path / "source.mp4"), tmp_path / "result.mp4", (70, 80), finish=Finish(label))
    assert main.run(["inspect", str(made.output)]) == 0
    assert "picture 80%: 0 to 2800 ms, 4000 to 6000 ms" in " ".join(capsys.readouterr().out.split())
    assert main.run(["inspect", str(made.output), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["copied"]
    assert told == {
        "picture": {"intervals_ms": [[0, 2_800], [4_000, 6_000]], "share": 0.8, "reason": ""},
        "sound": None,
    }


def test_inspect_tells_why_nothing_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = Label.first("somebody", "1").tags
    source = make_source(tmp_path / "source.mp4", rotation=90)
    splice(source, tmp_path / "result.mp4", (70, 80), finish=Finish(label))
    assert main.run(["inspect", str(tmp_path / "result.mp4")]) == 0
    assert "nothing: the picture is turned" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "{}", '{"picture": 7, "sound": []}', '{"picture": {"share": 1e999}}', "[" * 9_999]
)
def test_notes_that_make_no_sense(text: str) -> None:
    told = copied.Copied.parse(text)
    assert told is None or told.picture == CopiedTrack()


def test_notes_of_strangers_are_bounded() -> None:
    pairs = [[1, 2], [3, 2], [-1, 4], "x", [1.5, 2], [0, 10**12], *[[1, 2]] * 20_000]
    told = copied.Copied.parse(json.dumps({"picture": {"intervals_ms": pairs, "share": 2, "reason": "x" * 9_999}}))
    assert told is not None
    assert set(told.picture.intervals) == {Interval(1, 2)}
    assert len(told.picture.intervals) < copied.MAX_INTERVALS
    assert told.picture.share == 0
    assert len(told.picture.reason) < 300


def test_a_file_without_the_note(tmp_path: Path) -> None:
    assert copied.read(make_video(tmp_path / "source.mp4", frames=2)) is None


def test_where_pictures_are_refreshed_part_by_part_decoding_begins_at_an_idr_picture(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4", **QUALIFY["intra_refresh"])
    with av.open(str(source.path)) as file:
        assert sum(packet.is_keyframe for packet in file.demux(video=0)) > 1
    assert source.frame_times.keyframes.tolist() == [0]
    whole = {frame.index: frame.image for frame in source.frames()}
    np.testing.assert_array_equal(next(source.frames(70, 71)).image, whole[70])


def test_in_open_groups_decoding_begins_at_any_of_them(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source.mp4", **QUALIFY["open_groups"])
    assert len(source.frame_times.keyframes) == 3
    whole = {frame.index: frame.image for frame in source.frames()}
    np.testing.assert_array_equal(next(source.frames(120, 121)).image, whole[120])
