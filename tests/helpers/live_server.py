"""A real server for tests: in a thread of this process, or in a process that can be killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self

import contract
import httpx
import stub_work
import uvicorn
from web_server import web_server

from duikou.database.engine import Database
from duikou.server import create_app
from duikou.server.app import configure
from duikou.settings import Settings
from duikou.tasks.accounts import Accounts, KeyKind, NewKey
from duikou.telemetry import logs

WAIT_S = 120  # for what takes a second or two, on a busy machine


def make_key(data: Path, account: str, kind: KeyKind = KeyKind.PLAIN) -> NewKey:
    """Create an API key for an account; a server may be using the folder."""
    data.mkdir(exist_ok=True)
    database = Database(f"sqlite:///{data / 'duikou.db'}")
    try:
        return Accounts(database).make(account, kind)
    finally:
        database.close()


def signing_secret(data: Path) -> bytes:
    """The secret that signs the URLs of files."""
    with closing(sqlite3.connect(data / "duikou.db")) as database:
        (value,) = database.execute("SELECT value FROM secrets WHERE name = 'addresses'").fetchone()
    return bytes.fromhex(value)


def caller(url: str | httpx.URL, key: str = "") -> httpx.Client:
    """A client that checks every response against the contract and sends the key, if there is one."""
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=WAIT_S,
        trust_env=False,
        verify=False,  # there is no TLS here, and reading the system's certificates takes a quarter of a server's start
        event_hooks={"response": [contract.check]},
    )


@contextmanager
def in_thread(given: Settings, work: Any) -> Iterator[httpx.Client]:
    """Run a server on loopback, and yield a client for it."""
    logs.configure()
    server = uvicorn.Server(configure(create_app(given, work), given, lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    assert server.started, "the server did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with caller(f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive(), "the server did not stop"


class Program:
    """A Python process on the folder `data`; it is ready once it has printed a line.

    code: what it runs, with `given` as its settings. environment: variables in addition to those of this process.
    """

    def __init__(self, code: str, data: Path, *, environment: dict[str, str] | None = None, **more: Any) -> None:
        start = (
            "import json, sys, stub_work; from pathlib import Path; from server_settings import settings;"
            "given = settings(Path(sys.argv[1]), **json.loads(sys.argv[2]));"
        )
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        self.popen = subprocess.Popen(
            [sys.executable, "-c", start + code, str(data), json.dumps(more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **(environment or {})},
        )
        self.log: list[str] = []
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        self._reader = threading.Thread(target=self.log.extend, args=(self.popen.stderr,), daemon=True)
        self._reader.start()
        self.said = self.popen.stdout.readline().strip()
        assert self.said, "".join(self.log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.popen.stdout is not None
        if not self.popen.stdout.closed:
            self.end(signal.SIGKILL)

    def end(self, how: int) -> int:
        """Send a signal and wait; the exit code."""
        self.popen.send_signal(how)
        code = self.popen.wait(WAIT_S)
        self._reader.join(WAIT_S)
        for stream in (self.popen.stdout, self.popen.stderr):
            assert stream is not None
            stream.close()
        return code


class Process(Program):
    """A server process. work: the module whose `WORK` it does."""

    def __init__(
        self, data: Path, *, environment: dict[str, str] | None = None, work: str = "stub_work", **more: Any
    ) -> None:
        serve = f"import {work}; from duikou.server import serve;"
        code = f"{serve} serve(given, ready=lambda url: print(url, flush=True), work={work}.WORK)"
        super().__init__(code, data, environment=environment, **more)
        self.url = self.said
        self.client = caller(self.url.replace("0.0.0.0", "127.0.0.1"))

    def end(self, how: int) -> int:
        """Send a signal and wait; the exit code."""
        self.client.close()
        return super().end(how)


class WorkerProcess(Program):
    """A worker process of a fleet."""

    def __init__(
        self, data: Path, queues: str = "render,identify", *, environment: dict[str, str] | None = None, **more: Any
    ) -> None:
        serve = f"from duikou.workers import worker; queues = worker.queues_of({queues!r});"
        code = f"{serve} worker.serve(given, queues, ready=lambda: print('ready', flush=True), work=stub_work.WORK)"
        super().__init__(code, data, environment=environment, **more)


@contextmanager
def sources(**files: bytes) -> Iterator[str]:
    """A web server with these files (dots in names written as `__`); its address."""
    content = {f"/{name.replace('__', '.')}": body for name, body in files.items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = content.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

    with web_server(Handler) as url:
        yield url


def until(true: Callable[[], Any], wait_s: float = WAIT_S) -> Any:
    """Call `true` until it returns something true, and return that. Raises `AssertionError` after `wait_s`."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if value := true():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {wait_s} s")


def held(data: Path, count: int = 1) -> list[Path]:
    """Wait until `count` pieces of held work are in hand in a data folder; the file that each waits to see gone."""

    def found() -> list[Path]:
        marks = [Path(folder, stub_work.HELD) for folder, _, names in os.walk(data) if stub_work.HELD in names]
        return marks if len(marks) >= count else []

    marks: list[Path] = until(found)
    return marks


def release(data: Path, count: int = 1) -> None:
    """Wait until `count` pieces of held work are in hand in a data folder, and let them go on."""
    for mark in held(data, count):
        mark.unlink(missing_ok=True)


def let_probes_go(data: Path) -> None:
    """Let the probes of uploads that are held go on, those that have begun and those that wait."""
    for path in (data / "incoming").iterdir():
        with suppress(FileNotFoundError), path.open("r+b") as file:  # some may be stored meanwhile
            at = file.read().find(f'"{stub_work.HELD}"'.encode())
            if at >= 0:
                file.seek(at + 1)
                file.write(stub_work.DONE.encode())


def identify(client: httpx.Client, url: str) -> dict[str, Any]:
    """Identify the faces of the video at `url`; the data of the response."""
    response = client.post("/v1/videos/identify-face", json={"video_url": url})
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


def order(session_id: str, sound: str, **more: Any) -> dict[str, Any]:
    """A request for a lip sync of the first three seconds; `more` goes into `face_choose`."""
    times = {"sound_start_time": 0, "sound_end_time": 3000, "sound_insert_time": 1000}
    return {"session_id": session_id, "face_choose": [{"face_id": "0", "sound_file": sound, **times, **more}]}


def create(client: httpx.Client, payload: dict[str, Any]) -> str:
    """Create a task; its id."""
    response = client.post("/v1/videos/advanced-lip-sync", json=payload)
    assert response.status_code == 200, response.text
    return str(response.json()["data"]["task_id"])


def task(client: httpx.Client, task_id: str) -> dict[str, Any]:
    """The current state of a task."""
    data: dict[str, Any] = client.get(f"/v1/videos/advanced-lip-sync/{task_id}").json()["data"]
    return data


def ended(client: httpx.Client, task_id: str, wait_s: float = WAIT_S) -> dict[str, Any]:
    """Wait until a task reaches a final state, and return it."""
    until(lambda: task(client, task_id)["task_status"] in ("succeed", "failed"), wait_s)
    return task(client, task_id)
