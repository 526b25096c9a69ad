"""A table of requests that must be refused: the HTTP status, the code and the very sentence of each."""

from __future__ import annotations

import base64
import itertools
import json
import re
from typing import Any

import httpx
import pytest
import stub_work
from live_server import ended, identify, in_thread, order, settings, sources

IDENTIFY, CREATE = "/v1/videos/identify-face", "/v1/videos/advanced-lip-sync"
BIG = 1 << 20


@pytest.fixture(scope="module")
def site():
    video = stub_work.video
    with sources(
        a__mp4=video(faces=[[0, 10_000], [7_500, 10_000]]),
        empty__mp4=video(faces=[]),
        text__mp4=b"#EXTM3U",
        short__mp4=video(duration_ms=1_999),
        long__mp4=video(duration_ms=61_000),
        small__mp4=video(width=640, height=480),
        medium__mp4=video(width=854, height=600),
        uhd__mp4=video(width=3840, height=2160),
        big__mp4=b"x" * (BIG + 1),
        damaged__mp4=video(identify="damaged"),
        no_model__mp4=video(identify="no_model"),
        bug__mp4=video(identify="bug"),
        dies__mp4=video(identify="die"),
        s__mp3=stub_work.sound(),
        short__mp3=stub_work.sound(duration_ms=1_500),
        long__mp3=stub_work.sound(duration_ms=61_000),
        big__mp3=b"x" * (BIG + 1),
    ) as url:
        yield url


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    given = settings(tmp_path_factory.mktemp("data"), max_video_mb=1, max_audio_mb=1)
    with in_thread(given, stub_work.WORK) as client:
        yield client


@pytest.fixture(scope="module")
def session_id(client, site) -> str:
    return identify(client, f"{site}/a.mp4")["session_id"]


def refused(answer: httpx.Response, status: int, code: int, sentence: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert re.search(sentence, answer.json()["message"]), answer.json()["message"]


IDENTIFY_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, r"^Exactly one of video_url and video_id must be given\.$"),
    ({"video_url": "", "video_id": None}, r"^Exactly one of video_url and video_id"),
    ({"video_url": "SITE/a.mp4", "video_id": "1"}, r"^Exactly one of video_url and video_id"),
    ({"video_url": 7}, r"^video_url: a text is expected, not 7\.$"),
    ({"video_url": ["SITE/a.mp4"]}, r"^video_url: a text is expected"),
    ({"video_url": "\ud800"}, r"^video_url: the text must be valid Unicode"),
    ({"video_url": "http://a\0b/"}, r"^video_url: the text must not hold the character U\+0000\.$"),
    ({"video_id": "1234567890123456789"}, r"^video_id: there is no video '1234567890123456789', or it has expired\.$"),
    ({"video_id": "../../etc/passwd"}, r"^video_id: there is no video"),
    ({"video_url": "nonsense"}, r"^video_url: "),
    ({"video_url": "file:///etc/passwd"}, r"^video_url: "),
    ({"video_url": "ftp://127.0.0.1/a.mp4"}, r"^video_url: "),
    ({"video_url": "http://10.0.0.1/a.mp4"}, r"^video_url: "),
    ({"video_url": "http://169.254.169.254/latest/meta-data"}, r"^video_url: "),
    ({"video_url": "SITE/nothing.mp4"}, r"^video_url: .*404"),
    ({"video_url": "SITE/text.mp4"}, r"^video_url: the file is neither mp4 nor mov\.$"),
    ({"video_url": "SITE/s.mp3"}, r"^video_url: the file is not a video\.$"),
    ({"video_url": "SITE/big.mp4"}, r"^video_url: the file is larger than 1 MB\.$"),
    ({"video_url": "SITE/short.mp4"}, r"^video_url: the video lasts 1999 ms; it must last 2000 ms to 60000 ms\.$"),
    ({"video_url": "SITE/long.mp4"}, r"^video_url: the video lasts 61000 ms"),
    ({"video_url": "SITE/small.mp4"}, r"^video_url: the video is 640x480 pixels; each side must have 512 to 2160\.$"),
    ({"video_url": "SITE/medium.mp4"}, r"^video_url: the video is 854x600 pixels, 512400 in all; only the 720p and"),
    ({"video_url": "SITE/uhd.mp4"}, r"^video_url: the video is 3840x2160 pixels; each side"),
    ({"video_url": "SITE/damaged.mp4"}, r"the video is damaged at frame 7"),
]


@pytest.mark.parametrize(("body", "sentence"), IDENTIFY_FAULTS, ids=itertools.count())
def test_identify_refuses(client, site, body, sentence) -> None:
    text = json.dumps(body).replace("SITE", site)
    refused(client.post(IDENTIFY, content=text), 400, 1201, sentence)


def test_what_identify_refused_leaves_nothing_behind(client, site, tmp_path) -> None:
    data = tmp_path / "data"
    with in_thread(settings(data), stub_work.WORK) as own:
        for name in ("text.mp4", "short.mp4", "damaged.mp4", "bug.mp4", "nothing.mp4"):
            assert own.post(IDENTIFY, json={"video_url": f"{site}/{name}"}).is_error
        assert not [path for part in ("incoming", "media", "sessions") for path in (data / part).iterdir()]


REMOVE = object()
CHOICE_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"face_id": REMOVE}, r"^face_choose\[0\]\.face_id: a value is required\.$"),
    ({"face_id": None}, r"^face_choose\[0\]\.face_id: a text is expected, not None\.$"),
    ({"face_id": 1.5}, r"^face_choose\[0\]\.face_id: a text is expected, not 1\.5\.$"),
    ({"face_id": True}, r"^face_choose\[0\]\.face_id: a text is expected, not True\.$"),
    ({"face_id": "7"}, r"^face_choose\[0\]\.face_id: the session has no face '7'; its faces: 0, 1\.$"),
    ({"face_id": -1}, r"^face_choose\[0\]\.face_id: the session has no face '-1'"),
    ({"sound_start_time": REMOVE}, r"^face_choose\[0\]\.sound_start_time: a value is required\.$"),
    ({"sound_end_time": REMOVE}, r"^face_choose\[0\]\.sound_end_time: a value is required\.$"),
    ({"sound_insert_time": REMOVE}, r"^face_choose\[0\]\.sound_insert_time: a value is required\.$"),
    ({"sound_start_time": -1}, r"^face_choose\[0\]\.sound_start_time: -1 is less than 0, the least allowed\.$"),
    ({"sound_insert_time": -1}, r"^face_choose\[0\]\.sound_insert_time: -1 is less than 0"),
    ({"sound_end_time": 3000.5}, r"^face_choose\[0\]\.sound_end_time: a whole number is expected, not 3000\.5\.$"),
    ({"sound_end_time": "3000"}, r"^face_choose\[0\]\.sound_end_time: a whole number is expected, not '3000'\.$"),
    ({"sound_end_time": True}, r"^face_choose\[0\]\.sound_end_time: a whole number is expected"),
    ({"sound_end_time": None}, r"^face_choose\[0\]\.sound_end_time: a whole number is expected"),
    ({"sound_end_time": 10**30}, r"^face_choose\[0\]\.sound_end_time: 10+ is more than 86400000"),
    ({"sound_end_time": 1_999}, r"^face_choose\[0\]\.sound_end_time: .* lasts 1999 ms; at least 2000 ms must be left"),
    ({"sound_start_time": 3_000}, r"^face_choose\[0\]\.sound_end_time: .* lasts 0 ms"),
    ({"sound_start_time": 4_000}, r"^face_choose\[0\]\.sound_end_time: .* lasts -1000 ms"),
    (
        {"sound_end_time": 5_101, "sound_insert_time": 0},
        r"^face_choose\[0\]\.sound_end_time: 5101 ms is after the soun",
    ),
    ({"sound_insert_time": 7_101}, r"^face_choose\[0\]\.sound_insert_time: .*ends at 10101 ms, after the video's end "),
    ({"face_id": "1", "sound_insert_time": 6_499}, r"shares 1999 ms with the interval of face 1, 7500 ms to 10000 ms"),
    ({"face_id": "1", "sound_insert_time": 0}, r"shares 0 ms with the interval of face 1"),
    ({"sound_volume": 2.01}, r"^face_choose\[0\]\.sound_volume: 2\.01 is more than 2, the most allowed\.$"),
    ({"sound_volume": -0.1}, r"^face_choose\[0\]\.sound_volume: -0\.1 is less than 0, the least allowed\.$"),
    ({"sound_volume": "1"}, r"^face_choose\[0\]\.sound_volume: a number is expected, not '1'\.$"),
    ({"original_audio_volume": 3}, r"^face_choose\[0\]\.original_audio_volume: 3 is more than 2, the most allowed\.$"),
    ({"original_audio_volume": float("nan")}, r"^face_choose\[0\]\.original_audio_volume: a number is expected"),
    ({"sound_file": REMOVE}, r"^face_choose\[0\]: exactly one of sound_file and audio_id must be given\.$"),
    ({"sound_file": "SITE/s.mp3", "audio_id": "1"}, r"^face_choose\[0\]: exactly one of sound_file and audio_id"),
    (
        {"sound_file": "", "audio_id": "77"},
        r"^face_choose\[0\]\.audio_id: there is no sound '77', or it has",
    ),
    ({"sound_file": 5}, r"^face_choose\[0\]\.sound_file: a text is expected, not 5\.$"),
    ({"sound_file": "not base64!"}, r"^face_choose\[0\]\.sound_file: this is neither an http\(s\) address nor base64"),
    ({"sound_file": "data:audio/mpeg,abc"}, r"^face_choose\[0\]\.sound_file: a data: URI must hold base64"),
    ({"sound_file": base64.b64encode(b"junk").decode()}, r"^face_choose\[0\]\.sound_file: the file is neither"),
    ({"sound_file": base64.b64encode(b"x" * (BIG + 1)).decode()}, r"has 1048577 bytes, more than the 1048576 allowed"),
    ({"sound_file": "SITE/big.mp3"}, r"^face_choose\[0\]\.sound_file: the file is larger than 1 MB\.$"),
    ({"sound_file": "SITE/nothing.mp3"}, r"^face_choose\[0\]\.sound_file: .*404"),
    ({"sound_file": "http://192.168.1.1/s.mp3"}, r"^face_choose\[0\]\.sound_file: "),
    ({"sound_file": "file:///etc/passwd"}, r"^face_choose\[0\]\.sound_file: "),
    ({"sound_file": "SITE/short.mp3"}, r"^face_choose\[0\]\.sound_file: the sound lasts 1500 ms; it must last 2000 ms"),
    ({"sound_file": "SITE/long.mp3"}, r"^face_choose\[0\]\.sound_file: the sound lasts 61000 ms"),
    ({"sound_file": "SITE/a.mp4"}, r"^face_choose\[0\]\.sound_file: the file is not a sound"),
]


@pytest.mark.parametrize(("change", "sentence"), CHOICE_FAULTS, ids=itertools.count())
def test_a_choice_is_refused(client, site, session_id, change, sentence) -> None:
    payload = order(session_id, f"{site}/s.mp3")
    choice = payload["face_choose"][0] | change
    payload["face_choose"] = [{name: value for name, value in choice.items() if value is not REMOVE}]
    text = json.dumps(payload).replace("SITE", site)
    refused(client.post(CREATE, content=text), 400, 1201, sentence)


ORDER_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"session_id": REMOVE}, r"^session_id: a value is required\.$"),
    ({"session_id": None}, r"^session_id: a text is expected, not None\.$"),
    ({"session_id": ""}, r"^session_id: there is no session '', or it has expired\.$"),
    ({"session_id": "1234567890123456789"}, r"^session_id: there is no session '1234567890123456789'"),
    ({"session_id": 12}, r"^session_id: a text is expected, not 12\.$"),
    ({"face_choose": REMOVE}, r"^face_choose: a value is required\.$"),
    ({"face_choose": []}, r"^face_choose: 1 to 8 entries are expected, not 0\.$"),
    ({"face_choose": [1]}, r"^face_choose\[0\]: an object is expected, not 1\.$"),
    ({"face_choose": "x"}, r"^face_choose: a list of one object is expected, not 'x'\.$"),
    ({"face_choose": None}, r"^face_choose: a list of one object is expected, not None\.$"),
    ({"external_task_id": 5}, r"^external_task_id: a text is expected, not 5\.$"),
    ({"external_task_id": "x" * 257}, r"^external_task_id: at most 256 characters are allowed\.$"),
    ({"external_task_id": "\udfff"}, r"^external_task_id: the text must be valid Unicode"),
]


@pytest.mark.parametrize(("change", "sentence"), ORDER_FAULTS, ids=itertools.count())
def test_an_order_is_refused(client, site, session_id, change, sentence) -> None:
    payload = order(session_id, f"{site}/s.mp3") | change
    payload = {name: value for name, value in payload.items() if value is not REMOVE}
    refused(client.post(CREATE, content=json.dumps(payload)), 400, 1201, sentence)


def test_two_faces_at_once_are_refused(client, site, session_id) -> None:
    payload = order(session_id, f"{site}/s.mp3")
    payload["face_choose"] *= 2
    refused(client.post(CREATE, json=payload), 400, 1201, r"^face_choose: exactly one entry is expected, not 2\.$")


def test_a_face_of_a_session_without_faces_is_refused(client, site) -> None:
    empty = identify(client, f"{site}/empty.mp4")["session_id"]
    sentence = r"the session has no face '0'; its faces: none\.$"
    refused(client.post(CREATE, json=order(empty, f"{site}/s.mp3")), 400, 1201, sentence)


@pytest.mark.parametrize("path", [IDENTIFY, CREATE])
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", r"^The request body is not valid JSON\.$"),
        (b"\xff\xfe", r"JSON"),
        (b"", r"^The request body must be a JSON object\.$"),
        (b"null", r"^body: an object is expected, not None\.$"),
        (b"[]", r"an object is expected, not \[\]"),
        (b'"text"', r"an object is expected, not 'text'"),
        (b"[" * 100_000, r"JSON"),
        (b'{"session_id": ' + b"9" * 5_000 + b"}", r"JSON"),
    ],
    ids=itertools.count(),
)
def test_a_body_that_is_no_object_is_refused(client, path, body, sentence) -> None:
    refused(client.post(path, content=body), 400, 1201, sentence)


def test_a_body_above_eight_mebibytes_is_refused(client) -> None:
    size = 8 * 1024 * 1024 + 1
    refused(client.post(CREATE, content=b" " * size), 400, 1201, "has 8388609 bytes, more than the 8388608 allowed")


def test_a_body_of_unknown_length_is_stopped_at_eight_mebibytes(client) -> None:
    chunks = (b" " * (1 << 20) for _ in range(9))
    refused(client.post(CREATE, content=chunks), 400, 1201, "more than the 8388608 bytes allowed")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("pageNum=0", r"^pageNum: '0' is less than 1, the least allowed\.$"),
        ("pageNum=1001", r"^pageNum: '1001' is more than 1000, the most allowed\.$"),
        ("pageSize=0", r"^pageSize: '0' is less than 1"),
        ("pageSize=501", r"^pageSize: '501' is more than 500"),
        ("pageSize=many", r"^pageSize: a whole number is expected, not 'many'\.$"),
        ("pageNum=", r"^pageNum: a whole number is expected, not ''\.$"),
    ],
)
def test_a_page_that_cannot_be_is_refused(client, query, sentence) -> None:
    refused(client.get(f"{CREATE}?{query}"), 400, 1201, sentence)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/v1/videos"),
        ("POST", "/other/v1/videos/identify-face"),
        ("GET", IDENTIFY),
        ("DELETE", CREATE),
        ("PUT", f"/klingai{CREATE}"),
        ("PUT", f"{CREATE}/1"),
        ("OPTIONS", IDENTIFY),
        ("POST", "/docs"),
        ("GET", "/docs/nothing.js"),
        ("GET", "/docs/swagger/nothing.js"),
        ("GET", "/redoc"),
        ("POST", "/files/videos/1.mp4"),
        ("GET", "/v1/videos/advanced-Lip-Sync"),
    ],
)
def test_what_is_no_call_is_answered_so(client, method, path) -> None:
    answer = client.request(method, path)
    refused(answer, 404, 1202, rf"^There is no {method} {path}\.$")
    assert "allow" not in answer.headers


def test_a_form_that_cannot_be_read_is_refused_as_one(client) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/v1/files", content=b"--y\r\n[: 1\r\n", headers=headers)
    refused(answer, 400, 1201, r"^The request body cannot be read as a form\.$")


@pytest.mark.parametrize("task_id", ["1234567890123456789", "nobody's", "%00", "..%2f..", "x" * 5_000])
def test_an_unknown_task_is_no_resource(client, task_id) -> None:
    refused(client.get(f"{CREATE}/{task_id}"), 404, 1203, r"^There is no task .*or it has expired\.$")


def test_a_missing_model_is_told_with_its_remedy(client, site) -> None:
    answer = client.post(IDENTIFY, json={"video_url": f"{site}/no_model.mp4"})
    refused(answer, 503, 5001, r"the face model is missing; run: make setup")


def test_a_worker_that_dies_twice_is_an_internal_fault(client, site) -> None:
    answer = client.post(IDENTIFY, json={"video_url": f"{site}/dies.mp4"})
    refused(answer, 500, 5000, r"the worker process died by signal SIGKILL")


def test_a_crash_tells_nothing_but_its_request_id(client, site) -> None:
    answer = client.post(IDENTIFY, json={"video_url": f"{site}/bug.mp4"})
    refused(answer, 500, 5000, r"^The server failed; its log tells more under this request_id\.$")


def test_a_full_disk_takes_no_new_work(tmp_path, site) -> None:
    data = tmp_path / "data"
    with in_thread(settings(data), stub_work.WORK) as client:
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
    full = settings(data).model_copy(update={"min_free_mb": 10**9})
    with in_thread(full, stub_work.WORK) as client:
        sentence = r"disk is nearly full: \d+ MB are free, and no work is taken below 1000000000 MB"
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
    with sources(hangs__mp4=stub_work.video(identify="hang"), **files) as site, in_thread(given, stub_work.WORK) as own:
        refused(own.post(IDENTIFY, json={"video_url": f"{site}/hangs.mp4"}), 504, 5002, r"stopped after 5 s, the limit")
        session_id = identify(own, f"{site}/a.mp4")["session_id"]
        made = own.post(CREATE, json=order(session_id, f"{site}/hang.mp3")).json()["data"]["task_id"]
        done = ended(own, made)
        assert done["task_status"] == "failed"
        assert done["task_status_msg"] == "the work was stopped after 5 s, the limit for one task"
