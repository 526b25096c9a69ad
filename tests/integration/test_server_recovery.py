"""Every accepted task reaches a final state, even after crashes."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import stub_work
from live_server import Process, create, ended, held, identify, in_thread, order, release, sources, task, until
from server_settings import settings

from duikou.database.engine import Database
from duikou.errors import InputError, StorageError
from duikou.server import probing, serve, startup
from duikou.tasks.accounts import Accounts, KeyKind
from duikou.tasks.states import Queue, TaskStatus
from duikou.tasks.store import Store

CHILDREN = 1 + startup.IDENTIFY_WORKERS + probing.PROCESSES  # one renders


@pytest.fixture(scope="module")
def site():
    with sources(
        a__mp4=stub_work.video(),
        damaged__mp4=stub_work.video(identify="damaged"),
        once__mp4=stub_work.video(identify="die_once"),
        held__mp4=stub_work.video(identify="held"),
        s__mp3=stub_work.sound(),
        held__mp3=stub_work.sound(render="held"),
        hang_once__mp3=stub_work.sound(render="hang_once"),
        hangs__mp3=stub_work.sound(render="hang"),
        dies__mp3=stub_work.sound(render="die"),
        dies_once__mp3=stub_work.sound(render="die_once"),
        bug__mp3=stub_work.sound(render="bug"),
    ) as url:
        yield url


def workers(server_pid: int) -> list[int]:
    """Worker processes of a server: its grandchildren, through the process that forks them."""

    def children(pid: int) -> list[int]:
        lists = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for listed in lists for child in listed.read_text().split()]

    return [worker for child in children(server_pid) for worker in children(child)]


def test_a_worker_killed_while_rendering_is_replaced_and_the_task_ends(tmp_path, site) -> None:
    with Process(tmp_path / "data") as server:
        session_id = identify(server.client, f"{site}/a.mp4")["session_id"]
        task_id = create(server.client, order(session_id, f"{site}/hang_once.mp3"))
        until(lambda: task(server.client, task_id)["stage"] == "hanging")
        for pid in workers(server.popen.pid):
            os.kill(pid, signal.SIGKILL)
        done = ended(server.client, task_id)
        assert done["task_status"] == "succeed"
        assert not [line for line in server.log if "a worker is gone" in line], "its own server sees the death at once"
        assert json.loads(server.client.get(done["task_result"]["videos"][0]["url"]).content)["attempt"] == "2"
        assert not (tmp_path / "data" / "tasks" / task_id / "1").exists()
        assert identify(server.client, f"{site}/a.mp4")["face_data"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_is_stopped_takes_its_tasks_up_again(tmp_path, site, how) -> None:
    with Process(tmp_path / "data") as server:
        session_id = identify(server.client, f"{site}/a.mp4")["session_id"]
        running = create(server.client, order(session_id, f"{site}/hang_once.mp3"))
        waiting = create(server.client, order(session_id, f"{site}/s.mp3"))
        until(lambda: task(server.client, running)["stage"] == "hanging")
        search = threading.Thread(target=_call_in_vain, args=(server.client, f"{site}/held.mp4"))
        if how is signal.SIGKILL:  # a server that is asked to stop waits for its callers
            search.start()
            held(tmp_path / "data")
        before = until(lambda: len(found := workers(server.popen.pid)) == CHILDREN and found)
        server.end(how)
    if how is signal.SIGKILL:
        search.join()
    released = [line for line in server.log if "released" in line]
    assert len(released) == (how is signal.SIGTERM), "a stop that was asked for costs the task no try"
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before))

    with Process(tmp_path / "data") as again:
        done = [ended(again.client, task_id) for task_id in (running, waiting)]
        assert [one["task_status"] for one in done] == ["succeed", "succeed"]
        attempt = json.loads(again.client.get(done[0]["task_result"]["videos"][0]["url"]).content)["attempt"]
        assert attempt == "2"
        assert not (tmp_path / "data" / "tasks" / running / "1").exists()
        lost = [TaskStatus.CANCELLED] * (how is signal.SIGKILL)  # its caller is gone with the server
        assert _searches(tmp_path / "data") == [*lost, TaskStatus.SUCCEED]
        assert len(list((tmp_path / "data" / "media").iterdir())) == 1, "nor is its video left"
        identify(again.client, f"{site}/a.mp4")
        until(lambda: [line for line in again.log if '"how": "kept"' in line])
        later = create(again.client, order(session_id, f"{site}/s.mp3"))
        assert ended(again.client, later)["task_status"] == "succeed"


def _call_in_vain(client: httpx.Client, url: str) -> None:
    """A search for faces whose server dies meanwhile."""
    with pytest.raises(httpx.TransportError):
        client.post("/v1/videos/identify-face", json={"video_url": url})


def _searches(data: Path) -> list[TaskStatus]:
    """The state of every search for faces, the latest first."""
    with closing(Database(f"sqlite:///{data / 'duikou.db'}")) as database:
        tasks = Store(database).tasks.select(status=None, account=None, queue=Queue.IDENTIFY, unfinished=False, limit=9)
    return [task.status for task in tasks]


def test_a_task_that_kills_its_workers_fails_after_three_tries(tmp_path, site) -> None:
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        session_id = identify(client, f"{site}/once.mp4")["session_id"]
        once = create(client, order(session_id, f"{site}/dies_once.mp3"))
        always = create(client, order(session_id, f"{site}/dies.mp3"))
        bug = create(client, order(session_id, f"{site}/bug.mp3"))
        assert ended(client, once)["task_status"] == "succeed"
        failed = ended(client, always)
        assert failed["task_status"] == "failed"
        assert failed["task_status_msg"] == (
            "the task was given up after 3 tries: the worker process died by signal SIGKILL"
        )
        assert ended(client, bug)["task_status_msg"] == (
            "the task was given up after 3 tries: unexpected ZeroDivisionError; see the server's log"
        )
        assert not list((tmp_path / "tasks" / always).glob("[0-9]"))


def test_a_long_render_does_not_delay_identify(tmp_path, site) -> None:
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        long = create(client, order(session_id, f"{site}/held.mp3"))
        until(lambda: task(client, long)["stage"] == "held")
        identify(client, f"{site}/a.mp4")
        assert task(client, long)["task_status"] == "processing"
        release(tmp_path)
        assert ended(client, long)["task_status"] == "succeed"


def test_as_many_tasks_run_at_once_as_there_are_workers(tmp_path, site) -> None:
    with in_thread(settings(tmp_path, workers=2), stub_work.WORK) as client:
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        three = [create(client, order(session_id, f"{site}/hangs.mp3")) for _ in range(3)]
        states = until(
            lambda: (
                (found := sorted(task(client, one)["task_status"] for one in three)).count("processing") == 2 and found
            )
        )
        assert states == ["processing", "processing", "submitted"]


def test_a_server_that_can_make_no_worker_says_so_and_hangs_nobody(tmp_path, site) -> None:
    with Process(tmp_path / "data", work="no_work") as server:
        answer = server.client.post("/v1/videos/identify-face", json={"video_url": f"{site}/a.mp4"})
        assert (answer.status_code, answer.json()["code"]) == (500, 5000)
        assert answer.json()["message"] == "cannot start a worker process: the process that forks others has died."


def test_two_servers_on_one_folder_are_refused(tmp_path, site) -> None:
    with (
        in_thread(settings(tmp_path), stub_work.WORK) as client,
        pytest.raises(StorageError, match="is in use by another duikou server or worker; stop it or choose another f"),
    ):
        try:
            serve(settings(tmp_path), work=stub_work.WORK)
        finally:
            assert identify(client, f"{site}/a.mp4")["face_data"]


def test_a_certificate_that_cannot_sign_stops_the_start(tmp_path) -> None:
    (tmp_path / "chain.pem").write_text("junk")
    given = settings(tmp_path / "data", c2pa_certificate=tmp_path / "chain.pem", c2pa_key=tmp_path / "key.pem")
    with pytest.raises(InputError, match=r"c2pa_key: .* cannot be read"):
        serve(given, work=stub_work.WORK)
    with in_thread(settings(tmp_path / "data"), stub_work.WORK) as client:  # the folder was given back
        assert client.get("/v1/videos/advanced-lip-sync/x").status_code == 404
    assert (tmp_path / "data/certificate/key.pem").stat().st_mode & 0o77 == 0


def test_a_port_in_use_is_told_in_one_sentence(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = settings(tmp_path).model_copy(update={"port": port})
        with pytest.raises(StorageError, match=rf"port: cannot listen on 127\.0\.0\.1:{port}: "):
            serve(given, work=stub_work.WORK)


def test_a_database_that_is_none_is_told_in_one_sentence(tmp_path) -> None:
    (tmp_path / "duikou.db").write_bytes(b"this is no database, by any means" * 100)
    with pytest.raises(StorageError, match=r"^data: .* opened: its file duikou\.db is no database, or it is damaged$"):
        serve(settings(tmp_path), work=stub_work.WORK)


def test_a_server_without_keys_is_not_opened_to_strangers(tmp_path) -> None:
    with pytest.raises(StorageError, match=r"^host: 0\.0\.0\.0 can be reached from other machines, and no key"):
        serve(settings(tmp_path, host="0.0.0.0"), work=stub_work.WORK)
    database = Database(f"sqlite:///{tmp_path / 'duikou.db'}")
    Accounts(database).make("someone", KeyKind.PLAIN)
    database.close()
    with Process(tmp_path, host="0.0.0.0") as server:
        assert server.client.get("/healthz").status_code == 200
        assert server.client.get("/v1/videos/advanced-lip-sync").json()["code"] == 1001


def test_logs_carry_the_request_id_through_all_processes(tmp_path, site) -> None:
    with Process(tmp_path / "data") as server:
        missing = server.client.post("/v1/videos/identify-face", json={"video_url": f"{site}/nothing"})
        damaged = server.client.post("/v1/videos/identify-face", json={"video_url": f"{site}/damaged.mp4"})
        server.end(signal.SIGTERM)
    lines = [json.loads(line) for line in server.log]

    def events(answer) -> list[str]:
        return [line["event"] for line in lines if line.get("request_id") == answer.json()["request_id"]]

    assert events(missing) == ["refused", "request"]
    tried = ["task submitted", "task processing", "work failed", "task failed"]
    assert events(damaged) == [*tried, "refused", "request"]


def test_starting_and_stopping_leaves_no_files_or_threads_behind(tmp_path, site) -> None:
    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    def once() -> None:
        with in_thread(settings(tmp_path), stub_work.WORK) as client:
            identify(client, f"{site}/a.mp4")

    once()
    before = count()
    for _ in range(3):
        once()
    until(lambda: count() <= before)  # sockets of the other side are closed a moment later
