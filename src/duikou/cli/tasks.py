"""`duikou tasks`: what the server has accepted, seen and changed by its operator, whether a server runs or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from duikou.cli.keys import AsJson, Data, moment
from duikou.cli.terminal import output, read_settings
from duikou.database.engine import opened
from duikou.database.ids import now_ms
from duikou.errors import InputError, NotFoundError
from duikou.settings import Settings
from duikou.storage.base import Files
from duikou.storage.data_folder import DataFolder
from duikou.storage.factory import open_files
from duikou.tasks.models import Queue, Task, TaskStatus
from duikou.tasks.store import Store
from duikou.telemetry import logs
from duikou.units import DAY_MS

CANCELLED = "The task was cancelled by the operator."
PATIENCE_S = 10.0  # with a file storage that does not answer

tasks_app = typer.Typer(help="List, show, retry and cancel the tasks of all accounts.", no_args_is_help=True)

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id, as `duikou tasks list` shows it.")]


@tasks_app.command("list")
def show_all(
    status: Annotated[
        TaskStatus | None, typer.Option(help="Only tasks of this status.", show_default="those that are not over")
    ] = None,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="Only tasks of this account.")] = None,
    queue: Annotated[Queue | None, typer.Option(help="Only tasks of this queue.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many, newest first.")] = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    with _desk(data) as desk:
        found = desk.store.select(status=status, account=account, queue=queue, unfinished=not everything, limit=limit)
    if as_json:
        typer.echo(json.dumps([_told(task) for task in found], indent=2, ensure_ascii=False))
        return
    table = Table(
        "id", "account", "queue", "status", "done", "stage", "tries", "made", "reason", box=None, pad_edge=False
    )
    for task in found:
        done = f"{task.progress:.0%}"
        row = (task.id, task.account, task.queue, task.status, done, task.stage, task.tries, moment(task.created_at))
        table.add_row(*map(str, row), task.reason)
    output().print(table)
    if len(found) == limit:
        typer.echo(f"these are the newest {limit}; --limit shows more", err=True)


@tasks_app.command("show")
def show(task: TaskId, data: Data = None, as_json: AsJson = False) -> None:
    """Show all that is known of a task."""
    with _desk(data) as desk:
        told = _told(desk.task(task))
    if as_json:
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    table = Table("", "", show_header=False, box=None, pad_edge=False)
    for name, value in told.items():
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
        table.add_row(name, shown or "-")
    output().print(table)


@tasks_app.command("retry")
def retry(task: TaskId, data: Data = None) -> None:
    """Have a task that failed or was cancelled tried again, with as many tries as a new one."""
    with _desk(data) as desk:
        found = desk.task(task)
        if found.status not in (TaskStatus.FAILED, TaskStatus.CANCELLED):
            raise InputError(f"{task} is {found.status}; only one that failed or was cancelled can", field="task")
        desk.require_inputs(found)
        if not desk.store.again(found):
            raise InputError(f"{task} has just changed; look at it and try again", field="task")
    typer.echo(f"submitted: {task}")


@tasks_app.command("cancel")
def cancel(task: TaskId, data: Data = None) -> None:
    """End a task that is not over; its worker is stopped, its caller is told."""
    with _desk(data) as desk:
        found = desk.task(task)
        ended = desk.store.cancel(found, CANCELLED, expires_at=now_ms() + desk.settings.media_days * DAY_MS)
    status = ended.status if ended else "gone"
    if found.finished or status is not TaskStatus.CANCELLED:
        raise InputError(f"{task} is over already: {status}", field="task")
    typer.echo(f"cancelled: {task}")


class _Desk:
    """The store and the files of these settings."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings, self.store = settings, store

    def task(self, task_id: str) -> Task:
        """Raises `NotFoundError`."""
        found = self.store.task_of_anyone(task_id)
        if found is None:
            raise NotFoundError(f"there is no task {task_id!r}; `duikou tasks list` shows them", field="task")
        return found

    def require_inputs(self, task: Task) -> None:
        """Raise `InputError` where what the task needs is no longer kept, so that it could only fail."""
        if task.queue is Queue.ANALYSIS:
            raise InputError(f"{task.id} looked for faces, and its caller waits no longer", field="task")
        source, session = self.store.media_of_anyone(task.source_id), self.store.session_of_anyone(task.session_id)
        if source is None or session is None:
            raise InputError(f"the session of {task.id} is over; its caller has to make another", field="task")
        gone = [choice.sound for choice in task.choices if self._files().size(choice.sound) is None]
        if gone:
            raise InputError(f"the speech of {task.id} is no longer kept", field="task")

    def _files(self) -> Files:
        folder = DataFolder(self.settings.data)
        return open_files(self.settings.storage_url, folder.root, folder.scratch, PATIENCE_S)


@contextmanager
def _desk(data: Path | None) -> Iterator[_Desk]:
    logs.configure()  # to the standard error: what is asked for stands alone on the standard output
    settings = read_settings(**({} if data is None else {"data": data}))
    with opened(settings) as database:
        yield _Desk(settings, Store(database))


def _told(task: Task) -> dict[str, Any]:
    """What an operator is told of a task: all but our own bookkeeping."""
    values = {name: value for name, value in asdict(task).items() if name not in ("fingerprint", "files_url", "beat")}
    moments = ("created_at", "updated_at", "began_at", "expires_at", "not_before")
    return {name: moment(value) if name in moments else value for name, value in values.items()}
