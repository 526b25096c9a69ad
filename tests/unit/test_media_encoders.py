"""Encoders of hardware: which there are, and what is said of those that are not. Most machines have none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
import pytest
from media_maker import make_sound, make_video, tone
from spliced import make_source, splice

import duikou
from duikou.cli import doctor, main
from duikou.cli.checks import Check
from duikou.errors import InputError
from duikou.media import copied, decode, encoders
from duikou.media.copied import CopiedTrack
from duikou.media.encode import DELIVERY, VideoWriter
from duikou.media.encoders import Codec, Encoder
from duikou.media.video import Video, probe_video
from duikou.settings import Settings
from duikou.storage.data_folder import DataFolder
from duikou.workers.executor import WorkPolicy


def known(monkeypatch: pytest.MonkeyPatch, **codecs: Codec) -> None:
    """Let these be the encoders of hardware, by their names."""
    found = {Encoder(name): codec for name, codec in codecs.items()}
    monkeypatch.setattr(encoders, "HARDWARE", MappingProxyType(dict(encoders.HARDWARE) | found))


@pytest.fixture(params=["", "nv12"])
def nvenc(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Codec]:
    """A machine that has NVENC: x264 stands in for it, with a constant quality that x264 is otherwise not given."""
    options = {"qp": "30", "preset": "ultrafast", "bf": "0"}
    codec = Codec("libx264", "tests", options, frozenset({"yuv420p"}), surface=request.param)
    known(monkeypatch, nvenc=codec)
    yield codec


@pytest.mark.parametrize("encoder", list(encoders.HARDWARE))
def test_every_encoder_of_hardware_says_why_it_cannot_be_used(encoder: Encoder) -> None:
    codec = encoders.HARDWARE[encoder]
    reason = encoders.problem(codec)
    if not reason:
        pytest.skip(f"this machine has {encoder}")
    assert codec.name in reason
    assert codec.what in reason or "built without" in reason
    with pytest.raises(InputError, match=f"{encoder} cannot be used here: .*; x264 works everywhere") as raised:
        encoders.require(encoder)
    assert raised.value.field == "encoder"


def test_an_encoder_that_is_absent_from_the_build_is_not_tried() -> None:
    absent = Codec("no_such_encoder", "nothing", {}, frozenset())
    assert encoders.problem(absent) == f"FFmpeg in PyAV {av.__version__} was built without no_such_encoder"


def test_a_device_that_is_absent_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec("h264_nvenc", "a device", {}, frozenset(), device="no such device")
    monkeypatch.setattr(av, "codecs_available", av.codecs_available | {codec.name})
    assert "h264_nvenc" in encoders.problem(codec)


def test_options_that_an_encoder_refuses_are_a_reason() -> None:
    codec = Codec("libx264", "tests", {"preset": "no such preset"}, frozenset())
    assert encoders.problem(codec).startswith("libx264 does not start (")


def test_x264_needs_no_hardware() -> None:
    assert encoders.require("x264") is encoders.hardware(Encoder.X264, "yuv420p10le") is None
    with pytest.raises(InputError, match="encoder: expected one of x264, nvenc, videotoolbox, vaapi, got 'h265'"):
        encoders.require("h265")


def test_a_format_that_hardware_does_not_take_is_an_error(nvenc: Codec) -> None:
    assert encoders.hardware("nvenc", "yuv420p") is nvenc
    with pytest.raises(InputError, match="nvenc takes yuv420p, and this video needs yuv444p; use x264"):
        encoders.hardware("nvenc", "yuv444p")


def test_a_file_of_hardware_has_the_sources_frames_and_times(tmp_path: Path, nvenc: Codec) -> None:
    source = make_video(tmp_path / "source.mp4")
    written = {}
    for encoder in ("x264", "nvenc"):
        path = tmp_path / f"{encoder}.mp4"
        with VideoWriter(path, Video.open(source), quality=replace(DELIVERY, encoder=encoder)) as writer:
            for frame in decode.frames(source):
                writer.copy(frame)
        written[encoder] = path
    assert probe_video(written["nvenc"]) == probe_video(written["x264"])
    times = {encoder: [frame.pts for frame in decode.frames(path)] for encoder, path in written.items()}
    assert times["nvenc"] == times["x264"]
    assert b"rc=cqp" in written["nvenc"].read_bytes() and b"rc=crf" in written["x264"].read_bytes()


def test_with_hardware_nothing_is_copied_and_the_file_says_why(tmp_path: Path, nvenc: Codec) -> None:
    assert encoders.require("nvenc") is nvenc
    source = make_source(tmp_path / "source.mp4")
    assert splice(source, tmp_path / "x264.mp4", (5, 8)).kept
    made = splice(source, tmp_path / "nvenc.mp4", (5, 8), quality=replace(DELIVERY, encoder="nvenc"))
    assert made.kept == []
    told = copied.read(made.output)
    assert told is not None and told.picture == CopiedTrack(reason="hardware makes all pictures")
    np.testing.assert_array_equal(Video.open(made.output).frame_times.pts, source.frame_times.pts)


def test_a_writer_whose_encoder_is_absent_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, vaapi=Codec("no_such_encoder", "nothing", {}, frozenset({"yuv420p"})))
    source = make_video(tmp_path / "source.mp4")
    with pytest.raises(InputError, match="vaapi cannot be used here"):
        VideoWriter(tmp_path / "out.mp4", Video.open(source), quality=replace(DELIVERY, encoder="vaapi"))
    with pytest.raises(InputError, match="encoder: vaapi cannot be used here"):
        duikou.Output(tmp_path / "out.mp4", encoder="vaapi").check(source)
    assert list(tmp_path.iterdir()) == [source]


def test_the_command_line_names_its_option_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known(monkeypatch, nvenc=Codec("no_such_encoder", "nothing", {}, frozenset()))
    video, said = make_video(tmp_path / "talk.mp4"), make_sound(tmp_path / "speech.wav", tone(300, 400))
    arguments = ["sync", str(video), str(said)]
    assert main.run([*arguments, "--encoder", "nvenc"]) == 2
    assert "duikou: --encoder: nvenc cannot be used here: " in capsys.readouterr().err
    assert main.run([*arguments, "--encoder", "nvenc", "--server", "http://127.0.0.1:1"]) == 2
    assert "--encoder: cannot be combined with --server" in capsys.readouterr().err
    monkeypatch.setenv("DUIKOU_ENCODER", "nvenc")
    assert main.run(arguments) == 2
    assert "nvenc cannot be used here" in capsys.readouterr().err


def test_the_doctor_tells_which_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nvenc: Codec) -> None:
    known(monkeypatch, nvenc=nvenc, vaapi=Codec("no_such_encoder", "nothing", {}, frozenset()))

    def check(encoder: str) -> Check:
        settings = Settings(data=tmp_path, encoder=encoder)
        return next(one for one in doctor.examine(settings) if one.name == "encoders")

    assert check("x264").ok and check("nvenc").ok
    assert check("x264").found.startswith("x264, nvenc; no ")
    assert "no vaapi: FFmpeg in PyAV" in check("x264").found
    assert not check("vaapi").ok
    assert check("vaapi").remedy == "set DUIKOU_ENCODER=x264"


def test_a_server_takes_no_encoder_of_hardware(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="DUIKOU_ENCODER: the sandbox of tasks has no access to devices"):
        WorkPolicy.of(Settings(encoder="nvenc"), DataFolder(tmp_path, 0))
