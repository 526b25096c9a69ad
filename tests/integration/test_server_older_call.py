"""The older call, `/v1/videos/lip-sync`: a task that finds the face itself, with all that other tasks have."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stub_work
from live_server import Process, ended, held, in_thread, release, sources, until
from receiver import receiver
from server_settings import settings

OLDER, ADVANCED = "/v1/videos/lip-sync", "/v1/videos/advanced-lip-sync"
SOUND = base64.b64encode(stub_work.sound()).decode()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with sources(
        a__mp4=stub_work.video(faces=[[0, 3_000], [1_000, 10_000]]),
        nobody__mp4=stub_work.video(faces=[]),
        s__mp3=stub_work.sound(),
        held__mp3=stub_work.sound(render="held"),
        dies__mp3=stub_work.sound(render="die_once"),
        damaged__mp3=stub_work.sound(render="damaged"),
        no_teeth__mp3=stub_work.sound(render="no_teeth"),
    ) as url:
        yield url


@pytest.fixture(scope="module")
def client(data: Path) -> Iterator[httpx.Client]:
    with in_thread(settings(data), stub_work.WORK) as client:
        yield client


def asked(site: str, sound: str = "s.mp3", **more: Any) -> dict[str, Any]:
    """A request of the older call; `more` goes into `input`."""
    usual = {"mode": "audio2video", "video_url": f"{site}/a.mp4", "audio_type": "url", "audio_url": f"{site}/{sound}"}
    return {"input": {**usual, **more}}


def create(client: httpx.Client, payload: dict[str, Any], prefix: str = "") -> str:
    answer = client.post(f"{prefix}{OLDER}", json=payload)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["task_id"])


def task(client: httpx.Client, task_id: str) -> dict[str, Any]:
    data: dict[str, Any] = client.get(f"{OLDER}/{task_id}").json()["data"]
    return data


def finished(client: httpx.Client, task_id: str) -> dict[str, Any]:
    until(lambda: task(client, task_id)["task_status"] in ("succeed", "failed"))
    return task(client, task_id)


def freed(client: httpx.Client, data: Path, task_id: str) -> dict[str, Any]:
    """The end of a task whose work is held; a cancelled one may have left its mark, too."""

    def ended_now() -> bool:
        for mark in data.rglob(stub_work.HELD):
            mark.unlink(missing_ok=True)
        return task(client, task_id)["task_status"] == "succeed"

    until(ended_now)
    return task(client, task_id)


def rendered(client: httpx.Client, task_id: str) -> dict[str, Any]:
    """What the stub of a worker wrote of its order."""
    done = finished(client, task_id)
    assert done["task_status"] == "succeed", done
    told: dict[str, Any] = client.get(done["task_result"]["videos"][0]["url"]).json()
    return told


SPELLINGS = {
    "as documented": asked,
    "a file": lambda site: asked(site, audio_type="file", audio_url="", audio_file=SOUND),
    "a data URI": lambda site: asked(site, audio_type="file", audio_file=f"data:audio/mpeg;base64,{SOUND}"),
    "base64": lambda site: asked(site, audio_type="base64", audio=SOUND),
    "no type": lambda site: asked(site, audio_type=None, mode=None),
    "an empty type": lambda site: asked(site, audio_type="", mode="", video_id=""),
    "blanks": lambda site: asked(site, video_url=f" {site}/a.mp4\n", audio_url=f"\t{site}/s.mp3 "),
    "unused text": lambda site: asked(site, text="", voice_id="x", voice_speed=1),
    "at top level": lambda site: asked(site)["input"],
    "half at top level": lambda site: {
        "video_url": f"{site}/a.mp4",
        "input": {"audio_url": f"{site}/s.mp3", "mode": "audio2video"},
    },
    "all of it in input": lambda site: asked(site, callback_url="", external_task_id="", watermark_info=None),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_whole_speech_goes_to_the_most_visible_face(client, site, spelling) -> None:
    told = rendered(client, create(client, SPELLINGS[spelling](site)))
    choice = told["choice"]
    assert choice["face_id"] == "1"
    assert (choice["trim_start_ms"], choice["trim_end_ms"], choice["insert_ms"]) == (0, 5_000, 0)
    assert (choice["audio_volume"], choice["original_volume"]) == (1.0, 0.0)
    assert told["kind"] == "video"


def test_the_answer_comes_before_any_face_is_looked_for(client, site, data) -> None:
    made = client.post(OLDER, json=asked(site, "held.mp3") | {"external_task_id": "older"}).json()["data"]
    assert (made["task_status"], made["task_info"]["external_task_id"]) == ("submitted", "older")
    assert (made["task_result"], made["final_unit_deduction"]) == ({"videos": []}, "0")
    assert "session_id" not in made
    assert made["request"] == []
    assert made["task_info"]["parent_video"]["duration"] == "10"
    release(data)
    done = finished(client, made["task_id"])
    assert client.get(f"/klingai{OLDER}/older").json()["data"] == done
    assert done["task_result"]["videos"][0]["id"]


def test_a_video_without_a_face_fails_the_task_and_not_the_call(client, site) -> None:
    done = finished(client, create(client, asked(site, video_url=f"{site}/nobody.mp4")))
    assert (done["task_status"], done["task_status_msg"]) == ("failed", "no face in it can be made to speak.")
    assert done["fault"] == "input"


@pytest.mark.parametrize("sound", ["damaged.mp3", "no_teeth.mp3"])
def test_a_failure_names_no_field_that_the_call_does_not_have(client, site, sound) -> None:
    done = finished(client, create(client, asked(site, sound)))
    assert done["task_status_msg"] in ("the video is damaged at frame 7", "no teeth show in it.")


def test_each_call_knows_its_own_tasks(client, site) -> None:
    older = create(client, asked(site) | {"external_task_id": "mine"}, "/kling")
    video_id = finished(client, older)["task_info"]["parent_video"]["id"]
    session_id = client.post("/v1/videos/identify-face", json={"video_id": video_id}).json()["data"]["session_id"]
    times = {"sound_start_time": 0, "sound_end_time": 3_000, "sound_insert_time": 0}
    choice = {"face_id": "0", "sound_file": f"{site}/s.mp3", **times}
    body = {"session_id": session_id, "face_choose": [choice]}
    taken = client.post(ADVANCED, json=body | {"external_task_id": "mine"})
    assert taken.json()["message"] == f"external_task_id: 'mine' is in use by task {older}, which has another payload."
    newer = client.post(ADVANCED, json=body).json()["data"]["task_id"]
    ended(client, newer)
    for name in (older, "mine"):
        for call, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
            assert client.request(call, f"{ADVANCED}/{name}{path}").json()["code"] == 1203
    assert client.get(f"{OLDER}/{newer}").json()["code"] == 1203
    listed = {path: [one["task_id"] for one in client.get(path).json()["data"]] for path in (OLDER, ADVANCED)}
    assert listed[OLDER][0] == older
    assert listed[ADVANCED][0] == newer
    assert not set(listed[OLDER]) & set(listed[ADVANCED])
    assert client.get(OLDER, params={"pageNum": 2, "pageSize": 1}).json()["data"][0]["task_id"] == listed[OLDER][1]


def test_it_is_repeated_cancelled_watched_retried_and_deleted_as_others(client, site, data) -> None:
    body = asked(site, "held.mp3") | {"external_task_id": "again", "watermark_info": {"enabled": True}}
    made = create(client, body)
    assert create(client, body) == made
    other = client.post(OLDER, json=asked(site) | {"external_task_id": "again"}).json()["message"]
    assert other == f"external_task_id: 'again' is in use by task {made}, which has another payload."
    held(data)
    gone = client.post(f"{OLDER}/again/cancel").json()["data"]
    assert (gone["task_status"], gone["fault"]) == ("failed", "cancelled")
    second = create(client, body)
    assert second != made
    assert client.get(f"{OLDER}/again").json()["data"]["task_id"] == second
    done = freed(client, data, second)
    events = client.get(f"{OLDER}/again/events").text
    assert json.loads(events.partition("data: ")[2].partition("\n")[0]) == done
    assert client.get(done["task_result"]["videos"][0]["watermark_url"]).content == stub_work.MARKED
    third = client.post(f"{OLDER}/{second}/retry").json()["data"]
    freed(client, data, third["task_id"])
    assert rendered(client, third["task_id"])["choice"]["face_id"] == "1"
    assert client.delete(f"{OLDER}/{second}").json()["data"]["deleted"] is True
    assert client.get(f"{OLDER}/again").json()["code"] == 1203


def test_its_changes_are_posted(client, site) -> None:
    with receiver() as ear:
        made = create(client, asked(site) | {"callback_url": ear.url})
        until(lambda: len(ear.heard) == 3)
        assert [heard.task["task_status"] for heard in ear.heard] == ["submitted", "processing", "succeed"]
        assert ear.heard[2].task == finished(client, made)


def test_a_result_is_a_video_like_any_other(client, site) -> None:
    done = finished(client, create(client, asked(site)))
    (result,) = done["task_result"]["videos"]
    for name, value in (("video_id", result["id"]), ("video_url", result["url"])):
        again = create(
            client, asked(site, video_url="") | {"input": asked(site, video_url="")["input"] | {name: value}}
        )
        assert finished(client, again)["task_info"]["parent_video"]["id"] == result["id"]


@pytest.mark.parametrize("mode", ["cut_off", "loop"])
def test_longer_speech_has_to_be_asked_for(client, site, mode) -> None:
    with sources(long__mp3=stub_work.sound(duration_ms=12_000)) as more:
        body = asked(site, audio_url=f"{more}/long.mp3")
        refused = client.post(OLDER, json=body)
        assert refused.json()["message"] == (
            "input.audio_url: the speech inserted at 0 ms ends at 12000 ms, after the video's end at 10000 ms."
        )
        told = rendered(client, create(client, body | {"sync_mode": mode}))
        assert told["choice"]["trim_end_ms"] == (10_000 if mode == "cut_off" else 12_000)


def test_nothing_of_a_refused_request_stays(client, site, data) -> None:
    before = sorted((data / "media").iterdir())
    with sources(long__mp3=stub_work.sound(duration_ms=12_000)) as more:
        assert client.post(OLDER, json=asked(site, audio_url=f"{more}/long.mp3")).status_code == 400
    assert sorted((data / "media").iterdir()) == before
    assert not list((data / "incoming").iterdir())


def test_a_worker_that_dies_and_a_server_that_is_killed_cost_a_try(tmp_path, site) -> None:
    with Process(tmp_path) as server:
        dying = create(server.client, asked(site, "dies.mp3"))
        assert rendered(server.client, dying)["attempt"] == "2"
        kept = create(server.client, asked(site, "held.mp3") | {"external_task_id": "kept"})
        held(tmp_path)
        server.end(signal.SIGKILL)
    with Process(tmp_path) as server:
        held(tmp_path)
        release(tmp_path)
        assert rendered(server.client, kept)["attempt"] == "2"
        assert client_ids(server.client) == [kept, dying]


def client_ids(client: httpx.Client) -> list[str]:
    return [one["task_id"] for one in client.get(OLDER).json()["data"]]
