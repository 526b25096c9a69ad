"""`duikou batch --server`: at a real server whose work is replaced by stubs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import stub_work
from live_server import held, in_thread, release, sources, until
from media_maker import make_sound, make_video
from server_settings import settings
from spoilt_server import cut, envelope, spoilt_server

from duikou.cli import main

FRAMES, SPEECH_MS = 75, 2_500
HELD = replace(stub_work.COPY, render=stub_work.copy_held)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A video, and speech that fits it."""
    folder = tmp_path_factory.mktemp("files")
    video = make_video(folder / "clip.mp4", frames=FRAMES, size=(1280, 720), faststart=True)
    speech = make_sound(folder / "speech.wav", np.full((SPEECH_MS * 16, 1), 0.1, np.float32), 16_000)
    return {"clip.mp4": video.read_bytes(), "speech.wav": speech.read_bytes()}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with these files and a file of three jobs to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, content in files.items():
        Path(name).write_bytes(content)
    write(*({"output": f"{name}.mp4"} for name in "abc"))
    return folder


def write(*jobs: dict[str, Any]) -> None:
    usual = {"video": "clip.mp4", "audio": "speech.wav", "at": 450}
    Path("jobs.jsonl").write_text("".join(json.dumps({**usual, **job}) + "\n" for job in jobs))


def words(client: httpx.Client, *more: str) -> list[str]:
    return ["batch", "jobs.jsonl", "--server", str(client.base_url), "--force", *more]


def batch(client: httpx.Client, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
    """The exit status and the JSON of a run."""
    capsys.readouterr()
    status = main.run(words(client, "--json", *more))
    return status, json.loads(capsys.readouterr().out)


def states(told: dict[str, Any]) -> list[str]:
    return [job["state"] for job in told["jobs"]]


def tasks(client: httpx.Client) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = client.get("/v1/videos/advanced-lip-sync").json()["data"]
    return listed


@pytest.fixture
def server(tmp_path: Path) -> Iterator[httpx.Client]:
    with in_thread(settings(tmp_path / "data"), stub_work.COPY) as client:
        yield client


def test_all_jobs_are_done_and_downloaded(
    server: httpx.Client, files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    faces = [{"face": name, "audio": "speech.wav", "at": 450} for name in ("0", "1")]
    with sources(clip__mp4=files["clip.mp4"]) as site:
        write({"watermark": "marked.mp4"}, {"video": f"{site}/clip.mp4", "output": "far.mp4"})
        with Path("jobs.jsonl").open("a") as jobs:
            jobs.write(json.dumps({"video": "clip.mp4", "faces": faces, "output": "both.mp4"}))
        status, told = batch(server, capsys)
    assert (status, states(told)) == (0, ["done"] * 3)
    for name in ("clip.speech.synced.mp4", "marked.mp4", "far.mp4", "both.mp4"):
        assert Path(name).read_bytes() == files["clip.mp4"]
    assert len(tasks(server)) == 3
    assert states(batch(server, capsys)[1]) == ["skipped"] * 3
    assert len(tasks(server)) == 3


def test_the_server_gets_several_jobs_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with in_thread(settings(tmp_path / "data", workers=3), HELD) as client:
        waiting: list[int] = []

        def look() -> None:
            held(tmp_path / "data", 2)
            waiting.append(len(tasks(client)))
            release(tmp_path / "data", 2)
            release(tmp_path / "data")

        helper = threading.Thread(target=look)
        helper.start()
        status, told = batch(client, capsys, "--parallel", "2")
        helper.join()
    assert (status, states(told)) == (0, ["done"] * 3)
    assert waiting == [2]


def test_a_job_that_fails_has_its_sentence_and_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_thread(settings(tmp_path / "data"), replace(stub_work.COPY, render=stub_work.refuse)) as client:
        write({"output": "a.mp4"}, {"output": "b.mp4", "trim": ":1500"}, {"output": "c.mp4", "face": "7"})
        for _ in range(2):
            status, told = batch(client, capsys, "--quiet")
            assert (status, states(told)) == (2, ["failed"] * 3)
        assert told["jobs"][0]["error"].startswith("references: no teeth show in it (task ")
        assert told["jobs"][1]["error"].startswith("trim: ")
        assert told["jobs"][2]["error"] == "face: the session has no face '7'; its faces: 0, 1."
        assert len(tasks(client)) == 2, "a further try is a further task"
    with in_thread(settings(tmp_path / "data"), stub_work.COPY) as client:
        write({"output": "a.mp4"})
        assert batch(client, capsys)[0] == 0


def test_a_run_that_is_killed_leaves_its_tasks_for_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with in_thread(settings(tmp_path / "data", workers=3), HELD) as client:
        command = [sys.executable, "-m", "duikou", *words(client)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            held(tmp_path / "data", 3)
            run.send_signal(signal.SIGKILL)
        release(tmp_path / "data", 3)
        until(lambda: [task["task_status"] for task in tasks(client)] == ["succeed"] * 3)
        status, told = batch(client, capsys)
        assert (status, states(told)) == (0, ["done"] * 3)
        assert len(tasks(client)) == 3, "nothing is rendered twice"
        for name in "abc":
            assert Path(f"{name}.mp4").is_file()


def test_the_next_run_waits_for_a_task_that_still_runs_and_again_makes_new_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write({"output": "a.mp4"})
    with in_thread(settings(tmp_path / "data"), HELD) as client:
        command = [sys.executable, "-m", "duikou", *words(client)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            held(tmp_path / "data")
            run.send_signal(signal.SIGKILL)
        helper = threading.Thread(target=release, args=(tmp_path / "data",))
        helper.start()
        assert batch(client, capsys)[0] == 0
        helper.join()
        assert len(tasks(client)) == 1
        helper = threading.Thread(target=release, args=(tmp_path / "data",))
        helper.start()
        assert states(batch(client, capsys, "--again")[1]) == ["done"]
        helper.join()
        assert len(tasks(client)) == 2


def test_ctrl_c_cancels_the_tasks_in_hand_and_the_next_run_makes_new_ones(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with in_thread(settings(tmp_path / "data", workers=2), HELD) as client:
        command = [sys.executable, "-m", "duikou", *words(client, "--json")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            held(tmp_path / "data", 2)
            until(lambda: len(tasks(client)) == 3)
            run.send_signal(signal.SIGINT)
            out, err = run.communicate()
        assert run.returncode == main.EXIT_INTERRUPTED, err
        assert (json.loads(out)["jobs"], json.loads(out)["left"]) == ([], 3)
        assert [(task["task_status"], task["fault"]) for task in tasks(client)] == [("failed", "cancelled")] * 3
        assert not list(Path().glob("*.part"))
    with in_thread(settings(tmp_path / "data"), stub_work.COPY) as client:
        capfd.readouterr()
        assert main.run(words(client, "--json")) == 0
        assert states(json.loads(capfd.readouterr().out)) == ["done"] * 3
        assert len(tasks(client)) == 6


def test_one_progress_for_all(server: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(words(server, "--parallel", "2")) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("jobs.jsonl: ")]
    assert any(line.startswith("jobs.jsonl: job 1 of 3, clip.mp4: uploading") for line in told)
    assert any("(and 1 more)" in line for line in told)
    assert told[-1] == "jobs.jsonl: 3 of 3 jobs 100%"
    shares = [int(line.split("%")[0].rsplit(" ", 1)[1]) for line in told if "checking" not in line]
    assert shares == sorted(shares)


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duikou.client.drivers.sleep", lambda _: None)
    assert main.run(["batch", "jobs.jsonl", "--server", "http://127.0.0.1:9", "--quiet"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("duikou: --server: GET http://127.0.0.1:9/")


def test_a_server_that_stays_away_ends_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("duikou.client.drivers.sleep", slept.append)
    with spoilt_server(lambda _: envelope(200, 0, data=[]), None, *[cut] * 20) as bad:
        command = ["batch", "jobs.jsonl", "--server", bad.url, "--parallel", "1", "--json", "--quiet"]
        assert main.run(command) == 1
        told = json.loads(capsys.readouterr().out)
        assert (states(told), told["left"]) == (["failed"], 2)
        assert told["jobs"][0]["error"].startswith(f"--server: GET {bad.url}/v1/videos/advanced-lip-sync/duikou-")
    assert 150 < sum(slept) < 310


def test_a_disk_that_is_full_stops_every_thread(
    server: httpx.Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(file: int) -> None:
        if os.fstat(file).st_size > 400:
            raise OSError(28, "No space left on device")
        real(file)

    monkeypatch.setattr("duikou.cli.batch_state.os.fsync", full)
    assert main.run(words(server, "--parallel", "1", "--quiet")) == 1
    assert "cannot be written: No space left on device." in capsys.readouterr().err
