"""Streams of events of two accounts: one look for all of them, a limit for each, and threads that are shared fairly."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import stub_work
from live_server import WAIT_S, caller, create, held, identify, in_thread, make_key, order, release, sources, until
from server_settings import settings

from duikou.server import threads
from duikou.server.schemas import build
from duikou.tasks import waiting
from duikou.tasks.models import RenderTask
from duikou.tasks.service import TaskService
from duikou.tasks.store.tasks import TaskStore

pytestmark = pytest.mark.long

CREATE = "/v1/videos/advanced-lip-sync"
STREAMS = 300


@pytest.fixture(scope="module")
def keys(data: Path) -> dict[str, str]:
    return {name: make_key(data, name).secret for name in ("alice", "bob")}


@pytest.fixture(scope="module")
def server(data: Path, keys: dict[str, str]) -> Iterator[httpx.Client]:
    given = settings(data, events_at_once=STREAMS, connections=2_000)
    with in_thread(given, stub_work.WORK) as client:
        yield client


@pytest.fixture(scope="module")
def alice(server: httpx.Client, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with caller(server.base_url, keys["alice"]) as client:
        yield client


@pytest.fixture(scope="module")
def bob(server: httpx.Client, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with caller(server.base_url, keys["bob"]) as client:
        yield client


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound(), held__mp3=stub_work.sound(render="held")) as url:
        yield url


@pytest.fixture(scope="module")
def session_id(alice: httpx.Client, site: str) -> str:
    return str(identify(alice, f"{site}/a.mp4")["session_id"])


class Stream:
    """One open stream of events. host: as the request names the server."""

    def __init__(self, client: httpx.Client, task_id: str, host: str = "") -> None:
        url = client.base_url
        self._socket = socket.create_connection((url.host, url.port or 0), WAIT_S)
        lines = [
            f"GET {CREATE}/{task_id}/events HTTP/1.1",
            f"Host: {host or url.host}:{url.port}",
            f"Authorization: {client.headers['Authorization']}",
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._text = b""

    def until(self, mark: bytes) -> Stream:
        """Read until something was sent."""
        while mark not in self._text:
            piece = self._socket.recv(1 << 16)
            assert piece, self._text
            self._text += piece
        return self

    @property
    def head(self) -> bytes:
        return self._text.partition(b"\r\n\r\n")[0]

    def rest(self) -> list[dict[str, Any]]:
        """Everything that it tells, once it has ended."""
        self.until(b"\r\n0\r\n\r\n")
        return [json.loads(line[6:]) for line in self._text.splitlines() if line.startswith(b"data: ")]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def listen(opened: contextlib.ExitStack, client: httpx.Client, task_id: str, count: int) -> list[Stream]:
    """So many streams of a task, of which each has told the first event."""
    streams = []
    for _ in range(count):
        streams.append(Stream(client, task_id))
        opened.callback(streams[-1].close)
    return [stream.until(b"data: ") for stream in streams]


class Looks:
    """What all the streams of this process ask the database, and what is written of tasks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ids: list[list[str]] = []
        self.statements = 0
        asked = TaskStore.marks

        def marks(store: TaskStore, task_ids: Any) -> Any:
            self.ids.append(list(task_ids))
            return asked(store, task_ids)

        monkeypatch.setattr(TaskStore, "marks", marks)
        self.written: list[tuple[RenderTask, str]] = []
        task_data = build.task_data

        def write(task: RenderTask, links: Any, position: int | None = None) -> Any:
            self.written.append((task, links.base))
            return task_data(task, links, position)

        monkeypatch.setattr(build, "task_data", write)

    def note(self, *_: object) -> None:
        if threading.current_thread().name.startswith("duikou-look"):
            self.statements += 1

    def each(self, count: int) -> float:
        """Statements for each of so many looks."""
        first, began = self.statements, len(self.ids)
        until(lambda: len(self.ids) >= began + count)
        return (self.statements - first) / (len(self.ids) - began)

    def none_more(self) -> bool:
        """Whether nothing is asked any more."""
        before = len(self.ids)
        time.sleep(3 * waiting.CHANGES_POLL_S)
        return len(self.ids) == before


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    found = Looks(monkeypatch)
    sa.event.listen(sa.Engine, "before_cursor_execute", found.note)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", found.note)


@pytest.fixture
def held_task(alice: httpx.Client, data: Path, site: str, session_id: str) -> str:
    """A task in hand, which ends once it is released."""
    task_id = create(alice, order(session_id, f"{site}/held.mp3"))
    held(data)
    return task_id


def test_three_hundred_streams_ask_no_more_than_one_and_all_hear_everything(
    alice, bob, data, held_task, opened, looks
) -> None:
    streams = listen(opened, alice, held_task, 1)
    alone = looks.each(5)
    streams += listen(opened, alice, held_task, STREAMS - 1)
    assert looks.each(5) <= max(alone, 1) + 2, "a change is read once: its mark, its row and its place"
    assert all(ids == [held_task] for ids in looks.ids)
    assert bob.get(CREATE).json()["data"] == []
    release(data)
    told = [stream.rest() for stream in streams]
    assert {events[-1]["task_status"] for events in told} == {"succeed"}
    for events in told:
        assert all(one != other for one, other in itertools.pairwise(events))
        assert [one["updated_at"] for one in events] == sorted(one["updated_at"] for one in events)
    once = {(id(task), base) for task, base in looks.written}
    assert len(once) == len(looks.written), "each change is written once"
    for stream in streams:
        stream.close()
    until(looks.none_more)


def test_an_account_has_so_many_streams_and_one_that_ends_makes_room(tmp_path, site) -> None:
    secrets = {name: make_key(tmp_path, name).secret for name in ("alice", "bob")}
    with (
        in_thread(settings(tmp_path, events_at_once=2), stub_work.WORK) as client,
        caller(client.base_url, secrets["alice"]) as alice,
        caller(client.base_url, secrets["bob"]) as bob,
        contextlib.ExitStack() as opened,
    ):
        tasks = {
            one: create(one, order(identify(one, f"{site}/a.mp4")["session_id"], f"{site}/held.mp3"))
            for one in (alice, bob)
        }
        first, _ = listen(opened, alice, tasks[alice], 2)
        refused = alice.get(f"{CREATE}/{tasks[alice]}/events")
        assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, 1302, "10")
        assert refused.json()["message"] == (
            "The account has 2 streams of events open, as many as it may at once; close one, or query the task."
        )
        assert alice.get(f"{CREATE}/{tasks[alice]}").status_code == 200
        listen(opened, bob, tasks[bob], 2)
        first.close()

        def again() -> bool:
            stream = Stream(alice, tasks[alice]).until(b"\r\n\r\n")
            opened.callback(stream.close)
            return stream.head.startswith(b"HTTP/1.1 200")

        until(again)
        for one, task_id in tasks.items():
            assert one.post(f"{CREATE}/{task_id}/cancel").status_code == 200


def test_each_caller_has_the_files_under_the_address_that_it_knows(alice, site, session_id, opened) -> None:
    task_id = create(alice, order(session_id, f"{site}/s.mp3"))
    for host in ("127.0.0.1", "localhost"):
        stream = Stream(alice, task_id, host)
        opened.callback(stream.close)
        (*_, last) = stream.rest()
        assert last["task_result"]["videos"][0]["url"].startswith(f"http://{host}:{alice.base_url.port}/files/")


def test_a_silent_stream_stays_alive_and_outlives_an_outage(alice, data, site, session_id, opened, monkeypatch) -> None:
    monkeypatch.setattr(waiting, "ALIVE_S", 0.1)
    task_id = create(alice, order(session_id, f"{site}/held.mp3"))
    held(data)
    (stream,) = listen(opened, alice, task_id, 1)
    stream.until(b": alive\n\n")
    marks, failed = TaskStore.marks, threading.Event()

    def fail(*_: object) -> None:
        failed.set()
        raise OSError("the database is away")

    monkeypatch.setattr(TaskStore, "marks", fail)
    assert failed.wait(WAIT_S)
    monkeypatch.setattr(TaskStore, "marks", marks)
    release(data)
    assert stream.rest()[-1]["task_status"] == "succeed"


def test_calls_of_one_account_that_block_leave_threads_for_another(alice, bob, monkeypatch) -> None:
    tasks, blocked, go_on = TaskService.tasks, list[str](), threading.Event()

    def block(service: TaskService, account: str, **page: Any) -> Any:
        if account == "alice":
            blocked.append(account)
            assert go_on.wait(WAIT_S)
        return tasks(service, account, **page)

    def task_of(service: TaskService, account: str, task_id: str) -> None:
        block(service, account, on_sessions=True, offset=0, limit=1)

    monkeypatch.setattr(TaskService, "tasks", block)
    monkeypatch.setattr(TaskService, "task", task_of)
    with ThreadPoolExecutor(100) as pool:
        try:
            calls = [pool.submit(alice.get, f"{CREATE}/1") for _ in range(60)]
            until(lambda: len(blocked) == threads.THREADS)
            lists = [pool.submit(alice.get, CREATE) for _ in range(20)]
            assert bob.get(CREATE).status_code == 200
            assert len(blocked) == threads.THREADS
            assert not any(one.done() for one in calls + lists)
        finally:
            go_on.set()
        assert {one.result().status_code for one in calls} == {404}
        assert {one.result().status_code for one in lists} == {200}


def test_downloads_of_one_account_from_a_slow_storage_leave_threads_for_another(alice, bob, monkeypatch) -> None:
    url = alice.post("/v1/files", content=stub_work.sound()).json()["data"]["url"]
    blocked, go_on = list[str](), threading.Event()

    def read(_service: TaskService, key: str, start: int, end: int) -> Iterator[bytes]:
        blocked.append(key)
        assert go_on.wait(WAIT_S)
        yield b"x" * (end - start)

    monkeypatch.setattr(TaskService, "local_file", lambda *_: None)
    monkeypatch.setattr(TaskService, "file_size", lambda *_: 5)
    monkeypatch.setattr(TaskService, "read_file", read)
    with ThreadPoolExecutor(60) as pool:
        try:
            downloads = [pool.submit(httpx.get, url, timeout=WAIT_S) for _ in range(60)]
            until(lambda: len(blocked) == threads.THREADS)
            assert bob.get(CREATE).status_code == 200
            assert len(blocked) == threads.THREADS
        finally:
            go_on.set()
        assert {one.result().content for one in downloads} == {b"xxxxx"}
