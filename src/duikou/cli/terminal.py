"""What all commands share: settings, tables on standard output, progress on standard error, as a bar or in lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from duikou import progress
from duikou.errors import InputError
from duikou.settings import Settings

PIPE_WIDTH = 250  # columns of a table that goes into a file or a pipe: wide enough that rows stay on one line
PLAIN_STEPS = 4  # lines per stage where there is no terminal: enough to see life, few enough to read a log


@contextmanager
def shown(title: str, console: Console | None = None) -> Iterator[progress.Progress]:
    """Show `title` and the progress told to the yielded callback until the block ends, on `console` or stderr."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(title, console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=1.0)

        def tell(stage: str, share: float) -> None:
            bar.update(task, description=f"{title}: {stage}", completed=share)

        yield tell


def _plain_lines(title: str, console: Console) -> progress.Progress:
    last: tuple[str, int] | None = None

    def tell(stage: str, share: float) -> None:
        nonlocal last
        step = (stage, int(share * PLAIN_STEPS))
        if step != last:
            last = step
            console.print(f"{title}: {stage} {share:.0%}", highlight=False, markup=False, soft_wrap=True)

    return tell


def output() -> Console:
    """Where tables go: standard output, as wide as its terminal."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, markup=False)


def read_settings(**given: Any) -> Settings:
    """The settings from the environment, with `given` before them. Raises `InputError` naming the setting at fault."""
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise InputError(
            f"{name} (DUIKOU_{name.upper()}): {first['msg']}, not {first['input']!r}", field=name
        ) from error
    except ValueError as error:  # a network that cannot be read
        raise InputError(f"the settings cannot be read: {error}", field="settings") from error
