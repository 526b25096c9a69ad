"""The commands as an operator starts them on two machines: a server, a worker, and a real job through both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from live_server import caller, create, ended, order, until
from pictures import apart
from services import S3, Postgres, Rabbit
from small_portrait import small_portrait

from demo import portrait, speech
from duikou.media import decode
from duikou.media.video import probe_video
from duikou.provenance import credentials, label

pytestmark = pytest.mark.long

CLIP_MS, SPEECH_MS = 2_000, 2_000
START_S = 180


@contextmanager
def command(*arguments: str, environment: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A `duikou` command that serves; the line by which it says that it is there, and its log. SIGTERM ends it well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "duikou", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    log: list[str] = []
    reader = threading.Thread(target=log.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        said = process.stdout.readline().strip()
        assert said, "".join(log)
        yield said, log
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_S) in (0, 128 + signal.SIGTERM), "".join(log)
    finally:
        process.kill()
        process.wait(START_S)
        reader.join(START_S)
        process.stdout.close()
        process.stderr.close()


def test_a_real_job_through_a_server_and_a_worker(tmp_path: Path, postgres: Postgres, rabbit: Rabbit, s3: S3) -> None:
    with small_portrait(0.5):
        clip = portrait.write(tmp_path / "clip.mp4", CLIP_MS)
    said = speech.speak(tmp_path / "speech.wav", "Hello, my name is Eileen, how are you today? I am fine.")
    environment = {
        **S3.environment,
        "DUIKOU_DATABASE_URL": postgres.fresh(),
        "DUIKOU_BROKER_URL": rabbit.fresh(),
        "DUIKOU_STORAGE_URL": s3.fresh("videos"),
        "DUIKOU_ANY_SIZE": "true",
    }
    with (
        command("serve", "--port", "0", "--data", str(tmp_path / "server"), environment=environment) as (ready, told),
        command("worker", "--data", str(tmp_path / "worker"), environment=environment) as (_, done),
        caller(ready.rpartition(" ")[2]) as client,
    ):
        video, sound = (client.post("/v1/files", content=path.read_bytes()).json()["data"] for path in (clip, said))
        found = client.post("/v1/videos/identify-face", json={"video_id": video["id"]}).json()["data"]
        (face,) = found["face_data"]
        assert httpx.get(face["face_image"]).content[:2] == b"\xff\xd8"
        sound_ms = round(1000 * float(sound["duration"]))
        choice = {"audio_id": sound["id"], "sound_end_time": min(sound_ms, SPEECH_MS), "sound_insert_time": 0}
        task_id = create(client, order(found["session_id"], "", **choice))
        task = ended(client, task_id, wait_s=300)
        assert task["task_status"] == "succeed", task["task_status_msg"]
        result = tmp_path / "result.mp4"
        result.write_bytes(httpx.get(task["task_result"]["videos"][0]["url"]).content)
        until(lambda: any("task succeed" in line and task_id in line for line in done))
        assert not any("task succeed" in line for line in told), "the server itself does no work"
        assert not any((tmp_path / "worker" / "scratch").iterdir())

    before, after = probe_video(clip), probe_video(result)
    assert (before.width, before.height, before.frames) == (after.width, after.height, after.frames)
    changed = max(
        apart(one.image, other.image) for one, other in zip(decode.frames(clip), decode.frames(result), strict=True)
    )
    assert changed > 0.2, "the mouth moves"
    manifest, found_label = credentials.read(result), label.read(result)
    assert manifest is not None
    assert manifest.intact
    assert found_label is not None
    assert task_id in found_label.produce_id
