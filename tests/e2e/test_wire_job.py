"""An application with an account uploads, finds faces, makes a task, watches it, is called back and uses the result."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import jwt
import numpy as np
import pytest
from live_server import in_thread, until
from server_settings import settings
from small_portrait import small_portrait
from web_server import web_server

from demo import portrait, speech
from duikou.database.engine import Database
from duikou.media import decode
from duikou.media.video import probe_video
from duikou.provenance import credentials, label
from duikou.tasks.accounts import Accounts, KeyKind, NewKey

pytestmark = pytest.mark.long

CLIP_MS, SPEECH_MS = 2_000, 3_200
SENTENCE = "Hello, my name is Eileen, how are you? I have come to speak for longer."
V1 = "/klingai/v1"


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An application's address for callbacks, and what comes in there."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    with web_server(Handler) as url:
        yield f"{url}/told", received


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NewKey]:
    data = tmp_path_factory.mktemp("data")
    database = Database(f"sqlite:///{data / 'duikou.db'}")
    made = Accounts(database).make("studio", KeyKind.SIGNING)
    database.close()
    return data, made


def bearer(key: NewKey) -> str:
    at = int(time.time())
    return "Bearer " + jwt.encode({"iss": key.access, "exp": at + 1800, "nbf": at - 5}, key.secret, "HS256")


def test_an_application_gets_its_video(key: tuple[Path, NewKey], tmp_path: Path) -> None:
    data, made = key
    with small_portrait(0.5):
        clip = portrait.write(tmp_path / "clip.mp4", CLIP_MS)
    said = speech.speak(tmp_path / "speech.wav", SENTENCE)
    with (
        receiver() as (told_at, told),
        in_thread(settings(data, any_size=True), None) as client,
        httpx.Client(base_url=client.base_url, trust_env=False, timeout=300) as knowing,  # knows our extensions
    ):
        assert client.get(f"{V1}/videos/advanced-lip-sync").json()["code"] == 1001
        client.headers["Authorization"] = knowing.headers["Authorization"] = bearer(made)
        video, sound = (_upload(client, path) for path in (clip, said))
        assert (video["type"], video["duration"], sound["type"]) == ("video", "2", "audio")
        assert round(1000 * float(sound["duration"])) > SPEECH_MS

        found = client.post(f"{V1}/videos/identify-face", json={"video_url": video["url"]}).json()["data"]
        (face,) = found["face_data"]
        assert httpx.get(face["face_image"]).content[:2] == b"\xff\xd8"
        assert 0 < face["bbox"]["x"] < face["bbox"]["x"] + face["bbox"]["width"] < probe_video(clip).width

        order = {
            "session_id": found["session_id"],
            "face_choose": {
                "face_id": int(face["face_id"]),
                "audio_id": sound["id"],
                "sound_start_time": 0,
                "sound_end_time": SPEECH_MS,
                "sound_insert_time": 0,
            },
            "external_task_id": "scene-1",
            "callback_url": told_at,
            "watermark_info": {"enabled": True},
        }
        refused = client.post(f"{V1}/videos/advanced-lip-sync", json=order)
        assert (refused.status_code, refused.json()["code"]) == (400, 1201)
        assert "after the video's end at 2000 ms" in refused.json()["message"]
        order["sync_mode"] = "bounce"
        tried = knowing.post(f"{V1}/videos/advanced-lip-sync", json=order | {"dry_run": True}).json()["data"]
        assert round(1000 * float(tried["duration"])) == SPEECH_MS
        task_id = client.post(f"{V1}/videos/advanced-lip-sync", json=order).json()["data"]["task_id"]

        seen = list(_events(knowing, f"{V1}/videos/advanced-lip-sync/scene-1/events"))
        assert {one["task_status"] for one in seen} >= {"processing", "succeed"}
        assert len({one["stage"] for one in seen}) >= 3
        (result,) = seen[-1]["task_result"]["videos"]
        assert client.get(f"{V1}/videos/advanced-lip-sync/{task_id}").json()["data"] == seen[-1]
        result_file, marked_file = tmp_path / "result.mp4", tmp_path / "marked.mp4"
        result_file.write_bytes(httpx.get(result["url"]).content)
        marked_file.write_bytes(httpx.get(result["watermark_url"]).content)
        again = client.post(f"{V1}/videos/identify-face", json={"video_id": result["id"]}).json()["data"]
        assert len(again["face_data"]) == 1
        until(lambda: len(told) == 3)

    assert [one["task_status"] for one in told] == ["submitted", "processing", "succeed"]
    assert told[-1] == seen[-1]
    info = probe_video(result_file)
    assert 0 <= info.duration_ms - SPEECH_MS <= 40
    assert result["duration"] == f"{info.duration_ms / 1000:g}"
    for file in (result_file, marked_file):
        manifest = credentials.read(file)
        assert manifest is not None
        assert manifest.intact
        assert (found_label := label.read(file)) is not None
        assert task_id in found_label.produce_id
    last, marked_last = (_last_frame(file).astype(int) for file in (result_file, marked_file))
    height, width = last.shape[:2]
    differs = np.abs(last - marked_last).max(2) > 60
    assert differs[height * 3 // 4 :, width // 2 :].any()
    assert not differs[: height // 2].any()


def _upload(client: httpx.Client, path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        answer = client.post(f"{V1}/files", files={"file": (path.name, file)})
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def _events(client: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    with client.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def _last_frame(path: Path) -> np.ndarray:
    *_, last = decode.frames(path)
    return last.image
