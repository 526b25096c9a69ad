"""identify-face as impatient clients call it: equal calls, calls again, and callers who leave, on one machine."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import stub_work
from live_server import (
    WAIT_S,
    caller,
    create,
    ended,
    held,
    identify,
    in_thread,
    make_key,
    order,
    release,
    sources,
    until,
)
from server_settings import settings

from duikou.units import DAY_MS
from duikou.workers import heartbeat

FILES, IDENTIFY = "/v1/files", "/v1/videos/identify-face"
VIDEOS: dict[str, dict[str, Any]] = {
    "a": {},
    "found": {"rejected": ["masked"]},
    "waits": {"pad": 1},
    "expired": {"pad": 2},
    "lost": {"pad": 3},
    "held": {"identify": "held"},
    "left": {"identify": "held", "pad": 1},
    "hurried": {"identify": "held", "pad": 2},
    "given_up": {"identify": "held", "pad": 3},
    "back": {"identify": "held", "pad": 4},
    "nearly": {"identify": "nearly"},
    "dies_once": {"identify": "die_once"},
    "damaged": {"identify": "damaged"},
}


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    files = {f"{name}__mp4": stub_work.video(**what) for name, what in VIDEOS.items()}
    with sources(**files, twin__mp4=stub_work.video(**VIDEOS["found"]), s__mp3=stub_work.sound()) as url:
        yield url


@pytest.fixture(scope="module")
def client(data: Path, site: str) -> Iterator[httpx.Client]:
    with in_thread(settings(data), stub_work.WORK) as client:
        identify(client, f"{site}/a.mp4")
        yield client


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def rows(data: Path, query: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(data / "duikou.db")) as database:
        return database.execute(query, values).fetchall()


def searches(data: Path) -> int:
    """How many searches there have been."""
    return int(rows(data, "SELECT count(*) FROM tasks WHERE queue = 'identify'")[0][0])


def callers(data: Path) -> list[tuple[int, str]]:
    """Of the latest search: how many wait for it, and its status."""
    query = "SELECT callers, status FROM tasks WHERE queue = 'identify' ORDER BY created_at DESC, id DESC LIMIT 1"
    return rows(data, query)


def videos(data: Path) -> set[str]:
    """The videos that are kept: files, each of which has a row."""
    found = {path.name.partition(".")[0] for path in (data / "media").iterdir()}
    assert found <= {row[0] for row in rows(data, "SELECT id FROM media")}
    return found


def asks(pool: ThreadPoolExecutor, client: httpx.Client, url: str) -> Future[httpx.Response]:
    return pool.submit(client.post, IDENTIFY, json={"video_url": url})


def hang_up(client: httpx.Client, url: str, ready: Callable[[], object]) -> None:
    """Call as a client that gives up does: once `ready` says so."""
    body = json.dumps({"video_url": url}).encode()
    head = f"POST {IDENTIFY} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as line:
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(ready)


@pytest.fixture
def impatient(client: httpx.Client, data: Path) -> Callable[[str], None]:
    """Calls, and hangs up once its search is under way."""

    def call(url: str) -> None:
        before = searches(data)
        running = "SELECT 1 FROM tasks WHERE queue = 'identify' AND status = 'processing' AND progress > 0"
        hang_up(client, url, lambda: searches(data) > before and rows(data, running))

    return call


# Equal calls


def test_equal_calls_share_one_search_and_each_has_a_session_of_its_own(client, data, pool, site) -> None:
    before = searches(data)
    calls = [asks(pool, client, f"{site}/held.mp4") for _ in range(3)]
    until(lambda: callers(data) == [(3, "processing")])
    release(data)
    answers = [call.result(WAIT_S).json()["data"] for call in calls]
    assert searches(data) == before + 1
    assert len({answer["session_id"] for answer in answers}) == 3
    assert len({answer["video"]["id"] for answer in answers}) == 3
    for answer in answers:
        assert client.get(answer["face_data"][0]["face_image"]).content == stub_work.PICTURE
        assert client.get(answer["video"]["url"]).status_code == 200
        done = ended(client, create(client, order(answer["session_id"], f"{site}/s.mp3")))
        assert done["task_status"] == "succeed", done
    strip = [{"session_id": "", "face_image": "", "id": "", "url": ""}] * 2
    one, other = ({**answer["face_data"][0], **strip[0]} for answer in answers[:2])
    assert one == other


def test_the_same_bytes_are_known_whichever_way_they_come(client, data, site) -> None:
    first = identify(client, f"{site}/found.mp4")
    before = searches(data)
    upload = client.post(FILES, content=stub_work.video(**VIDEOS["found"])).json()["data"]
    ways = ({"video_url": f"{site}/twin.mp4"}, {"video_id": upload["id"]}, {"video_url": upload["url"]})
    for way in ways:
        answer = client.post(IDENTIFY, json=way).json()["data"]
        assert answer["rejected"] == first["rejected"] != []
        assert [face["warnings"] for face in answer["face_data"]] == [face["warnings"] for face in first["face_data"]]
        assert client.get(answer["face_data"][0]["face_image"]).content == stub_work.PICTURE
        assert answer["session_id"] != first["session_id"]
        assert ("video_url" in way) or answer["video"]["id"] == upload["id"]
    assert searches(data) == before
    kept = rows(data, "SELECT expires_at - created_at FROM media WHERE kind = 'source'")
    assert all(abs(ms - 30 * DAY_MS) < 600_000 for (ms,) in kept), "an answer makes a source last"


def test_accounts_share_nothing(tmp_path, site) -> None:
    keys = [make_key(tmp_path, name).secret for name in ("alice", "bob")]
    with in_thread(settings(tmp_path), stub_work.WORK) as client, ThreadPoolExecutor(2) as pool:
        both = [caller(client.base_url, key) for key in keys]
        calls = [asks(pool, one, f"{site}/held.mp4") for one in both]
        release(tmp_path, 2)
        assert searches(tmp_path) == 2
        assert [call.result(WAIT_S).status_code for call in calls] == [200, 200]
        for one, expected in zip(both, (3, 4), strict=True):
            identify(one, f"{site}/a.mp4")
            identify(one, f"{site}/a.mp4")
            assert searches(tmp_path) == expected
            one.close()


@pytest.mark.parametrize(("video", "status"), [("dies_once", 200), ("damaged", 400)])
def test_all_who_share_a_search_get_its_one_outcome(client, data, pool, site, video, status) -> None:
    identify(client, f"{site}/a.mp4")
    before = videos(data)
    calls = [asks(pool, client, f"{site}/{video}.mp4") for _ in range(3)]
    answers = [call.result(WAIT_S) for call in calls]
    assert [answer.status_code for answer in answers] == [status] * 3
    assert (len(videos(data)) - len(before)) == (3 if status == 200 else 0), "what failed keeps nothing"


# What is kept and gone


def test_an_analysis_whose_files_are_gone_is_made_again(client, data, site) -> None:
    lost = identify(client, f"{site}/lost.mp4")["session_id"]
    before = searches(data)
    shutil.rmtree(data / "sessions" / lost)
    answer = identify(client, f"{site}/lost.mp4")
    assert client.get(answer["face_data"][0]["face_image"]).content == stub_work.PICTURE
    assert searches(data) == before + 1
    (data / "media" / f"{answer['video']['id']}.mp4").unlink()
    assert identify(client, f"{site}/lost.mp4")["face_data"], "its own video is here"
    assert searches(data) == before + 1


def test_an_analysis_of_an_expired_session_is_made_again(client, data, site) -> None:
    session_id = identify(client, f"{site}/expired.mp4")["session_id"]
    with sqlite3.connect(data / "duikou.db") as database:
        database.execute("UPDATE sessions SET expires_at = 1 WHERE id = ?", (session_id,))
    database.close()
    before = searches(data)
    identify(client, f"{site}/expired.mp4")
    assert searches(data) == before + 1


# Callers who leave


def test_a_caller_who_leaves_takes_nothing_from_the_others(client, data, pool, site, impatient) -> None:
    before = videos(data)
    impatient(f"{site}/left.mp4")  # the first: the search is on its video
    stays = asks(pool, client, f"{site}/left.mp4")
    until(lambda: callers(data) == [(1, "processing")])
    release(data)
    answer = stays.result(WAIT_S)
    assert answer.status_code == 200
    session_id = answer.json()["data"]["session_id"]
    assert ended(client, create(client, order(session_id, f"{site}/s.mp3")))["task_status"] == "succeed"
    assert len(videos(data) - before) == 2, "the first one's goes with the session that nobody was told of"


def test_a_search_that_nobody_waits_for_ends_and_leaves_nothing(client, data, site, impatient, monkeypatch) -> None:
    monkeypatch.setattr(heartbeat, "RETURN_S", 0.0)
    before, sessions = videos(data), len(list((data / "sessions").iterdir()))
    impatient(f"{site}/given_up.mp4")
    until(lambda: callers(data) == [(0, "cancelled")])
    until(lambda: videos(data) == before)
    until(lambda: len(list((data / "sessions").iterdir())) == sessions)
    assert identify(client, f"{site}/a.mp4")["face_data"], "its worker is free, though it would never have ended"


def test_a_search_in_its_last_third_is_finished_and_kept(client, data, site, impatient, monkeypatch) -> None:
    monkeypatch.setattr(heartbeat, "RETURN_S", 0.0)
    impatient(f"{site}/nearly.mp4")
    until(lambda: callers(data) == [(0, "processing")])
    beats = rows(data, "SELECT beat FROM tasks ORDER BY created_at DESC, id DESC LIMIT 1")[0][0]
    until(lambda: rows(data, "SELECT beat FROM tasks ORDER BY created_at DESC, id DESC LIMIT 1")[0][0] > beats + 1)
    release(data)
    until(lambda: callers(data) == [(0, "succeed")])
    before = searches(data)
    answer = identify(client, f"{site}/nearly.mp4")
    assert answer["face_data"]
    assert searches(data) == before, "answered at once"


def test_a_client_that_gave_up_and_tries_again_joins_its_search(client, data, pool, site, impatient) -> None:
    impatient(f"{site}/back.mp4")
    before = searches(data)
    again = asks(pool, client, f"{site}/back.mp4")
    until(lambda: callers(data) == [(1, "processing")])
    release(data)
    assert again.result(WAIT_S).status_code == 200
    assert searches(data) == before


def test_a_search_that_still_waits_ends_with_its_caller(client, data, pool, site) -> None:
    first = asks(pool, client, f"{site}/hurried.mp4")
    held(data)
    before = videos(data)
    hang_up(client, f"{site}/waits.mp4", lambda: callers(data) == [(1, "submitted")])
    until(lambda: callers(data) == [(0, "cancelled")])
    until(lambda: videos(data) == before)
    release(data)
    assert first.result(WAIT_S).status_code == 200
