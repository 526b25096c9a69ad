"""The command line: what it prints where, and its exit status. The pipeline itself is replaced by a small stand-in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import typer.main
from known_video import known_video
from media_maker import make_sound, make_video, tone

import duikou
from duikou import FaceChoice, Output, Result, Session, __version__
from duikou.cli import files, main, terminal
from duikou.cli.times import parse_time, parse_trim
from duikou.errors import InputError, ModelError
from duikou.faces.track import POINTS, Face, FaceTrack, FaceWarning, PackedTrack, Speaking
from duikou.media.encode import Finish, VideoWriter
from duikou.media.probe import VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.media.video import Video
from duikou.pipeline import sync as pipeline_sync
from duikou.pipeline.plan import Spoken
from duikou.progress import Progress, silent
from duikou.provenance.label import Label
from duikou.provenance.producer import Producer, user_folder
from duikou.timebase import Interval

FRAMES = 50
INFO = VideoInfo("mp4", "h264", 1280, 720, 0, FRAMES, Fraction(25), 2_000, None)


def face(face_id: str, width: int, height: int, interval: Interval, *warnings: FaceWarning, at: int = 0) -> Face:
    landmarks = np.zeros((FRAMES, POINTS, 3), np.float32)
    landmarks[:, 1, :2] = width, height
    landmarks[..., 0] += at
    times = np.arange(FRAMES, dtype=np.int64) * 40
    track = FaceTrack(
        np.arange(FRAMES, dtype=np.int64), times, landmarks, np.ones(FRAMES, np.float32), np.zeros(FRAMES, np.int64)
    )
    picture = np.full((40, 30, 3), 128, np.uint8)
    return Face(face_id, interval, PackedTrack.of(track), np.ones(FRAMES, np.bool_), picture, warnings)


SMALL_FACE = face(
    "0", 90, 120, Interval(0, 2_000), FaceWarning("small_face", "the lips are 28 px wide", Interval(0, 800))
)
LARGE_FACE = face("1", 200, 260, Interval(400, 1_900), at=1_000)


class Recorder:
    """Stands in for the pipeline: knows two faces, remembers the choice and writes a file."""

    def __init__(self, faces: tuple[Face, ...]) -> None:
        self.faces = faces
        self.rejected: tuple[FaceWarning, ...] = ()
        self.choices: list[FaceChoice] = []
        self.shares: list[float] = []
        self.sync_modes: list[SyncMode | None] = []
        self.made_by: list[Producer] = []

    def identify(self, video: str | Path, *, progress: Progress = silent) -> Session:
        for share in (0.0, 0.5, 1.0):
            progress("finding faces", share)
        return Session(known_video(Path(video), INFO), self.faces, self.rejected)

    def lip_sync(
        self,
        session: Session,
        choices: Sequence[FaceChoice],
        output: Output,
        *,
        sync_mode: SyncMode | None,
        progress: Progress = silent,
    ) -> Result:
        self.sync_modes.append(sync_mode)
        progress("rendering", 1.0)
        self.choices += choices
        assert output.made_by is not None
        self.made_by.append(output.made_by)
        path = output.path or session.video.with_suffix(".synced.mp4")
        path.write_bytes(b"video")
        return Result(path, INFO, (), output.watermark)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of 2,000 ms."""
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=FRAMES, faststart=True).read_bytes()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clip: bytes) -> Recorder:
    recorder = Recorder((SMALL_FACE, LARGE_FACE))
    monkeypatch.setattr(duikou, "identify", recorder.identify)
    monkeypatch.setattr(duikou, "lip_sync", recorder.lip_sync)
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(clip)
    make_sound(Path("speech.wav"), np.full((16_000, 1), 0.1, np.float32), 16_000)
    return recorder


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"duikou {__version__}\n"


def test_faces_prints_a_table_and_writes_pictures(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["faces", "clip.mp4"]) == 0
    shown = capsys.readouterr()
    rows = [line.split() for line in shown.out.splitlines()]
    assert rows[1][:6] == ["0", "left", "0", "2000", "90x120", "clip.faces/face_0.jpg"]
    assert rows[2] == ["1", "right", "400", "1900", "200x260", "clip.faces/face_1.jpg"]
    assert "the lips are 28 px wide" in shown.out
    picture = cv2.imread("clip.faces/face_1.jpg")
    assert picture is not None and picture.shape == (40, 30, 3)
    assert "clip.mp4: finding faces 50%" in shown.err


def test_pictures_go_beside_the_video(recorder: Recorder) -> None:
    Path("folder").mkdir()
    Path("clip.mp4").rename("folder/clip.mp4")
    assert main.run(["faces", "folder/clip.mp4"]) == 0
    assert Path("folder/clip.faces/face_1.jpg").is_file()


def test_brackets_in_names_are_not_markup(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    Path("clip.mp4").rename("clip[bold].mp4")
    assert main.run(["faces", "clip[bold].mp4"]) == 0
    assert "clip[bold].faces/face_0.jpg" in capsys.readouterr().out


def test_faces_as_json(recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["faces", "clip.mp4", "--json", "--pictures", "elsewhere"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["frames"] == FRAMES
    assert told["faces"][0] == {
        "id": "0",
        "position": "left",
        "bbox": [0, 0, 90, 120],
        "start_ms": 0,
        "end_ms": 2000,
        "width": 90,
        "height": 120,
        "speaking": [],
        "picture": "elsewhere/face_0.jpg",
        "warnings": [{"code": "small_face", "message": "the lips are 28 px wide", "start_ms": 0, "end_ms": 800}],
    }
    assert (tmp_path / "elsewhere/face_1.jpg").is_file()


def test_no_face_is_not_a_success(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    recorder.faces = ()
    assert main.run(["faces", "clip.mp4", "--json"]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["faces"] == []
    assert "duikou: VIDEO: no face of clip.mp4 can be lip-synced: no face can be made out in it" in shown.err
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 2


def test_no_face_has_its_reasons(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    recorder.faces = ()
    recorder.rejected = (FaceWarning("unseen_lips", "the lips are never visible", Interval(0, 2000)),)
    sentence = "no face of clip.mp4 can be lip-synced: the lips are never visible"
    assert main.run(["faces", "clip.mp4", "--json"]) == 2
    shown = capsys.readouterr()
    reason = {"code": "unseen_lips", "message": "the lips are never visible", "start_ms": 0, "end_ms": 2000}
    assert json.loads(shown.out)["rejected"] == [reason]
    assert sentence in shown.err
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 2
    assert sentence in capsys.readouterr().err


def test_sync_passes_every_choice_on(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--face", "0", "--at", "1.5s", "--trim", "250:750"]
    loud = ["--volume", "1.5", "--original-volume", "0.25"]
    assert main.run(["sync", "clip.mp4", "speech.wav", *where, *loud, "-o", "out.mp4"]) == 0
    assert recorder.choices == [FaceChoice(Path("speech.wav"), "0", 250, 750, 1500, 1.5, 0.25)]
    shown = capsys.readouterr()
    assert shown.out == "out.mp4\n"
    assert "face 0 speaks (left, 0 ms to 2000 ms)\n" in shown.err


def test_the_former_name_of_trim_still_works(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sync", "clip.mp4", "speech.wav", "--crop", ":500"]) == 0
    assert recorder.choices[0].trim_end_ms == 500
    capsys.readouterr()
    assert main.run(["sync", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--trim" in shown
    assert "--crop" not in shown


BAD_OPTIONS = [
    (["--face", "7"], "--face: the session has no face '7'; its faces: 0, 1."),
    (["--at", "-5"], "--at: -5 ms is less than 0."),
    (["--at", "1.5"], "--at: '1.5' is not a time; write 1500 (milliseconds), 1.5s or 0:01.5"),
    (["--at", "99999"], "--at: the video lasts 2.0 s, so speech cannot begin at 100.0 s; use an earlier time, or"),
    (["--trim", "x"], "--trim: 'x' is not a part of a sound; write A:B in milliseconds or seconds (500:4500, "),
    (["--trim", "500:200"], "--trim: the audio from 500 ms to 200 ms lasts -300 ms"),
    (["--trim", ":4000"], "--trim: 4000 ms is after the audio's end at 1000 ms."),
    (["--volume", "3"], "--volume: 3 is not between 0 and 2."),
    (["--volume", "nan"], "--volume: nan is not between 0 and 2."),
    (["--volume", "loud"], "--volume: a number is needed"),
    (["--original-volume", "-1"], "--original-volume: -1 is not between 0 and 2."),
    (["--original-scope", "voice"], "--original-scope: 'voice' is not one of speech, video"),
    (["--exclude", "1s"], "--exclude: '1s' is not a start and an end; write A:B in milliseconds or seconds"),
    (["--exclude", "500:"], "--exclude: '500:' is not a start and an end; write A:B"),
    (["--reference", "clip.mp4"] * 5, "--reference: 5 references are given; at most 4 are taken."),
    (["--sync-mode", "loop", "--at", "60000"], "--sync-mode: loop would make the video 61000 ms long"),
    (
        ["--sync-mode", "cutoff"],
        "--sync-mode: 'cutoff' is not one of cut_off, loop, bounce, silence; did you mean cut_",
    ),
    (["--output", "clip.mp4"], "--output: clip.mp4 is the source video itself"),
    (["--output", "."], "--output: . is a folder; name a file, such as clip.mp4."),
    (["--output", "out.avi"], "--output: out.avi does not end in .mp4; results are mp4 files."),
    (["--output", "nowhere/out.mp4"], "--output: there is no folder nowhere."),
    (["--output", "text.mp4"], "--output: text.mp4 exists, and duikou has not made it; --force overwrites it."),
    (["--watermark", "clip.mp4"], "--watermark: clip.mp4 is the source video itself"),
    (["--watermark", "text.mp4"], "--watermark: text.mp4 exists, and duikou has not made it; --force overwrites it."),
    (["--output", "out.mp4", "--watermark", "out.mp4"], "--watermark: out.mp4 is the output itself"),
    (["--encoder", "h265"], "--encoder: expected one of x264, nvenc, videotoolbox, vaapi, got 'h265'"),
    (["--plan", "plan.json"], "--plan: cannot be combined with AUDIO"),
    (["--say", "0", "speech.wav"], "--say: cannot be combined with AUDIO"),
    (["--say", "0"], "--say: a face and a file are needed, such as --say 0 speech.wav"),
    (["--server", "localhost:8000"], "--server: http:// or https:// and a host are expected."),
]


@pytest.mark.parametrize(("options", "sentence"), BAD_OPTIONS)
def test_a_complaint_of_the_library_names_the_option(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(duikou, "lip_sync", pipeline_sync.lip_sync)
    Path("text.mp4").write_text("precious")
    assert main.run(["sync", "clip.mp4", "speech.wav", *options]) == 2
    shown = capsys.readouterr().err
    assert shown.splitlines()[-1].startswith(f"duikou: {sentence}")
    assert ("finding faces" in shown) == ("--face" in options), "all but the face is checked before the video is read"
    assert sorted(path.name for path in Path().iterdir()) == ["clip.mp4", "speech.wav", "text.mp4"]
    assert Path("text.mp4").read_text() == "precious"


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (["speech.wav"], "--reference 1: the file is wav; a video must be mp4 or mov."),
        (["photo.png", "junk"], "--reference 2: the content is not a jpeg, png, webp, mp4 or mov file."),
        (["photo.png", "nothing.png"], "--reference 2: there is no file nothing.png"),
    ],
)
def test_a_complaint_about_a_reference_says_which(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    paths: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(duikou, "lip_sync", pipeline_sync.lip_sync)
    Path("junk").write_bytes(b"junk")
    cv2.imwrite("photo.png", np.zeros((40, 40, 3), np.uint8))
    options = [word for path in paths for word in ("--reference", path)]
    assert main.run(["sync", "clip.mp4", "speech.wav", *options]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"duikou: {sentence}"


def test_a_picture_that_stands_still_during_the_speech_is_told(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    still = FaceWarning("held_frame", "one frame is shown for 900 ms", Interval(0, 900))
    later = FaceWarning("few_frames", "only 3 frames are shown", Interval(1_990, 2_000))
    recorder.faces = (face("0", 90, 120, Interval(0, 2_000), still, later),)
    assert main.run(["sync", "clip.mp4", "speech.wav", "--json"]) == 0
    shown = capsys.readouterr()
    assert [line for line in shown.err.splitlines() if "shown" in line] == ["warning: one frame is shown for 900 ms"]
    assert json.loads(shown.out)["warnings"] == ["one frame is shown for 900 ms"]


def test_sound_beyond_the_picture_is_told(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(Path("clip.mp4"), frames=FRAMES, sound=tone(300, 3_000))
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 0
    assert "goes on for 1000 ms after the picture, which ends at 2000 ms" in capsys.readouterr().err


def test_references_are_handed_on_and_doubts_are_told(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = np.zeros(0)
    doubt = FaceWarning("other_person", "reference 1 may show another person", Interval(0, 1))
    spoken = Spoken("1", (Interval(0, 1),), empty.astype(np.int64), empty.astype(np.int64), empty, empty, (doubt,))

    def lip_sync(*given: Any, **more: Any) -> Result:
        return replace(recorder.lip_sync(*given, **more), spoken=(spoken,))

    monkeypatch.setattr(duikou, "lip_sync", lip_sync)
    cv2.imwrite("photo.png", np.zeros((40, 40, 3), np.uint8))
    assert main.run(["sync", "clip.mp4", "speech.wav", "--reference", "photo.png", "--reference", "clip.mp4"]) == 0
    assert recorder.choices[0].references == (Path("photo.png"), Path("clip.mp4"))
    shown = capsys.readouterr()
    assert "warning: reference 1 may show another person" in shown.err.splitlines()
    assert shown.out == "clip.synced.mp4\n"


def test_every_option_of_sync_has_a_complaint_that_names_it() -> None:
    found = typer.main.get_command(main.app).commands["sync"]  # type: ignore[attr-defined]
    options = {max(parameter.opts, key=len) for parameter in found.params if not getattr(parameter, "hidden", False)}
    flags = {"--force", "--quiet", "--json"}
    assert {"video", "audio"} | flags | {sentence.partition(":")[0] for _, sentence in BAD_OPTIONS} == options


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["faces", "junk"], "VIDEO: junk is of an unknown kind; a video must be mp4 or mov."),
        (["sync", "junk", "junk"], "VIDEO: junk is of an unknown kind; a video must be mp4 or mov."),
        (["inspect", "junk"], "FILE: the content is not an mp4 or mov file."),
    ],
)
def test_a_complaint_of_a_file_names_the_argument(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("junk").write_bytes(b"junk" * 100)
    assert main.run(arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"duikou: {sentence}")


def test_a_video_as_speech_gets_the_line_that_takes_its_sound(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["sync", "clip.mp4", "clip.mp4"]) == 2
    assert capsys.readouterr().err == (
        "duikou: AUDIO: clip.mp4 is a video; speech must be mp3, wav, m4a or aac. To make one: ffmpeg -i clip.mp4 -vn "
        "clip.wav\n"
    )


@pytest.mark.parametrize(
    ("content", "video", "speech"),
    [
        (
            b"\x89PNG\r\n\x1a\n",
            "my file is a picture; a video must be mp4 or mov. To make one of 10 s: ffmpeg -loop 1 -i 'my file' -t 10 "
            "-r 25 -vf 'pad=ceil(iw/2)*2:ceil(ih/2)*2' -pix_fmt yuv420p 'my file.mp4'",
            "my file is a picture; speech must be mp3, wav, m4a or aac.",
        ),
        (
            b"\x1aE\xdf\xa3",
            "my file is a Matroska or WebM video; a video must be mp4 or mov. To make one: ffmpeg -i 'my file' "
            "-pix_fmt yuv420p 'my file.mp4'",
            "my file is a Matroska or WebM video; speech must be mp3, wav, m4a or aac. To make one: ffmpeg -i "
            "'my file' -vn 'my file.wav'",
        ),
        (
            b"OggS",
            "my file is Ogg audio; a video must be mp4 or mov.",
            "my file is Ogg audio; speech must be mp3, wav, m4a or aac. To make one: ffmpeg -i 'my file' -vn "
            "'my file.wav'",
        ),
        (
            b"",
            "my file is empty; a video must be mp4 or mov.",
            "my file is empty; speech must be mp3, wav, m4a or aac.",
        ),
    ],
)
def test_wrong_files_are_named_with_the_remedy(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], content: bytes, video: str, speech: str
) -> None:
    Path("my file").write_bytes(content)
    for arguments, sentence in (
        (["faces", "my file"], f"VIDEO: {video}"),
        (["sync", "my file", "speech.wav"], f"VIDEO: {video}"),
        (["sync", "clip.mp4", "my file"], f"AUDIO: {speech}"),
        (["sync", "clip.mp4", "--say", "0", "my file"], f"--say: {speech}"),
    ):
        assert main.run(arguments) == 2
        assert capsys.readouterr().err == f"duikou: {sentence}\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "the speech lasts 3.0 s, the video 2.0 s: use --trim :2000 or"),
        (["--trim", "500:"], "the speech lasts 2.5 s, the video 2.0 s: use --trim 500:2500 or"),
        (["--at", "0.5s"], "the speech lasts 3.0 s and begins at 0.5 s, the video lasts 2.0 s: use --trim :1500 or"),
    ],
)
def test_speech_longer_than_the_video_gets_the_options_that_mend_it(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    make_sound(Path("speech.wav"), np.full((48_000, 1), 0.1, np.float32), 16_000)
    arguments = ["sync", "clip.mp4", "speech.wav", *options]
    assert main.run(arguments) == 2
    shown = capsys.readouterr().err
    assert shown == (
        f"duikou: AUDIO: {sentence} --sync-mode cut_off to end the speech earlier, or --sync-mode loop, bounce or "
        "silence to make the video longer\n"
    )
    trim = sentence.partition("--trim ")[2].split()[0]
    assert main.run([*arguments, "--trim", trim]) == 0
    Path("clip.synced.mp4").unlink()
    assert main.run([*arguments, "--sync-mode", "cut_off"]) == 0


def test_speech_that_goes_on_after_its_face_is_told(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    make_sound(Path("speech.wav"), np.full((32_000, 1), 0.1, np.float32), 16_000)
    recorder.faces = (face("0", 200, 260, Interval(0, 1_500)),)
    sentence = (
        "the speech goes on for 0.5 s after face 0, which ends at 1500 ms; --trim :1500 or --sync-mode cut_off ends "
        "both together"
    )
    assert main.run(["sync", "clip.mp4", "speech.wav", "--json"]) == 0
    shown = capsys.readouterr()
    assert f"warning: {sentence}\n" in shown.err
    assert json.loads(shown.out)["warnings"] == [sentence]
    for mended in (["--trim", ":1500"], ["--sync-mode", "cut_off"]):
        assert main.run(["sync", "clip.mp4", "speech.wav", "--force", *mended]) == 0
        assert "warning" not in capsys.readouterr().err


def test_speech_outside_its_face_gets_the_option_that_mends_it(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.faces = (face("0", 200, 260, Interval(1_000, 2_000)),)
    make_sound(Path("speech.wav"), np.full((24_000, 1), 0.1, np.float32), 16_000)
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 0
    assert capsys.readouterr().err.splitlines()[-2] == (
        "warning: the speech begins 1.0 s before face 0, which begins at 1000 ms; --at 1000 begins both together"
    )
    assert main.run(["sync", "clip.mp4", "speech.wav", "--trim", ":500", "--force"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "duikou: --at: face 0 shows from 1000 ms to 2000 ms, the speech plays from 0 ms to 500 ms: use --at 1000"
    )
    assert main.run(["sync", "clip.mp4", "speech.wav", "--trim", ":500", "--force", "--at", "1000"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_silent_speech_a_broken_video_and_a_very_short_part_are_told(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], clip: bytes
) -> None:
    Path("clip.mp4").write_bytes(clip[: len(clip) * 9 // 10])
    make_sound(Path("speech.wav"), np.zeros((16_000, 1), np.float32), 16_000)
    assert main.run(["sync", "clip.mp4", "speech.wav", "--trim", "0:30", "--face", "0"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert told[0].startswith("warning: clip.mp4 was cut off: 10% of the file is missing, and only the first ")
    assert told[1:] == [
        "warning: speech.wav is silent; the mouth will stay closed",
        "warning: only 30 ms of speech.wav are used",
    ]
    assert main.run(["faces", "clip.mp4"]) == 0
    assert capsys.readouterr().err.startswith("warning: clip.mp4 was cut off: 10% of the file is missing\n")


def test_a_file_of_another_program_is_overwritten_only_on_request(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["sync", "clip.mp4", "speech.wav", "-o", "out.mp4"]
    Path("out.mp4").write_bytes(b"precious")
    assert main.run(arguments) == 2
    assert Path("out.mp4").read_bytes() == b"precious"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    asked: list[str] = []
    monkeypatch.setattr("typer.confirm", lambda text, err: asked.append(text))
    assert main.run(arguments) == 2
    assert asked == ["out.mp4 exists, and duikou has not made it. Overwrite it?"]
    assert capsys.readouterr().err.splitlines()[-1] == "duikou: --output: out.mp4 is kept; choose another name."
    assert Path("out.mp4").read_bytes() == b"precious"
    monkeypatch.setattr("typer.confirm", lambda text, err: True)
    assert main.run(arguments) == 0
    assert Path("out.mp4").read_bytes() == b"video"
    monkeypatch.undo()


def test_force_overwrites_without_a_question(recorder: Recorder) -> None:
    Path("out.mp4").write_bytes(b"precious")
    assert main.run(["sync", "clip.mp4", "speech.wav", "-o", "out.mp4", "--force"]) == 0
    assert Path("out.mp4").read_bytes() == b"video"


def test_a_result_of_duikou_is_overwritten(recorder: Recorder, tmp_path: Path) -> None:
    source = Video.open("clip.mp4")
    label = Label.first("duikou", "1")
    with VideoWriter(Path("out.mp4"), source, finish=Finish(label.tags)) as writer:
        for frame in source.frames():
            writer.write(frame.image, frame.pts)
    assert files.made_by_duikou(Path("out.mp4"), "duikou")
    assert not files.made_by_duikou(Path("out.mp4"), "someone-else")
    assert not files.made_by_duikou(Path("clip.mp4"), "duikou")
    assert main.run(["sync", "clip.mp4", "speech.wav", "-o", "out.mp4"]) == 0
    assert Path("out.mp4").read_bytes() == b"video"


def test_a_full_disk_is_told_before_the_work(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 2
    assert capsys.readouterr().err == (
        f"duikou: --output: the folder {tmp_path} has 0 MiB free; the result needs about 1 MiB.\n"
    )


def test_several_faces_speak(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.wav").write_bytes(Path("speech.wav").read_bytes())
    options = ["--say", "0", "speech.wav", "--say", "1", "other.wav", "--at", "500"]
    assert main.run(["sync", "clip.mp4", *options, "--json"]) == 0
    assert recorder.choices == [
        FaceChoice(Path("speech.wav"), "0", insert_ms=500),
        FaceChoice(Path("other.wav"), "1", insert_ms=500),
    ]
    shown = capsys.readouterr()
    assert "face 0 speaks (left, 0 ms to 2000 ms)\nface 1 speaks (right, 400 ms to 1900 ms)\n" in shown.err
    told = json.loads(shown.out)
    assert (told["video"], told["watermark"]) == ("clip.synced.mp4", None)
    assert (told["width"], told["height"], told["frames"], told["duration_ms"]) == (1280, 720, FRAMES, 2000)
    assert told["faces"][1] == {
        "id": "1",
        "position": "right",
        "bbox": [1000, 0, 200, 260],
        "start_ms": 400,
        "end_ms": 1900,
        "width": 200,
        "height": 260,
        "speaking": [],
        "warnings": [],
        "audio": "other.wav",
        "at_ms": 500,
    }
    assert told["warnings"] == []


def test_a_face_says_several_pieces(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--say",
        "0",
        "speech.wav",
        "--say",
        "0@0:01",
        "speech.wav",
        "--exclude",
        "0.5s:0.6s",
        "--reference",
        "clip.mp4",
    ]
    assert main.run(["sync", "clip.mp4", *words]) == 0
    one = FaceChoice(Path("speech.wav"), "0", references=(Path("clip.mp4"),), exclude=((500, 600),))
    assert recorder.choices == [one, replace(one, insert_ms=1_000)]
    assert capsys.readouterr().err.count("face 0 speaks") == 1
    Path("plan.json").write_text(json.dumps([{"audio": "speech.wav"}, {"audio": "speech.wav", "at": 1000}]))
    assert main.run(["sync", "clip.mp4", "--plan", "plan.json", "-o", "two.mp4"]) == 0
    assert [(choice.face_id, choice.insert_ms) for choice in recorder.choices[-2:]] == [("1", 0), ("1", 1_000)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--say", "0", "speech.wav", "--say", "1", "none.wav"], "--say 2: there is no file none.wav"),
        (
            ["--say", "0", "speech.wav", "--say", "0@500", "speech.wav"],
            "--say 2: the speech from 500 ms to 1500 ms overlaps another one of face 0, from 0 ms to 1000 ms.",
        ),
        (["--say", "0@soon", "speech.wav"], "--say 1: 'soon' is not a time; write 1500 (milliseconds), 1.5s or"),
        (
            ["--say", "0", "speech.wav", "--exclude", "500:400"],
            "--exclude 1: the end at 400 ms is not after the start at 500 ms.",
        ),
        (
            ["--say", "0", "speech.wav", "--exclude", "0:1", "--exclude", "0:00.5-0:03"],
            "--exclude 2: the time from 500 ms to 3000 ms ends after the video's end at 2000 ms.",
        ),
        (["--say", "7", "speech.wav"], "--say: the session has no face '7'; its faces: 0, 1."),
        (["--say", "0", "speech.wav", "--face", "1"], "--face: cannot be combined with --say, which names the faces"),
        (
            ["--say", "0", "speech.wav", "--say", "1", "speech.wav", "--reference", "clip.mp4"],
            "--reference: lends teeth to one face; a plan file takes references for each",
        ),
        ([], "AUDIO: the speech is missing; name its file, or use --say or --plan"),
    ],
)
def test_faults_with_several_faces(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(duikou, "lip_sync", pipeline_sync.lip_sync)
    assert main.run(["sync", "clip.mp4", *options]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"duikou: {sentence}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("face,audio,audio\n", "the first line names 'audio' twice"),
        ("face;audio\n", "the first line names 'face;audio'; the fields are face,audio,at,trim,volume,"),
        ("face,audio\n0,a.wav,5\n", "line 2: it has more than the 2 cells that the first line names"),
    ],
)
def test_faults_of_a_plan_in_csv(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    Path("plan.csv").write_text(text)
    assert main.run(["sync", "clip.mp4", "--plan", "plan.csv"]) == 2
    assert capsys.readouterr().err.startswith(f"duikou: --plan: plan.csv cannot be read: {sentence}")


PLAN_JSON = """[
  {"face": "1", "audio": "speech.wav", "at": "0.5s", "trim": ":500", "volume": 1.5, "original_volume": 0.2,
   "exclude": [[600, "0.7s"], "0.8s:900"]},
  {"face": 0, "audio": "speech.wav", "at": 100, "original_scope": "video", "references": ["clip.mp4"]}
]"""
PLAN_CSV = """face,audio,at,trim,volume,original_volume,original_scope,exclude,references
1,speech.wav,0.5s,:500,1.5,0.2,,0.6s:0.7s;800:0.9s,
0,speech.wav,100,,,,video,,clip.mp4
"""


@pytest.mark.parametrize(("name", "text"), [("plan.json", PLAN_JSON), ("plan.csv", PLAN_CSV)])
def test_a_plan_file_says_who_speaks_what(recorder: Recorder, tmp_path: Path, name: str, text: str) -> None:
    Path("plans").mkdir()
    for file in ("speech.wav", "clip.mp4"):
        Path("plans", file).write_bytes(Path(file).read_bytes())
    Path("plans", name).write_text(text)
    assert main.run(["sync", "clip.mp4", "--plan", f"plans/{name}"]) == 0
    speech = Path("plans/speech.wav")
    assert recorder.choices == [
        FaceChoice(speech, "1", 0, 500, 500, 1.5, 0.2, exclude=((600, 700), (800, 900))),
        FaceChoice(speech, "0", insert_ms=100, references=(Path("plans/clip.mp4"),), original_scope="video"),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "--plan: plan.json cannot be read: "),
        ("{}", "--plan: plan.json must hold a list with one entry for each face"),
        ("[]", "--plan: plan.json must hold a list with one entry for each face"),
        ('[{"face": "0"}]', "--plan 1: the field 'audio' must name a file"),
        (
            '[{"audio": "speech.wav", "when": 0}]',
            "--plan 1: there is no field 'when'; the fields are face, audio, at, ",
        ),
        ('[{"audio": "speech.wav", "at": 1.5}]', "--plan 1: at: '1.5' is not a time; write 1500 (milliseconds), "),
        ('[{"audio": "speech.wav", "trim": "x"}]', "--plan 1: trim: 'x' is not a part of a sound; "),
        ('[{"audio": "speech.wav", "volume": "loud"}]', "--plan 1: volume: 'loud' is not a number from 0 to 2"),
        ('[{"audio": "speech.wav", "volume": 3}]', "--plan 1: volume: 3 is not between 0 and 2."),
        ('[{"audio": "speech.wav", "references": "a"}]', "--plan 1: the field 'references' must be a list of files"),
        (
            '[{"audio": "speech.wav"}, {"face": "1", "audio": "speech.wav"}]',
            "--plan 1: the field 'face' is needed where several ",
        ),
        (
            '[{"audio": "speech.wav"}, {"audio": "speech.wav", "at": 500}]',
            "--plan 2: at: the speech from 500 ms to 1500 ms overlaps another one of this face, ",
        ),
        ('[{"audio": "speech.wav", "exclude": "1s:2s"}]', "--plan 1: exclude: it must be a list of times"),
        ('[{"audio": "speech.wav", "exclude": [[1]]}]', "--plan 1: exclude: a start and an end are expected, not 1 "),
        ('[{"audio": "speech.wav", "exclude": ["1"]}]', "--plan 1: exclude: '1' is not a start and an end; write A:B"),
        ('[{"audio": "none.wav"}]', "--plan 1: audio: there is no file none.wav"),
        ('[{"face": "7", "audio": "speech.wav"}]', "--plan 1: face: the session has no face '7'"),
    ],
)
def test_faults_of_a_plan_name_its_entry(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    sentence: str,
) -> None:
    monkeypatch.setattr(duikou, "lip_sync", pipeline_sync.lip_sync)
    Path("plan.json").write_text(text)
    assert main.run(["sync", "clip.mp4", "--plan", "plan.json"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"duikou: {sentence}")
    Path("plan.json").write_text('[{"audio": "speech.wav"}]')
    assert main.run(["sync", "clip.mp4", "--plan", "plan.json", "--at", "5"]) == 2
    assert "--plan: holds times and volumes itself" in capsys.readouterr().err


def test_every_key_of_the_json_is_documented(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text().partition("## JSON")[2]

    def keys(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value))
        return set(value).union(*map(keys, value.values())) if isinstance(value, dict) else set()

    recorder.rejected = (FaceWarning("unseen_lips", "the lips are never visible", Interval(0, 2000)),)
    for arguments in (["faces", "clip.mp4"], ["sync", "clip.mp4", "speech.wav"], ["doctor"]):
        main.run([*arguments, "--json"])
        found = keys(json.loads(capsys.readouterr().out))
        assert found
        assert {key for key in found if f"`{key}`" not in page} == set()


def test_quiet_says_nothing(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sync", "clip.mp4", "speech.wav", "-q"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("clip.synced.mp4\n", "")
    assert main.run(["faces", "clip.mp4", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["dance"], "there is no command dance; did you mean faces?"),
        (
            ["zzz"],
            "there is no command zzz; the commands are faces, sync, batch, inspect, serve, studio, worker, backup, "
            "doctor, keys, tasks",
        ),
        (["sync"], "VIDEO is missing; `duikou sync --help` shows how to call it"),
        (["sync", "a", "b", "c"], "c is one argument too many; `duikou sync --help` shows how to call it"),
        (["sync", "--fase", "0"], "there is no option --fase; did you mean --face?; `duikou sync --help` shows how"),
        (["serve", "--port", "x"], "--port: a whole number is needed"),
        (["serve", "--port"], "--port: a value is needed"),
        (
            ["tasks", "list", "--status", "fail"],
            "--status: 'fail' is not one of submitted, processing, succeed, failed, ",
        ),
    ],
)
def test_the_parser_speaks_in_sentences(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main.run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"duikou: {sentence}")
    assert len(shown.err.splitlines()) == 1
    assert not shown.out


def test_a_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["keys"], ["tasks"]):
        assert main.run(arguments) == 2
        shown = capsys.readouterr()
        assert "Commands:" in shown.err + shown.out


def test_summaries_in_help_are_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for arguments in (["--help"], ["keys", "--help"], ["tasks", "--help"]):
        assert main.run(arguments) == 0
        shown = capsys.readouterr().out.partition("Commands:")[2]
        assert "..." not in shown
        assert shown.rstrip().endswith(".")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_every_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    assert main.run(["--show-completion"]) == 0
    assert f"complete_{shell}" in capsys.readouterr().out
    monkeypatch.setenv("_DUIKOU_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "duikou sy")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "duikou sy")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    main.run([])
    assert "sync" in capsys.readouterr().out


def test_every_command_that_prints_has_json() -> None:
    def leaves(group: Any) -> Any:
        for command in group.commands.values():
            yield from leaves(command) if hasattr(command, "commands") else [command]

    for command in leaves(typer.main.get_command(main.app)):
        assert "--json" in {name for parameter in command.params for name in parameter.opts}, command.name


@pytest.mark.parametrize(("given", "name"), [({"port": -1}, "--port"), ({"workers": 0}, "--concurrency")])
def test_a_complaint_of_a_setting_names_the_option_that_gave_it(given: dict[str, int], name: str) -> None:
    with pytest.raises(InputError) as caught:
        terminal.read_settings(**given, options={"workers": "--concurrency"})
    assert caught.value.field == name


def test_sync_names_the_marked_file_below_the_other(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sync", "clip.mp4", "speech.wav", "-o", "out.mp4", "--watermark", "marked.mp4"]) == 0
    assert capsys.readouterr().out == "out.mp4\nmarked.mp4\n"


def test_sync_signs_with_the_users_certificate_in_the_settings_name(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUIKOU_AIGC_PRODUCER", "example")
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 0
    (made_by,) = recorder.made_by
    assert made_by.name == "example"
    assert made_by.certificate is not None
    assert made_by.certificate.key == user_folder() / "certificate" / "key.pem"


def test_a_certificate_that_cannot_sign_is_found_before_the_work(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUIKOU_C2PA_CERTIFICATE", "speech.wav")
    monkeypatch.setenv("DUIKOU_C2PA_KEY", "speech.wav")
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "duikou: DUIKOU_C2PA_CERTIFICATE: the certificate file holds no certificate in PEM.\n"
    assert not recorder.choices


def test_sync_takes_the_most_visible_face_and_says_so(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 0
    assert recorder.choices == [FaceChoice(Path("speech.wav"), "1")]
    shown = capsys.readouterr()
    assert shown.out == "clip.synced.mp4\n"
    told = shown.err.splitlines()
    speaker = "face 1 speaks (right, 400 ms to 1900 ms), the most visible of 2; --face also accepts 0 (left)"
    assert told.index(speaker) < told.index("clip.mp4: rendering 100%")


def test_auto_takes_the_one_who_speaks_there_and_says_so(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    talks = replace(SMALL_FACE, speaking=(Speaking(Interval(0, 1_200), 0.4),))
    recorder.faces = (talks, LARGE_FACE)
    assert main.run(["sync", "clip.mp4", "speech.wav", "--face", "auto"]) == 0
    assert recorder.choices == [FaceChoice(Path("speech.wav"), "0")]
    told = capsys.readouterr().err.splitlines()
    assert "face 0 speaks (left, 0 ms to 2000 ms), as in the original at 0.0 s" in told
    doubt = "no face is seen to speak from 1300 ms to 1900 ms in the original, so face 1 was chosen, the most visible"
    command = ["sync", "clip.mp4", "speech.wav", "--face", "auto", "--at", "1300", "--trim", ":600", "--json"]
    assert main.run([*command, "--force"]) == 0
    shown = capsys.readouterr()
    assert f"warning: {doubt}" in shown.err
    assert "face 1 speaks (right, 400 ms to 1900 ms)" in shown.err.splitlines()
    result = json.loads(shown.out)
    assert (result["warnings"], [face["id"] for face in result["faces"]]) == ([doubt], ["1"])


def test_a_plan_leaves_each_piece_to_the_one_who_speaks_there(recorder: Recorder) -> None:
    talks = replace(SMALL_FACE, speaking=(Speaking(Interval(0, 900), 0.4),))
    recorder.faces = (talks, replace(LARGE_FACE, speaking=(Speaking(Interval(1_000, 1_900), 0.4),)))
    entry = {"face": "auto", "audio": "speech.wav"}
    Path("plan.json").write_text(json.dumps([entry | {"at": 1100, "trim": ":700"}, entry | {"trim": ":800"}]))
    assert main.run(["sync", "clip.mp4", "--plan", "plan.json"]) == 0
    assert [(choice.face_id, choice.insert_ms) for choice in recorder.choices] == [("1", 1_100), ("0", 0)]


@pytest.mark.parametrize("mode", [None, *SyncMode])
def test_sync_passes_the_sync_mode_on(recorder: Recorder, mode: SyncMode | None) -> None:
    assert main.run(["sync", "clip.mp4", "speech.wav", *(["--sync-mode", mode.value] if mode else [])]) == 0
    assert recorder.sync_modes == [mode]


def test_progress_of_sync_never_falls(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    class Console:
        is_terminal = False

        def print(self, text: str, **_options: object) -> None:
            shares.append(float(text.rsplit(" ", 1)[1].rstrip("%")))

    monkeypatch.setattr("rich.console.Console", lambda **_options: Console())
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 0
    assert shares == sorted(shares)
    assert shares[-1] == 100


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["faces", "absent.mp4"], "VIDEO: there is no file absent.mp4"),
        (["sync", "clip.mp4", "absent.wav"], "AUDIO: there is no file absent.wav"),
        (["sync", "clip.mp4", "speech.wav", "--trim", "0:03"], "--trim: '0:03' is not a part of a sound"),
        (["sync", "clip.mp4", "speech.wav", "--at", "soon"], "--at"),
        (["sync", "clip.mp4", "speech.wav", "--sync-mode", "rewind"], "--sync-mode"),
        (["sync", "clip.mp4"], "AUDIO"),
        (["dance"], "dance"),
    ],
)
def test_faults_of_the_caller(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main.run(arguments) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert "Traceback" not in shown.err
    assert not shown.out
    assert not recorder.choices


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (InputError("3 is not between 0 and 2", field="choices[0].audio_volume"), 2, "--volume: 3 is not between"),
        (InputError("is too old", field="c2pa_key"), 2, "duikou: DUIKOU_C2PA_KEY: is too old"),
        (InputError("the input is wrong"), 2, "duikou: the input is wrong"),
        (ModelError("the model x is not installed; run: pip install x"), 1, "duikou: the model x is not installed"),
        (KeyError("a fault of ours"), 1, "unexpected KeyError"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_of_the_work_become_one_sentence(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    sentence: str,
) -> None:
    def fail(*_arguments: object, **_options: object) -> Result:
        raise error

    monkeypatch.setattr(duikou, "lip_sync", fail)
    assert main.run(["sync", "clip.mp4", "speech.wav", "--face", "0"]) == status
    shown = capsys.readouterr()
    assert not shown.out
    assert sentence in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("1500", 1500),
        ("1500ms", 1500),
        ("-5", -5),
        ("1.5s", 1500),
        ("2s", 2000),
        ("0:03.2", 3200),
        ("1:02:03.004", 3_723_004),
        (7, 7),
    ],
)
def test_times(text: str | int, ms: int) -> None:
    assert parse_time(text) == ms


@pytest.mark.parametrize(
    "text", ["", "1.5", "03", "1,5s", "-1s", "0:3", "0:60", "1:60:00", "soon", "²", "1e3", "1.2345s"]
)
def test_times_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time; write 1500 \(milliseconds\), 1.5s or 0:01.5$"):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "trim"),
    [
        (None, (0, None)),
        (":", (0, None)),
        ("500:", (500, None)),
        (":900", (0, 900)),
        ("500:900", (500, 900)),
        ("0.5s:1.25s", (500, 1250)),
        ("0:00.5-0:03.2", (500, 3200)),
        ("0:00.5-", (500, None)),
    ],
)
def test_trim(text: str | None, trim: tuple[int, int | None]) -> None:
    assert parse_trim(text) == trim


@pytest.mark.parametrize("text", ["", "500", "a:b", "-1:5", "1.5:2", "1:2:3", "0:00:03", "0:03", "²:4"])
def test_trim_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a part of a sound; write A:B"):
        parse_trim(text)


def test_only_usable_frames_count_for_the_size() -> None:
    track = LARGE_FACE.track.part(slice(None))
    track.landmarks[:30] *= 9
    usable = np.arange(FRAMES) >= 30
    changed = replace(LARGE_FACE, track=PackedTrack.of(track), usable=usable)
    assert changed.box[2:] == (200, 260)


def test_settings_at_fault_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUIKOU_WORKERS", "0")
    with pytest.raises(InputError, match=r"^DUIKOU_WORKERS: .*greater than or equal to 1$"):
        terminal.read_settings()


def test_options_of_serve_stand_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUIKOU_PORT", "9000")
    assert terminal.read_settings().port == 9000
    assert terminal.read_settings(port=9001).port == 9001
