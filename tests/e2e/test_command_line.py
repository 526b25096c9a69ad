"""The command line as a new user meets it: two faces, speech that is too long, and what the error proposes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from small_portrait import small_portrait

from demo import portrait, speech
from duikou.cli.files import made_by_duikou
from duikou.media.unfinished import remove_abandoned
from duikou.media.video import probe_video

CLIP_MS, SHORT_MS = 1_200, 800


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait beside its mirror image, and a sentence that is longer than the clip."""
    folder = tmp_path_factory.mktemp("user")
    with small_portrait(0.5):
        write(folder / "two people.mp4", [np.hstack([image, image[:, ::-1]]) for image in portrait.frames(CLIP_MS)])
    speech.speak(folder / "speech.wav")
    return folder


def write(path: Path, images: Sequence[NDArray[np.uint8]]) -> None:
    """Write a video without sound."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=portrait.RATE, options={"crf": "20", "preset": "veryfast"})
        (stream.height, stream.width), stream.pix_fmt = images[0].shape[:2], "yuv420p"
        for image in images:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        file.mux(stream.encode())


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "duikou", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_from_nothing_to_two_people_who_speak(folder: Path) -> None:
    listed = run(folder, "faces", "two people.mp4", "--json")
    assert listed.returncode == 0
    assert "INFO" not in listed.stderr
    faces = {face["position"]: face for face in json.loads(listed.stdout)["faces"]}
    assert faces.keys() == {"left", "right"}
    assert all((folder / face["picture"]).is_file() for face in faces.values())

    words = [word for place in ("left", "right") for word in ("--say", faces[place]["id"], "speech.wav")]
    refused = run(folder, "sync", "two people.mp4", *words)
    assert refused.returncode == 2
    assert refused.stdout == ""
    (sentence,) = refused.stderr.splitlines()
    assert f"use --trim :{CLIP_MS} or --sync-mode cut_off" in sentence

    done = run(folder, "sync", "two people.mp4", *words, "--trim", f":{CLIP_MS}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "two people.synced.mp4\n"
    told = done.stderr.splitlines()
    assert "INFO" not in done.stderr
    speakers = [line for line in told if " speaks " in line]
    assert len(speakers) == 2
    assert told.index(speakers[-1]) < min(told.index(line) for line in told if ": rendering " in line)
    result = folder / "two people.synced.mp4"
    assert made_by_duikou(result, "duikou")
    assert probe_video(result).frames == probe_video(folder / "two people.mp4").frames


def test_a_batch_of_real_jobs(folder: Path) -> None:
    with small_portrait(0.5):
        write(folder / "person.mp4", list(portrait.frames(SHORT_MS)))
    Path(folder, "jobs.csv").write_text(
        f"video,audio,face,trim,output\nperson.mp4,speech.wav,,:{SHORT_MS},one.mp4\n"
        f"person.mp4,speech.wav,7,:{SHORT_MS},two.mp4\n"
    )
    first = run(folder, "batch", "jobs.csv")
    assert first.returncode == 2, first.stderr
    rows = first.stdout.splitlines()
    assert [row.split()[:3] for row in rows[1:]] == [["2", "one.mp4", "done"], ["3", "two.mp4", "failed"]], first.stdout
    assert "face: the session has no face '7'" in rows[2]
    assert made_by_duikou(folder / "one.mp4", "duikou")
    assert probe_video(folder / "one.mp4").frames == probe_video(folder / "person.mp4").frames

    table = Path(folder, "jobs.csv").read_text()
    Path(folder, "jobs.csv").write_text(table.replace(",7,", ",,"))
    second = run(folder, "batch", "jobs.csv", "--json", "--quiet")
    assert (second.returncode, second.stderr) == (0, "")
    assert [job["state"] for job in json.loads(second.stdout)["jobs"]] == ["skipped", "done"]
    assert made_by_duikou(folder / "two.mp4", "duikou")


def test_a_killed_run_leaves_nothing_for_ever_and_the_next_one_says_so(folder: Path) -> None:
    at = folder / "killed"
    at.mkdir()
    asked = ["sync", str(folder / "two people.mp4"), str(folder / "speech.wav"), "--trim", "0:1000", "-o", "out.mp4"]
    command = [sys.executable, "-m", "duikou", *asked]
    with subprocess.Popen(command, cwd=at, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        wait_until(lambda: running.poll() is not None or any(one.stat().st_size for one in at.glob(".out.*.part.mp4")))
        assert remove_abandoned(at) == []  # it is still written
        running.kill()
    (left,) = at.iterdir()
    assert left.name.endswith(".part.mp4")
    again = run(at, *asked)
    assert again.returncode == 0, again.stderr
    assert "an earlier run was stopped before out.mp4 was finished" in again.stderr
    assert [path.name for path in at.iterdir()] == ["out.mp4"]


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    """Return as soon as a condition holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
