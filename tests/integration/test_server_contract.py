"""The calls of the contract on a real server with stand-in workers. Every answer is checked against docs/contract."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import stub_work
from live_server import create, ended, identify, in_thread, order, release, sources, task, until
from server_settings import settings


@pytest.fixture(scope="module")
def site():
    with sources(
        a__mp4=stub_work.video(faces=[[0, 10_000], [4_000, 9_000]]),
        b__mov=stub_work.video(container="mov", width=1080, height=1920),
        empty__mp4=stub_work.video(faces=[]),
        long_sound__mp4=stub_work.video(heard_ms=12_500),
        masked__mp4=stub_work.video(faces=[], rejected=["unseen_lips"]),
        s__mp3=stub_work.sound(),
        stepwise__mp3=stub_work.sound(render="stepwise"),
        fault__mp3=stub_work.sound(render="fault"),
        short_result__mp3=stub_work.sound(result_ms=9_967),
    ) as url:
        yield url


@pytest.fixture(scope="module")
def client(data: Path):
    with in_thread(settings(data), stub_work.WORK) as client:
        yield client


@pytest.fixture(scope="module")
def session_id(client, site) -> str:
    return identify(client, f"{site}/a.mp4")["session_id"]


@pytest.mark.parametrize("prefix", ["", "/klingai", "/kling"])
@pytest.mark.parametrize("segment", ["identify-face", "Identify-face", "IDENTIFY-FACE/"])
def test_identify_under_every_spelling(client, site, prefix, segment) -> None:
    answer = client.post(f"{prefix}/v1/videos/{segment}", json={"video_url": f"{site}/a.mp4", "video_id": ""})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["code"], body["message"]) == (0, "SUCCEED")
    data = body["data"]
    assert data["final_unit_deduction"] == "0"
    assert [(face["face_id"], face["start_time"], face["end_time"]) for face in data["face_data"]] == [
        ("0", 0, 10_000),
        ("1", 4_000, 9_000),
    ]
    assert data["face_data"][0]["warnings"][0]["message"] == "the face is 40 px wide"


def test_a_video_without_a_face_is_no_fault(client, site) -> None:
    found = identify(client, f"{site}/empty.mp4")
    assert (found["face_data"], found["rejected"]) == ([], [])


def test_a_face_that_cannot_speak_has_its_reason(client, site) -> None:
    found = identify(client, f"{site}/masked.mp4")
    assert found["face_data"] == []
    reason = {"code": "unseen_lips", "message": "unseen_lips is why", "start_time": 0, "end_time": 10_000}
    assert found["rejected"] == [reason]


def test_sound_beyond_the_picture_is_told_with_the_video(client, site) -> None:
    assert identify(client, f"{site}/a.mp4")["video"]["warnings"] == []
    (warning,) = identify(client, f"{site}/long_sound.mp4")["video"]["warnings"]
    assert (warning["code"], warning["start_time"], warning["end_time"]) == ("sound_cut", 10_000, 12_500)
    assert "goes on for 2500 ms after the picture" in warning["message"]


def test_face_pictures_are_served_as_long_as_they_live(client, site) -> None:
    before = time.time()
    url = identify(client, f"{site}/a.mp4")["face_data"][1]["face_image"]
    left_s = int(httpx.URL(url).params["expires"]) - before
    assert 24 * 3_600 <= left_s <= 24 * 3_600 + 60
    picture = client.get(url)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    assert picture.content == stub_work.PICTURE


@pytest.mark.parametrize("prefix", ["", "/klingai", "/kling"])
def test_a_task_from_beginning_to_end(client, site, session_id, prefix) -> None:
    path = f"{prefix}/v1/videos/advanced-lip-sync"
    made = client.post(f"{path}/", json=order(session_id, f"{site}/s.mp3", original_audio_volume=0)).json()["data"]
    assert (made["task_status"], made["task_result"]["videos"], made["progress"]) == ("submitted", [], 0)
    done = ended(client, made["task_id"])
    assert client.get(f"{path}/{made['task_id']}/").json()["data"] == done
    assert (done["task_status"], done["task_status_msg"], done["progress"]) == ("succeed", "", 1)
    assert done["created_at"] == made["created_at"] <= done["updated_at"]
    parent = done["task_info"]["parent_video"]
    assert parent["duration"] == "10"
    assert json.loads(client.get(parent["url"]).content)["kind"] == "video"
    (result,) = done["task_result"]["videos"]
    assert httpx.URL(result["url"]).path == f"/files/media/{result['id']}.mp4"
    assert result["duration"] == "10"
    rendered = client.get(result["url"])
    assert rendered.headers["content-type"] == "video/mp4"
    choice = rendered.json()["choice"]
    assert (choice["trim_end_ms"], choice["insert_ms"]) == (3_000, 1_000)
    assert (choice["audio_volume"], choice["original_volume"], choice["original_scope"]) == (1.0, 0.0, "video")


@pytest.mark.parametrize("info", [None, {}, {"enabled": False}, {"enabled": None}])
def test_a_marked_result_is_made_only_where_it_is_asked_for(client, site, session_id, info) -> None:
    plain = ended(client, create(client, order(session_id, f"{site}/s.mp3") | {"watermark_info": info}))
    assert "watermark_url" not in plain["task_result"]["videos"][0]
    assert "watermark_info" not in plain
    payload = order(session_id, f"{site}/s.mp3") | {"watermark_info": {"enabled": True}}
    marked = ended(client, create(client, payload))
    assert marked["watermark_info"] == {"enabled": True}
    assert plain["final_unit_deduction"] == marked["final_unit_deduction"] == "0"
    assert client.get("/v1/videos/advanced-lip-sync?pageSize=1").json()["data"] == [marked]
    (result,) = marked["task_result"]["videos"]
    assert client.get(result["watermark_url"]).content == stub_work.MARKED
    assert client.get(result["url"]).content != stub_work.MARKED


def test_the_results_own_length_is_told(client, site, session_id) -> None:
    done = ended(client, create(client, order(session_id, f"{site}/short_result.mp3")))
    assert done["task_result"]["videos"][0]["duration"] == "9.967"


def test_small_overshoots_reach_the_worker_clamped(client, site, session_id) -> None:
    payload = order(session_id, f"{site}/s.mp3", sound_end_time=5_060, sound_insert_time=5_030)
    done = ended(client, create(client, payload))
    choice = client.get(done["task_result"]["videos"][0]["url"]).json()["choice"]
    assert choice["trim_end_ms"] == 4_970


def test_a_failed_task_says_why(client, site, session_id) -> None:
    done = ended(client, create(client, order(session_id, f"{site}/fault.mp3")))
    assert (done["task_status"], done["task_result"]["videos"]) == ("failed", [])
    assert done["task_status_msg"] == "face 0 cannot be made to speak"


def test_progress_and_stage_are_told_while_it_works(client, data, site, session_id) -> None:
    task_id = create(client, order(session_id, f"{site}/stepwise.mp3"))
    for share in stub_work.STEPS:
        now = until(lambda: (found := task(client, task_id))["progress"] == share and found)  # noqa: B023
        assert (now["task_status"], now["stage"], now["task_result"]["videos"]) == ("processing", "held", [])
        release(data)
    assert ended(client, task_id)["progress"] == 1


@pytest.mark.parametrize("dress", ["{}", "data:audio/mpeg;base64,{}"])
def test_a_sound_may_come_in_the_request(client, session_id, dress) -> None:
    text = dress.format(base64.b64encode(stub_work.sound()).decode())
    assert ended(client, create(client, order(session_id, text)))["task_status"] == "succeed"


def test_a_bare_object_and_a_numeric_face_id_are_read(client, site, session_id) -> None:
    payload = order(session_id, f"{site}/s.mp3", face_id=1, sound_insert_time=5_000)
    payload["face_choose"] = payload["face_choose"][0]
    done = ended(client, create(client, payload))
    assert client.get(done["task_result"]["videos"][0]["url"]).json()["choice"]["face_id"] == "1"


def test_a_body_of_eight_mebibytes_is_read(client, site, session_id) -> None:
    payload = order(session_id, f"{site}/s.mp3") | {"padding": ""}
    payload["padding"] = "x" * (8 * 1024 * 1024 - len(json.dumps(payload)))
    body = json.dumps(payload)
    assert len(body) == 8 * 1024 * 1024
    assert client.post("/v1/videos/advanced-lip-sync", content=body).status_code == 200


@pytest.mark.parametrize("external", ["order-7", "a/b c?d", "1234567890123456789", "订单"])
def test_a_task_is_found_by_the_callers_own_id(client, site, session_id, external) -> None:
    payload = order(session_id, f"{site}/s.mp3") | {"external_task_id": external}
    task_id = create(client, payload)
    found = client.get(f"/v1/videos/advanced-lip-sync/{quote(external)}").json()["data"]
    assert (found["task_id"], found["task_info"]["external_task_id"]) == (task_id, external)
    assert create(client, payload) == task_id
    other = client.post(
        "/v1/videos/advanced-lip-sync", json=payload | {"face_choose": order("", "AAAA")["face_choose"]}
    )
    assert (other.status_code, other.json()["code"]) == (400, 1201)
    assert f"in use by task {task_id}" in other.json()["message"]


@pytest.mark.parametrize("external", ["order/", "two\nlines", "a line\n"])
def test_a_task_is_found_by_an_id_that_a_path_would_lose(client, site, session_id, external) -> None:
    task_id = create(client, order(session_id, f"{site}/s.mp3") | {"external_task_id": external})
    path = f"/v1/videos/advanced-lip-sync/{quote(external, safe='')}"
    assert client.get(path).json()["data"]["task_id"] == task_id
    assert client.get(f"{path}/").json()["data"]["task_id"] == task_id


def test_the_same_request_many_times_at_once_makes_one_task(client, site, session_id) -> None:
    payload = order(session_id, f"{site}/s.mp3") | {"external_task_id": "at once"}
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: create(client, payload), range(8)))) == 1


def test_the_external_id_of_a_failed_or_cancelled_task_can_be_used_again(client, site, session_id) -> None:
    with sources(bad__mp3=stub_work.sound(render="fault"), hang__mp3=stub_work.sound(render="hang")) as more:
        failing = order(session_id, f"{more}/bad.mp3") | {"external_task_id": "once more"}
        first = create(client, failing)
        assert ended(client, first)["task_status"] == "failed"
        with ThreadPoolExecutor(8) as pool:  # the same request, many times at once: one new task
            (second,) = set(pool.map(lambda _: create(client, failing), range(8)))
        assert ended(client, second)["task_status"] == "failed"
        hanging = order(session_id, f"{more}/hang.mp3") | {"external_task_id": "once more"}
        third = create(client, hanging)
        assert create(client, hanging) == third
        taken = client.post("/v1/videos/advanced-lip-sync", json=failing).json()["message"]
        assert taken == f"external_task_id: 'once more' is in use by task {third}, which has another payload."
        assert client.post("/v1/videos/advanced-lip-sync/once more/cancel").json()["data"]["task_id"] == third
        fourth = create(client, order(session_id, f"{site}/s.mp3") | {"external_task_id": "once more"})
    assert ended(client, fourth)["task_status"] == "succeed"
    tasks = [ended(client, one) for one in (first, second, third, fourth)]
    assert len({one["task_id"] for one in tasks}) == 4
    assert {one["task_info"]["external_task_id"] for one in tasks} == {"once more"}
    assert client.get("/v1/videos/advanced-lip-sync/once more").json()["data"] == tasks[3]
    assert create(client, order(session_id, f"{site}/s.mp3") | {"external_task_id": "once more"}) == fourth
    assert client.get("/v1/videos/advanced-lip-sync?pageSize=4").json()["data"] == tasks[::-1]


def test_without_an_external_id_every_request_makes_a_task(client, site, session_id) -> None:
    payload = order(session_id, f"{site}/s.mp3") | {"external_task_id": ""}
    assert create(client, payload) != create(client, payload)


def test_a_result_can_be_the_next_video(client, site, session_id) -> None:
    done = ended(client, create(client, order(session_id, f"{site}/s.mp3")))
    video_id = done["task_result"]["videos"][0]["id"]
    answer = client.post("/v1/videos/identify-face", json={"video_id": video_id, "video_url": None})
    again = answer.json()["data"]["session_id"]
    next_done = ended(client, create(client, order(again, f"{site}/s.mp3")))
    assert next_done["task_status"] == "succeed"
    assert next_done["task_info"]["parent_video"]["id"] == video_id


def test_a_mov_source_is_served_as_what_it_is(client, site) -> None:
    session_id = identify(client, f"{site}/b.mov")["session_id"]
    done = ended(client, create(client, order(session_id, f"{site}/s.mp3")))
    url = done["task_info"]["parent_video"]["url"]
    assert httpx.URL(url).path.endswith(".mov")
    assert client.get(url).headers["content-type"] == "video/quicktime"
    assert httpx.URL(done["task_result"]["videos"][0]["url"]).path.endswith(".mp4")


def test_the_list_is_newest_first_in_pages(client, site, session_id) -> None:
    made = [create(client, order(session_id, f"{site}/s.mp3")) for _ in range(3)]
    path = "/klingai/v1/videos/advanced-lip-sync"
    first = client.get(path, params={"pageNum": 1, "pageSize": 2}).json()["data"]
    second = client.get(path, params={"pageNum": 2, "pageSize": 2}).json()["data"]
    assert [one["task_id"] for one in first + second][:3] == made[::-1]
    assert client.get(path, params={"pageNum": 1000, "pageSize": 500}).json()["data"] == []
    assert len(client.get(path).json()["data"]) <= 30


def test_json_is_read_whatever_the_request_calls_it(client, site) -> None:
    body = json.dumps({"video_url": f"{site}/a.mp4"})
    kinds = ("text/plain", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/json", "")
    for kind in (*kinds, "application/json;charset=UTF-16", "nonsense"):
        assert client.post("/v1/videos/identify-face", content=body, headers={"content-type": kind}).status_code == 200


def test_it_is_healthy_and_ready(client) -> None:
    assert client.get("/healthz").json()["data"] == {"status": "ok"}
    assert client.get("/readyz").json()["data"] == {"status": "ready"}


def test_a_public_address_is_used_where_one_is_set(tmp_path, site) -> None:
    given = settings(tmp_path, public_url="https://sync.example.org/base/")
    with in_thread(given, stub_work.WORK) as client:
        url = identify(client, f"{site}/a.mp4")["face_data"][0]["face_image"]
    assert url.startswith("https://sync.example.org/base/files/sessions/")
