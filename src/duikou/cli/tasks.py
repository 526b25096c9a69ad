"""`duikou tasks`: list, show and change the tasks that the server has accepted, whether a server is running or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from duikou.cli.keys import Data
from duikou.cli.terminal import (
    AsJson,
    format_time,
    opened_database,
    print_json,
    print_table,
    read_settings,
    say,
    server_packages,
)
from duikou.errors import InputError, NotFoundError
from duikou.tasks.states import Queue, TaskStatus
from duikou.units import DAY_MS

if TYPE_CHECKING:
    from duikou.database.engine import Database
    from duikou.settings import Settings
    from duikou.storage.base import Files
    from duikou.tasks.models import Attempt, Task
    from duikou.tasks.store import Store

CANCELLED: Final = "The task was cancelled by the operator."
PATIENCE_S: Final = 10.0  # how long to wait for a file storage that does not answer
HEADER: Final = ("id", "account", "queue", "status", "done", "stage", "tries", "made", "reason")
HIDDEN: Final = ("fingerprint", "files_url", "beat")  # fields that only the server needs
TIMES: Final = ("created_at", "updated_at", "began_at", "ended_at", "expires_at", "not_before")

tasks_app = typer.Typer(help="List, show, retry and cancel the tasks of all accounts.", no_args_is_help=True)

TaskId = Annotated[
    str, typer.Argument(metavar="ID", help="The task's id, from `duikou tasks list`, or its caller's external_task_id.")
]


@tasks_app.command("list")
def show_all(
    status: Annotated[
        TaskStatus | None, typer.Option(help="Only tasks with this status.", show_default="unfinished ones")
    ] = None,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="Only tasks of this account.")] = None,
    queue: Annotated[Queue | None, typer.Option(help="Only tasks in this queue.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Include finished tasks.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="The maximum number of tasks.")] = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    with _opened(data) as tasks:
        if account is not None:
            tasks.require_account(account)
        found = tasks.store.tasks.select(
            status=status, account=account, queue=queue, unfinished=not everything, limit=limit
        )
    if as_json:
        print_json([_shown(task) for task in found])
        return
    print_table([_row(task) for task in found], HEADER)
    if len(found) == limit:
        say(f"these are the newest {limit}; --limit shows more", err=True)


@tasks_app.command("show")
def show(task: TaskId, data: Data = None, as_json: AsJson = False) -> None:
    """Show everything that is known about a task, and the attempts at it."""
    with _opened(data) as tasks:
        found = tasks.find(task)
        shown = _shown(found)
        attempts = [_attempt(one) for one in tasks.store.tasks.attempts(found.id)]
    if as_json:
        print_json({**shown, "attempts": attempts})
        return
    print_table([(name, _text(value)) for name, value in shown.items()])
    if attempts:
        say("")
        print_table([tuple(map(str, one.values())) for one in attempts], tuple(attempts[0]))


@tasks_app.command("retry")
def retry(task: TaskId, data: Data = None, as_json: AsJson = False) -> None:
    """Run a failed or cancelled task again, with as many tries as a new one."""
    with _opened(data) as tasks:
        found = tasks.find(task)
        if found.status not in (TaskStatus.FAILED, TaskStatus.CANCELLED):
            raise InputError(f"{task} is {found.status}; only a failed or cancelled task can be retried", field="ID")
        tasks.require_inputs(found)
        if not tasks.store.tasks.resubmit(found):
            raise InputError(f"{task} has just changed; look at it and try again", field="ID")
    _changed(found.id, TaskStatus.SUBMITTED, as_json)


@tasks_app.command("cancel")
def cancel(task: TaskId, data: Data = None, as_json: AsJson = False) -> None:
    """Cancel an unfinished task: its worker is stopped and its caller gets the callback."""
    with _opened(data) as tasks:
        found = tasks.find(task)
        ended = tasks.cancel(found)
    status = ended.status if ended else "gone"
    if found.finished or status is not TaskStatus.CANCELLED:
        raise InputError(f"{task} is finished already: {status}", field="ID")
    _changed(found.id, TaskStatus.CANCELLED, as_json)


def _changed(task: str, status: TaskStatus, as_json: bool) -> None:
    if as_json:
        print_json({"id": task, "status": status})
    else:
        say(f"{status}: {task}")


@dataclass(frozen=True)
class _Tasks:
    """The tasks and the files of these settings."""

    settings: Settings
    database: Database
    store: Store

    def find(self, name: str) -> Task:
        """The task with that id or external id. Raises `NotFoundError`; `InputError` where several have that name."""
        found = self.store.tasks.called(name)
        if not found:
            raise NotFoundError(f"there is no task {name!r}; `duikou tasks list --all` shows them", field="ID")
        if len(found) > 1:
            ids = ", ".join(f"{task.id} of account {task.account!r}" for task in found)
            raise InputError(f"{len(found)} tasks are called {name!r}: {ids}; give the id of one", field="ID")
        return found[0]

    def require_account(self, account: str) -> None:
        """Raise `NotFoundError` where there is no account of that name."""
        from duikou.tasks.accounts import Accounts

        try:
            Accounts(self.database).require(account)
        except InputError as error:
            raise error.renamed("--account") from error

    def cancel(self, task: Task) -> Task | None:
        """The task as it is after cancelling; `None` if it is gone."""
        from duikou.database.ids import now_ms

        return self.store.tasks.cancel(task, CANCELLED, expires_at=now_ms() + self.settings.media_days * DAY_MS)

    def require_inputs(self, task: Task) -> None:
        """Raise `InputError` if an input of the task is gone, so that it could only fail."""
        from duikou.tasks.models import RenderTask

        if not isinstance(task, RenderTask):
            raise InputError(f"{task.id} identified faces for a caller who no longer waits", field="ID")
        if task.session_id is not None and self.store.sessions.get(task.session_id) is None:
            raise InputError(f"the session of {task.id} has expired; its caller must create a new one", field="ID")
        if self.store.media.get(task.source.id) is None:
            raise InputError(f"the video of {task.id} is no longer stored", field="ID")
        files = self._files()
        for choice in task.choices:
            if files.size(str(choice.audio)) is None:
                raise InputError(f"the speech of {task.id} is no longer stored", field="ID")
            if any(files.size(str(key)) is None for key in choice.references):
                raise InputError(f"a reference of {task.id} is no longer stored", field="ID")

    def _files(self) -> Files:
        from duikou.storage.data_folder import DataFolder
        from duikou.storage.factory import open_files

        folder = DataFolder(self.settings.data)
        return open_files(self.settings.storage_url, folder.root, folder.scratch, PATIENCE_S)


@contextmanager
def _opened(data: Path | None) -> Iterator[_Tasks]:
    with server_packages():
        from duikou.tasks.store import Store

    settings = read_settings(data=data)
    with opened_database(settings) as database:
        yield _Tasks(settings, database, Store(database))


def _shown(task: Task) -> dict[str, Any]:
    """The fields of a task that an operator sees, with times for people to read."""
    from duikou.tasks.rows import task_row

    values = {name: value for name, value in task_row(task).items() if name not in HIDDEN}
    return {name: format_time(value) if name in TIMES else value for name, value in values.items()}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    values = {**asdict(attempt), "outcome": attempt.outcome or "running"}
    return {name: format_time(value) if name in TIMES else value for name, value in values.items()}


def _row(task: Task) -> tuple[str, ...]:
    progress, made = f"{task.progress:.0%}", format_time(task.created_at)
    found = (task.id, task.account, task.queue, task.status, progress, task.stage, task.tries, made, task.reason)
    return tuple(map(str, found))


def _text(value: object) -> str:
    return (json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else str(value)) or "-"
