"""Answers of a child that a file has taken over, to the real server: one call fails at once, and the rest goes on."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import false_answers
import httpx
import pytest
import stub_work
from false_answers import FACES, LENGTHS, UPLOADS, said
from live_server import create, ended, identify, in_thread, order, sources
from server_settings import settings

from duikou.workers import work

IDENTIFY = "/v1/videos/identify-face"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    data = tmp_path_factory.mktemp("data")
    with in_thread(settings(data), false_answers.WORK) as client:
        yield client, data


def sound(**what: object) -> str:
    return base64.b64encode(stub_work.sound(**what)).decode()


def attempts(data: Path, task_id: str) -> int:
    with closing(sqlite3.connect(data / "duikou.db")) as database:
        (count,) = database.execute("SELECT attempt FROM tasks WHERE id = ?", (task_id,)).fetchone()
    return int(count)


def test_a_false_length_of_a_result_fails_its_task_alone_and_once(server) -> None:
    client, data = server
    with sources(a__mp4=stub_work.video()) as site:
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
    tasks = {name: create(client, order(session_id, sound(render=said(value)))) for name, value in LENGTHS.items()}
    honest = create(client, order(session_id, sound()))
    for name, task in tasks.items():
        done = ended(client, task)
        assert (done["task_status"], attempts(data, done["task_id"])) == ("failed", 1), name
        assert "a file of it cannot be read" in done["task_status_msg"], name
    assert ended(client, honest)["task_status"] == "succeed"


def test_false_faces_are_no_session(server) -> None:
    client, data = server
    files = {f"{number}__mp4": stub_work.video(identify=text) for number, text in enumerate(FACES.values())}
    with sources(**files) as site:
        for number, name in enumerate(FACES):
            answer = client.post(IDENTIFY, json={"video_url": f"{site}/{number}.mp4"})
            assert (answer.status_code, answer.json()["code"]) == (400, 1201), (name, answer.text)
            assert "a file of it cannot be read" in answer.json()["message"], name
    assert not [path for path in data.rglob("*") if path.name == "x"]


def test_a_session_has_no_more_files_than_its_faces_need(server) -> None:
    client, data = server
    with sources(a__mp4=stub_work.video(files=100)) as site:
        answer = client.post(IDENTIFY, json={"video_url": f"{site}/a.mp4"})
    assert (answer.status_code, answer.json()["code"]) == (400, 1201), answer.text
    assert not [path for path in data.rglob("*") if path.name == "99"]


def test_the_faces_that_the_false_ones_are_made_of_are_a_session(server) -> None:
    client, _ = server
    with sources(a__mp4=stub_work.video(identify=false_answers.face(), width=1282)) as site:
        assert len(identify(client, f"{site}/a.mp4")["face_data"]) == 1


def test_a_false_description_of_an_upload_keeps_nothing(server) -> None:
    client, data = server
    for name, text in UPLOADS.items():
        answer = client.post("/v1/files", content=stub_work.sound(probe=text))
        assert (answer.status_code, answer.json()["code"]) == (400, 1201), (name, answer.text)
        assert "cannot be read" in answer.json()["message"], name
    assert not [path for path in data.rglob("*") if path.name == "x" or path.suffix == ".exe"]


def test_a_result_that_cannot_be_signed_is_none(tmp_path: Path) -> None:
    with (
        sources(a__mp4=stub_work.video()) as site,
        in_thread(settings(tmp_path), replace(stub_work.WORK, sign=work.sign)) as client,
    ):
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        done = ended(client, create(client, order(session_id, sound())))
        assert done["task_status"] == "failed"
        assert "the result cannot be signed; see the server's log" in done["task_status_msg"]
        assert not list(tmp_path.rglob("*.mp4.*")) + list(tmp_path.rglob("result.mp4"))


def test_an_outcome_that_the_database_never_takes_ends_its_task(tmp_path: Path, capfd) -> None:
    # Its `render` promises any whole number, as no real work does.
    with sources(a__mp4=stub_work.video()) as site, in_thread(settings(tmp_path), stub_work.WORK) as client:
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        huge = create(client, order(session_id, sound(result_ms=2**70)))
        honest = create(client, order(session_id, sound()))
        done = ended(client, huge)
        assert (done["task_status"], attempts(tmp_path, done["task_id"])) == ("failed", 1)
        assert "the outcome cannot be stored; see the server's log" in done["task_status_msg"]
        assert ended(client, honest)["task_status"] == "succeed"
    assert capfd.readouterr().err.count("cannot write the outcome of a task") == 1
