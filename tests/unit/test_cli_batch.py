"""`duikou batch` on this machine: jobs, checks, state and table. A stand-in takes the pipeline's place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from media_maker import make_sound, make_video

import duikou
from duikou import FaceChoice, Output, Result
from duikou.cli import batch_sessions, main
from duikou.cli.batch_sessions import Sessions
from duikou.cli.batch_state import BatchState
from duikou.errors import InputError, ModelError, StorageError
from duikou.faces.track import FaceWarning
from duikou.media.probe import VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.progress import Progress, silent
from duikou.timebase import Interval

FRAMES, VIDEO_MS, SPEECH_MS = 50, 2_000, 1_000
INFO = VideoInfo("mp4", "h264", 1280, 720, 0, FRAMES, Fraction(25), VIDEO_MS, None)
FACE = SimpleNamespace(id="0", interval=Interval(0, VIDEO_MS), box=(0, 0, 90, 120), warnings=())
OTHER = SimpleNamespace(id="1", interval=Interval(0, VIDEO_MS), box=(900, 0, 40, 60), warnings=())


class Pipeline:
    """Stands in for the library: knows two faces, remembers what it is asked for, and writes files.

    faults: raised by the lip sync that writes an output of that name. unusable: videos without a face, and why.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[FaceChoice, ...], SyncMode | None]] = []
        self.faults: dict[str, BaseException] = {}
        self.searched: list[str] = []
        self.unusable: dict[str, tuple[FaceWarning, ...]] = {}

    def identify(self, video: Path, *, progress: Progress = silent) -> Any:
        self.searched.append(str(video))
        progress("finding faces", 1.0)
        faces = () if video.name in self.unusable else (FACE, OTHER)
        return SimpleNamespace(video=video, info=INFO, faces=faces, rejected=self.unusable.get(video.name, ()))

    def lip_sync(
        self,
        session: Any,
        choices: Sequence[FaceChoice],
        output: Output,
        *,
        sync_mode: SyncMode | None,
        progress: Progress = silent,
    ) -> Result:
        assert output.path is not None
        progress("rendering", 0.5)
        if output.path.name in self.faults:
            raise self.faults[output.path.name]
        self.asked.append((str(output.path), tuple(choices), sync_mode))
        for path in output.paths(session.video).values():
            path.write_bytes(b"video")
        return Result(output.path, INFO, (), output.watermark)

    @property
    def written(self) -> list[str]:
        return [path for path, _, _ in self.asked]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("media")
    video = make_video(folder / "clip.mp4", frames=FRAMES, faststart=True)
    speech = make_sound(folder / "speech.wav", np.full((SPEECH_MS * 16, 1), 0.1, np.float32), 16_000)
    return {"clip.mp4": video.read_bytes(), "speech.wav": speech.read_bytes()}


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, media: dict[str, bytes]) -> Pipeline:
    """The stand-in, and a folder with a video and speech to work in."""
    stand_in = Pipeline()
    monkeypatch.setattr(duikou, "identify", stand_in.identify)
    monkeypatch.setattr(duikou, "lip_sync", stand_in.lip_sync)
    monkeypatch.chdir(tmp_path)
    for name, content in media.items():
        Path(name).write_bytes(content)
    return stand_in


def batch(*words: str) -> int:
    return main.run(["batch", *words])


def lines(*jobs: dict[str, Any], path: str = "jobs.jsonl") -> str:
    """Write a jobs file; each job is about the clip and the speech unless it says otherwise."""
    usual = {"video": "clip.mp4", "audio": "speech.wav"}
    rows = [{**({} if "faces" in job else usual), "video": "clip.mp4", **job} for job in jobs]
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def three() -> str:
    return lines(*({"output": f"{name}.mp4"} for name in "abc"))


def states(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The states of the jobs in the JSON that was printed."""
    return [job["state"] for job in json.loads(capsys.readouterr().out)["jobs"]]


def test_a_csv_of_jobs_whose_paths_count_from_its_folder(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder").mkdir()
    for name in ("clip.mp4", "speech.wav"):
        Path(name).rename(f"folder/{name}")
    Path("folder/jobs.csv").write_text(
        "video,audio,output,face,at,trim,volume,original_volume,sync_mode,watermark,references\n"
        "clip.mp4,speech.wav,out.mp4,1,0.5s,:500,1.5,0.2,cut_off,marked.mp4,clip.mp4;clip.mp4\n"
        "\n"
        "clip.mp4,speech.wav,,,,,,,,,\n"
    )
    assert batch("folder/jobs.csv") == 0
    video, speech = Path("folder/clip.mp4"), Path("folder/speech.wav")
    assert pipeline.asked == [
        (
            "folder/out.mp4",
            (FaceChoice(speech, "1", 0, 500, 500, 1.5, 0.2, (video, video)),),
            SyncMode.CUT_OFF,
        ),
        ("folder/clip.speech.synced.mp4", (FaceChoice(speech, "0"),), None),
    ]
    assert Path("folder/marked.mp4").is_file()
    shown = capsys.readouterr()
    rows = [line.split() for line in shown.out.splitlines()]
    assert rows[0] == ["line", "output", "state", "seconds", "error"]
    assert [row[:3] for row in rows[1:]] == [
        ["2", "folder/out.mp4", "done"],
        ["4", "folder/clip.speech.synced.mp4", "done"],
    ]
    assert "jobs.csv: job 2 of 2, clip.mp4: rendering 80%" in shown.err


def test_jsonl_with_several_faces(pipeline: Pipeline) -> None:
    faces = [{"face": "0", "audio": "speech.wav"}, {"face": 1, "audio": "speech.wav", "at": "0.5s"}]
    assert batch(lines({"faces": faces})) == 0
    speech = Path("speech.wav")
    assert pipeline.asked == [
        ("clip.speech.synced.mp4", (FaceChoice(speech, "0"), FaceChoice(speech, "1", insert_ms=500)), None)
    ]


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"video": None}, "the field 'video' must name a file"),
    ({"video": 7}, "video: 7 is not a text"),
    ({"video": "none.mp4"}, "video: there is no file none.mp4"),
    ({"video": "speech.wav"}, "video: speech.wav is wav audio; a video must be mp4 or mov."),
    ({"video": "https://example.com/a.mp4"}, "video: a URL needs --server, which fetches the video; or download it"),
    ({"video": "a\0.mp4"}, "video: a name of a file holds a NUL character"),
    ({"video": f"{'a' * 300}.mp4"}, "File name too long"),
    ({"audio": ""}, "the field 'audio' must name a file"),
    ({"audio": "none.wav"}, "audio: there is no file none.wav"),
    ({"audio": "clip.mp4"}, "audio: clip.mp4 is a video; speech must be mp3, wav, m4a or aac."),
    ({"when": 3}, "there is no field 'when'; the fields are video, output, face, audio, at, trim, volume, "),
    ({"at": "soon"}, "at: 'soon' is not a time; write 1500 (milliseconds), 1.5s or 0:01.5"),
    (
        {"at": 1500},
        "audio: the speech lasts 1.0 s and begins at 1.5 s, the video lasts 2.0 s: use trim :500 or sync_mode",
    ),
    (
        {"at": 5000},
        "at: the video lasts 2.0 s, so speech cannot begin at 5.0 s; use an earlier time, or sync_mode loop",
    ),
    ({"trim": "500:200"}, "trim: the audio from 500 ms to 200 ms lasts -300 ms; at least 1 ms must be left."),
    ({"trim": ":4000"}, "trim: 4000 ms is after the audio's end at 1000 ms."),
    ({"volume": "loud"}, "volume: 'loud' is not a number from 0 to 2"),
    ({"volume": 3}, "volume: 3 is not between 0 and 2."),
    ({"original_volume": -1}, "original_volume: -1 is not between 0 and 2."),
    ({"references": "a"}, "the field 'references' must be a list of files"),
    ({"references": ["none.jpg"]}, "references: there is no file none.jpg"),
    ({"sync_mode": "rewind"}, "sync_mode: 'rewind' is not one of cut_off, loop, bounce, silence."),
    ({"output": "out.avi"}, "output: out.avi does not end in .mp4; results are mp4 files."),
    ({"output": "nowhere/out.mp4"}, "output: there is no folder nowhere."),
    ({"output": "clip.mp4"}, "output: clip.mp4 is the source video itself; choose another name."),
    ({"output": "text.mp4"}, "output: text.mp4 exists, and duikou has not made it; --force overwrites it."),
    ({"output": "o.mp4", "watermark": "o.mp4"}, "watermark: o.mp4 is the output of line 1; choose another name."),
    ({"faces": []}, "faces: must be a list with one entry for each face"),
    ({"faces": [{"audio": "speech.wav"}], "at": 1}, "faces: holds what each face speaks; leave at out"),
    (
        {"faces": [{"audio": "speech.wav"}, {"face": "1", "audio": "speech.wav"}]},
        "faces 1: the field 'face' is needed where several faces speak",
    ),
    (
        {"faces": [{"face": "0", "audio": "speech.wav"}] * 2},
        "faces 2: at: the speech from 0 ms to 1000 ms overlaps another",
    ),
    ({"exclude": ["1s:0.5s"]}, "exclude: the end at 500 ms is not after the start at 1000 ms."),
    ({"faces": [{"face": "0", "audio": "speech.wav", "at": "x"}]}, "faces 1: at: 'x' is not a time; "),
    (
        {"faces": [{"face": "0", "audio": "speech.wav"}, {"face": "1", "audio": "speech.wav", "volume": 9}]},
        "faces 2: volume: 9 is not between 0 and 2.",
    ),
]


@pytest.mark.parametrize(("job", "sentence"), FAULTS, ids=[sentence[:40] for _, sentence in FAULTS])
def test_a_fault_has_its_line_and_field(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], job: dict[str, Any], sentence: str
) -> None:
    Path("text.mp4").write_text("precious")
    assert batch(lines(job, {"output": "fine.mp4"}), "--quiet") == 2
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("duikou: jobs.jsonl line 1: ")
    assert line.removeprefix("duikou: jobs.jsonl line 1: ").startswith(sentence) or sentence == "File name too long"
    assert sentence in line
    assert "--trim" not in line
    assert shown.out == ""
    assert not pipeline.asked


def test_every_fault_is_told_before_any_job_begins(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(lines({"at": "soon"}, {}, {"audio": "none.wav", "output": "c.mp4"}))
    with path.open("a") as file:
        file.write('\n{"video": \n[1]\n{"video": "\\ud800"}\n')
    assert batch("jobs.jsonl", "--quiet") == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("jobs.jsonl ")[2].partition(": ")[0] for line in told] == [
        "line 1",
        "line 3",
        "line 5",
        "line 6",
        "line 7",
    ]
    assert told[2].startswith("duikou: jobs.jsonl line 5: it is not JSON: ")
    assert told[3] == "duikou: jobs.jsonl line 6: it is not a JSON object"
    assert not pipeline.asked
    assert not Path("clip.speech.synced.mp4").exists()


def test_the_other_jobs_can_be_done_all_the_same(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.csv").write_text(
        "video,audio,at,output\nclip.mp4,speech.wav,soon,a.mp4\nclip.mp4,speech.wav,,b.mp4\nclip.mp4,x,y,z,more\n"
    )
    assert batch("jobs.csv", "--keep-going", "--json", "--quiet") == 2
    told = json.loads(capsys.readouterr().out)
    assert [(job["line"], job["output"], job["state"]) for job in told["jobs"]] == [
        (2, "a.mp4", "failed"),
        (3, "b.mp4", "done"),
        (4, "", "failed"),
    ]
    assert told["jobs"][0]["error"] == "at: 'soon' is not a time; write 1500 (milliseconds), 1.5s or 0:01.5"
    assert told["jobs"][2]["error"] == "it has more than the 4 cells that the first line names"
    assert (told["done"], told["skipped"], told["failed"], told["left"]) == (1, 0, 2, 0)
    assert pipeline.written == ["b.mp4"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("jobs.txt", b"", "JOBS: jobs.txt ends in neither .csv nor .jsonl, so its form is unknown."),
        ("jobs.csv", b"", "JOBS: jobs.csv holds no jobs."),
        ("jobs.csv", b"video,audio\n", "JOBS: jobs.csv holds no jobs."),
        ("jobs.jsonl", b"\n\n", "JOBS: jobs.jsonl holds no jobs."),
        ("jobs.jsonl", b"\xff", "JOBS: jobs.jsonl cannot be read: "),
        ("jobs.csv", b"video,video\na,b\n", "JOBS: jobs.csv cannot be read: the first line names 'video' twice"),
        ("jobs.csv", b"video;audio\na;b\n", "JOBS: jobs.csv cannot be read: the first line names 'video;audio'; the f"),
        ("jobs.csv", b'video,audio\n"a,b\n', "JOBS: jobs.csv cannot be read: unexpected end of data"),
        ("none.csv", None, "JOBS: there is no file none.csv"),
    ],
)
def test_a_file_that_holds_no_jobs(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    assert batch(name) == 2
    assert capsys.readouterr().err.startswith(f"duikou: {sentence}")
    assert not Path(f"{name}.state.jsonl").exists()


def test_no_job_writes_what_another_one_writes_or_reads(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.mp4").write_bytes(Path("clip.mp4").read_bytes())
    Path("link.mp4").symlink_to("b.mp4")
    path = lines(
        {},
        {"face": "1"},
        {"output": "b.mp4"},
        {"output": "link.mp4"},
        {"output": "c.mp4", "watermark": "other.mp4"},
        {"video": "other.mp4", "output": "d.mp4"},
    )
    assert batch(path, "--quiet") == 2
    assert capsys.readouterr().err.splitlines() == [
        "duikou: jobs.jsonl line 2: output: clip.speech.synced.mp4 is the output of line 1; choose another name.",
        "duikou: jobs.jsonl line 4: output: link.mp4 is the output of line 3; choose another name.",
        "duikou: jobs.jsonl line 5: watermark: other.mp4 is the video of line 6; choose another name.",
    ]


def test_the_next_run_skips_what_is_done(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    path = three()
    assert batch(path, "--json", "--quiet") == 0
    assert states(capsys) == ["done"] * 3
    assert batch(path, "--json", "--quiet") == 0
    assert states(capsys) == ["skipped"] * 3
    Path("b.mp4").unlink()
    assert batch(path, "--json", "--quiet") == 0
    assert states(capsys) == ["skipped", "done", "skipped"]
    assert batch(path, "--again", "--force", "--json", "--quiet") == 0
    assert states(capsys) == ["done"] * 3
    assert batch(path, "--json", "--quiet") == 0
    assert states(capsys) == ["skipped"] * 3


def test_jobs_are_known_wherever_they_stand_and_from_wherever_they_are_called(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert batch(three(), "--quiet") == 0
    lines(*({"output": f"{name}.mp4"} for name in "dcba"))
    monkeypatch.chdir(tmp_path.parent)
    capsys.readouterr()
    assert batch(f"{tmp_path.name}/jobs.jsonl", "--json", "--quiet") == 0
    assert states(capsys) == ["done", "skipped", "skipped", "skipped"]


def test_what_has_changed_is_done_again(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    def state(**more: Any) -> str:
        assert batch(lines({"output": "a.mp4", **more}), "--force", "--json", "--quiet") == 0
        (found,) = states(capsys)
        return found

    assert [state(), state(), state(volume=2), state(volume=2), state()] == [
        "done",
        "skipped",
        "done",
        "skipped",
        "done",
    ], "the output is that of the last run"
    os.utime("speech.wav", ns=(1, 1))
    assert [state(), state()] == ["done", "skipped"]
    assert [state(watermark="m.mp4"), state(watermark="m.mp4")] == ["done", "skipped"]
    Path("m.mp4").unlink()
    assert state(watermark="m.mp4") == "done"


@pytest.mark.parametrize(
    ("fault", "sentence", "status"),
    [
        (InputError("the session has no face '7'; its faces: 0.", field="choices[0].face_id"), "face: the session", 2),
        (InputError("use --at 5", field="choices[0].insert_ms"), "at: use at 5", 2),
        (ModelError("the model is missing"), "the model is missing", 1),
        (KeyError("a bug"), "unexpected KeyError: 'a bug'", 1),
    ],
)
def test_a_job_that_fails_does_not_stop_the_others_and_is_tried_again(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], fault: Exception, sentence: str, status: int
) -> None:
    pipeline.faults["b.mp4"] = fault
    path = three()
    assert batch(path, "--json", "--quiet") == status
    told = json.loads(capsys.readouterr().out)
    assert [job["state"] for job in told["jobs"]] == ["done", "failed", "done"]
    assert [job["exit_status"] for job in told["jobs"]] == [0, status, 0]
    assert told["jobs"][1]["error"].startswith(sentence)
    pipeline.faults.clear()
    assert batch(path, "--json", "--quiet") == 0
    assert states(capsys) == ["skipped", "done", "skipped"]
    assert pipeline.written == ["a.mp4", "c.mp4", "b.mp4"]


def test_a_video_of_consecutive_jobs_is_searched_once(pipeline: Pipeline) -> None:
    Path("other.mp4").write_bytes(Path("clip.mp4").read_bytes())
    names = ("clip.mp4", "clip.mp4", "other.mp4", "other.mp4", "clip.mp4")
    path = lines(*({"video": name, "output": f"{number}.mp4"} for number, name in enumerate(names)))
    assert batch(path, "--quiet") == 0
    assert pipeline.searched == ["clip.mp4", "other.mp4", "clip.mp4"]


def test_jobs_that_run_at_once_share_a_search(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, video = Sessions(2), Path("clip.mp4")
    begun, over = threading.Event(), threading.Event()

    class Work:
        def identify(self, video: Path, *, progress: Progress) -> Any:
            begun.set()
            assert over.wait(60)
            return pipeline.identify(video)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(sessions.identify, Work(), video, silent)
        assert begun.wait(60)
        second = pool.submit(sessions.identify, Work(), video, silent)
        over.set()
        assert first.result(60) is second.result(60)
    assert pipeline.searched == ["clip.mp4"]
    os.utime(video, ns=(1, 1))
    sessions.identify(Work(), video, silent)
    monkeypatch.setattr(batch_sessions, "monotonic", lambda: 1e9)
    sessions.identify(Work(), video, silent)
    assert len(pipeline.searched) == 3, "the file changes, then the session is too old"


def test_the_error_of_a_job_stays_on_its_row(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    reason = "a long sentence " * 40
    pipeline.faults["b.mp4"] = ModelError(reason.strip())
    assert batch(three(), "--quiet") == 1
    shown = capsys.readouterr()
    rows = shown.out.splitlines()
    assert len(rows) == 4
    assert rows[2].split(maxsplit=4)[-1].rstrip() == reason.strip()
    assert shown.err == ""


def test_warnings_name_the_line(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    make_sound(Path("silent.wav"), np.zeros((16_000, 1), np.float32), 16_000)
    assert batch(lines({}, {"audio": "silent.wav"}), "--json") == 0
    shown = capsys.readouterr()
    sentence = "silent.wav is silent; the mouth will stay closed"
    assert f"warning: line 2: {sentence}\n" in shown.err
    assert [job["warnings"] for job in json.loads(shown.out)["jobs"]] == [[], [sentence]]


def test_ctrl_c_keeps_the_state_and_shows_the_table(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.faults["b.mp4"] = KeyboardInterrupt()
    path = three()
    assert batch(path) == main.EXIT_INTERRUPTED
    shown = capsys.readouterr()
    assert [line.split()[:3] for line in shown.out.splitlines()[1:]] == [["1", "a.mp4", "done"]]
    assert "2 jobs are left; the same command does them.\n" in shown.err
    pipeline.faults.clear()
    assert batch(path, "--json", "--quiet") == 0
    assert states(capsys) == ["skipped", "done", "done"]


def test_again_is_not_forgotten_by_the_next_run(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    path = three()
    assert batch(path, "--quiet") == 0
    pipeline.faults["b.mp4"] = KeyboardInterrupt()
    assert batch(path, "--again", "--force", "--quiet") == main.EXIT_INTERRUPTED
    pipeline.faults.clear()
    capsys.readouterr()
    assert batch(path, "--force", "--json", "--quiet") == 0
    assert states(capsys) == ["skipped", "done", "done"]


def test_a_video_without_a_face_has_its_reason_and_the_exit_status_of_sync(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.unusable["clip.mp4"] = (FaceWarning("turned_away", "the face is turned sideways", Interval(0, 2_000)),)
    path = three()
    assert batch(path, "--json", "--quiet") == main.run(["sync", "clip.mp4", "speech.wav", "-q"]) == 2
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    reason = "video: no face of clip.mp4 can be lip-synced: the face is turned sideways"
    assert [(job["error"], job["exit_status"]) for job in jobs] == [(reason, 2)] * 3
    pipeline.unusable.clear()
    pipeline.faults["b.mp4"] = ModelError("the model is missing")
    assert batch(path, "--quiet") == 1, "an error that is not the input's counts more"


def test_a_state_that_cannot_be_written_stops_the_run(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = three()
    with BatchState.opened(Path("jobs.jsonl.state.jsonl")):
        pass

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert batch(path) == 1
    shown = capsys.readouterr()
    assert "duikou: --state: jobs.jsonl.state.jsonl cannot be written: No space left on device.\n" in shown.err
    assert pipeline.written == ["a.mp4"]


def test_a_torn_last_line_is_forgotten(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    path, state = three(), Path("kept.jsonl")
    assert batch(path, "--quiet", "--state", "kept.jsonl") == 0
    whole = state.read_bytes()
    for torn in (whole[:-1], whole[:-40]):
        state.write_bytes(torn)
        capsys.readouterr()
        assert batch(path, "--force", "--json", "--quiet", "--state", "kept.jsonl") == 0
        assert states(capsys) == ["skipped", "skipped", "done"]
    entries = [json.loads(line) for line in state.read_text().splitlines()]
    assert [entry.get("output") for entry in entries] == [None, "a.mp4", "b.mp4", "c.mp4"]
    for beginning in (b"", b'{"duikou_b', whole[:30]):
        state.write_bytes(beginning)
        assert batch(path, "--force", "--quiet", "--state", "kept.jsonl") == 0
        assert len(state.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("precious", 1),
        ("precious\n", 1),
        ("[]\n", 1),
        ('{"duikou_batch": 2, "batch": "a"}\n', 1),
        ('{"duikou_batch": 1, "batch": "a"}\n{"digest": 5}\n', 2),
        ('{"output": "a.mp4", "digest": "a", "state": "done"}\n', 1),
    ],
)
def test_a_file_that_is_no_state_is_left_alone(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], content: str, line: int
) -> None:
    Path("mine.txt").write_text(content)
    assert batch(three(), "--state", "mine.txt") == 2
    assert capsys.readouterr().err == (
        f"duikou: --state: line {line} of mine.txt is not of a batch's state; choose another file, or remove this "
        "one.\n"
    )
    assert Path("mine.txt").read_text() == content


def test_a_state_in_no_folder(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(three(), "--state", "nowhere/state.jsonl") == 1
    assert capsys.readouterr().err == (
        "duikou: --state: nowhere/state.jsonl cannot be written: No such file or directory.\n"
    )


def test_a_second_run_at_the_same_time_is_refused(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    path = three()
    with BatchState.opened(Path("jobs.jsonl.state.jsonl")):
        assert batch(path, "--quiet") == 1
        assert capsys.readouterr().err == (
            "duikou: another run of this batch holds jobs.jsonl.state.jsonl; wait for its end, or stop it.\n"
        )
        with pytest.raises(StorageError), BatchState.opened(Path("jobs.jsonl.state.jsonl")):
            pass
    assert not pipeline.asked
    assert batch(path, "--quiet") == 0


KILLED = """
import sys, time
from pathlib import Path
import duikou
sys.path[:0] = {paths!r}
from test_cli_batch import Pipeline
pipeline = Pipeline()
def lip_sync(session, choices, output, **more):
    if output.path.name == "c.mp4":
        Path("reached").touch()
        time.sleep(600)
    return pipeline.lip_sync(session, choices, output, **more)
duikou.identify, duikou.lip_sync = pipeline.identify, lip_sync
from duikou.cli.main import run
run(["batch", "jobs.jsonl"])
"""


def test_a_run_that_is_killed_loses_only_the_job_in_hand(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    path = three()
    here = Path(__file__).parent
    code = KILLED.format(paths=[str(here), str(here.parent / "helpers")])
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + 120
        while not Path("reached").exists():
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert batch(path, "--quiet") == 1, "the other run holds the state"
        capsys.readouterr()
        run.send_signal(signal.SIGKILL)
        run.communicate()
    assert batch(path, "--json", "--quiet") == 0
    assert states(capsys) == ["skipped", "skipped", "done"]
    assert pipeline.written == ["c.mp4"]


def test_every_key_of_the_json_is_documented(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text().partition("## JSON")[2]
    assert batch(three(), "--json", "--quiet") == 0
    told = json.loads(capsys.readouterr().out)
    assert {key for key in {*told, *told["jobs"][0]} if f"`{key}`" not in page} == set()
