"""What a call costs a server process and PostgreSQL in processor time, over real HTTP."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import multiprocessing
import statistics
import threading
import time
import wave
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.performance.processes import cpu_s
from benchmarks.scale.crowd import READY_S, Place, keep_session
from benchmarks.scale.services import Services
from duikou.database.engine import Database
from duikou.server import serve
from duikou.settings import Settings
from duikou.storage.factory import open_files

TASKS = "/v1/videos/advanced-lip-sync"
CALLERS = 4
WARM_UP = 20
SOUND_HZ, SOUND_S = 16_000, 5


@dataclass(frozen=True)
class Cost:
    """Of one call: processor ms of the server with its child processes, and of PostgreSQL; ms until it was answered."""

    call: str
    server_ms: float
    database_ms: float
    answered_ms: float


def costs(services: Services, folder: Path, count: int) -> list[Cost]:
    """Of submitting a task, of asking for one that waits, and of a page of 30; each called so often."""
    place = Place(services.postgres.fresh(), services.rabbit.fresh(), folder)
    (folder / "files").mkdir()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    settings = place.settings("server", queue_limit=0, requests_per_s=0, port=0)
    process = spawn.Process(target=_serve, args=(settings, theirs))
    process.start()
    try:
        assert ours.poll(READY_S), "the server did not start"
        address = urlsplit(ours.recv()).netloc
        database = Database(place.database_url)
        session = keep_session(database, open_files(settings.storage_url, folder, folder, 1.0), folder)
        database.close()
        times = {"sound_start_time": 0, "sound_end_time": SOUND_S * 1000, "sound_insert_time": 0}
        choice = {"face_id": "0", "sound_file": base64.b64encode(_sound()).decode(), **times}
        order = json.dumps({"session_id": session.id, "face_choose": [choice]})
        task = _asked(http.client.HTTPConnection(address), "POST", TASKS, order)["task_id"]
        asked = {
            "submit": ("POST", TASKS, order),
            "poll": ("GET", f"{TASKS}/{task}", None),
            "page of 30": ("GET", f"{TASKS}?pageSize=30", None),
        }
        pid = process.pid or 0
        return [_cost(services, pid, name, address, count, what) for name, what in asked.items()]
    finally:
        process.terminate()
        process.join()


def _serve(settings: Settings, pipe: Connection) -> None:
    with (settings.data.parent / "log").open("w") as log, contextlib.redirect_stderr(log):
        serve(settings, ready=pipe.send)


def _sound() -> bytes:
    """Some seconds of silence as wav."""
    with io.BytesIO() as file:
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(SOUND_HZ)
            sound.writeframes(bytes(2 * SOUND_HZ * SOUND_S))
        return file.getvalue()


def _cost(services: Services, pid: int, name: str, address: str, count: int, what: tuple[str, str, str | None]) -> Cost:
    _called(address, WARM_UP, what)
    before = cpu_s(pid), services.database_cpu_s()
    took = _called(address, count, what)
    after = cpu_s(pid), services.database_cpu_s()
    server_s, database_s = (late - early for early, late in zip(before, after, strict=True))
    return Cost(name, server_s * 1000 / count, database_s * 1000 / count, statistics.median(took) * 1000)


def _called(address: str, count: int, what: tuple[str, str, str | None]) -> list[float]:
    took = [0.0] * count

    def call(caller: int) -> None:
        connection = http.client.HTTPConnection(address)
        for number in range(caller, count, CALLERS):
            start = time.monotonic()
            _asked(connection, *what)
            took[number] = time.monotonic() - start
        connection.close()

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def _asked(connection: http.client.HTTPConnection, method: str, path: str, body: str | None) -> Any:
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    told = json.loads(answer.read())
    assert answer.status == 200, told
    return told["data"]
