"""The command line: what it prints where, and its exit status. The pipeline itself is replaced by a small stand-in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer.main
from known_video import known_video
from media_maker import make_sound

import duikou
from duikou import FaceChoice, Output, Result, Session, __version__
from duikou.cli import main, terminal
from duikou.cli.sync import parse_trim
from duikou.errors import InputError, ModelError
from duikou.faces.track import POINTS, Face, FaceTrack, FaceWarning
from duikou.media.probe import VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.pipeline import sync as pipeline_sync
from duikou.pipeline.plan import Spoken
from duikou.progress import Progress, silent
from duikou.provenance.producer import Producer, user_folder
from duikou.timebase import Interval

FRAMES = 50
INFO = VideoInfo("mp4", "h264", 1280, 720, 0, FRAMES, Fraction(25), 2_000, None)


def face(face_id: str, width: int, height: int, interval: Interval, *warnings: FaceWarning) -> Face:
    landmarks = np.zeros((FRAMES, POINTS, 3), np.float32)
    landmarks[:, 1, :2] = width, height
    times = np.arange(FRAMES, dtype=np.int64) * 40
    track = FaceTrack(
        np.arange(FRAMES, dtype=np.int64), times, landmarks, np.ones(FRAMES, np.float32), np.zeros(FRAMES, np.int64)
    )
    picture = np.full((40, 30, 3), 128, np.uint8)
    return Face(face_id, interval, track, np.ones(FRAMES, np.bool_), picture, warnings)


SMALL_FACE = face(
    "0", 90, 120, Interval(0, 2_000), FaceWarning("small_face", "the lips are 28 px wide", Interval(0, 800))
)
LARGE_FACE = face("1", 200, 260, Interval(400, 1_900))


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


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    recorder = Recorder((SMALL_FACE, LARGE_FACE))
    monkeypatch.setattr(duikou, "identify", recorder.identify)
    monkeypatch.setattr(duikou, "lip_sync", recorder.lip_sync)
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(b"v")
    Path("speech.wav").write_bytes(b"s")
    return recorder


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"duikou {__version__}\n"


def test_faces_prints_a_table_and_writes_pictures(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["faces", "clip.mp4"]) == 0
    shown = capsys.readouterr()
    rows = [line.split() for line in shown.out.splitlines()]
    assert rows[1][:5] == ["0", "0", "2000", "90x120", "clip.faces/face_0.jpg"]
    assert rows[2] == ["1", "400", "1900", "200x260", "clip.faces/face_1.jpg"]
    assert "the lips are 28 px wide" in shown.out
    picture = cv2.imread("clip.faces/face_1.jpg")
    assert picture is not None and picture.shape == (40, 30, 3)
    assert "clip.mp4: finding faces 50%" in shown.err


def test_brackets_in_names_are_not_markup(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    Path("clip[bold].mp4").write_bytes(b"v")
    assert main.run(["faces", "clip[bold].mp4"]) == 0
    assert "clip[bold].faces/face_0.jpg" in capsys.readouterr().out


def test_faces_as_json(recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["faces", "clip.mp4", "--json", "--pictures", "elsewhere"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["frames"] == FRAMES
    assert told["faces"][0] == {
        "id": "0",
        "start_ms": 0,
        "end_ms": 2000,
        "width": 90,
        "height": 120,
        "picture": "elsewhere/face_0.jpg",
        "warnings": [{"code": "small_face", "message": "the lips are 28 px wide", "start_ms": 0, "end_ms": 800}],
    }
    assert (tmp_path / "elsewhere/face_1.jpg").is_file()


def test_no_face_is_not_a_success(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    recorder.faces = ()
    assert main.run(["faces", "clip.mp4", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["faces"] == []
    assert "duikou: no face of clip.mp4 can be lip-synced" in shown.err
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 2


def test_no_face_has_its_reasons(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    recorder.faces = ()
    recorder.rejected = (FaceWarning("unseen_lips", "the lips are never visible", Interval(0, 2000)),)
    sentence = "no face of clip.mp4 can be lip-synced: the lips are never visible"
    assert main.run(["faces", "clip.mp4", "--json"]) == 1
    shown = capsys.readouterr()
    reason = {"code": "unseen_lips", "message": "the lips are never visible", "start_ms": 0, "end_ms": 2000}
    assert json.loads(shown.out)["rejected"] == [reason]
    assert sentence in shown.err
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 2
    assert sentence in capsys.readouterr().err


def test_sync_passes_every_choice_on(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--face", "0", "--at", "1500", "--trim", "250:4000"]
    loud = ["--volume", "1.5", "--original-volume", "0.25"]
    assert main.run(["sync", "clip.mp4", "speech.wav", *where, *loud, "-o", "out.mp4"]) == 0
    assert recorder.choices == [FaceChoice(Path("speech.wav"), "0", 250, 4000, 1500, 1.5, 0.25)]
    shown = capsys.readouterr()
    assert shown.out == "out.mp4\n"
    assert "speaks" not in shown.err


def test_the_former_name_of_trim_still_works(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sync", "clip.mp4", "speech.wav", "--crop", ":4000"]) == 0
    assert recorder.choices[0].trim_end_ms == 4000
    capsys.readouterr()
    assert main.run(["sync", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--trim" in shown
    assert "--crop" not in shown


BAD_OPTIONS = [
    (["--face", "7"], "--face: the session has no face '7'; its faces: 0, 1."),
    (["--at", "-5"], "--at: -5 ms is less than 0."),
    (["--at", "99999"], "--at: the speech inserted at 99999 ms ends at"),
    (["--trim", "x"], "--trim: expected A:B in whole milliseconds"),
    (["--trim", "500:200"], "--trim: the audio from 500 ms to 200 ms lasts -300 ms"),
    (["--trim", ":4000"], "--trim: 4000 ms is after the audio's end at 1000 ms."),
    (["--volume", "3"], "--volume: 3 is not between 0 and 2."),
    (["--volume", "nan"], "--volume: nan is not between 0 and 2."),
    (["--original-volume", "-1"], "--original-volume: -1 is not between 0 and 2."),
    (["--reference", "clip.mp4"] * 5, "--reference: 5 references are given; at most 4 are taken."),
    (["--sync-mode", "loop", "--at", "60000"], "--sync-mode: loop would make the video 61000 ms long"),
    (["--output", "clip.mp4"], "--output: clip.mp4 is the source video itself"),
    (["--watermark", "clip.mp4"], "--watermark: clip.mp4 is the source video itself"),
    (["--output", "out.mp4", "--watermark", "out.mp4"], "--watermark: out.mp4 is the output itself"),
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
    make_sound(Path("speech.wav"), np.zeros((16_000, 1), np.float32), 16_000)
    assert main.run(["sync", "clip.mp4", "speech.wav", *options]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"duikou: {sentence}")
    assert sorted(path.name for path in Path().iterdir()) == ["clip.mp4", "speech.wav"]


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (["speech.wav"], "--reference 1: the file is wav; a video must be mp4 or mov."),
        (["photo.png", "clip.mp4"], "--reference 2: the content is not an mp4, mov, mp3, wav, m4a or aac file."),
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
    make_sound(Path("speech.wav"), np.zeros((16_000, 1), np.float32), 16_000)
    cv2.imwrite("photo.png", np.zeros((40, 40, 3), np.uint8))
    options = [word for path in paths for word in ("--reference", path)]
    assert main.run(["sync", "clip.mp4", "speech.wav", *options]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"duikou: {sentence}"


def test_references_are_handed_on_and_doubts_are_told(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = np.zeros(0)
    doubt = FaceWarning("other_person", "reference 1 may show another person", Interval(0, 1))
    spoken = Spoken("1", Interval(0, 1), empty.astype(np.int64), empty.astype(np.int64), empty, empty, (doubt,))

    def lip_sync(*given: Any, **more: Any) -> Result:
        return replace(recorder.lip_sync(*given, **more), spoken=(spoken,))

    monkeypatch.setattr(duikou, "lip_sync", lip_sync)
    Path("photo.png").write_bytes(b"p")
    assert main.run(["sync", "clip.mp4", "speech.wav", "--reference", "photo.png", "--reference", "clip.mp4"]) == 0
    assert recorder.choices[0].references == (Path("photo.png"), Path("clip.mp4"))
    shown = capsys.readouterr()
    assert "warning: reference 1 may show another person" in shown.err.splitlines()
    assert shown.out == "clip.synced.mp4\n"


def test_every_option_of_sync_has_a_complaint_that_names_it() -> None:
    found = typer.main.get_command(main.app).commands["sync"]  # type: ignore[attr-defined]
    options = {max(parameter.opts, key=len) for parameter in found.params if not getattr(parameter, "hidden", False)}
    assert {"video", "audio"} | {sentence.partition(":")[0] for _, sentence in BAD_OPTIONS} == options


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["faces", "junk"], "VIDEO: the content is not"),
        (["sync", "junk", "junk"], "VIDEO: the content is not"),
        (["inspect", "junk"], "FILE: the content is not"),
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


def test_speech_that_cannot_be_read_names_the_argument(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(duikou, "lip_sync", pipeline_sync.lip_sync)
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("duikou: AUDIO: ")


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
    assert made_by.certificate.key == user_folder() / "certificate" / "key.pem"


def test_a_certificate_that_cannot_sign_is_found_before_the_work(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUIKOU_C2PA_CERTIFICATE", "speech.wav")
    monkeypatch.setenv("DUIKOU_C2PA_KEY", "speech.wav")
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "duikou: DUIKOU_C2PA_CERTIFICATE: speech.wav holds no certificate in PEM.\n"
    assert not recorder.choices


def test_sync_takes_the_most_visible_face_and_says_so(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sync", "clip.mp4", "speech.wav"]) == 0
    assert recorder.choices == [FaceChoice(Path("speech.wav"), "1")]
    shown = capsys.readouterr()
    assert shown.out == "clip.synced.mp4\n"
    assert "face 1 speaks, the most visible of 2; --face also accepts 0" in shown.err


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
        (["sync", "clip.mp4", "speech.wav", "--trim", "1s:2s"], "--trim: expected A:B in whole milliseconds"),
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
    ("text", "trim"), [(":", (0, None)), ("500:", (500, None)), (":900", (0, 900)), ("500:900", (500, 900))]
)
def test_trim(text: str, trim: tuple[int, int | None]) -> None:
    assert parse_trim(text) == trim


@pytest.mark.parametrize("text", ["", "500", "a:b", "-1:5", "1.5:2", "1:2:3", "²:4"])
def test_trim_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match=r"^--trim: expected A:B"):
        parse_trim(text)


def test_only_usable_frames_count_for_the_size() -> None:
    landmarks = LARGE_FACE.track.landmarks.copy()
    landmarks[:30] *= 9
    usable = np.arange(FRAMES) >= 30
    changed = replace(LARGE_FACE, track=replace(LARGE_FACE.track, landmarks=landmarks), usable=usable)
    assert changed.box[2:] == (200, 260)


def test_settings_at_fault_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUIKOU_WORKERS", "0")
    with pytest.raises(InputError, match=r"^DUIKOU_WORKERS: .*greater than or equal to 1, not '0'"):
        terminal.read_settings()


def test_options_of_serve_stand_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUIKOU_PORT", "9000")
    assert terminal.read_settings().port == 9000
    assert terminal.read_settings(port=9001).port == 9001
