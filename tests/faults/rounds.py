"""Trials of a fault on an installation, and the checks afterwards: nothing was lost or doubled."""

from __future__ import annotations

import base64
import json
import random
import statistics
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import stub_work
from receiver import Heard

from duikou.database import tables
from duikou.errors import StorageError
from duikou.storage import keys
from duikou.tasks import retention
from duikou.tasks.models import RenderTask, Task
from duikou.tasks.rows import task_from
from duikou.tasks.states import TaskStatus
from tests.faults import stage
from tests.faults.systems import LATE, Part, Setup, System, eventually, zombies

CREATE, IDENTIFY = "/v1/videos/advanced-lip-sync", "/v1/videos/identify-face"
TASKS = (3, 6)  # of one trial
PAUSE_S = 0.6  # at most, between two calls
INSIST_S = 45.0  # how long a refused or disconnected caller retries; the longest fault takes 30 s
AGAIN_S = 0.5
SEARCHING = 0.3  # share of trials in which somebody identifies faces meanwhile
RECOVERY_S = 300.0  # from the end of a fault to the end of the last task, on a machine that does much else
TOLD_S = 300.0  # to the delivery of the last callback: one that died in a server's hands waits for 60 s
TIDY_S = 60.0  # for temporary files and dead children to go
HAND_OVER_S = 15.0  # from the death of a worker to the next claim of what it had in hand
ENDS = ("succeed", "failed")
REFUSED = (429, 503)  # status codes for "nothing was accepted"
BAD = ['"level": "error"']  # in logs
KEPT = Path("out/faults")
Note = Callable[[str], object]


@dataclass(frozen=True)
class Fault:
    """A fault of an installation. name: its name on the command line.

    inject: causes the fault, waits if necessary, and repairs it; it returns when the fault began, in Unix seconds.
    seconds: how long tasks take. tries, attempts: the most that a task may need; None is any number. prompt: whether
    others must take over within `HAND_OVER_S`. clean: whether no process may log an error.
    """

    name: str
    title: str
    setup: Setup
    inject: Callable[[System, random.Random], float]
    seconds: tuple[float, float] = (0.2, 3.0)
    tries: int | None = None
    attempts: int | None = None
    prompt: bool = False
    clean: bool = False


@dataclass
class Asked:
    """One request for a lip sync. insert_ms: unique, so that it identifies the task of a result."""

    external_id: str
    insert_ms: int
    seconds: float
    marked: bool
    insists: bool
    task_id: str = ""


@dataclass
class Tally:
    """Counts over all trials of one fault. wrong: sentences on what must not happen."""

    fault: Fault
    trials: int = 0
    accepted: int = 0
    refused: int = 0
    succeeded: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    second_results: int = 0
    double_ends: int = 0
    swept: int = 0
    orphans: int = 0
    begun_again: int = 0
    late: int = 0
    hand_overs: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def ended(self) -> int:
        """Number of finished tasks."""
        return self.succeeded + self.failed.total()

    @property
    def slow(self) -> bool:
        """Whether a hand-over took too long; on a busy machine it does."""
        return self.fault.prompt and max(self.hand_overs, default=0.0) > HAND_OVER_S

    def row(self) -> list[str]:
        """Its row of the table."""
        took = self.hand_overs
        return [
            self.fault.title,
            *(str(number) for number in (self.trials, self.accepted, self.ended, self.failed.total())),
            *(str(number) for number in (self.lost, self.second_results, self.double_ends, self.swept, self.orphans)),
            *(str(number) for number in (self.begun_again, self.late)),
            f"{statistics.median(took):.1f}, {max(took):.1f}" if took else "",
        ]


HEADINGS = [
    "fault",
    "trials",
    "accepted",
    "ended",
    "failed",
    "lost",
    "second results",
    "double ends told",
    "files swept",
    "orphans left",
    "begun again",
    "late writers",
    "hand-over in s: median, most",
]


def tried(fault: Fault, trials: int, system: System, seed: int, note: Note = lambda _: None) -> Tally:
    """Try a fault `trials` times on an installation. If anything is wrong, keep the logs of all its processes."""
    rng, tally, asked = random.Random(f"{fault.name} {seed}"), Tally(fault), list[Asked]()
    lines = {part: len(part.log) for part in (*system.former, *system.parts)}
    try:
        for number in range(trials):
            began = time.monotonic()
            _try(fault, system, rng, tally, asked)
            tally.trials += 1
            note(f"{fault.name} {number + 1}/{trials}: {time.monotonic() - began:.1f} s")
        _settle(system)
        _look(system, tally, asked)
        parts = [(part, lines.get(part, 0)) for part in (*system.former, *system.parts)]
        tally.late = sum(len(part.said_of([LATE], first)) for part, first in parts)
        if fault.clean:
            tally.wrong += [f"{part.name}: {line[:500]}" for part, first in parts for line in part.said_of(BAD, first)]
    except Exception as error:
        tally.wrong.append("".join(traceback.format_exception(error)))
    for part in system.parts:
        stage.set_clock(part.clock, 0)
    if tally.wrong or tally.slow:
        _keep_logs(system, KEPT / f"{fault.name}.log")
    return tally


def _try(fault: Fault, system: System, rng: random.Random, tally: Tally, asked: list[Asked]) -> None:
    """Create tasks, cause the fault meanwhile, and wait until all tasks are finished."""
    first, before = len(asked), {(event.task_id, event.attempt) for event in system.events}
    for number in range(first, first + rng.randint(*TASKS)):
        seconds, marked, insists = rng.uniform(*fault.seconds), rng.random() < 0.2, rng.random() < 0.5
        asked.append(Asked(f"{fault.name}-{number}", 1000 + number, seconds, marked, insists))
    callers = random.Random(rng.random())
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(_call, system, asked[first:], callers, tally)]
        if rng.random() < SEARCHING:
            calls.append(pool.submit(_search, system, callers, tally))
        try:
            struck = fault.inject(system, rng)
        finally:
            for call in calls:
                call.result()
    eventually("every task is over", lambda: not system.store.tasks.unfinished(), RECOVERY_S)
    eventually("those who come too late give up", lambda: not any(part.rendering for part in system.parts), RECOVERY_S)
    claims = [event for event in system.events if event.status == "processing" and event.queue == "render"]
    fresh = [claim for claim in claims if (claim.task_id, claim.attempt) not in before]
    tally.hand_overs += [claim.at - struck for claim in fresh if claim.attempt > 1]


def _call(system: System, asked: Iterable[Asked], rng: random.Random, tally: Tally) -> None:
    for one in asked:
        time.sleep(rng.uniform(0, PAUSE_S))  # the callers' own pace
        _order(system, one, rng, tally)


def _order(system: System, asked: Asked, rng: random.Random, tally: Tally) -> None:
    sound = base64.b64encode(stub_work.sound(seconds=asked.seconds)).decode()
    times = {"sound_start_time": 0, "sound_end_time": 3000, "sound_insert_time": asked.insert_ms}
    body = {
        "session_id": system.session_id,
        "face_choose": [{"face_id": "0", "sound_file": sound, **times}],
        "external_task_id": asked.external_id,
        "callback_url": f"{system.ear.url}/hook",
        "watermark_info": {"enabled": asked.marked},
    }
    deadline = time.monotonic() + INSIST_S
    while True:
        answer = _posted(system, CREATE, body, rng, tally)
        if answer is not None and answer.status_code == 200:
            asked.task_id = answer.json()["data"]["task_id"]
            return
        if not asked.insists or time.monotonic() > deadline:
            return
        time.sleep(AGAIN_S)


def _search(system: System, rng: random.Random, tally: Tally) -> None:
    time.sleep(rng.uniform(0, 2 * PAUSE_S))
    _posted(system, IDENTIFY, {"video_url": f"{system.site}/a.mp4"}, rng, tally)


def _posted(system: System, path: str, body: Any, rng: random.Random, tally: Tally) -> httpx.Response | None:
    """The response to a call; `None` if none came, so that the outcome is unknown."""
    try:
        answer = rng.choice(system.servers).client.post(path, json=body)
    except httpx.TransportError:
        return None
    if answer.status_code in REFUSED:
        tally.refused += 1
    elif answer.status_code != 200:
        tally.wrong.append(f"{path} was answered {answer.status_code}: {answer.text[:300]}")
    return answer


def _settle(system: System) -> None:
    """Wait until all tasks, callbacks and temporary files are done with."""
    eventually("every task is over", lambda: not system.store.tasks.unfinished(), RECOVERY_S)
    eventually("every callback is delivered", lambda: not system.outbox.waiting(), TOLD_S)
    for part in system.parts:
        left = [part.data / "incoming", part.data / "scratch"]
        eventually(f"{part.name} tidied up", partial(_are_empty, left), TIDY_S)
        eventually(f"{part.name} has no zombies", partial(_has_no_zombies, part), TIDY_S)


def _are_empty(folders: Iterable[Path]) -> bool:
    return not any(any(folder.iterdir()) for folder in folders)


def _has_no_zombies(part: Part) -> bool:
    return not zombies(part.popen.pid)


def _look(system: System, tally: Tally, asked: list[Asked]) -> None:
    """Compare what the database and the storage hold with what was asked for."""
    with system.database.reading() as connection:
        tasks = [task_from(row._mapping) for row in connection.execute(sa.select(tables.tasks))]
        media = {row.id: row for row in connection.execute(sa.select(tables.media))}
        sessions = {row.id: row for row in connection.execute(sa.select(tables.sessions))}
    tally.swept = retention.remove_orphans(system.store, system.files)
    kept = {stored.key for place in keys.PLACES for stored in system.files.list(place)}
    rendered, former = _rendered(tasks, tally.fault)
    expected = {row.key for row in media.values() if row.kind != "result"}
    expected |= {key for task in former for key in kept if key.startswith(f"{keys.task_key(task.id)}/")}
    for one in asked:
        if one.external_id in rendered:
            task = rendered.pop(one.external_id)
            results = [
                row for row in media.values() if row.kind == "result" and row.key.startswith(f"tasks/{task.id}/")
            ]
            tally.accepted += 1
            expected |= {keys.audio_key(task.id, 0)} | _look_at(system, tally, one, task, results)
        elif one.task_id:
            tally.lost += 1
            tally.wrong.append(f"{one.external_id} was accepted and is gone")
    tally.wrong += [f"nobody asked for {task.external_id}" for task in rendered.values()]
    orphans = [key for key in kept - expected if not (key.startswith("sessions/") and key.split("/")[1] in sessions)]
    tally.orphans = len(orphans)
    tally.wrong += [f"nothing knows the file {key}" for key in orphans]
    tally.wrong += [f"the file {key} is lost" for key in expected - kept if key.startswith("tasks/")]
    for session in sessions.values():
        if session.source_id not in media or media[session.source_id].key not in kept:
            tally.wrong.append(f"session {session.id} has no video")


def _rendered(tasks: list[Task], fault: Fault) -> tuple[dict[str, RenderTask], list[RenderTask]]:
    """Lip syncs that this fault's callers asked for, by external id, and those of faults that were tried before."""
    rendered, former = dict[str, RenderTask](), list[RenderTask]()
    for task in tasks:
        if not isinstance(task, RenderTask):
            continue
        if str(task.external_id).startswith(f"{fault.name}-"):
            rendered[str(task.external_id)] = task
        else:
            former.append(task)
    return rendered, former


def _look_at(system: System, tally: Tally, asked: Asked, task: Task, results: list[sa.Row[Any]]) -> set[str]:
    """Check one accepted task; the files that it should have."""
    fault, name = tally.fault, f"task {task.id} ({asked.external_id})"
    if asked.task_id and asked.task_id != task.id:
        tally.wrong.append(f"{name} was accepted as {asked.task_id}")
    tally.begun_again += max(task.attempt - 1, 0)
    if fault.tries is not None and task.tries > fault.tries:
        tally.wrong.append(f"{name} was charged {task.tries} tries")
    if fault.attempts is not None and task.attempt > fault.attempts:
        tally.wrong.append(f"{name} was begun {task.attempt} times")
    _listen(tally, name, task, [heard for heard in system.ear.heard if heard.task["task_id"] == task.id])
    if not task.finished:
        tally.lost += 1
        tally.wrong.append(f"{name} did not end")
        return set()
    if task.status is not TaskStatus.SUCCEED:
        tally.failed[task.reason] += 1
        tally.wrong.append(f"{name} failed: {task.reason}")
        if results:
            tally.wrong.append(f"{name} failed and has a result")
        return set()
    tally.succeeded += 1
    places = [keys.result_key(task.id, task.attempt), *([keys.marked_key(task.id, task.attempt)] * asked.marked)]
    if sorted(row.key for row in results) != sorted(places):
        tally.second_results += 1
        tally.wrong.append(f"{name}, attempt {task.attempt}, has the results {sorted(row.key for row in results)}")
    _fetch(system, tally, name, asked, task)
    return set(places)


def _listen(tally: Tally, name: str, task: Task, heard: list[Heard]) -> None:
    """Check the callbacks of a task."""
    ends = {one.headers["webhook-id"]: one.status for one in heard if one.status in ENDS}
    told = list(dict.fromkeys(one.status for one in heard))
    if len(ends) > 1:
        tally.double_ends += 1
    right = "succeed" if task.status is TaskStatus.SUCCEED else "failed"
    if list(ends.values()) != [right] or told[:2] != ["submitted", "processing"]:
        tally.wrong.append(f"of {name}, which is {task.status}, was told: {told}, {len(ends)} ends")


def _fetch(system: System, tally: Tally, name: str, asked: Asked, task: Task) -> None:
    """Check a result as its caller sees it."""
    client = system.servers[0].client
    told = client.get(f"{CREATE}/{asked.external_id}").json()["data"]
    video = told["task_result"]["videos"][0]
    answer = client.get(video["url"])
    right = answer.status_code == 200 and json.loads(answer.content)
    if not right or (right["attempt"], right["choice"]["insert_ms"]) != (str(task.attempt), asked.insert_ms):
        tally.wrong.append(f"{name} has another's result: {answer.status_code} {answer.text[:300]}")
    if asked.marked and client.get(video["watermark_url"]).content != stub_work.MARKED:
        tally.wrong.append(f"{name} has no marked result")


def _keep_logs(system: System, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("w") as file:
        for part in (*system.former, *system.parts):
            file.write(f"=== {part.name}, process {part.popen.pid}\n")
            file.writelines(list(part.log))
        with suppress(StorageError):
            file.writelines(f"=== unfinished: {task}\n" for task in system.store.tasks.unfinished())
