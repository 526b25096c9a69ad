"""Extensions of the contract: uploads, the server's own URLs, events, cancel, delete, dry runs, further fields."""

from __future__ import annotations

import hashlib
import itertools
import json
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import stub_work
from live_server import (
    WAIT_S,
    Process,
    create,
    ended,
    held,
    identify,
    in_thread,
    order,
    release,
    signing_secret,
    sources,
    task,
    until,
)
from server_settings import settings

from duikou.server.schemas.requests import LipSyncRequest
from duikou.server.signed_urls import UrlSigner
from duikou.units import MIB

IDENTIFY, CREATE, FILES = "/v1/videos/identify-face", "/v1/videos/advanced-lip-sync", "/v1/files"
FROM_URL = f"{FILES}/from-url"


@pytest.fixture(scope="module")
def site():
    with sources(
        a__mp4=stub_work.video(),
        two__mp4=stub_work.video(faces=[[0, 10_000], [2_000, 10_000]]),
        talk__mp4=stub_work.video(
            faces=[[0, 10_000], [2_000, 10_000]], speaking={"0": [[0, 3_000, 0.4]], "1": [[3_400, 7_000, 0.375]]}
        ),
        nobody__mp4=stub_work.video(faces=[]),
        s__mp3=stub_work.sound(),
        slow__mp3=stub_work.sound(render="slow"),
        held__mp3=stub_work.sound(render="held"),
        stepwise__mp3=stub_work.sound(render="stepwise"),
        hang__mp3=stub_work.sound(render="hang"),
    ) as url:
        yield url


@pytest.fixture(scope="module")
def client(data: Path):
    with in_thread(settings(data, max_video_mb=2, max_audio_mb=1), stub_work.WORK) as client:
        yield client


@pytest.fixture(scope="module")
def session_id(client, site) -> str:
    return identify(client, f"{site}/a.mp4")["session_id"]


def refused(answer: httpx.Response, status: int, code: int, sentence: str) -> None:
    found = (answer.status_code, answer.json()["code"], answer.json()["message"])
    assert found == (status, code, sentence)


def left(data: Path) -> set[str]:
    """All that lies in a data folder."""
    return {str(path.relative_to(data)) for path in data.rglob("*") if not path.name.startswith("duikou.db")}


# Uploads


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize("prefix", ["", "/klingai", "/kling"])
def test_an_uploaded_video_and_sound_serve_by_address_and_by_id(client, form, prefix) -> None:
    def upload(content: bytes, name: str) -> dict[str, Any]:
        how = {"files": {"file": (name, content)}, "data": {"note": "x"}} if form else {"content": content}
        answer = client.post(f"{prefix}{FILES}", **how)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    video, sound = upload(stub_work.video(container="mov"), "../../talk.mp4"), upload(stub_work.sound(), "s")
    assert (video["type"], video["duration"], video["size"]) == ("video", "10", len(stub_work.video(container="mov")))
    assert (sound["type"], sound["duration"], sound["size"]) == ("audio", "5", len(stub_work.sound()))
    day_ms = 24 * 3_600_000
    assert abs(video["expires_at"] - time.time() * 1000 - day_ms) < 60_000
    for one, kind, suffix in ((video, "video/quicktime", ".mov"), (sound, "audio/mpeg", ".mp3")):
        assert httpx.URL(one["url"]).path == f"/files/media/{one['id']}{suffix}"
        served = httpx.get(one["url"])
        assert (served.status_code, served.headers["content-type"], len(served.content)) == (200, kind, one["size"])
    for wanted in ({"video_url": video["url"]}, {"video_id": video["id"]}):
        made = client.post(IDENTIFY, json=wanted).json()["data"]["session_id"]
        for given in ({"sound_file": sound["url"]}, {"sound_file": "", "audio_id": sound["id"]}):
            payload = order(made, "", **given)
            done = ended(client, create(client, payload))
            assert done["task_status"] == "succeed"
            assert done["task_info"]["parent_video"]["id"] == video["id"]


def test_uploads_that_are_refused_leave_nothing(client, data) -> None:
    before = left(data)
    sound = stub_work.sound(pad="x" * MIB)
    empty, nameless = "file: the file is empty.", "file: the form has no field of this name with a file."
    unreadable = "The request body cannot be read as a form."
    for how, sentence in (
        ({"content": b""}, empty),
        ({"files": {"file": ("a.mp4", b"")}}, empty),
        ({"files": {"other": ("a.mp4", stub_work.video())}}, nameless),
        ({"data": {"file": "text"}, "files": {"other": ("a", b"x")}}, nameless),
        ({"files": [("file", ("a", b"x")), ("file", ("b", b"x"))]}, unreadable),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, unreadable),
        ({"content": b"junk"}, "file: the file is neither a video nor a sound."),
        ({"files": {"file": ("a.mp4", b"#EXTM3U")}}, "file: the file is neither a video nor a sound."),
        ({"content": sound}, f"file: the file has {len(sound)} bytes; at most 1 MB are allowed."),
    ):
        refused(client.post(FILES, **how), 400, 1201, sentence)
    size = 2 * MIB + 65_537
    most = f"more than the {size - 1} allowed."
    refused(client.post(FILES, content=b"x" * size), 400, 1201, f"The request body has {size} bytes, {most}")
    chunks = (b"x" * MIB for _ in range(3))
    sentence = f"The request body has more than the {size - 1} bytes allowed."
    refused(client.post(FILES, content=chunks), 400, 1201, sentence)
    assert left(data) == before
    video = stub_work.video(pad="x" * MIB)
    assert client.post(FILES, content=video).status_code == 200, "a video may be larger than a sound"


def test_a_client_that_goes_away_leaves_nothing_and_no_alarm(tmp_path) -> None:
    with Process(tmp_path) as server:
        url = httpx.URL(server.url)
        with socket.create_connection((url.host, url.port)) as line:
            line.sendall(
                b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 5_000
            )
            until(lambda: list((tmp_path / "incoming").iterdir()))
        until(lambda: not list((tmp_path / "incoming").iterdir()))
        server.end(signal.SIGTERM)
    events = [json.loads(line)["event"] for line in server.log]
    assert "the client disconnected" in events
    assert "request failed" not in events


def test_an_upload_that_is_over_or_of_another_kind_is_refused(client, data, session_id) -> None:
    video, sound, old = (
        client.post(FILES, content=content).json()["data"]
        for content in (stub_work.video(), stub_work.sound(), stub_work.sound())
    )
    with sqlite3.connect(data / "duikou.db") as database:
        database.execute("UPDATE media SET expires_at = 1 WHERE id = ?", (old["id"],))
    database.close()
    entry = "face_choose[0]"
    for given, sentence in (
        ({"audio_id": old["id"]}, f"{entry}.audio_id: there is no sound '{old['id']}', or it has expired."),
        ({"sound_file": old["url"]}, f"{entry}.sound_file: there is no sound '{old['id']}', or it has expired."),
        ({"audio_id": video["id"]}, f"{entry}.audio_id: there is no sound '{video['id']}', or it has expired."),
    ):
        refused(client.post(CREATE, json=order(session_id, "", **given)), 400, 1201, sentence)
    sentence = f"video_id: there is no video '{sound['id']}', or it has expired."
    refused(client.post(IDENTIFY, json={"video_id": sound["id"]}), 400, 1201, sentence)
    path = httpx.URL(old["url"]).path
    refused(client.get(old["url"]), 404, 1203, f"There is no file {path}, or it has expired.")


# Files that the server fetches

FETCHED = {"video": stub_work.video(container="mov"), "audio": stub_work.sound(), "image": stub_work.PHOTO}


@pytest.fixture(scope="module")
def shelf():
    files = {f"{kind}__bin": content for kind, content in FETCHED.items()}
    large = {"sound__bin": stub_work.sound(pad="x" * MIB), "large__bin": b"x" * (2 * MIB + 1)}
    with sources(**files, **large, text__html=b"<p>no media</p>", void__bin=b"") as url:
        yield url


@pytest.mark.parametrize("prefix", ["", "/klingai", "/kling"])
@pytest.mark.parametrize("kind", FETCHED)
def test_a_fetched_file_is_an_upload(client, shelf, kind, prefix) -> None:
    data = client.post(f"{prefix}{FROM_URL}", json={"url": f"{shelf}/{kind}.bin"}).json()["data"]
    uploaded = client.post(FILES, content=FETCHED[kind]).json()["data"]
    assert data.keys() == uploaded.keys()
    assert [data[name] for name in ("type", "size", "duration")] == [
        uploaded[name] for name in ("type", "size", "duration")
    ]
    assert abs(data["expires_at"] - uploaded["expires_at"]) < 60_000
    assert httpx.get(data["url"]).content == FETCHED[kind]


def test_a_fetched_video_speaks_with_a_fetched_sound(client, shelf) -> None:
    video, sound = (
        client.post(FROM_URL, json={"url": f"{shelf}/{kind}.bin"}).json()["data"]["id"] for kind in ("video", "audio")
    )
    made = client.post(IDENTIFY, json={"video_id": video}).json()["data"]["session_id"]
    assert ended(client, create(client, order(made, "", audio_id=sound)))["task_status"] == "succeed"


def test_files_that_cannot_be_fetched_leave_nothing(client, data, shelf) -> None:
    before = left(data)
    sound = len(stub_work.sound(pad="x" * MIB))
    unreachable = (
        "the host cannot be reached from here; if its address is private, the operator must allow it in "
        "DUIKOU_PRIVATE_SOURCES."
    )
    for url, sentence in (
        ("http://10.0.0.1/a.mp4", unreachable),
        ("http://169.254.169.254/latest/meta-data", unreachable),
        ("file:///etc/passwd", "only http and https URLs are taken."),
        ("", "only http and https URLs are taken."),
        (f"{shelf}/nothing.mp4", "the host answered with status 404."),
        (f"{shelf}/large.bin", "the file is larger than 2 MB."),
        (f"{shelf}/sound.bin", f"the file has {sound} bytes; at most 1 MB are allowed."),
        (f"{shelf}/text.html", "the file is neither a video nor a sound."),
        (f"{shelf}/void.bin", "the file is empty."),
        (7, "a string is expected, not 7."),
    ):
        refused(client.post(FROM_URL, json={"url": url}), 400, 1201, f"url: {sentence}")
    refused(client.post(FROM_URL, json={}), 400, 1201, "url: a value is required.")
    refused(client.post(FROM_URL, content=b"junk"), 400, 1201, "The request body is not valid JSON.")
    assert left(data) == before


def test_a_url_of_the_server_itself_is_no_second_file(client, data) -> None:
    video = client.post(FILES, content=stub_work.video()).json()["data"]
    before = left(data)
    assert client.post(FROM_URL, json={"url": video["url"]}).json()["data"]["id"] == video["id"]
    assert left(data) == before
    bare = video["url"].partition("?")[0]
    sentence = f"url: the URL of {httpx.URL(bare).path} is not signed by this server."
    refused(client.post(FROM_URL, json={"url": bare}), 400, 1201, sentence)
    face = identify(client, video["url"])["face_data"][0]["face_image"]
    assert client.post(FROM_URL, json={"url": face}).status_code == 400


# URLs of the server itself


def test_a_result_is_taken_by_its_own_address_though_the_server_may_not_dial_itself(tmp_path) -> None:
    given = settings(tmp_path).model_copy(update={"private_sources": ()})
    with in_thread(given, stub_work.WORK) as client:
        video = client.post(FILES, content=stub_work.video()).json()["data"]["id"]
        sound = client.post(FILES, content=stub_work.sound()).json()["data"]["id"]
        made = client.post(IDENTIFY, json={"video_id": video}).json()["data"]["session_id"]
        done = ended(client, create(client, order(made, "", audio_id=sound)))
        (result,) = done["task_result"]["videos"]
        again = client.post(IDENTIFY, json={"video_url": result["url"]}).json()["data"]["session_id"]
        next_done = ended(client, create(client, order(again, "", audio_id=sound)))
        assert next_done["task_info"]["parent_video"]["id"] == result["id"]

        bare = result["url"].partition("?")[0]
        path = httpx.URL(bare).path
        old = str(client.base_url).rstrip("/") + UrlSigner(signing_secret(tmp_path), -2).sign(path)
        unsigned = f"video_url: the URL of {path} is not signed by this server."
        until_then = f"video_url: the URL of {path} expired at {httpx.URL(old).params['expires']} (Unix time); "
        refused(client.post(IDENTIFY, json={"video_url": bare}), 400, 1201, unsigned)
        refused(client.post(IDENTIFY, json={"video_url": old}), 400, 1201, f"{until_then}request a new one.")
        payload = order(again, bare)
        unsigned = unsigned.replace("video_url", "face_choose[0].sound_file")
        refused(client.post(CREATE, json=payload), 400, 1201, unsigned)


# Events


def events(client: httpx.Client, name: str) -> Iterator[dict[str, Any]]:
    """The tasks that a stream tells, until it ends."""
    with client.stream("GET", f"{CREATE}/{name}/events") as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        kind = ""
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                assert kind == "task"
                yield json.loads(value)


def test_events_tell_every_change_until_the_end(client, data, site, session_id) -> None:
    first = create(client, order(session_id, f"{site}/held.mp3"))
    second = create(client, order(session_id, f"{site}/s.mp3") | {"external_task_id": "told"})
    stream = events(client, "told")
    seen = [next(stream)]
    assert seen[0]["task_status"] == "submitted", "the first is told at once"
    release(data)
    seen += list(stream)
    assert seen[-1] == task(client, second)
    assert seen[-1]["task_status"] == "succeed"
    assert all(one != other for one, other in itertools.pairwise(seen))
    assert [one["queue_position"] for one in seen if "queue_position" in one][-1] == 1
    assert list(events(client, first))[-1]["progress"] == 1
    assert len(list(events(client, second))) == 1, "of a task that has ended there is one"


def test_progress_is_told_by_events(client, data, site, session_id) -> None:
    shares: list[float] = []
    for one in events(client, create(client, order(session_id, f"{site}/stepwise.mp3"))):
        if one["progress"] in stub_work.STEPS and one["progress"] not in shares:
            release(data)
        shares.append(one["progress"])
    assert shares == sorted(shares)
    assert {share for share in shares if 0 < share < 1} == set(stub_work.STEPS)


def test_events_of_no_task_are_no_resource_in_the_one_shape(client) -> None:
    refused(client.get(f"{CREATE}/nobody/events"), 404, 1203, "There is no task nobody, or it has expired.")


def test_events_end_with_a_task_that_is_deleted_and_with_the_server(tmp_path, site) -> None:
    with Process(tmp_path) as server:
        made = identify(server.client, f"{site}/a.mp4")["session_id"]
        for end in ("delete", "stop"):
            task_id = create(server.client, order(made, f"{site}/hang.mp3"))
            seen: list[dict[str, Any]] = []
            thread = threading.Thread(target=lambda: seen.extend(events(server.client, task_id)))  # noqa: B023
            thread.start()
            until(lambda: task(server.client, task_id)["task_status"] == "processing")  # noqa: B023
            if end == "delete":
                assert server.client.delete(f"{CREATE}/{task_id}").status_code == 200
            else:
                server.popen.terminate()
            thread.join(WAIT_S)
            assert not thread.is_alive()
            assert seen[-1]["task_status"] in ("processing", "failed" if end == "delete" else "processing")
        assert server.popen.wait(WAIT_S) != 0


def test_external_ids_may_look_like_paths(client, site, session_id) -> None:
    payload = order(session_id, f"{site}/s.mp3")
    plain, deep, odd, cancel = (
        create(client, payload | {"external_task_id": name}) for name in ("x", "a/b", "x/events", "y/cancel")
    )
    for name, task_id in (("a/b", deep), ("a%2Fb", deep), ("x/events", odd), ("y/cancel", cancel), ("x", plain)):
        assert ended(client, name)["task_id"] == task_id, name
    assert [one["task_id"] for one in events(client, "a/b")] == [deep]
    assert [one["task_id"] for one in events(client, "x/events")] == [odd]
    assert [one["task_id"] for one in events(client, plain)] == [plain]
    assert client.post(f"{CREATE}/y/cancel/cancel").json()["data"]["task_id"] == cancel
    for name, task_id in (("x/events", odd), ("a/b", deep), ("y/cancel", cancel)):
        assert client.delete(f"{CREATE}/{quote(name)}").json()["data"]["task_id"] == task_id
    assert client.get(f"{CREATE}/x").status_code == 200


# Cancel and delete


def workers(client: httpx.Client, data: Path, task_id: str) -> bool:
    """Whether anything still works on a task: its attempt's folder is there."""
    return any((data / "tasks" / task_id).glob("[0-9]*"))


def test_a_waiting_task_is_cancelled_and_never_begun(client, data, site, session_id) -> None:
    first = create(client, order(session_id, f"{site}/held.mp3"))
    held(data)
    waiting = create(client, order(session_id, f"{site}/s.mp3"))
    done = client.post(f"{CREATE}/{waiting}/cancel").json()["data"]
    assert (done["task_status"], done["progress"], done["task_result"]) == ("failed", 0, {"videos": []})
    assert done["task_status_msg"] == "The task was cancelled by its caller."
    assert "queue_position" not in done
    release(data)
    assert ended(client, first)["task_status"] == "succeed"
    later = create(client, order(session_id, f"{site}/s.mp3"))
    assert ended(client, later)["task_status"] == "succeed"
    assert task(client, waiting) == done
    assert not workers(client, data, waiting)


def test_a_running_task_is_cancelled_and_its_worker_stops(client, data, site, session_id) -> None:
    task_id = create(client, order(session_id, f"{site}/hang.mp3") | {"external_task_id": "stop me"})
    until(lambda: task(client, task_id)["stage"] == "hanging")
    assert client.post(f"{CREATE}/stop%20me/cancel/").json()["data"]["task_status"] == "failed"
    later = create(client, order(session_id, f"{site}/s.mp3"))
    assert ended(client, later)["task_status"] == "succeed", "the one worker is free, though the task would not end"
    until(lambda: not workers(client, data, task_id))
    assert task(client, task_id)["task_status_msg"] == "The task was cancelled by its caller."


def test_a_finished_task_stays_as_it_is(client, site, session_id) -> None:
    task_id = create(client, order(session_id, f"{site}/s.mp3"))
    done = ended(client, task_id)
    assert client.post(f"{CREATE}/{task_id}/cancel").json()["data"] == done
    assert task(client, task_id) == done


def test_a_deleted_task_is_gone_with_its_files_and_its_name(client, data, site, session_id) -> None:
    payload = order(session_id, f"{site}/s.mp3") | {"external_task_id": "forget me"}
    task_id = create(client, payload)
    (result,) = ended(client, task_id)["task_result"]["videos"]
    assert (data / "tasks" / task_id).exists()
    assert client.delete(f"{CREATE}/{task_id}/").json()["data"] == {"task_id": task_id, "deleted": True}
    assert not (data / "tasks" / task_id).exists()
    for name in (task_id, "forget me"):
        for method in ("GET", "DELETE"):
            answer = client.request(method, f"{CREATE}/{name}")
            refused(answer, 404, 1203, f"There is no task {name}, or it has expired.")
    assert task_id not in [one["task_id"] for one in client.get(CREATE).json()["data"]]
    path = httpx.URL(result["url"]).path
    refused(client.get(result["url"]), 404, 1203, f"There is no file {path}, or it has expired.")
    assert create(client, payload) != task_id


def test_a_running_task_is_deleted_and_nothing_of_it_comes_back(client, data, site, session_id) -> None:
    task_id = create(client, order(session_id, f"{site}/hang.mp3"))
    until(lambda: task(client, task_id)["stage"] == "hanging")
    assert client.delete(f"{CREATE}/{task_id}").status_code == 200
    assert ended(client, create(client, order(session_id, f"{site}/s.mp3")))["task_status"] == "succeed"
    assert not (data / "tasks" / task_id).exists()
    assert client.get(f"{CREATE}/{task_id}").status_code == 404


def test_a_session_of_a_deleted_result_is_refused(client, site, session_id) -> None:
    task_id = create(client, order(session_id, f"{site}/s.mp3"))
    (result,) = ended(client, task_id)["task_result"]["videos"]
    made = client.post(IDENTIFY, json={"video_id": result["id"]}).json()["data"]["session_id"]
    assert client.delete(f"{CREATE}/{task_id}").status_code == 200
    sentence = f"session_id: there is no session '{made}', or it has expired."
    refused(client.post(CREATE, json=order(made, f"{site}/s.mp3")), 400, 1201, sentence)


# The same again


def test_a_finished_task_is_done_again_from_its_own_material(client, data) -> None:
    with sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound(), p__jpg=stub_work.PHOTO) as gone:
        made = identify(client, f"{gone}/a.mp4")["session_id"]
        payload = order(made, f"{gone}/s.mp3", sound_volume=0.5, reference_urls=[f"{gone}/p.jpg"])
        payload |= {"external_task_id": "again", "sync_mode": "loop", "watermark_info": {"enabled": True}}
        first = create(client, payload)
        done = ended(client, first)
    answer = client.post(f"{CREATE}/again/retry/")
    assert answer.status_code == 200, answer.text
    second = answer.json()["data"]
    assert second["task_status"] == "submitted"
    assert second["task_id"] != first
    assert second["task_info"] == {"parent_video": done["task_info"]["parent_video"]}
    assert client.delete(f"{CREATE}/{first}").status_code == 200
    again = ended(client, second["task_id"])
    assert again["task_status"] == "succeed"
    assert (again["session_id"], again["request"]) == (made, done["request"])
    result = client.get(again["task_result"]["videos"][0]["url"]).json()
    assert (result["choice"]["audio_volume"], result["lent"]) == (0.5, [["photo"]])
    assert again["task_result"]["videos"][0]["watermark_url"]
    kept = {path.name for path in (data / "tasks" / second["task_id"]).iterdir() if path.is_file()}
    assert kept == {"sound_0", "reference_0_0"}
    assert not list((data / "incoming").iterdir())
    third = client.post(f"{CREATE}/{second['task_id']}/retry").json()["data"]["task_id"]
    assert ended(client, third)["task_status"] == "succeed"


def test_a_failed_and_a_cancelled_task_stay_and_are_done_again(client, site, session_id) -> None:
    with sources(bad__mp3=stub_work.sound(render="fault")) as more:
        failed = create(client, order(session_id, f"{more}/bad.mp3"))
        before = ended(client, failed)
        again = client.post(f"{CREATE}/{failed}/retry").json()["data"]["task_id"]
        assert ended(client, again)["fault"] == "input"
        assert task(client, failed) == before
    cancelled = create(client, order(session_id, f"{site}/hang.mp3"))
    until(lambda: task(client, cancelled)["stage"] == "hanging")
    refused(
        client.post(f"{CREATE}/{cancelled}/retry"),
        *(400, 1201, f"id: task {cancelled} is processing; only a finished task can be tried again."),
    )
    assert client.post(f"{CREATE}/{cancelled}/cancel").status_code == 200
    again = client.post(f"{CREATE}/{cancelled}/retry").json()["data"]["task_id"]
    until(lambda: task(client, again)["stage"] == "hanging")
    assert client.post(f"{CREATE}/{again}/cancel").status_code == 200


def test_a_task_whose_material_is_gone_is_not_done_again(client, data, site) -> None:
    made = identify(client, f"{site}/a.mp4")["session_id"]
    task_id = create(client, order(made, f"{site}/s.mp3"))
    ended(client, task_id)
    refused(client.post(f"{CREATE}/nobody/retry"), 404, 1203, "There is no task nobody, or it has expired.")
    sound = data / "tasks" / task_id / "sound_0"
    sound.rename(data / "elsewhere")
    sentence = f"id: the speech or a reference of task {task_id} is no longer stored."
    refused(client.post(f"{CREATE}/{task_id}/retry"), 400, 1201, sentence)
    (data / "elsewhere").rename(sound)
    with sqlite3.connect(data / "duikou.db") as database:
        database.execute("UPDATE sessions SET expires_at = 1 WHERE id = ?", (made,))
    database.close()
    sentence = f"id: the session of task {task_id} has expired, or its video is gone; identify the faces again."
    refused(client.post(f"{CREATE}/{task_id}/retry"), 400, 1201, sentence)
    assert not list((data / "incoming").iterdir())


def test_doing_again_counts_like_a_new_task(tmp_path, site) -> None:
    with in_thread(settings(tmp_path, tasks_at_once=1), stub_work.WORK) as client:
        made = identify(client, f"{site}/a.mp4")["session_id"]
        done = create(client, order(made, f"{site}/s.mp3"))
        ended(client, done)
        create(client, order(made, f"{site}/hang.mp3"))
        answer = client.post(f"{CREATE}/{done}/retry")
        assert (answer.status_code, answer.json()["code"]) == (429, 1303)


# Dry runs, places in the queue, and what else is told


def test_a_dry_run_checks_and_estimates_and_leaves_nothing(client, data, site) -> None:
    made = identify(client, f"{site}/two.mp4")["session_id"]
    before, tasks = left(data), client.get(CREATE).json()["data"]
    payload = order(made, f"{site}/s.mp3") | {"dry_run": True, "external_task_id": "only asked"}
    data_of = client.post(CREATE, json=payload).json()["data"]
    assert data_of.keys() == {"dry_run", "duration", "estimated_time", "queue_position", "warnings", "request"}
    assert [one["face_id"] for one in data_of["request"]] == ["0"]
    assert (data_of["dry_run"], data_of["duration"], data_of["queue_position"]) == (True, "10", 1)
    assert float(data_of["estimated_time"]) >= 0
    assert [one["message"] for one in data_of["warnings"]] == ["the face is 40 px wide"]
    payload |= {"sync_mode": "loop"}
    payload["face_choose"][0] |= {"sound_insert_time": 8_000, "sound_end_time": 5_000}
    assert client.post(CREATE, json=payload).json()["data"]["duration"] == "13"
    payload["face_choose"][0]["sound_end_time"] = 5_101
    sentence = "face_choose[0].sound_end_time: 5101 ms is after the audio's end at 5000 ms."
    refused(client.post(CREATE, json=payload), 400, 1201, sentence)
    assert left(data) == before
    assert client.get(CREATE).json()["data"] == tasks
    assert client.get(f"{CREATE}/only%20asked").status_code == 404


def test_the_estimate_follows_what_tasks_took(tmp_path, site) -> None:
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        made = identify(client, f"{site}/a.mp4")["session_id"]

        def estimate() -> float:
            answer = client.post(CREATE, json=order(made, f"{site}/s.mp3") | {"dry_run": True})
            return float(answer.json()["data"]["estimated_time"])

        assert estimate() == 40.0
        began = time.monotonic()
        ended(client, create(client, order(made, f"{site}/slow.mp3")))
        assert 2.0 <= estimate() < time.monotonic() - began + 1, "what the task took, but for rounding"
        for _ in range(2):
            create(client, order(made, f"{site}/hang.mp3"))
        until(lambda: client.get(CREATE).json()["data"][1]["task_status"] == "processing")
        assert estimate() >= 4.0, "one waits before it"


def test_places_in_the_queue(client, site, session_id) -> None:
    running = create(client, order(session_id, f"{site}/hang.mp3"))
    until(lambda: task(client, running)["task_status"] == "processing")
    waiting = [create(client, order(session_id, f"{site}/s.mp3")) for _ in range(3)]
    listed = {one["task_id"]: one.get("queue_position") for one in client.get(CREATE).json()["data"]}
    assert [listed[task_id] for task_id in (running, *waiting)] == [None, 1, 2, 3]
    assert [task(client, task_id)["queue_position"] for task_id in waiting] == [1, 2, 3]
    assert client.post(f"{CREATE}/{waiting[0]}/cancel").status_code == 200
    assert [task(client, task_id).get("queue_position") for task_id in waiting] == [None, 1, 2]
    assert client.post(f"{CREATE}/{running}/cancel").status_code == 200
    assert "queue_position" not in ended(client, waiting[2])


def test_faces_tell_where_they_are(client, site) -> None:
    for face in identify(client, f"{site}/two.mp4")["face_data"]:
        assert face["bbox"] == {"x": 10, "y": 20, "width": 300, "height": 400}
        assert face["warnings"][0].keys() == {"code", "message", "start_time", "end_time"}


def test_faces_tell_when_they_speak(client, site) -> None:
    first, second = identify(client, f"{site}/talk.mp4")["face_data"]
    assert first["speaking"] == [{"start_time": 0, "end_time": 3_000, "score": 0.4}]
    assert second["speaking"] == [{"start_time": 3_400, "end_time": 7_000, "score": 0.38}]
    assert identify(client, f"{site}/a.mp4")["face_data"][0]["speaking"] == []


def test_auto_makes_the_one_speak_who_spoke_there(tmp_path, site) -> None:
    with in_thread(settings(tmp_path, several_faces=True), stub_work.WORK) as client:
        made = identify(client, f"{site}/talk.mp4")["session_id"]
        payload = order(made, f"{site}/s.mp3", face_id="auto", sound_insert_time=4_000)
        (late,) = payload["face_choose"]
        payload["face_choose"] = [late, late | {"sound_insert_time": 500}]
        done = ended(client, create(client, payload | {"external_task_id": "again"}))
        assert [one["face_id"] for one in done["request"]] == ["1", "0"]
        result = client.get(done["task_result"]["videos"][0]["url"]).json()
        assert [choice["face_id"] for choice in result["choices"]] == ["1", "0"], "the worker knows the faces"
        assert create(client, payload | {"external_task_id": "again"}) == done["task_id"], "the same request"
        payload["face_choose"] = [late | {"sound_insert_time": 7_000}]
        dry = client.post(CREATE, json=payload | {"dry_run": True}).json()["data"]
        assert [one["face_id"] for one in dry["request"]] == ["0"]
        assert {one["code"]: one["message"] for one in dry["warnings"]}["unclear_speaker"] == (
            "no face is seen to speak from 7000 ms to 10000 ms in the original, so face 0 was chosen, the most visible"
        )
        payload["session_id"] = identify(client, f"{site}/nobody.mp4")["session_id"]
        sentence = "face_choose[0].face_id: the session has no face 'auto'; its faces: none."
        refused(client.post(CREATE, json=payload), 400, 1201, sentence)


def test_the_video_whose_faces_these_are_is_told(client, site) -> None:
    content = stub_work.video(duration_ms=9_500)
    upload = client.post(FILES, content=content).json()["data"]
    data = client.post(IDENTIFY, json={"video_id": upload["id"]}).json()["data"]
    told = {"duration": "9.5", "width": 1280, "height": 720, "frame_rate": 25.0, "warnings": []}
    assert data["video"] == {"id": upload["id"], "url": upload["url"], **told}
    video = identify(client, f"{site}/a.mp4")["video"]
    assert httpx.get(video["url"]).content == stub_work.video()
    assert client.post(IDENTIFY, json={"video_id": video["id"]}).json()["data"]["video"] == video


def test_a_task_tells_what_was_requested(client, site, session_id) -> None:
    sound = f"{site}/s.mp3"
    task_id = create(client, order(session_id, sound, sound_volume=1.5, original_audio_volume=0))
    told = {"face_id": "0", "sound_start_time": 0, "sound_end_time": 3000, "sound_insert_time": 1000}
    volumes = {"sound_volume": 1.5, "original_audio_volume": 0.0, "original_audio_scope": "video", "exclude": []}
    for found in (ended(client, task_id), client.get(CREATE).json()["data"][0]):
        assert (found["session_id"], found["request"]) == (session_id, [told | volumes])
        assert sound not in json.dumps(found)
    long = order(session_id, sound, sound_insert_time=8_000) | {"sync_mode": "cut_off"}
    assert task(client, create(client, long))["request"][0]["sound_end_time"] == 2_000, "the end of what is heard"


@pytest.mark.parametrize("mark", [{"enabled": True}, {"enabled": False}, {}, {"enabled": None}, None])
def test_a_mark_may_be_asked_for(client, site, session_id, mark) -> None:
    assert ended(client, create(client, order(session_id, f"{site}/s.mp3") | {"watermark_info": mark}))


def test_a_setting_restricts_a_task_to_one_face(tmp_path, site) -> None:
    with in_thread(settings(tmp_path, several_faces=False), stub_work.WORK) as client:
        payload = order(identify(client, f"{site}/two.mp4")["session_id"], f"{site}/s.mp3")
        assert client.post(CREATE, json=payload | {"dry_run": True}).status_code == 200
        payload["face_choose"] *= 2
        refused(client.post(CREATE, json=payload), 400, 1201, "face_choose: exactly one entry is expected, not 2.")
        none = payload | {"face_choose": []}
        refused(client.post(CREATE, json=none), 400, 1201, "face_choose: exactly one entry is expected, not 0.")


def test_several_faces_speak(tmp_path, site) -> None:
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        made = identify(client, f"{site}/two.mp4")["session_id"]
        payload = order(made, f"{site}/s.mp3")
        (one,) = payload["face_choose"]
        other = one | {"face_id": 1, "sound_file": f"{site}/slow.mp3", "sound_insert_time": 4_000}
        payload["face_choose"] = [one, other]
        done = ended(client, create(client, payload))
        result = client.get(done["task_result"]["videos"][0]["url"]).json()
        told = [(choice["face_id"], choice["insert_ms"]) for choice in result["choices"]]
        assert told == [("0", 1_000), ("1", 4_000)]
        assert [Path(sound).name for sound in result["sounds"]] == ["sound_0", "sound_1"]
        payload["face_choose"] = [one, other | {"sound_file": f"{site}/a.mp4"}]
        refused(client.post(CREATE, json=payload), 400, 1201, "face_choose[1].sound_file: the file is not a sound.")
        assert not list((tmp_path / "incoming").iterdir())


def test_a_face_says_several_pieces(tmp_path) -> None:
    """A sound that several pieces share is fetched and stored once; a new task does the same again."""
    two, sound = stub_work.video(faces=[[0, 10_000]] * 2), stub_work.sound(duration_ms=8_000)
    with (
        sources(two__mp4=two, s__mp3=sound, t__mp3=sound, p__jpg=stub_work.PHOTO) as site,
        in_thread(settings(tmp_path), stub_work.WORK) as client,
    ):
        payload = order(identify(client, f"{site}/two.mp4")["session_id"], f"{site}/s.mp3", exclude=[[1_500, 2_000]])
        (one,) = payload["face_choose"]
        lent = {"reference_urls": [f"{site}/p.jpg"]}
        later = {"sound_start_time": 4_000, "sound_end_time": 6_000}
        payload["face_choose"] = [
            one | lent | {"sound_insert_time": 5_000},
            one | {"face_id": "1", "sound_file": f"{site}/t.mp3"},
            one | lent | later | {"sound_insert_time": 3_000},
        ]
        task_id = create(client, payload)
        done = ended(client, task_id)
        again = client.post(f"{CREATE}/{task_id}/retry").json()["data"]["task_id"]
        for found in (done, ended(client, again)):
            result = client.get(found["task_result"]["videos"][0]["url"]).json()
            told = [(one["face_id"], one["trim_start_ms"], one["insert_ms"]) for one in result["choices"]]
            assert told == [("0", 0, 5_000), ("1", 0, 1_000), ("0", 4_000, 3_000)]
            assert [Path(sound).name for sound in result["sounds"]] == ["sound_0", "sound_1", "sound_0"]
            assert [one["exclude"] for one in result["choices"]] == [[[1_500, 2_000]]] * 3
            assert result["lent"] == [["photo"], [], []]
            assert [one["exclude"] for one in found["request"]] == [[[1_500, 2_000]]] * 3
        kept = {path.name for path in (tmp_path / "tasks" / task_id).iterdir() if path.is_file()}
        assert kept == {"sound_0", "sound_1", "reference_0_0"}
        assert not list((tmp_path / "incoming").iterdir())


def test_ends_are_clamped_before_pieces_may_overlap_and_all_sounds_have_a_limit(tmp_path) -> None:
    files = {f"s{number}__mp3": stub_work.sound(pad="x" * 950_000) for number in range(9)}
    with (
        sources(a__mp4=stub_work.video(duration_ms=30_000, faces=[[0, 30_000]]), **files) as site,
        in_thread(settings(tmp_path, max_audio_mb=1), stub_work.WORK) as client,
    ):
        payload = order(identify(client, f"{site}/a.mp4")["session_id"], f"{site}/s0.mp3", sound_end_time=5_050)
        (one,) = payload["face_choose"]
        payload["face_choose"] = [one, one | {"sound_insert_time": 6_000}]  # the first ends at 6,000 ms
        assert ended(client, create(client, payload))["task_status"] == "succeed"
        payload["face_choose"] = [one, one | {"sound_insert_time": 5_990}]
        refused(
            client.post(CREATE, json=payload),
            400,
            1201,
            "face_choose[1].sound_insert_time: the speech from 5990 ms to 10990 ms overlaps another one of face 0, "
            "from 1000 ms to 6000 ms.",
        )
        payload["face_choose"] = [
            one | {"sound_end_time": 2_000, "sound_insert_time": 2_000 * number, "sound_file": f"{site}/s{number}.mp3"}
            for number in range(9)
        ]
        sent = client.post(CREATE, json=payload).json()["message"]
        assert sent.startswith("face_choose[8].sound_file: the sounds of the request have 85")
        assert sent.endswith(" bytes or more; at most 8388608 are taken.")
        assert not list((tmp_path / "incoming").iterdir())


# References


def test_references_reach_the_worker_in_their_order_and_go_with_the_task(tmp_path) -> None:
    clip, photo = stub_work.video(note="a clip"), stub_work.PHOTO
    with (
        sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound(), c__mp4=clip, p__jpg=photo) as site,
        in_thread(settings(tmp_path), stub_work.WORK) as client,
    ):
        made = identify(client, f"{site}/a.mp4")["session_id"]
        uploads = [client.post(FILES, content=content).json()["data"] for content in (clip, photo)]
        assert [one["type"] for one in uploads] == ["video", "image"]
        assert httpx.get(uploads[1]["url"]).headers["content-type"] == "image/jpeg"
        urls = [f"{site}/c.mp4", f"{site}/p.jpg", uploads[1]["url"], uploads[0]["url"]]
        payload = order(made, f"{site}/s.mp3", reference_urls=urls)
        assert client.post(CREATE, json=payload | {"dry_run": True}).json()["data"]["dry_run"] is True
        task_id = create(client, payload)
        result = client.get(ended(client, task_id)["task_result"]["videos"][0]["url"]).json()
        assert result["lent"] == [[one.decode() for one in (clip, photo, photo, clip)]]
        kept = {path.name for path in (tmp_path / "tasks" / task_id).iterdir() if path.is_file()}
        assert kept == {"sound_0", *(f"reference_0_{place}" for place in range(4))}
        assert not list((tmp_path / "incoming").iterdir())
        assert client.delete(f"{CREATE}/{task_id}").status_code == 200
        assert not (tmp_path / "tasks" / task_id).exists()


def test_what_a_worker_finds_wrong_with_a_reference_is_told_in_the_words_of_the_wire(tmp_path, site) -> None:
    with (
        sources(bad__mp3=stub_work.sound(render="no_teeth"), p__jpg=stub_work.PHOTO) as more,
        in_thread(settings(tmp_path), stub_work.WORK) as client,
    ):
        made = identify(client, f"{site}/a.mp4")["session_id"]
        done = ended(client, create(client, order(made, f"{more}/bad.mp3", reference_urls=[f"{more}/p.jpg"] * 2)))
        assert (done["task_status"], done["fault"]) == ("failed", "input")
        assert done["task_status_msg"] == "face_choose[0].reference_urls[1]: no teeth show in it."


def test_a_request_without_extensions_has_the_fingerprint_that_it_had_before_they_were_known() -> None:
    payload = order("1", "http://127.0.0.1/s.mp3")
    given: list[dict[str, Any]] = [
        {},
        {"reference_urls": []},
        {"reference_urls": None, "original_audio_scope": None},
        {"original_audio_scope": "video", "exclude": None},
        {"reference_urls": ["http://a/b.jpg"]},
        {"original_audio_scope": "speech"},
        {"exclude": [[1, 2]]},
    ]
    absent, empty, null, video, some, speech, kept = (
        LipSyncRequest.model_validate(order("1", "http://127.0.0.1/s.mp3", **more)).fingerprint() for more in given
    )
    (face,) = payload["face_choose"]
    known = {"audio_id": None, "original_audio_volume": 1.0, "sound_volume": 1.0, **face}
    text = json.dumps(
        {"face_choose": [known], "session_id": "1", "sync_mode": None, "watermark": False}, sort_keys=True
    )
    assert absent == empty == null == video == hashlib.sha256(text.encode()).hexdigest()
    assert len({absent, some, speech, kept}) == 4
