"""A fleet: servers and workers that share a database, a broker and a storage, as callers meet it."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import stub_work
from live_server import (
    Process,
    WorkerProcess,
    caller,
    create,
    ended,
    held,
    identify,
    in_thread,
    order,
    release,
    sources,
    task,
    until,
)
from repeats import repeats
from server_settings import settings
from services import HOST, S3, Gateway, Postgres, Rabbit, Service, need

from duikou.database.engine import Database
from duikou.errors import StorageError
from duikou.server import serve
from duikou.storage.factory import open_files
from duikou.tasks import neglect
from duikou.tasks.accounts import Accounts, KeyKind
from duikou.tasks.models import IdentifyTask
from duikou.tasks.states import Fault, Queue, TaskStatus
from duikou.tasks.store import Store

pytestmark = pytest.mark.long

CREATE, IDENTIFY, FILES = "/v1/videos/advanced-lip-sync", "/v1/videos/identify-face", "/v1/files"
SOUND = base64.b64encode(stub_work.sound()).decode()


class Redis(Service):
    """A broker that keeps nothing."""

    @classmethod
    def missing(cls) -> str:
        if importlib.util.find_spec("redis") is None:
            return "the package redis is not installed"
        return "" if shutil.which("redis-server") else "Redis is not installed"

    def command(self) -> list[str]:
        return ["redis-server", "--port", str(self.port), "--bind", HOST, "--save", "", "--appendonly", "no"]

    def answers(self) -> bool:
        asked = subprocess.run(
            ["redis-cli", "-h", HOST, "-p", str(self.port), "ping"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() == "PONG"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A cluster that may be stopped."""
    need("postgres")
    with Postgres() as service:
        yield service


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with sources(
        a__mp4=stub_work.video(),
        s__mp3=stub_work.sound(),
        slow__mp3=stub_work.sound(render="slow"),
        held__mp3=stub_work.sound(render="held"),
        hang__mp3=stub_work.sound(render="hang"),
        held_faces__mp4=stub_work.video(identify="held"),
        nearly__mp4=stub_work.video(identify="nearly"),
        other_0__mp4=stub_work.video(pad=0),
        other_1__mp4=stub_work.video(pad=1),
    ) as url:
        yield url


@pytest.fixture(scope="module")
def fresh(postgres: Postgres, rabbit: Rabbit, s3: S3) -> Callable[[], dict[str, Any]]:
    """Settings of a new fleet."""

    def made() -> dict[str, Any]:
        return {
            "database_url": postgres.fresh(),
            "broker_url": rabbit.fresh(),
            "storage_url": s3.fresh(),
            "environment": S3.environment,
        }

    return made


@pytest.fixture(scope="module")
def common(fresh: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Settings of the fleet that most cases share."""
    return fresh()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fleet")


@pytest.fixture(scope="module")
def fleet(common: dict[str, Any], place: Path) -> Iterator[tuple[Process, Process]]:
    """Two servers with a worker."""
    with (
        Process(place / "a", **common) as one,
        Process(place / "b", storage_links="presigned", **common) as other,
        WorkerProcess(place / "worker", **common),
    ):
        yield one, other


@pytest.fixture(scope="module")
def one(fleet: tuple[Process, Process]) -> httpx.Client:
    return fleet[0].client


@pytest.fixture(scope="module")
def other(fleet: tuple[Process, Process]) -> httpx.Client:
    """The second server, which hands out addresses of the storage's own."""
    return fleet[1].client


@pytest.fixture(scope="module")
def session_id(one: httpx.Client, site: str) -> str:
    return str(identify(one, f"{site}/a.mp4")["session_id"])


@pytest.fixture(scope="module")
def done(one: httpx.Client, session_id: str, site: str) -> dict[str, Any]:
    """A task that succeeded."""
    found = ended(one, create(one, order(session_id, f"{site}/s.mp3", sound_volume=0.5)))
    assert found["task_status"] == "succeed", found
    return found


def url_of(found: dict[str, Any]) -> str:
    return str(found["task_result"]["videos"][0]["url"])


# What one server took another knows


def test_references_come_to_the_worker_through_the_storage(one, session_id, site) -> None:
    found = ended(one, create(one, order(session_id, f"{site}/s.mp3", reference_urls=[f"{site}/a.mp4"])))
    assert found["task_status"] == "succeed", found
    ((lent,),) = httpx.get(url_of(found)).json()["lent"]
    assert json.loads(lent)["kind"] == "video"


def test_a_worker_does_what_a_server_took_and_every_server_gives_it_out(one, other, session_id, done, site) -> None:
    by_other = task(other, done["task_id"])
    assert (by_other["task_status"], by_other["task_result"]["videos"][0]["id"]) == (
        "succeed",
        done["task_result"]["videos"][0]["id"],
    )
    path = httpx.URL(url_of(done)).raw_path.decode()
    results = [json.loads(client.get(path).content) for client in (one, other)]
    assert results[0] == results[1]
    assert (results[0]["attempt"], results[0]["choice"]["audio_volume"]) == ("1", 0.5)
    again = ended(other, create(other, order(session_id, f"{site}/s.mp3")))
    assert again["task_status"] == "succeed"
    assert {found["task_id"] for found in one.get(CREATE).json()["data"]} >= {done["task_id"], again["task_id"]}


def test_faces_have_pictures_on_every_server(one, other, site) -> None:
    face = identify(other, f"{site}/a.mp4")["face_data"][0]
    assert httpx.get(face["face_image"], trust_env=False).content == stub_work.PICTURE
    face = identify(one, f"{site}/a.mp4")["face_data"][0]
    assert other.get(httpx.URL(face["face_image"]).raw_path.decode()).content == stub_work.PICTURE


def test_the_same_external_id_makes_one_task_whichever_server_is_asked(one, other, session_id, site) -> None:
    asked = order(session_id, f"{site}/s.mp3") | {"external_task_id": "twice"}
    assert create(one, asked) == create(other, asked)
    changed = other.post(CREATE, json=order(session_id, f"{site}/slow.mp3") | {"external_task_id": "twice"})
    assert changed.status_code == 400


def test_an_upload_to_one_server_serves_on_another(one, other) -> None:
    video = one.post(FILES, content=stub_work.video()).json()["data"]
    sound = other.post(FILES, content=stub_work.sound()).json()["data"]
    found = other.post(IDENTIFY, json={"video_id": video["id"]})
    assert found.status_code == 200, found.text
    asked = order(found.json()["data"]["session_id"], "")
    asked["face_choose"][0] |= {"audio_id": sound["id"]}
    assert ended(one, create(one, asked))["task_status"] == "succeed"


# Searches for faces


def searches(common: dict[str, Any]) -> list[IdentifyTask]:
    """Every search of the fleet, the latest first."""
    with closing(Database(common["database_url"])) as database:
        found = Store(database).tasks.select(
            status=None, account=None, queue=Queue.IDENTIFY, unfinished=False, limit=99
        )
    return [one for one in found if isinstance(one, IdentifyTask)]


def test_equal_calls_to_two_servers_share_one_search_that_is_kept_for_both(one, other, common, site, place) -> None:
    before = len(searches(common))
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(identify, client, f"{site}/held_faces.mp4") for client in (one, other)]
        until(lambda: (found := searches(common)[0]).callers == 2 and found.progress > 0)
        release(place / "worker")
        answers = [call.result() for call in calls]
    video = one.post(FILES, content=stub_work.video(identify="held")).json()["data"]
    answers.append(other.post(IDENTIFY, json={"video_id": video["id"]}).json()["data"])
    assert len(searches(common)) == before + 1
    assert len({answer["session_id"] for answer in answers}) == 3
    for answer in answers:
        path = httpx.URL(answer["face_data"][0]["face_image"]).raw_path.decode()
        if path.startswith("/files"):
            assert one.get(path).content == stub_work.PICTURE
        made = create(one, order(answer["session_id"], f"{site}/s.mp3"))
        assert ended(one, made)["task_status"] == "succeed"


def test_what_a_caller_of_one_server_gave_up_late_answers_another_one(one, other, common, site, place) -> None:
    url = httpx.URL(one.base_url)
    body = json.dumps({"video_url": f"{site}/nearly.mp4"})
    head = f"POST {IDENTIFY} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection((url.host, url.port or 80)) as line:
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        held(place / "worker")
    until(lambda: searches(common)[0].callers == 0)
    release(place / "worker")
    until(lambda: searches(common)[0].status is TaskStatus.SUCCEED)
    before = len(searches(common))
    assert identify(other, f"{site}/nearly.mp4")["face_data"]
    assert len(searches(common)) == before


def test_a_search_does_not_wait_for_a_render_of_the_same_worker(one, session_id, site, place) -> None:
    long = create(one, order(session_id, f"{site}/held.mp3"))
    until(lambda: task(one, long)["stage"] == "held")
    for number in range(2):
        assert one.post(IDENTIFY, json={"video_url": f"{site}/other_{number}.mp4"}).status_code == 200
    assert task(one, long)["task_status"] == "processing"
    release(place / "worker")
    assert ended(one, long)["task_status"] == "succeed"


# Files that lie in a storage


def test_files_come_whole_in_parts_and_as_headers_alone(one, done) -> None:
    url = url_of(done)
    whole = one.get(url)
    size = len(whole.content)
    assert (whole.status_code, int(whole.headers["content-length"])) == (200, size)
    assert whole.headers["accept-ranges"] == "bytes"
    for asked, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=5-", 5, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=3-{size + 9}", 3, size),
    ):
        part = one.get(url, headers={"Range": asked})
        assert (part.status_code, part.content) == (206, whole.content[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    outside = one.get(url, headers={"Range": f"bytes={size}-"})
    assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{size}")
    head = one.head(url)
    assert (head.status_code, int(head.headers["content-length"]), head.content) == (200, size, b"")
    assert one.get(f"{url}x").status_code == 403


def test_addresses_of_the_storage_work_and_serve_as_a_source(other, done, s3) -> None:
    url = url_of(task(other, done["task_id"]))
    assert url.startswith(f"{s3.endpoint}/")
    answer = httpx.get(url, trust_env=False)
    assert (answer.status_code, json.loads(answer.content)["attempt"]) == (200, "1")
    assert answer.headers["content-type"] == "video/mp4"
    found = other.post(IDENTIFY, json={"video_url": url})
    assert found.status_code == 200, found.text
    before = other.get(f"{CREATE}/{done['task_id']}").json()["data"]["task_result"]["videos"][0]["id"]
    made = create(other, order(found.json()["data"]["session_id"], SOUND))
    assert task(other, made)["task_info"]["parent_video"]["id"] == before, "our own file is not fetched again"
    strange = url.replace(done["task_id"], "1" * 19)
    refused = other.post(IDENTIFY, json={"video_url": strange})
    assert refused.status_code == 400
    assert ended(other, made)["task_status"] == "succeed"


# What callers do with a task


def test_events_of_a_task_come_from_a_server_that_did_not_take_it(one, other, session_id, site, place) -> None:
    task_id = create(one, order(session_id, f"{site}/held.mp3"))
    told = []
    with other.stream("GET", f"{CREATE}/{task_id}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line.removeprefix("data: ")))
                if told[-1]["stage"] == "held":
                    release(place / "worker", 0)
    statuses = list(dict.fromkeys(event["task_status"] for event in told))
    assert statuses[-2:] == ["processing", "succeed"]
    assert {event["stage"] for event in told} >= {"held", "done"}


def test_a_cancelled_task_leaves_its_worker_free_at_once(one, other, session_id, site) -> None:
    task_id = create(one, order(session_id, f"{site}/hang.mp3"))
    until(lambda: task(one, task_id)["stage"] == "hanging")
    assert other.post(f"{CREATE}/{task_id}/cancel").json()["data"]["task_status"] == "failed"
    later = ended(one, create(one, order(session_id, f"{site}/s.mp3")))
    assert later["task_status"] == "succeed", "the one worker is free, though the cancelled task would never have ended"
    assert task(one, task_id)["fault"] == "cancelled"


def test_a_deleted_task_leaves_nothing(fleet, session_id, common, site, tmp_path, monkeypatch) -> None:
    one, other = (server.client for server in fleet)
    for name, value in S3.environment.items():
        monkeypatch.setenv(name, value)
    files = open_files(common["storage_url"], tmp_path, tmp_path, 10)
    over, running = (create(one, order(session_id, f"{site}/{sound}")) for sound in ("s.mp3", "hang.mp3"))
    ended(one, over)
    until(lambda: task(one, running)["stage"] == "hanging")
    for task_id in (over, running):
        assert other.delete(f"{CREATE}/{task_id}").status_code == 200
        assert one.get(f"{CREATE}/{task_id}").status_code == 404
    assert ended(one, create(one, order(session_id, f"{site}/s.mp3")))["task_status"] == "succeed"
    assert not [stored for stored in files.list("tasks") if stored.key.split("/")[1] in (over, running)]


def test_accounts_take_turns(fresh, site, tmp_path) -> None:
    common = fresh()
    with closing(Database(common["database_url"])) as database:
        keys = {name: Accounts(database).make(name, KeyKind.PLAIN).secret for name in ("many", "few")}
    with Process(tmp_path / "server", **common) as server, WorkerProcess(tmp_path / "worker", **common):
        many, few = (caller(server.url, keys[name]) for name in ("many", "few"))
        with many, few:
            session_ids = [identify(client, f"{site}/a.mp4")["session_id"] for client in (many, few)]
            first = [create(many, order(session_ids[0], f"{site}/held.mp3")) for _ in range(6)]
            held(tmp_path / "worker")
            last = create(few, order(session_ids[1], f"{site}/held.mp3"))
            for _ in range(3):  # what is in hand, what was next before, then the turn of the other account
                release(tmp_path / "worker")
            assert ended(few, last)["task_status"] == "succeed"
            states = [task(many, task_id)["task_status"] for task_id in first]
            assert states.count("submitted") >= 3, "who asked once does not wait for all that another asked before"
            for task_id in first:
                many.post(f"{CREATE}/{task_id}/cancel")


# What is away


def test_a_server_names_the_service_that_it_misses(postgres, rabbit, s3, fresh, site, tmp_path) -> None:
    common = fresh()
    with (
        Gateway(HOST, postgres.port) as database,
        Gateway(HOST, rabbit.port) as broker,
        Gateway(HOST, s3.port) as storage,
    ):
        for name, service, line in (
            ("database_url", postgres, database),
            ("broker_url", rabbit, broker),
            ("storage_url", s3, storage),
        ):
            common[name] = common[name].replace(f":{service.port}", f":{line.port}")
        with Process(tmp_path / "server", **common) as server:
            assert server.client.get("/readyz").status_code == 200
            for line, sentence in (
                (database, "The database does not answer."),
                (broker, "The message broker does not answer."),
                (storage, "The file storage does not answer."),
            ):
                line.close()
                answer = server.client.get("/readyz")
                assert (answer.status_code, answer.json()["message"]) == (503, sentence)
                assert server.client.get("/healthz").status_code == 200
                line.open()
                until(lambda: server.client.get("/readyz").status_code == 200)


def test_who_waits_for_faces_that_no_worker_looks_for_is_told_in_time(fresh, site, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(neglect, "PATIENCE_S", 1)
    common = fresh()
    for name, value in common.pop("environment").items():
        monkeypatch.setenv(name, value)
    warning = (
        "No worker takes identify tasks, though some have waited for 1 s; start `duikou worker --queues identify`, or "
        "look at its log."
    )
    with in_thread(settings(tmp_path, **common), stub_work.WORK) as client:
        assert client.get("/readyz").json()["data"] == {"status": "ready"}
        refused = client.post(IDENTIFY, json={"video_url": f"{site}/a.mp4"})
        sentence = "No worker has taken this video for 10 s; try again later."
        assert (refused.status_code, refused.json()["code"], refused.json()["message"]) == (503, 5001, sentence)
        assert refused.headers["retry-after"] == "10"
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["data"]) == (200, {"status": "ready", "warnings": [warning]})
        with closing(Database(common["database_url"])) as database, ThreadPoolExecutor(1) as pool:
            store = Store(database)
            assert store.queue.claim(Queue.IDENTIFY) is None, "who gave up waits no longer"
            asked = pool.submit(client.post, IDENTIFY, json={"video_url": f"{site}/a.mp4"})
            found = until(lambda: store.queue.claim(Queue.IDENTIFY))
            until(lambda: client.get("/readyz").json()["data"] == {"status": "ready"})
            assert not asked.done(), "somebody looks: the caller waits"
            store.tasks.fail(found, "no face", Fault.INPUT, expires_at=2**50)
            assert asked.result().json()["message"] == "video_url: no face."


def test_a_server_whom_the_broker_refuses_does_not_start(fresh, tmp_path) -> None:
    common = fresh()
    common.pop("environment")
    given = common | {
        "broker_url": common["broker_url"].replace("guest:guest", "guest:wrong-password"),
        "storage_url": tmp_path.as_uri(),
    }
    with pytest.raises(StorageError, match=r"^broker_url: the message broker refuses the user and the password$"):
        serve(settings(tmp_path, **given))


def test_calls_are_refused_and_not_broken_while_the_database_is_down(postgres, fleet, session_id, done, site) -> None:
    server = fleet[0].client
    path = httpx.URL(url_of(done)).raw_path.decode()
    postgres.stop("immediate")
    try:
        answers = [
            server.get(CREATE),
            server.get(f"{CREATE}/{done['task_id']}"),
            server.post(f"{CREATE}/{done['task_id']}/cancel"),
            server.delete(f"{CREATE}/{done['task_id']}"),
            server.post(CREATE, json=order(session_id, f"{site}/s.mp3")),
            server.post(IDENTIFY, json={"video_url": f"{site}/a.mp4"}),
            server.post(FILES, content=stub_work.sound()),
            server.get(path),
            server.get("/readyz"),
        ]
    finally:
        postgres.start()
    told = [(answer.status_code, answer.json()["code"], answer.json()["message"].lower()) for answer in answers]
    assert told == [(503, 5001, "the database does not answer.")] * len(answers)
    until(lambda: server.get("/readyz").status_code == 200)
    assert ended(server, create(server, order(session_id, f"{site}/s.mp3")))["task_status"] == "succeed"


# Other ways to set it up


def test_a_worker_says_in_one_sentence_what_it_misses(tmp_path) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("DUIKOU_")}
    for given, sentence in (
        ({}, "DUIKOU_BROKER_URL: a worker takes tasks from a broker; set DUIKOU_BROKER_URL, DUIKOU_DATABASE_URL and"),
        ({"DUIKOU_BROKER_URL": "amqp://127.0.0.1"}, "DUIKOU_DATABASE_URL is missing: DUIKOU_BROKER_URL is set, and"),
        (
            {"DUIKOU_BROKER_URL": "amqp://127.0.0.1", "DUIKOU_DATABASE_URL": "postgresql+psycopg://x"},
            "DUIKOU_STORAGE_URL is missing: DUIKOU_DATABASE_URL is set, and every server on that database must find",
        ),
    ):
        command = [sys.executable, "-m", "duikou", "worker", "--data", str(tmp_path / "data")]
        found = subprocess.run(command, env=bare | given, capture_output=True, text=True, timeout=300, check=False)
        assert found.returncode == 2, found
        assert sentence in " ".join(found.stderr.split())
        assert "Traceback" not in found.stderr


@pytest.mark.slow_repeats
def test_a_worker_that_cannot_work_says_why_and_ends_with_1(fresh, tmp_path) -> None:
    common = fresh()
    right = {f"DUIKOU_{name.upper()}": value for name, value in common.items() if name != "environment"}
    bare = {name: value for name, value in os.environ.items() if not name.startswith("DUIKOU_")} | S3.environment
    broker, database = right["DUIKOU_BROKER_URL"], right["DUIKOU_DATABASE_URL"]
    wrong = (
        (
            {"DUIKOU_BROKER_URL": broker.replace("guest:guest", "guest:wrong-word")},
            "DUIKOU_BROKER_URL: the message broker refuses the user and the password",
        ),
        (
            {"DUIKOU_BROKER_URL": f"{broker}-other"},
            "DUIKOU_BROKER_URL: the message broker has no such virtual host for this user",
        ),
        ({"DUIKOU_BROKER_URL": "amqp://127.0.0.1:1"}, "DUIKOU_BROKER_URL: the message broker does not answer"),
        ({"DUIKOU_DATABASE_URL": f"{database}-other"}, "cannot be opened: its server has no database of that name"),
        (
            {"DUIKOU_STORAGE_URL": right["DUIKOU_STORAGE_URL"].replace("s3://", "s3://other")},
            "DUIKOU_STORAGE_URL: the file storage refuses: the bucket is missing, or the credentials may not use it",
        ),
    )
    for given, sentence in wrong[: repeats(len(wrong), 2)]:
        command = [sys.executable, "-m", "duikou", "worker", "--data", str(tmp_path / "data")]
        found = subprocess.run(
            command, env=bare | right | given, capture_output=True, text=True, timeout=300, check=False
        )
        assert found.returncode == 1, found
        *log, last = found.stderr.splitlines()
        assert last.startswith("duikou: DUIKOU_")
        assert last.endswith(sentence)
        assert all(json.loads(line) for line in log)
        assert "wrong-word" not in found.stderr


def test_servers_on_one_database_without_a_broker_do_the_work_themselves(postgres, s3, site, tmp_path) -> None:
    common = {"database_url": postgres.fresh(), "storage_url": s3.fresh(), "environment": S3.environment}
    with Process(tmp_path / "a", **common) as server, Process(tmp_path / "b", **common) as other:
        session_id = identify(server.client, f"{site}/a.mp4")["session_id"]
        both = [create(server.client, order(session_id, f"{site}/slow.mp3")) for _ in range(2)]
        assert [ended(other.client, one)["task_status"] for one in both] == ["succeed", "succeed"]
        began = {line for log in (server.log, other.log) for line in log if '"event": "task processing"' in line}
        assert len([line for line in began if '"queue": "render"' in line]) == 2
        last = create(server.client, order(session_id, f"{site}/hang.mp3"))
        until(lambda: task(other.client, last)["task_status"] == "processing")


def test_redis_without_its_package_is_told_in_one_sentence(postgres, tmp_path, monkeypatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "redis" else found(name, *more)
    )
    given = settings(
        tmp_path, broker_url=f"redis://{HOST}", database_url=postgres.fresh(), storage_url=tmp_path.as_uri()
    )
    with pytest.raises(StorageError, match=r"^broker_url: Redis needs the package redis; install duikou\[fleet\]$"):
        serve(given)


def test_redis_serves_as_a_broker(postgres, s3, site, tmp_path) -> None:
    if reason := Redis.missing():
        pytest.skip(reason)
    with Redis() as redis:
        common = {
            "database_url": postgres.fresh(),
            "broker_url": f"redis://{HOST}:{redis.port}/0",
            "storage_url": s3.fresh(),
            "environment": S3.environment,
        }
        with Process(tmp_path / "server", **common) as server, WorkerProcess(tmp_path / "worker", **common) as worker:
            session_id = identify(server.client, f"{site}/a.mp4")["session_id"]
            task_id = create(server.client, order(session_id, f"{site}/slow.mp3"))
            assert ended(server.client, task_id)["task_status"] == "succeed"
            redis.kill()
            lost = create(server.client, order(session_id, f"{site}/s.mp3"))
            assert "message broker" in server.client.get("/readyz").json()["message"]
            redis.start()
            assert ended(server.client, lost)["task_status"] == "succeed", "messages that went with the broker"
            assert worker.end(signal.SIGTERM) == 0
