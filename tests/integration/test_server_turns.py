"""Two accounts at one server: whatever one of them asks for, and however often, the other one is served."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
import stub_work
from live_server import (
    WAIT_S,
    caller,
    create,
    held,
    identify,
    in_thread,
    let_probes_go,
    make_key,
    order,
    release,
    sources,
    task,
    until,
)
from server_settings import settings
from web_server import web_server

FILES, IDENTIFY = "/v1/files", "/v1/videos/identify-face"
SLOW = 12  # searches of one account
WAITING = 8  # of them may wait
CALLS = WAITING + 4  # of one account at once


@dataclass(frozen=True)
class Stage:
    """A server, and clients of two accounts. pool: for calls that take long."""

    data: Path
    alice: httpx.Client
    bob: httpx.Client
    pool: ThreadPoolExecutor


@pytest.fixture(scope="module")
def stage(data: Path) -> Iterator[Stage]:
    keys = [make_key(data, name).secret for name in ("alice", "bob")]
    with (
        in_thread(settings(data, calls_at_once=CALLS), stub_work.WORK) as client,
        caller(client.base_url, keys[0]) as alice,
        caller(client.base_url, keys[1]) as bob,
        ThreadPoolExecutor(32) as pool,
    ):
        yield Stage(data, alice, bob, pool)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    slow = {f"slow_{number}__mp4": stub_work.video(identify="held", number=number) for number in range(SLOW)}
    with sources(
        quick__mp4=stub_work.video(), own__mp4=stub_work.video(pad=1), s__mp3=stub_work.sound(), **slow
    ) as url:
        yield url


def asks(stage: Stage, url: str) -> Future[httpx.Response]:
    return stage.pool.submit(stage.alice.post, IDENTIFY, json={"video_url": url})


def counted(data: Path) -> dict[str, int]:
    """Searches for faces by status."""
    query = "SELECT status, count(*) FROM tasks WHERE queue = 'identify' GROUP BY status"
    with closing(sqlite3.connect(data / "duikou.db")) as database:
        return dict(database.execute(query).fetchall())


def refused(answer: httpx.Response, sentence: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (429, 1303), answer.text
    assert answer.json()["message"] == sentence
    assert answer.headers["retry-after"] == "10"


# Searches for faces


def test_slow_searches_of_one_account_keep_nobody_else_waiting(stage: Stage, site: str) -> None:
    data, calls = stage.data, list[Future[httpx.Response]]()
    for number in range(WAITING + 1):
        calls.append(asks(stage, f"{site}/slow_{number}.mp4"))
        until(lambda: sum(counted(data).get(status, 0) for status in ("submitted", "processing")) == len(calls))
        held(data)  # the first is in hand, the others wait
    assert counted(data) == {"processing": 1, "submitted": WAITING}
    for number in range(WAITING + 1, SLOW):
        answer = stage.alice.post(IDENTIFY, json={"video_url": f"{site}/slow_{number}.mp4"})
        refused(answer, "8 videos of this account wait to be looked at, as many as may; try again in a few seconds.")
    session_id = identify(stage.bob, f"{site}/quick.mp4")["session_id"]
    upload = stage.bob.post(FILES, content=stub_work.video(pad=2)).json()["data"]
    assert stage.bob.post(IDENTIFY, json={"video_id": upload["id"]}).status_code == 200
    assert counted(data) == {"processing": 1, "submitted": WAITING, "succeed": 2}, "nothing of alice's was needed"
    assert not any(call.done() for call in calls)
    assert task(stage.bob, create(stage.bob, order(session_id, f"{site}/s.mp3")))
    for _ in calls:
        release(data)
    assert [call.result(WAIT_S).status_code for call in calls] == [200] * len(calls)


# Headers


def test_slow_headers_of_one_account_keep_nobody_elses_waiting(stage: Stage) -> None:
    slow = [stub_work.video(probe=stub_work.HELD, number=number) for number in range(4)]
    calls = [stage.pool.submit(stage.alice.post, FILES, content=content) for content in slow]
    until(lambda: sum(path.stat().st_size > 0 for path in (stage.data / "incoming").iterdir()) == len(slow))
    for content in (stub_work.video(), stub_work.sound(), stub_work.PHOTO):
        assert stage.bob.post(FILES, content=content).status_code == 200
    assert not any(call.done() for call in calls)
    let_probes_go(stage.data)
    assert [call.result(WAIT_S).status_code for call in calls] == [200] * len(slow)


# Downloads


@contextmanager
def slow_host() -> Iterator[tuple[str, threading.Event, list[str]]]:
    """A host that keeps every caller waiting until the event is set; its address, and the paths that were asked for."""
    go, asked = threading.Event(), list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            assert go.wait(WAIT_S)
            body = stub_work.sound() if self.path.endswith("mp3") else stub_work.video(name=self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with web_server(Handler) as url:
        try:
            yield url, go, asked
        finally:
            go.set()


def test_slow_downloads_of_one_account_are_limited_and_keep_no_place_of_others(stage: Stage, site: str) -> None:
    session_id = identify(stage.alice, f"{site}/own.mp4")["session_id"]
    with slow_host() as (host, go, asked), ExitStack() as stack:
        stack.callback(go.set)

        def requests(number: int) -> list[tuple[str, dict[str, Any]]]:
            older = {"input": {"video_url": f"{host}/o{number}.mp4", "mode": "audio2video", "audio_type": "url"}}
            older["input"]["audio_url"] = f"{host}/o{number}.mp3"
            return [
                (IDENTIFY, {"video_url": f"{host}/i{number}.mp4"}),
                ("/v1/videos/advanced-lip-sync", order(session_id, f"{host}/c{number}.mp3")),
                ("/v1/videos/lip-sync", older),
            ]

        calls = [
            stage.pool.submit(stage.alice.post, path, json=body)
            for number in range(CALLS // 3)
            for path, body in requests(number)
        ]
        until(lambda: len(asked) >= CALLS)
        for path, body in requests(CALLS):
            refused(
                stage.alice.post(path, json=body),
                f"This account has {CALLS} calls under way that fetch files or find faces, as many as it may at once; "
                "try again when one of them is answered.",
            )
        assert stage.alice.get("/v1/videos/lip-sync").status_code == 200, "calls without files are no part of it"
        assert identify(stage.bob, f"{site}/own.mp4")["session_id"]
        assert stage.bob.post(f"{FILES}/from-url", json={"url": f"{site}/own.mp4"}).status_code == 200
        go.set()
        for call in calls:
            answer = call.result(WAIT_S)
            assert answer.status_code == 200, json.dumps(answer.json())
    assert identify(stage.alice, f"{site}/quick.mp4")["session_id"], "places are free again"
