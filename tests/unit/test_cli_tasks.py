"""`duikou tasks` on a data folder: what an operator sees, and what retrying and cancelling change."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from rows import add_session, identify_task, media, task

from duikou.cli import main
from duikou.database.engine import Database
from duikou.database.ids import now_ms
from duikou.storage import keys
from duikou.tasks.accounts import Accounts, KeyKind
from duikou.tasks.models import RenderTask, SessionRecord, TaskCallback
from duikou.tasks.states import Fault, TaskStatus
from duikou.tasks.store import Store

FAR = 4_000_000_000_000  # the year 2096


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUIKOU_DATA", str(tmp_path / "data"))
    structlog.reset_defaults()  # whatever tests before this one have set up
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def store(data: Path):
    database = Database(f"sqlite:///{data / 'duikou.db'}")
    yield Store(database)
    database.close()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a call that succeeds prints."""
    capsys.readouterr()
    assert main.run(["tasks", *arguments]) == 0
    return capsys.readouterr().out


def fault(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence of a call that the operator got wrong."""
    capsys.readouterr()
    assert main.run(["tasks", *arguments]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    return shown.err.splitlines()[-1]


def made(store: Store, data: Path, **what: Any) -> RenderTask:
    """A task whose session, source, speech and reference are all kept."""
    source = media(key="media/1.mp4", expires_at=FAR)
    store.media.add(source)
    session = SessionRecord(source.id[::-1], "", source, (), 1, FAR)
    add_session(store, session)
    asked = task(source_id=source.id, session_id=session.id, created_at=now_ms(), **what)
    sound = keys.audio_key(asked.id, 0)
    (data / sound).parent.mkdir(parents=True)
    (data / sound).write_bytes(b"speech")
    lent = keys.reference_key(asked.id, 0, 0)
    (data / lent).write_bytes(b"photo")
    return store.tasks.add(replace(asked, choices=(replace(asked.choices[0], audio=sound, references=(lent,)),)))


def failed(store: Store, data: Path) -> RenderTask:
    made(store, data)
    claimed = store.queue.claim()
    assert isinstance(claimed, RenderTask)
    assert store.tasks.fail(claimed, "it did not work", Fault.WORKER, expires_at=FAR)
    return claimed


def listed(capsys: pytest.CaptureFixture[str], *more: str) -> list[str]:
    return [row["id"] for row in json.loads(run(capsys, "list", "--json", *more))]


def test_tasks_are_listed_by_status_account_and_queue(store, data, capsys) -> None:
    over = failed(store, data)
    Accounts(Database(f"sqlite:///{data / 'duikou.db'}")).make("alice", KeyKind.PLAIN)
    waits = made(store, data, account="alice")
    search = store.tasks.add(identify_task(created_at=now_ms() + 1))
    assert listed(capsys) == [search.id, waits.id]
    assert set(listed(capsys, "--all")) == {over.id, waits.id, search.id}
    assert listed(capsys, "--status", "failed") == [over.id]
    assert listed(capsys, "--account", "alice") == [waits.id]
    assert fault(capsys, "list", "--account", "bob").startswith("duikou: --account: there is no account 'bob'")
    assert listed(capsys, "--queue", "identify") == [search.id]
    assert len(listed(capsys, "--all", "--limit", "1")) == 1
    table = run(capsys, "list", "--all")
    assert "it did not work" in table
    assert "alice" in table


def test_a_task_is_shown_whole_with_times_that_people_read(store, data, capsys) -> None:
    over = failed(store, data)
    shown = json.loads(run(capsys, "show", over.id, "--json"))
    assert (shown["status"], shown["fault"], shown["reason"]) == ("failed", "worker", "it did not work")
    assert shown["created_at"].endswith(" UTC")
    assert "it did not work" in run(capsys, "show", over.id)


def test_a_task_is_shown_with_every_attempt_at_it(store, data, capsys) -> None:
    asked = made(store, data)
    first = store.queue.claim()
    assert store.tasks.retry(first, "the worker died", Fault.WORKER, expires_at=FAR)
    store.queue._clock = lambda: now_ms() + 60_000  # later than the retry is due
    second = store.queue.claim()
    shown = json.loads(run(capsys, "show", asked.id, "--json"))["attempts"]
    worker = f"{platform.node()[:64]}:{os.getpid()}"
    assert [(one["number"], one["worker"], one["outcome"], one["reason"]) for one in shown] == [
        (1, worker, "submitted", "the worker died"),
        (2, worker, "running", ""),
    ]
    assert [one["began_at"].endswith(" UTC") for one in shown] == [True, True]
    assert [bool(one["ended_at"]) for one in shown] == [True, False]
    assert store.tasks.fail(second, "nothing helps", Fault.MODEL, expires_at=FAR)
    table = run(capsys, "show", asked.id)
    assert table.index("the worker died") < table.rindex("nothing helps")
    assert "failed" in table.splitlines()[-1]
    store.tasks.remove(asked)
    assert store.tasks.attempts(asked.id) == []


def test_a_task_is_found_by_its_callers_own_id(store, data, capsys) -> None:
    one = made(store, data, external_id="order 7")
    assert json.loads(run(capsys, "show", "order 7", "--json"))["id"] == one.id
    two = made(store, data, external_id="order 7", account="bob")
    told = fault(capsys, "cancel", "order 7")
    assert told.startswith("duikou: ID: 2 tasks are called 'order 7': ")
    assert told.endswith("; give the id of one")
    assert all(f"{task.id} of account {task.account!r}" in told for task in (one, two))
    made(store, data, external_id="order 8")
    eight = json.loads(run(capsys, "show", "order 8", "--json"))["id"]
    assert run(capsys, "cancel", "order 8") == f"cancelled: {eight}\n"


@pytest.mark.parametrize("width", [30, 60, 120])
def test_nothing_is_cut_off_on_a_narrow_terminal(store, data, capsys, monkeypatch, width) -> None:
    address = "http://hooks.example.org/" + "0123456789" * 12
    over = made(store, data, callback=TaskCallback(address, "http://127.0.0.1:1"))
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown = run(capsys, "show", over.id)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    values = "".join(line[len("source_duration_ms ") :].strip() for line in shown.splitlines())
    assert address in values.replace(" ", "")


def test_a_failed_task_is_tried_again_from_the_first_try_on(store, data, capsys) -> None:
    over = failed(store, data)
    assert run(capsys, "retry", over.id) == f"submitted: {over.id}\n"
    again = store.queue.claim()
    assert again is not None
    assert (again.id, again.attempt, again.tries, again.reason, again.fault) == (over.id, 2, 1, "", None)
    assert "only a failed or cancelled task can be retried" in fault(capsys, "retry", over.id)


def test_what_cannot_succeed_any_more_is_not_retried(store, data, capsys) -> None:
    over = failed(store, data)
    (data / str(over.choices[0].references[0])).unlink()
    assert "a reference of" in fault(capsys, "retry", over.id)
    (data / str(over.choices[0].audio)).unlink()
    assert "the speech of" in fault(capsys, "retry", over.id)
    store.sessions.remove(over.session_id)
    assert "the session of" in fault(capsys, "retry", over.id)
    found = store.tasks.get(over.id)
    assert found is not None
    assert found.status is TaskStatus.FAILED


def test_a_task_is_cancelled_once(store, data, capsys) -> None:
    waits = made(store, data)
    assert run(capsys, "cancel", waits.id) == f"cancelled: {waits.id}\n"
    found = store.tasks.get(waits.id)
    assert found is not None
    assert (found.status, found.fault) == (TaskStatus.CANCELLED, "cancelled")
    assert found.reason == "The task was cancelled by the operator."
    assert "is finished already: cancelled" in fault(capsys, "cancel", waits.id)


def test_an_unknown_id_is_told(store, capsys) -> None:
    for command in ("show", "retry", "cancel"):
        assert "ID: there is no task '7'" in fault(capsys, command, "7")
