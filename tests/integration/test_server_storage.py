"""The disk and its fair use: two accounts against real servers, with small disks and uploads that never end."""

from __future__ import annotations

import base64
import json
import re
import select
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
import stub_work
from disks import small_or_skip
from live_server import Process, caller, create, ended, identify, in_thread, make_key, order, sources, until
from server_settings import settings
from services import S3, Postgres
from web_server import web_server

from duikou.database.engine import Database
from duikou.server.http import middleware
from duikou.tasks.accounts import Accounts, KeyKind
from duikou.tasks.service import TaskService
from duikou.units import DAY_MS, MIB

DISK_MB, FLOOR_MB = 24, 8
CREATE, FILES, FROM_URL = "/v1/videos/advanced-lip-sync", "/v1/files", "/v1/files/from-url"
IDENTIFY = "/v1/videos/identify-face"
BODY = (
    "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    "Content-Length: {length}\r\nContent-Type: {type}\r\n\r\n"
)
FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
TO_DO = "delete tasks that are no longer needed, or wait until some of it expires."


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads may stall for as long as a test takes: nothing here depends on their limits of time."""
    for name in ("SILENT_S", "PACE_S"):
        monkeypatch.setattr(middleware, name, 3600.0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_or_skip(tmp_path / "disk", DISK_MB) as place:
        yield place


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound()) as url:
        yield url


@contextmanager
def two_accounts(data: Path, **more: Any) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """A server, and a client of each of two accounts: the one that takes all it can, and somebody else."""
    keys = [make_key(data, name).secret for name in ("greedy", "other")]
    with (
        in_thread(settings(data, **more), stub_work.WORK) as client,
        caller(client.base_url, keys[0]) as greedy,
        caller(client.base_url, keys[1]) as other,
    ):
        yield greedy, other


class Upload:
    """An upload that goes on for as long as a test likes."""

    def __init__(self, client: httpx.Client, length: int = 90 * MIB, form: bool = False) -> None:
        self.line = socket.create_connection((client.base_url.host, client.base_url.port))
        self.line.settimeout(60)
        kind, key = FORM if form else "video/mp4", client.headers["authorization"].removeprefix("Bearer ")
        self.send(BODY.format(key=key, length=length, type=kind).encode() + (PART if form else b"x"))

    def send(self, content: bytes) -> None:
        self.line.sendall(content)

    def close(self) -> None:
        """Go away without an end."""
        self.line.close()

    def filled(self) -> tuple[int, dict[str, Any]]:
        """Send until the server has an answer; its status and its body."""
        answer = b""
        while not answer.endswith(b"}"):
            readable, writable, _ = select.select([self.line], [self.line], [], 60)
            if readable:
                answer += self.line.recv(64 << 10)
            elif writable:
                self.line.send(bytes(64 << 10))
        self.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)


@contextmanager
def uploads(data: Path, client: httpx.Client, count: int, **how: Any) -> Iterator[list[Upload]]:
    """So many uploads that have begun, and whose files are there."""
    with ExitStack() as opened:
        before = len(list((data / "incoming").iterdir()))
        made = []
        for _ in range(count):
            made.append(Upload(client, **how))
            opened.callback(made[-1].close)
        until(lambda: len(list((data / "incoming").iterdir())) == before + count)
        yield made


def refused(answer: httpx.Response, status: int, code: int, sentence: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert re.fullmatch(sentence, answer.json()["message"]), answer.json()["message"]


def works(client: httpx.Client, site: str) -> None:
    """Do with small files all that a caller does."""
    session_id = identify(client, f"{site}/a.mp4")["session_id"]
    assert client.post(FILES, content=stub_work.sound()).status_code == 200
    assert ended(client, create(client, order(session_id, f"{site}/s.mp3")))["task_status"] == "succeed"


def rows(data: Path, query: str) -> list[tuple[Any, ...]]:
    """What the server's database has."""
    with closing(sqlite3.connect(data / "duikou.db")) as database:
        return database.execute(query).fetchall()


def uploaded(client: httpx.Client, size: int = MIB) -> str:
    """Upload a video of about that size; its id."""
    answer = client.post(FILES, content=stub_work.video(pad="x" * size))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["id"])


def there(client: httpx.Client, media_id: str) -> bool:
    """Whether a stored video can be used."""
    answer = client.post(IDENTIFY, json={"video_id": media_id})
    assert answer.status_code in (200, 400), answer.text
    return answer.status_code == 200


# Uploads under way


def test_uploads_that_stall_take_no_room_from_others(disk: Path, site: str) -> None:
    data = disk / "data"
    with (
        two_accounts(data, min_free_mb=FLOOR_MB) as (greedy, other),
        uploads(data, greedy, 4),
        uploads(data, greedy, 4, form=True),
    ):
        works(other, site)
        assert other.get("/readyz").status_code == 200


def test_an_account_has_so_many_uploads_under_way(tmp_path: Path, site: str) -> None:
    sentence = "This account has 3 uploads under way, as many as it may at once; send this one when another has ended."
    with two_accounts(tmp_path, uploads_at_once=3) as (greedy, other):
        with uploads(tmp_path, greedy, 2), uploads(tmp_path, greedy, 1, form=True) as (last,):
            for answer in (
                greedy.post(FILES, content=stub_work.sound()),
                greedy.post(FILES, files={"file": stub_work.sound()}),
                greedy.post(FROM_URL, json={"url": f"{site}/s.mp3"}),
            ):
                refused(answer, 429, 1303, sentence)
                assert answer.headers["retry-after"] == "10"
            works(other, site)
            assert identify(greedy, f"{site}/a.mp4")["face_data"], "only uploads are counted"
            last.close()
            until(lambda: greedy.post(FILES, content=stub_work.sound()).status_code == 200)
        until(lambda: not list((tmp_path / "incoming").iterdir()))


def test_no_limit_on_uploads_where_there_shall_be_none(tmp_path: Path) -> None:
    with two_accounts(tmp_path, uploads_at_once=0) as (greedy, _), uploads(tmp_path, greedy, 20):
        assert greedy.post(FILES, content=stub_work.sound()).status_code == 200


# A disk that fills up


@contextmanager
def endless() -> Iterator[str]:
    """A web server whose one file never ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(64 << 10))
            except ConnectionError:
                pass

    with web_server(Handler) as url:
        yield f"{url}/endless.mp4"


WAYS: dict[str, Callable[[httpx.Client, str], tuple[int, dict[str, Any]]]] = {
    "a body": lambda client, url: Upload(client).filled(),
    "a form": lambda client, url: Upload(client, form=True).filled(),
    "a file to fetch": lambda client, url: told(client.post(FROM_URL, json={"url": url})),
    "a video to identify": lambda client, url: told(client.post(IDENTIFY, json={"video_url": url})),
    "the older call": lambda client, url: told(
        client.post("/v1/videos/lip-sync", json={"input": {"video_url": url, "audio_type": "url", "audio_url": url}})
    ),
}


def told(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    return answer.status_code, answer.json()


def test_what_grows_until_the_disk_is_nearly_full_is_refused_and_others_go_on(disk: Path, site: str) -> None:
    data = disk / "data"
    sentence = (
        r"the server's disk is nearly full: (\d+) MB are free, and files that are being received must leave (\d+) MB\."
    )
    with two_accounts(data, min_free_mb=FLOOR_MB, max_audio_mb=100) as (greedy, other), endless() as url:
        with uploads(data, greedy, 3) as slow:
            for upload in slow:
                upload.send(bytes(MIB))
            for way, fill in WAYS.items():
                status, body = fill(greedy, url)
                assert (status, body["code"]) == (503, 5001), way
                found = re.fullmatch(sentence, body["message"])
                assert found, body["message"]
                assert FLOOR_MB <= int(found[1]) < int(found[2]) < DISK_MB
                works(other, site)
        until(lambda: not list((data / "incoming").iterdir()))
        assert {path.name for path in (data / "media").iterdir()} == {
            key.removeprefix("media/") for (key,) in rows(data, "SELECT key FROM media WHERE kind != 'result'")
        }


def test_copies_and_speech_in_the_request_take_their_room(
    disk: Path, site: str, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in S3.environment.items():
        monkeypatch.setenv(name, value)
    data, sound = disk / "data", stub_work.sound(pad="x" * (9 * MIB // 2))
    with two_accounts(data, min_free_mb=FLOOR_MB, storage_url=s3.fresh()) as (greedy, other):
        video_id = uploaded(greedy, 5 * MIB)
        sound_id = greedy.post(FILES, content=sound).json()["data"]["id"]
        session_id = identify(greedy, f"{site}/a.mp4")["session_id"]
        done = create(greedy, order(session_id, "", audio_id=sound_id))
        assert ended(greedy, done)["task_status"] == "succeed"
        ballast = disk / "ballast"
        ballast.write_bytes(bytes((DISK_MB - FLOOR_MB - 8) * MIB))
        for path, body in (
            (IDENTIFY, {"video_id": video_id}),
            (CREATE, order(session_id, "", audio_id=sound_id)),
            (CREATE, order(session_id, base64.b64encode(sound).decode())),
            (f"{CREATE}/{done}/retry", None),
        ):
            status, fault = told(greedy.post(path, json=body))
            assert (status, fault["code"]) == (503, 5001), (path, fault)
            assert "files that are being received must leave" in fault["message"]
            assert not list((data / "incoming").iterdir())
        works(other, site)
        ballast.unlink()
        assert there(greedy, video_id)


def test_unused_uploads_of_whoever_has_most_go_first(disk: Path, site: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = disk / "data"
    with two_accounts(data, min_free_mb=FLOOR_MB) as (greedy, other):
        first = uploaded(other)
        used = uploaded(greedy)
        assert there(greedy, used)
        brought = [uploaded(greedy) for _ in range(20)]  # more than the disk has
        works(other, site)
        assert there(other, first), "the oldest of all, and of somebody who has no more"
        kept = {media_id for (media_id,) in rows(data, "SELECT id FROM media")}
        assert used in kept
        left = [one in kept for one in brought]
        assert left == sorted(left), "the oldest went"
        assert 0 < sum(left) < 20
        metrics = other.get("/metrics").text
    went = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"unused upload removed"' in line]
    assert {(line["account"], line["why"]) for line in went} == {("greedy", "disk")}
    assert len(went) == 20 - sum(left)
    assert float(re.findall(r'duikou_uploads_removed_total{why="disk"} (\S+)', metrics)[0]) >= len(went)


def test_whoever_filled_the_disk_is_refused_while_others_work(disk: Path, site: str) -> None:
    data = disk / "data"
    sentence = (
        r"The server's disk is nearly full, and this account has stored [\d.]+ MB within a day, which is more than the "
        rf"[\d.]+ MB left for all; {TO_DO}"
    )
    with two_accounts(data, min_free_mb=FLOOR_MB) as (greedy, other):

        def more() -> httpx.Response:
            answer = greedy.post(FILES, content=stub_work.video(pad="x" * MIB))
            if answer.status_code == 200:
                answer = greedy.post(IDENTIFY, json={"video_id": answer.json()["data"]["id"]})
            return answer

        session_id = identify(greedy, f"{site}/a.mp4")["session_id"]
        answer = until(lambda: (found := more()).is_error and found)
        refused(answer, 429, 1102, sentence)
        for path, body in (
            (IDENTIFY, {"video_url": f"{site}/a.mp4"}),
            (CREATE, order(session_id, f"{site}/s.mp3")),
        ):
            refused(greedy.post(path, json=body), 429, 1102, sentence)
        for _ in range(3):
            works(other, site)
        assert there(other, uploaded(other))
        assert greedy.get(CREATE).status_code == 200


def test_who_is_alone_may_fill_the_disk_down_to_its_floor(disk: Path, site: str) -> None:
    data = disk / "data"
    with in_thread(settings(data, min_free_mb=FLOOR_MB), stub_work.WORK) as client:

        def more() -> httpx.Response:
            answer = client.post(FILES, content=stub_work.video(pad="x" * MIB))
            if answer.status_code == 200:
                assert there(client, answer.json()["data"]["id"])
            return answer

        answer = until(lambda: (found := more()).is_error and found)
        assert (answer.status_code, answer.json()["code"]) == (503, 5001), answer.text
        assert sum(path.stat().st_size for path in (data / "media").iterdir()) > 10 * MIB


# What accounts may store


def test_what_an_account_stores_is_limited_over_restarts(tmp_path: Path, site: str) -> None:
    key = make_key(tmp_path, "greedy").secret
    for _ in range(2):
        with Process(tmp_path, account_mb=4, unused_mb=0) as server, caller(server.url, key) as greedy:
            while (answer := greedy.post(FILES, content=stub_work.video(pad="x" * MIB))).status_code == 200:
                assert there(greedy, answer.json()["data"]["id"])
            refused(
                answer,
                429,
                1102,
                rf"This account stores 3\.\d MB of the 4 MB that it may, and 1\.0 MB would be added; {TO_DO}",
            )
            server.end(signal.SIGTERM)
    assert sum(path.stat().st_size > MIB for path in (tmp_path / "media").iterdir()) == 3
    with Process(tmp_path, account_mb=3, unused_mb=0) as server, caller(server.url, key) as greedy:
        for path, body in (
            (FROM_URL, {"url": f"{site}/s.mp3"}),
            (IDENTIFY, {"video_url": f"{site}/a.mp4"}),
        ):
            refused(
                greedy.post(path, json=body),
                429,
                1102,
                rf"This account stores 3\.\d MB of the 3 MB that it may; {TO_DO}",
            )
        with caller(server.url, make_key(tmp_path, "other").secret) as other:
            works(other, site)
        server.end(signal.SIGTERM)


def test_two_servers_of_a_fleet_count_the_same_files(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.fresh()
    database = Database(url)
    key = Accounts(database).make("greedy", KeyKind.PLAIN).secret
    database.close()
    (tmp_path / "share").mkdir()
    common = {
        "database_url": url,
        "storage_url": f"file://{tmp_path / 'share'}",
        "account_mb": 8,
        "unused_mb": 3,
    }
    with (
        in_thread(settings(tmp_path / "a", **common), stub_work.WORK) as a,
        in_thread(settings(tmp_path / "b", **common), stub_work.WORK) as b,
        caller(a.base_url, key) as one,
        caller(b.base_url, key) as two,
    ):
        brought = [uploaded(server) for _ in range(3) for server in (one, two)]
        assert [there(two, media_id) for media_id in brought] == [False] * 4 + [True] * 2
        with ThreadPoolExecutor(6) as pool:
            used = list(pool.map(lambda server: there(server, uploaded(server)), [one, two] * 3))
        assert sum(used) >= 1
        full = [uploaded(one)]
        while there(two, full[-1]):
            answer = one.post(FILES, content=stub_work.video(pad="x" * MIB))
            if answer.is_error:
                break
            full.append(answer.json()["data"]["id"])
        refused(
            two.post(FILES, content=stub_work.video(pad="x" * MIB)),
            429,
            1102,
            rf"This account stores 7\.\d MB of the 8 MB that it may, and 1\.0 MB would be added; {TO_DO}",
        )
    stored = sum(path.stat().st_size for path in (tmp_path / "share" / "media").iterdir())
    assert stored <= 8 * MIB


def test_speech_and_references_count_and_deleting_a_task_frees_them(tmp_path: Path) -> None:
    with (
        sources(
            a__mp4=stub_work.video(), s__mp3=stub_work.sound(pad="x" * MIB), r__mp4=stub_work.video(pad="x" * MIB)
        ) as site,
        in_thread(settings(tmp_path, account_mb=4), stub_work.WORK) as client,
    ):
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        body = order(session_id, f"{site}/s.mp3", reference_urls=[f"{site}/r.mp4"])
        first, second = create(client, body), create(client, body)
        for one in (first, second):
            assert ended(client, one)["task_status"] == "succeed"
        answer = client.post(CREATE, json=body)
        refused(answer, 429, 1102, rf"This account stores 6\.\d MB of the 4 MB that it may; {TO_DO}")
        assert client.delete(f"{CREATE}/{first}").status_code == 200
        assert ended(client, create(client, body))["task_status"] == "succeed"


def test_the_source_of_a_task_is_kept_though_its_caller_left(tmp_path: Path, site: str) -> None:
    """The task is there, and nobody hears of it: what its creation had to do afterwards is never done."""
    with in_thread(settings(tmp_path), stub_work.WORK) as client, pytest.MonkeyPatch.context() as patch:
        made = TaskService.submit

        def submit(service: TaskService, *given: Any) -> Any:
            made(service, *given)
            raise OSError("the caller has left")

        patch.setattr(TaskService, "submit", submit)
        body = {"input": {"video_url": f"{site}/a.mp4", "audio_type": "url", "audio_url": f"{site}/s.mp3"}}
        assert client.post("/v1/videos/lip-sync", json=body).status_code == 500
        (task,) = client.get("/v1/videos/lip-sync").json()["data"]
        kept = "SELECT expires_at - created_at FROM media WHERE kind = 'source' AND id IN (SELECT source_id FROM tasks)"
        assert [kept_ms >= 30 * DAY_MS for (kept_ms,) in rows(tmp_path, kept)] == [True]
        assert task["task_id"]
        assert list((tmp_path / "media").iterdir())
