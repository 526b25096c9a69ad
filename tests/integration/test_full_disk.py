"""A disk that is really full: the task at hand fails with its reason, and the rest goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import httpx
import numpy as np
import pytest
import stub_work
from disks import small_or_skip
from live_server import create, ended, held, identify, in_thread, order, release, sources, task, until
from media_maker import make_video
from server_settings import settings

from duikou.errors import StorageError
from duikou.media.encode import VideoWriter
from duikou.media.video import Video

SIZE_MB = 24
CREATE, FILES, IDENTIFY = "/v1/videos/advanced-lip-sync", "/v1/files", "/v1/videos/identify-face"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_or_skip(tmp_path / "disk", SIZE_MB) as place:
        yield place


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
    return ballast


def _accepted(client: httpx.Client, asked: dict[str, object]) -> str:
    """The id of a new task; empty while the disk has no room for one."""
    answer = client.post(CREATE, json=asked)
    assert answer.status_code in (200, 503), answer.text
    return str(answer.json()["data"]["task_id"]) if answer.status_code == 200 else ""


def test_a_task_that_fills_the_disk_fails_and_leaves_the_rest_alone(disk: Path) -> None:
    data = disk / "data"
    with (
        sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound(), f__mp3=stub_work.sound(render="fill")) as site,
        in_thread(settings(data), stub_work.WORK) as client,
    ):
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        good = create(client, order(session_id, f"{site}/s.mp3"))
        assert ended(client, good)["task_status"] == "succeed"
        fills = create(client, order(session_id, f"{site}/f.mp3"))
        after = until(lambda: _accepted(client, order(session_id, f"{site}/s.mp3")))
        failed = ended(client, fills)
        assert failed["task_status"] == "failed"
        assert failed["task_status_msg"] == (
            "the task was given up after 3 tries: result.mp4 cannot be written: No space left on device."
        )
        assert ended(client, after)["task_status"] == "succeed"
        assert task(client, good)["task_status"] == "succeed"
        assert client.get("/readyz").status_code == 200
        assert not list((data / "tasks" / fills).glob("[0-9]"))
        assert not list((data / "incoming").iterdir())


def test_nothing_can_be_received_on_a_full_disk_and_all_can_again_afterwards(disk: Path) -> None:
    data = disk / "data"
    large = stub_work.video(ballast="x" * 100_000)
    with (
        sources(a__mp4=large, s__mp3=stub_work.sound()) as site,
        in_thread(settings(data), stub_work.WORK) as client,
    ):
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        ballast = fill(disk)
        for answer in (
            client.post(IDENTIFY, json={"video_url": f"{site}/a.mp4"}),
            client.post(FILES, content=large),
            client.post(FILES, files={"file": large}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, 5001), answer.text
            assert str(disk) not in answer.text
        assert client.get("/healthz").status_code == 200
        assert not list((data / "incoming").iterdir())
        ballast.unlink()
        assert identify(client, f"{site}/a.mp4")["face_data"]
        assert ended(client, create(client, order(session_id, f"{site}/s.mp3")))["task_status"] == "succeed"


def test_below_the_floor_no_work_is_begun(disk: Path) -> None:
    data = disk / "data"
    with (
        sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound(render="held"), n__mp3=stub_work.sound()) as site,
        in_thread(settings(data, min_free_mb=8, max_video_mb=1, max_audio_mb=1), stub_work.WORK) as client,
    ):
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        running = create(client, order(session_id, f"{site}/s.mp3"))
        held(data)
        waiting = create(client, order(session_id, f"{site}/n.mp3"))
        ballast = disk / "ballast"
        ballast.write_bytes(bytes((SIZE_MB - 6) << 20))
        release(data)
        assert ended(client, running)["task_status"] == "succeed"
        refused = client.get("/readyz")
        assert (refused.status_code, refused.json()["code"]) == (503, 5001)
        assert "no work is accepted below 8 MB" in refused.json()["message"]
        time.sleep(1.5)  # longer than the dispatcher idles
        assert task(client, waiting)["task_status"] == "submitted"
        ballast.unlink()
        assert ended(client, waiting)["task_status"] == "succeed"


def test_real_files_that_do_not_fit_leave_nothing(disk: Path, tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", size=(640, 480), frames=60)
    os.truncate(fill(disk), (SIZE_MB << 20) - (256 << 10))
    noise = np.random.default_rng(1)
    with (
        pytest.raises(StorageError, match=r"out\.mp4 cannot be written: No space left on device"),
        VideoWriter(disk / "out.mp4", Video.open(source)) as writer,
    ):
        for number in range(60):
            pts = int(Fraction(number, 25) * 12_800)
            writer.write(noise.integers(0, 255, (480, 640, 3), np.uint8), pts)
    assert [path.name for path in disk.iterdir()] == ["ballast"]
