"""`--server`: `faces` and `sync` at a real server whose work is replaced by stubs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import stub_work
from kling_host import PLAIN, kling_host
from live_server import in_thread, make_key, sources
from media_maker import make_sound, make_video
from server_settings import settings

from duikou.cli import main, remote, remote_errors, sync
from duikou.client import Task, TaskStatus
from duikou.progress import Progress
from duikou.server.validation import WIRE_FIELDS
from duikou.tasks.accounts import KeyKind

FRAMES, VIDEO_MS, SPEECH_MS = 75, 3_000, 2_500
SYNC = ("sync", "clip.mp4", "speech.wav")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A video, and speech that fits it."""
    folder = tmp_path_factory.mktemp("files")
    video = make_video(folder / "clip.mp4", frames=FRAMES, size=(1280, 720), faststart=True)
    samples = np.full((SPEECH_MS * 16, 1), 0.1, np.float32)
    return {
        "clip.mp4": video.read_bytes(),
        "speech.wav": make_sound(folder / "speech.wav", samples, 16_000).read_bytes(),
    }


@pytest.fixture(autouse=True)
def here(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with these files to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[httpx.Client]:
    with in_thread(settings(tmp_path / "data"), stub_work.COPY) as client:
        yield client


def run(client: httpx.Client | str, *words: str) -> int:
    url = client if isinstance(client, str) else str(client.base_url)
    return main.run([*words, "--server", url])


def shown_by(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What the command printed on both streams, without the log lines of the server in its thread."""
    out, err = capsys.readouterr()
    return out, "".join(line for line in err.splitlines(keepends=True) if not line.startswith("{"))


def tasks(client: httpx.Client) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = client.get("/v1/videos/advanced-lip-sync").json()["data"]
    return listed


def test_the_names_of_the_wire_are_known() -> None:
    assert {wire: name for name, wire in WIRE_FIELDS.items()}.items() <= remote_errors.NAMES.items()


def test_faces_prints_what_the_server_finds(server: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, "faces", "clip.mp4") == 0
    out, err = shown_by(capsys)
    rows = [line.split() for line in out.splitlines()]
    assert rows[1][:6] == ["0", "left", "0", "3000", "90x120", "clip.faces/face_0.jpg"]
    assert rows[2] == ["1", "right", "400", "3000", "200x260", "clip.faces/face_1.jpg"]
    assert "the lips are 28 px wide" in out
    assert "clip.mp4: uploading 0%" in err
    assert "clip.mp4: finding faces 100%" in err
    assert Path("clip.faces/face_1.jpg").read_bytes() == stub_work.PICTURE


def test_faces_as_json_with_the_server_in_the_environment(
    server: httpx.Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUIKOU_SERVER", str(server.base_url))
    assert main.run(["faces", "clip.mp4", "--json", "--quiet", "--pictures", "pictures"]) == 0
    out, err = shown_by(capsys)
    assert err == ""
    told = json.loads(out)
    faces = told.pop("faces")
    rejected = {"code": "masked", "message": "a mask hides the lips", "start_ms": 0, "end_ms": 500}
    assert told == {
        "video": "clip.mp4",
        "width": 1280,
        "height": 720,
        "frames": FRAMES,
        "duration_ms": VIDEO_MS,
        "rejected": [rejected],
        "warnings": [],
    }
    assert faces[0]["speaking"] == [{"start_ms": 500, "end_ms": 2900, "score": 0.41}]
    assert faces[1] == {
        "id": "1",
        "position": "right",
        "bbox": [900, 20, 200, 260],
        "start_ms": 400,
        "end_ms": 3000,
        "width": 200,
        "height": 260,
        "speaking": [],
        "warnings": [],
        "picture": "pictures/face_1.jpg",
    }


def test_auto_makes_the_one_speak_whom_the_server_has_found(
    server: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, *SYNC, "--face", "auto", "--at", "500") == 0
    assert "face 0 speaks (left, 0 ms to 3000 ms), as in the original at 0.5 s" in shown_by(capsys)[1]
    assert [one["request"][0]["face_id"] for one in tasks(server)] == ["0"]


def test_no_face_has_its_reason_and_one_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.jsonl").write_text(json.dumps({"video": "clip.mp4", "audio": "speech.wav"}))
    with in_thread(settings(tmp_path / "data"), replace(stub_work.COPY, identify=stub_work.identify_nobody)) as client:
        for command in (("faces", "clip.mp4"), SYNC, ("batch", "jobs.jsonl")):
            assert run(client, *command, "--quiet") == 2
            assert "no face of clip.mp4 can be lip-synced: a mask hides the lips" in "".join(shown_by(capsys))


def test_sync_downloads_the_result(
    server: httpx.Client, files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, *SYNC, "--watermark", "marked.mp4", "--at", "450") == 0
    out, err = shown_by(capsys)
    assert out == "clip.synced.mp4\nmarked.mp4\n"
    assert "face 1 speaks (right, 400 ms to 3000 ms), the most visible of 2; --face also accepts 0 (left)" in err
    assert "clip.mp4: downloading 100%" in err
    for name in ("clip.synced.mp4", "marked.mp4"):
        assert Path(name).read_bytes() == files["clip.mp4"]
    assert [task["task_status"] for task in tasks(server)] == ["succeed"]


def test_several_faces_and_too_much_speech(server: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    says = ("--say", "0", "speech.wav", "--say", "1", "speech.wav", "--sync-mode", "cut_off", "--at", "800")
    more = ("--exclude", "1s:1.5s", "--original-scope", "video")
    assert run(server, "sync", "clip.mp4", *says, *more, "--json", "--quiet", "-o", "out.mp4") == 0
    out, err = capsys.readouterr()
    logged = [json.loads(line) for line in err.splitlines()]  # nothing but the log of the server in its thread
    assert [line["path"] for line in logged if line.get("method") == "POST"].count("/v1/files") == 2  # one sound, once
    asked = {(one["face_id"], str(one["exclude"]), one["original_audio_scope"]) for one in tasks(server)[0]["request"]}
    assert asked == {("0", "[[1000, 1500]]", "video"), ("1", "[[1000, 1500]]", "video")}
    told = json.loads(out)
    assert (told["video"], told["watermark"], told["frames"], told["warnings"]) == ("out.mp4", None, FRAMES, [])
    assert [(face["id"], face["audio"], face["at_ms"]) for face in told["faces"]] == [
        ("0", "speech.wav", 800),
        ("1", "speech.wav", 800),
    ]


def test_a_server_that_lets_one_face_speak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [{"face": face, "audio": "speech.wav"} for face in ("0", "1")]
    Path("plan.json").write_text(json.dumps(entries))
    with in_thread(settings(tmp_path / "data", several_faces=False), stub_work.COPY) as client:
        for words in (("--plan", "plan.json"), ("--say", "0", "speech.wav", "--say", "1", "speech.wav")):
            assert run(client, "sync", "clip.mp4", *words, "--quiet") == 2
            _, err = shown_by(capsys)
            assert err.startswith(f"duikou: {words[0]}: exactly one entry is expected, not 2 (request ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--at", "1s"), "the video lasts 3.0 s: use --trim :2000"),  # a local check
        (("--trim", ":1500"), "duikou: --trim: "),  # the server's rule
        (("--face", "7"), "duikou: --face: the session has no face '7'; its faces: 0, 1."),
    ],
)
def test_what_is_wrong_is_named_by_its_option(
    server: httpx.Client, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert run(server, *SYNC, *words, "--quiet") == 2
    out, err = shown_by(capsys)
    assert out == ""
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert tasks(server) == []


def test_a_video_that_the_server_refuses(server: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(Path("small.mp4"), frames=FRAMES, size=(320, 180), faststart=True)
    assert run(server, "faces", "small.mp4", "--quiet") == 2
    assert "duikou: VIDEO: the video is 320x180 pixels" in shown_by(capsys)[1]


def test_where_a_task_is() -> None:
    told: list[tuple[str, float]] = []
    tell = remote._telling(lambda stage, share: told.append((stage, share)))
    waiting = Task("1", TaskStatus.SUBMITTED, 0, 0, queue_position=3, progress=0.0, stage="")
    for task in (waiting, replace(waiting, status=TaskStatus.PROCESSING, progress=0.5, stage="rendering")):
        tell(task)
    assert told == [("waiting at place 3 of the queue", 0.0), ("rendering", 0.5)]


def test_the_server_s_rule_has_the_id_of_the_request(server: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server, *SYNC, "--trim", ":1500", "--quiet") == 2
    assert "(request " in shown_by(capsys)[1]


def test_a_local_check_comes_before_any_connection(capsys: pytest.CaptureFixture[str]) -> None:
    Path("clip.synced.mp4").write_bytes(b"mine")
    assert run("http://127.0.0.1:9", *SYNC) == 2
    assert "--force overwrites it" in shown_by(capsys)[1]


def test_a_task_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    references = [word for name in ("a.jpg", "b.jpg") for word in ("--reference", name)]
    for name in references[1::2]:
        cv2.imwrite(name, np.full((64, 64, 3), 128, np.uint8))
    for number, (render, status, sentence) in enumerate(
        (
            (stub_work.refuse, 2, "duikou: --reference 2: no teeth show in it (task "),
            (stub_work.miss_a_model, 1, "model"),
        )
    ):
        work = replace(stub_work.COPY, render=render)
        with in_thread(settings(tmp_path / f"data{number}"), work) as client:
            assert run(client, *SYNC, *references, "--quiet") == status
            out, err = shown_by(capsys)
            assert sentence in err
            assert out == ""
            assert not Path("clip.synced.mp4").exists()


def test_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(tmp_path / "data", "alice")
    with in_thread(settings(tmp_path / "data"), stub_work.COPY) as client:
        monkeypatch.setenv("DUIKOU_KEY", "dk-wrong")
        assert run(client, "faces", "clip.mp4") == 2
        _, err = shown_by(capsys)
        assert err.startswith("duikou: DUIKOU_KEY: ")
        assert "(request " in err
        assert "dk-wrong" not in err
        assert not list((tmp_path / "data").rglob("*.mp4"))
        monkeypatch.setenv("DUIKOU_KEY", key.secret)
        assert run(client, "faces", "clip.mp4") == 0


def test_a_key_pair_signs_each_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_key(tmp_path / "data", "alice", KeyKind.SIGNING)
    with in_thread(settings(tmp_path / "data"), stub_work.COPY) as client:
        monkeypatch.setenv("DUIKOU_KEY", f"{pair.access}:{pair.secret}")
        assert run(client, *SYNC, "--quiet") == 0
        shown_by(capsys)
        for wrong, sentence in (
            (f"{pair.access}:other-secret-of-32-bytes-or-more-0123", "duikou: DUIKOU_KEY: "),
            (f"{pair.access}:", "duikou: DUIKOU_KEY: visible ASCII characters without spaces are expected.\n"),
        ):
            monkeypatch.setenv("DUIKOU_KEY", wrong)
            assert run(client, "faces", "clip.mp4", "--quiet") == 2
            _, err = shown_by(capsys)
            assert err.startswith(sentence)
            assert "other-secret" not in err


def test_the_server_fetches_a_video_at_a_url(
    server: httpx.Client, files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("clip.mp4").unlink()
    with sources(clip__mp4=files["clip.mp4"]) as site:
        url = f"{site}/clip.mp4"
        assert run(server, "faces", url, "--json", "--quiet") == 0
        told = json.loads(shown_by(capsys)[0])
        assert (told["video"], told["width"], told["duration_ms"]) == (url, None, None)
        assert [(face["position"], face["width"], face["picture"]) for face in told["faces"]] == [
            (None, 90, "clip.faces/face_0.jpg"),
            (None, 200, "clip.faces/face_1.jpg"),
        ]
        assert run(server, "faces", url) == 0
        assert "\n1          400      3000   200x260  clip.faces/face_1.jpg" in shown_by(capsys)[0]
        assert run(server, "sync", url, "speech.wav", "--at", "450") == 0
        out, err = shown_by(capsys)
        assert out == "clip.synced.mp4\n"
        assert "face 1 speaks (400 ms to 3000 ms), the most visible of 2; --face also accepts 0\n" in err
        assert Path("clip.synced.mp4").read_bytes() == files["clip.mp4"]
        assert run(server, "sync", url, "speech.wav", "--at", "450", "--json", "--quiet", "--force") == 0
        (face,) = json.loads(shown_by(capsys)[0])["faces"]
        assert face["position"] == "right", "the result tells the width"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--at", "1s", "--quiet"), "duikou: --at: "),
        (("--volume", "3"), "duikou: --volume: 3 is not between 0 and 2.\n"),
        (("--trim", ":4000"), "duikou: --trim: 4000 ms is after the audio's end at 2500 ms.\n"),
    ],
)
def test_faults_with_a_video_at_a_url(
    server: httpx.Client,
    files: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    sentence: str,
) -> None:
    with sources(clip__mp4=files["clip.mp4"]) as site:
        assert run(server, "sync", f"{site}/clip.mp4", "speech.wav", *words) == 2
    assert shown_by(capsys)[1].startswith(sentence)
    assert tasks(server) == []


def test_urls_that_lead_nowhere(server: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    for url, sentence in (
        ("http://", "duikou: VIDEO: http:// is no URL: it names no host.\n"),
        ("http://[::1", "duikou: VIDEO: http://[::1 is no URL: it names no host.\n"),
        ("http://10.0.0.1/a.mp4", "duikou: VIDEO: "),
    ):
        assert run(server, "faces", url, "--quiet") == 2
        assert shown_by(capsys)[1].startswith(sentence)
    assert main.run(["sync", "https://example.com/a.mp4", "speech.wav"]) == 2
    assert shown_by(capsys)[1] == (
        "duikou: VIDEO: a URL needs --server, which fetches the video; or download it first.\n"
    )


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duikou.client.drivers.sleep", lambda _: None)
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        assert run(f"http://127.0.0.1:{taken.getsockname()[1]}", "faces", "clip.mp4") == 1
    _, err = shown_by(capsys)
    assert err.startswith("duikou: --server: GET http://127.0.0.1:")
    assert len(err.splitlines()) == 1


def test_a_host_that_is_no_duikou_server(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUIKOU_KEY", PLAIN)
    with kling_host() as host:
        assert run(host.url, "faces", "clip.mp4", "--quiet") == 2
    _, err = shown_by(capsys)
    assert err.startswith("duikou: --server: this host takes no files, because it is no duikou server; ")


def test_a_url_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("localhost:8000", "faces", "clip.mp4") == 2
    assert shown_by(capsys)[1] == "duikou: --server: http:// or https:// and a host are expected.\n"


def test_ctrl_c_cancels_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def stopping(*_: object, **__: object) -> Iterator[Progress]:
        def progress(stage: str, share: float) -> None:
            if stage == "held":
                raise KeyboardInterrupt

        yield progress

    monkeypatch.setattr(sync, "show_progress", stopping)
    work = replace(stub_work.COPY, render=stub_work.copy_held)
    with in_thread(settings(tmp_path / "data"), work) as client:
        assert run(client, *SYNC) == main.EXIT_INTERRUPTED
        (task,) = tasks(client)
        assert (task["task_status"], task["fault"]) == ("failed", "cancelled")
    assert not Path("clip.synced.mp4").exists()
