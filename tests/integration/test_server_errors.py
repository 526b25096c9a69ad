"""Error answers that need a server with other settings; all others are in the table of `test_server_table`."""

from __future__ import annotations

import re

import httpx
import pytest
import stub_work
from live_server import ended, identify, in_thread, order, sources
from server_settings import settings

IDENTIFY, CREATE = "/v1/videos/identify-face", "/v1/videos/advanced-lip-sync"


@pytest.fixture(scope="module")
def site():
    video = stub_work.video
    with sources(
        a__mp4=video(),
        text__mp4=b"#EXTM3U",
        short__mp4=video(duration_ms=1_999),
        small__mp4=video(width=640, height=480),
        uhd__mp4=video(width=3840, height=2160),
        damaged__mp4=video(identify="damaged"),
        bug__mp4=video(identify="bug"),
        s__mp3=stub_work.sound(),
    ) as url:
        yield url


def refused(answer: httpx.Response, status: int, code: int, sentence: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert re.search(sentence, answer.json()["message"]), answer.json()["message"]


def test_what_identify_refused_leaves_nothing_behind(site, tmp_path) -> None:
    data = tmp_path / "data"
    with in_thread(settings(data), stub_work.WORK) as own:
        for name in ("text.mp4", "short.mp4", "damaged.mp4", "bug.mp4", "nothing.mp4"):
            assert own.post(IDENTIFY, json={"video_url": f"{site}/{name}"}).is_error
        assert not [path for part in ("incoming", "media", "sessions") for path in (data / part).iterdir()]


def test_a_body_of_unknown_length_is_stopped_at_eight_mebibytes(tmp_path) -> None:
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        chunks = (b" " * (1 << 20) for _ in range(9))
        refused(client.post(CREATE, content=chunks), 400, 1201, "more than the 8388608 bytes allowed")


def test_where_sounds_may_be_larger_bodies_may_be_too(tmp_path) -> None:
    with in_thread(settings(tmp_path, max_audio_mb=9), stub_work.WORK) as client:
        most = (9 << 20) * 4 // 3 + (64 << 10)
        refused(client.post(CREATE, content=b" " * most), 400, 1201, "is not valid JSON")
        refused(client.post(CREATE, content=b" " * (most + 1)), 400, 1201, f"more than the {most} allowed")


def test_a_full_disk_takes_no_new_work(tmp_path, site) -> None:
    data = tmp_path / "data"
    with in_thread(settings(data), stub_work.WORK) as client:
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
    full = settings(data).model_copy(update={"min_free_mb": 10**9})
    with in_thread(full, stub_work.WORK) as client:
        sentence = r"disk is nearly full: \d+ MB are free, and no work is accepted below 1000000000 MB"
        refused(client.post(IDENTIFY, json={"video_url": f"{site}/a.mp4"}), 503, 5001, sentence)
        refused(client.post(CREATE, json=order(session_id, f"{site}/s.mp3")), 503, 5001, sentence)
        refused(client.get("/readyz"), 503, 5001, sentence)
        assert client.get("/healthz").status_code == 200


def test_any_size_is_taken_where_the_setting_says_so(tmp_path, site) -> None:
    with in_thread(settings(tmp_path / "data", any_size=True), stub_work.WORK) as client:
        for name in ("small.mp4", "uhd.mp4"):
            assert identify(client, f"{site}/{name}")["face_data"]


def test_private_addresses_are_refused_by_default(tmp_path, site) -> None:
    given = settings(tmp_path / "data").model_copy(update={"private_sources": ()})
    with in_thread(given, stub_work.WORK) as client:
        refused(client.post(IDENTIFY, json={"video_url": f"{site}/a.mp4"}), 400, 1201, r"^video_url: ")


def test_work_that_takes_too_long_fails_the_task_with_its_limit(tmp_path) -> None:
    given = settings(tmp_path / "data", task_timeout_s=5)
    files = {"a__mp4": stub_work.video(), "hang__mp3": stub_work.sound(render="hang")}
    with sources(hangs__mp4=stub_work.video(identify="hang"), **files) as site:
        with in_thread(settings(tmp_path / "data"), stub_work.WORK) as usual:
            session_id = identify(usual, f"{site}/a.mp4")["session_id"]
        with in_thread(given, stub_work.WORK) as own:
            answer = own.post(IDENTIFY, json={"video_url": f"{site}/hangs.mp4"})
            refused(answer, 504, 5002, r"stopped after 5 s, the limit")
            made = own.post(CREATE, json=order(session_id, f"{site}/hang.mp3")).json()["data"]["task_id"]
            done = ended(own, made)
            assert done["task_status"] == "failed"
            assert done["task_status_msg"] == "the work was stopped after 5 s, the limit for one task"
