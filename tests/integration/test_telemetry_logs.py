"""Log lines of whole processes: all in one form, each with the ids of what it is about."""

from __future__ import annotations

import io
import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stub_work
from live_server import Process, Program, WorkerProcess, create, ended, identify, in_thread, order, sources, until
from receiver import receiver
from server_settings import settings
from services import Postgres, Rabbit, need

from duikou.sandbox.output import LINES
from duikou.telemetry import logs
from duikou.telemetry.output import MAX_LINE

PASSWORD = "pass-word-7391"
LOST = "Connection to broker lost"


@dataclass
class Fleet:
    """One server and one worker."""

    server: Process
    worker: WorkerProcess
    broker: Rabbit


@pytest.fixture
def fleet(tmp_path: Path, postgres: Postgres) -> Iterator[Fleet]:
    need("rabbit")
    (tmp_path / "shared").mkdir()
    with Rabbit() as broker:  # of its own: it is killed
        where: dict[str, Any] = {
            "database_url": postgres.fresh().replace("postgres@", f"postgres:{PASSWORD}@"),
            "broker_url": broker.fresh(PASSWORD),
            "storage_url": f"file://{tmp_path}/shared",
            "metrics_token": PASSWORD,
            "environment": {"DUIKOU_PUBLIK_URL": PASSWORD},
        }
        with Process(tmp_path / "server", **where) as server, WorkerProcess(tmp_path / "worker", **where) as worker:
            yield Fleet(server, worker, broker)


def lines(program: Program) -> list[dict[str, Any]]:
    """What a process has said, which must be JSON to the last line."""
    return [json.loads(line) for line in program.log]


def of(task: str, said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in said if line.get("task_id") == task]


def test_a_fleet_says_everything_in_one_form_with_its_ids(fleet: Fleet) -> None:
    server, worker = fleet.server, fleet.worker
    deeds = {"bug__mp3": "bug", "noisy__mp3": "noisy", "s__mp3": ""}
    files = {"a__mp4": stub_work.video()} | {name: stub_work.sound(render=deed) for name, deed in deeds.items()}
    with sources(**files) as site, receiver() as hears:
        session = identify(server.client, f"{site}/a.mp4")["session_id"]
        asked = {**order(session, f"{site}/bug.mp3"), "callback_url": hears.url}
        response = server.client.post("/v1/videos/advanced-lip-sync", json=asked)
        task, request = response.json()["data"]["task_id"], response.headers["X-Request-Id"]
        assert ended(server.client, task)["task_status"] == "failed"
        until(lambda: [line for line in of(task, lines(server)) if line.get("status") == "failed"])
        noisy = create(server.client, order(session, f"{site}/noisy.mp3"))
        assert ended(server.client, noisy)["task_status"] == "succeed"

        fleet.broker.kill()
        until(lambda: [line for line in worker.log if LOST in line])
        late = create(server.client, order(session, f"{site}/s.mp3"))
        until(lambda: [line for line in server.log if "cannot send a message" in line])
        until(lambda: [line for line in worker.log if "(2/None)" in line])
        fleet.broker.start()
        assert ended(server.client, late)["task_status"] == "succeed"
    assert worker.end(signal.SIGTERM) == 0
    server.end(signal.SIGTERM)

    assert PASSWORD not in "".join([*server.log, *worker.log])
    told, made = lines(server), lines(worker)
    misspelt = "there is no setting DUIKOU_PUBLIK_URL; did you mean DUIKOU_PUBLIC_URL?"
    assert [[line["event"] for line in said].count(misspelt) for said in (told, made)] == [1, 1]
    for said in (told, made):
        assert all({"event", "level", "timestamp"} <= line.keys() for line in said)
        assert {line["request_id"] for line in of(task, said)} == {request}
    assert [line["event"] for line in of(task, told) if "callback_id" in line] == ["callback delivered"] * len(
        hears.heard
    )
    assert "task submitted" in [line["event"] for line in of(task, told)]
    said_in_children = [line for line in of(task, made) if line["event"] == "work failed"]
    assert said_in_children[0]["attempt"] == 1
    assert_noise_is_wrapped([line for line in of(noisy, made) if line.get("logger") == "stderr"])
    assert [told[-1]["event"], made[-1]["event"]] == ["server stopped", "worker stopped"]
    lost = [line for line in made if "logger" in line and line["logger"] != "stderr"]
    assert {line["logger"] for line in lost} == {"celery.worker.consumer.consumer"}
    assert len(lost) <= 8
    assert not [line for line in lost if "exception" in line]
    assert [line["event"] for line in told].count("the fleet cannot be watched") <= 1


def assert_noise_is_wrapped(said: list[dict[str, Any]]) -> None:
    """Whether these are the lines of noisy work, each of a child and of its one attempt."""
    assert [(line["level"], line["event"]) for line in said[:7]] == [
        ("info", "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."),
        ("warning", "[h264 @ 0x1] error while decoding MB"),
        ("warning", "no text: \ufffd\ufffd"),
        ("warning", '{"event": "task succeed", "task_id": "9"}'),
        ("warning", "half a line"),
        ("warning", "to standard output"),
        ("warning", "z" * MAX_LINE + " [cut]"),
    ]
    assert [line["event"] for line in said[7:]] == [
        *(f"flood {number}" for number in range(LINES - 7)),
        "more lines of this process are dropped",
    ]
    assert {(line["process"], line["attempt"]) for line in said} == {("child", 1)}
    assert len({line["pid"] for line in said}) == 1


def test_the_last_words_of_a_child_are_told_with_its_task(tmp_path: Path) -> None:
    files = {"a__mp4": stub_work.video(), "last__mp3": stub_work.sound(render="last_words_once")}
    with sources(**files) as site, Process(tmp_path) as server:
        session = identify(server.client, f"{site}/a.mp4")["session_id"]
        task = create(server.client, order(session, f"{site}/last.mp3"))
        assert ended(server.client, task)["task_status"] == "succeed"
        server.end(signal.SIGTERM)
    (last,) = [line for line in of(task, lines(server)) if line.get("logger") == "stderr"]
    assert (last["event"], last["process"], last["attempt"]) == ("free(): invalid pointer", "child", 1)
    assert lines(server)[-1]["event"] == "server stopped"


def test_what_reaches_the_standard_error_of_a_process_takes_the_same_form(tmp_path: Path) -> None:
    code = """
import ctypes, os, subprocess
from duikou.telemetry import logs, output
logs.configure(["pass-word"])
print("ready", flush=True)
with output.captured():
    os.write(2, b"from C++\\npart")
    subprocess.run(["sh", "-c", "echo ' of a program' >&2"])
    print("Python's own, with pass-word", file=sys.stderr)
    ctypes.CDLL(None).perror(b"libc")
    for number in range(2000):
        os.write(2, b"%d\\n" % number)
    os.write(2, b"no end")
os.write(2, b'{"event": "back to normal"}\\n')
with output.captured():
    logs.write("info", "again", {})
    raise SystemExit(3)
"""
    with Program(code, tmp_path) as program:
        assert program.popen.wait(60) == 3
        program.end(signal.SIGTERM)
    events = [line["event"] for line in lines(program)]
    assert events[:3] == ["from C++", "part of a program", "Python's own, with ***"]
    assert events[3].startswith("libc: ")
    assert events[4:] == [*map(str, range(2000)), "no end", "back to normal", "again"]
    assert all(line["process"] == "main" for line in lines(program)[:-2])


def test_what_libraries_and_python_say_takes_the_same_form(tmp_path: Path) -> None:
    code = """
import asyncio, logging, threading, warnings
import structlog
from duikou.telemetry import logs
print("ready", flush=True)
logs.configure()
logs.configure()
with structlog.contextvars.bound_contextvars(task_id="7"):
    logging.getLogger("kombu").warning("lost %s\\n", "it")
logging.getLogger("kombu").info("chatter")
try:
    raise KeyError("face")
except KeyError:
    logging.getLogger("uvicorn.error").exception("failed")
warnings.warn("too old", UserWarning)
thread = threading.Thread(target=lambda: 1 / 0, name="bells")
thread.start()
thread.join()

class Stubborn:
    def __del__(self):
        raise ValueError("no end")
Stubborn()

async def forgotten():
    async def fails():
        raise LookupError("nobody asks")
    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
asyncio.run(forgotten())
logging.getLogger("odd").log(35, "between levels")
with structlog.contextvars.bound_contextvars(task_id="7"):
    logs.relay("no level", "told by a child", {"task_id": "8", "level": "error", "event": "x", "face": 1})
"""
    with Program(code, tmp_path) as program:
        assert program.popen.wait(60) == 0
        program.end(signal.SIGTERM)
    said = lines(program)
    assert [(line["level"], line["event"].splitlines()[0].split(": ")[-1]) for line in said] == [
        ("warning", "lost it"),
        ("error", "failed"),
        ("warning", "too old"),
        ("critical", "a thread died"),
        ("error", "an unraisable exception"),
        ("error", "Task exception was never retrieved"),
        ("warning", "between levels"),
        ("info", "told by a child"),
    ]
    assert said[0]["task_id"] == said[-1]["task_id"] == "7"
    assert [line["exception"].splitlines()[-1] for line in said if "exception" in line] == [
        "KeyError: 'face'",
        "ZeroDivisionError: division by zero",
        "ValueError: no end",
        "LookupError: nobody asks",
    ]


class Screen(io.StringIO):
    """A standard error that says whether it is a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def shown(self) -> list[str]:
        """The lines, without the colours of the log's own form."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue()).split("\n")


ACTS = "%1b]0;owned%07%0a2026-01-01%20[info]%20forged%c2%9b2J%7f%e2%80%ae%e5%af%b9%e5%8f%a3"


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "json"])
def test_what_callers_send_does_nothing_to_the_terminal_of_the_operator(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        screen = Screen(terminal=terminal)
        patch.setattr("sys.stderr", screen)
        with in_thread(settings(tmp_path), stub_work.WORK) as client:
            client.get(f"/{ACTS}")
            client.get("/%1b]0;owned%07%c2%9b2J%e2%80%ae")  # a value without blanks is shown as it is
            client.post("/v1/videos/identify-face", json={"video_id": "\x1b]0;owned\x07\n\u202e"})
            client.post("/v1/videos/identify-face", json={"\x9b2J\x1b[": "\x1b["})
    logs.configure()
    shown = screen.shown()
    assert "owned" in screen.getvalue()
    assert all(line.isprintable() for line in shown), [ascii(line) for line in shown if not line.isprintable()]
    assert not [line for line in shown if line.startswith("2026-01-01")]
    (path,) = [line for line in shown if "request" in line and "forged" in line and "status" in line]
    assert "\\u001b]0;owned\\u0007\\n2026-01-01 [info] forged\\u009b2J\\u007f\\u202e" in path.replace("\\\\", "\\")
    assert "对口" in path or "\\u5bf9\\u53e3" in path


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "json"])
def test_no_value_and_no_name_of_a_line_acts(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    acts = "\x1b]0;owned\x07\u202e\x9b2J\x7f\ud800"
    with monkeypatch.context() as patch:
        screen = Screen(terminal=terminal)
        patch.setattr("sys.stderr", screen)
        logs.configure([f"pass{acts}"])
        logs.write("info", acts, {acts: [acts], "path": Path(acts), "of": f"pass{acts}"})
        try:
            raise ValueError(f"{acts}\n2026-01-01 [info] forged")
        except ValueError:
            logs.write("error", "failed", {"exc_info": True})
        logs.relay("warning", "from a child", {"exception": f"{acts}\n2026-01-01 [info] forged", acts: 1})
    logs.configure()
    assert all(line.isprintable() for line in screen.shown()), ascii(screen.getvalue())
    assert not [line for line in screen.shown() if line.startswith("2026-01-01")]
    assert "owned" in screen.getvalue()
    assert "pass" not in screen.getvalue()
