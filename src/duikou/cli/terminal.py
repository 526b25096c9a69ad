"""What all commands share: exit statuses, settings, tables and JSON on standard output, progress on standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from duikou.cli import usage
from duikou.errors import InputError
from duikou.printable import printable
from duikou.progress import silent

if TYPE_CHECKING:
    from rich.console import Console

    from duikou.database.engine import Database
    from duikou.progress import Progress
    from duikou.settings import Settings

EXIT_ERROR: Final = 1
EXIT_INPUT: Final = 2
PIPE_WIDTH: Final = 250  # columns of a table in a file or a pipe, unless a row needs more to stay on one line
MAX_WIDTH: Final = 100_000
PLAIN_STEPS: Final = 4  # lines per stage without a terminal: enough to see progress, few enough to read a log
ESTIMATE_S: Final = 5.0  # seconds of work after which the time left is told

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Show neither progress nor notes, only errors.")]


def say(text: str, *, err: bool = False) -> None:
    """Print lines of text. Whatever names and answers of others hold, it neither acts on a terminal nor fails."""
    typer.echo(printable(text, keep="\n"), err=err)


def print_path(path: Path) -> None:
    """Print a path: as it is where a program reads it, so that it can be opened."""
    if sys.stdout.isatty():
        say(printable(str(path)))
    else:
        typer.echo(os.fsencode(path))


def warn(sentences: Iterable[str], heading: str = "warning: ") -> None:
    """Print sentences on standard error, each on a line of its own."""
    for sentence in sentences:
        say(printable(f"{heading}{sentence}"), err=True)


def silence(sentence: str) -> None:
    """Say nothing: in place of a function that prints a sentence."""


def complain(sentence: str) -> None:
    """Print one sentence on standard error."""
    say(printable(f"duikou: {sentence}"), err=True)


def require_file(path: Path, field: str) -> None:
    """Raise `InputError` that names `field` where `path` is not a file."""
    if not path.is_file():
        raise InputError(f"there is no file {path}", field=field)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print rows of text in columns, below a header if there is one. A pipe gets rows that are not wrapped."""
    from rich.console import Console
    from rich.table import Table

    rows = list(rows)
    table = Table(box=None, pad_edge=False, show_header=bool(header))
    for place, name in enumerate(header or ("",) * max(map(len, rows), default=0)):
        # Long ids and addresses go on below: nothing is cut off. The first column names the row, so it stays whole.
        table.add_column(printable(name), overflow="fold", no_wrap=not place)
    for row in rows:
        table.add_row(*map(printable, row))
    console = Console(markup=False)
    if not sys.stdout.isatty():
        longest = console.measure(table, options=console.options.update(width=MAX_WIDTH)).maximum
        console = Console(width=max(PIPE_WIDTH, longest), markup=False)
    console.print(table)


def format_time(ms: int) -> str:
    """A Unix time in ms for people to read; empty for 0, which means none."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if ms else ""


@contextmanager
def show_progress(title: str, console: Console | None = None, *, quiet: bool = False) -> Iterator[Progress]:
    """Show `title` and what the yielded callback reports until the block ends, on `console` or standard error.

    A terminal gets a bar, anything else a few plain lines, and nobody anything where `quiet` is set.
    """
    if quiet:
        yield silent
        return
    title = printable(title)
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(title, console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=1.0)

        def update(stage: str, share: float) -> None:
            bar.update(task, description=f"{title}: {stage}", completed=share)

        yield update


def _plain_lines(title: str, console: Console) -> Progress:
    last: tuple[str, int] | None = None
    began = time.monotonic()

    def update(stage: str, share: float) -> None:
        nonlocal last
        step = (stage, int(share * PLAIN_STEPS))
        if step != last:
            last = step
            text = f"{title}: {stage} {share:.0%}{_time_left(time.monotonic() - began, share)}"
            console.print(text, highlight=False, markup=False, soft_wrap=True)

    return update


def _time_left(spent_s: float, share: float) -> str:
    """How long the rest takes at the mean speed so far; empty while that is a guess."""
    if spent_s < ESTIMATE_S or not 0 < share < 1:
        return ""
    minutes, seconds = divmod(round(spent_s * (1 - share) / share), 60)
    return f", about {minutes}:{seconds:02} left"


def read_settings(*, options: dict[str, str] | None = None, **given: Any) -> Settings:
    """The settings from the environment; values in `given` take precedence, except `None`.

    options: names of the command-line options for settings in `given`, where they differ from `--SETTING`.
    Raises `InputError` that names the option or the environment variable, and never shows its value: it may be secret.
    """
    from pydantic import ValidationError

    from duikou.settings import Settings

    given = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        reason = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # a rule over several settings, whose sentence names them
            raise InputError(reason) from None
        name = str(first["loc"][0])
        field = (options or {}).get(name, f"--{name}") if name in given else f"DUIKOU_{name.upper()}"
        raise InputError(usage.reason(reason), field=field) from None


def warn_of_misspelt() -> None:
    """Print a warning for each variable that looks like a setting and is none. Servers and workers log it."""
    from duikou.settings import misspelt

    warn(misspelt(os.environ))


@contextmanager
def opened_database(settings: Settings, *, create: bool = False) -> Iterator[Database]:
    """The server's database of these settings, which standard error names. Needs `server_packages`.

    Raises `NotFoundError` where there is none, unless `create` is set; `StorageError` where it cannot be opened.
    """
    with server_packages():
        from duikou.database.engine import opened
        from duikou.telemetry import logs

    logs.configure(settings.secrets())  # to standard error: standard output holds only what was asked for
    warn_of_misspelt()
    try:
        with opened(settings, create=create) as database:
            warn([f"using {database.shown}"], heading="")
            yield database
    except InputError as error:
        name = "--data or DUIKOU_DATA" if error.field == "data" else error.field
        raise error.renamed(name) from error


@contextmanager
def server_packages() -> Iterator[None]:
    """For the imports of a command that needs `duikou[server]`: without its packages, say so and exit."""
    from duikou.memory import kept_imports

    try:
        with kept_imports():
            yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "duikou" or package in sys.stdlib_module_names:
            raise
        complain(
            f"this command needs the package {package}, which is not installed; "
            f"run: {sys.executable} -m pip install 'duikou[server]'"
        )
        raise typer.Exit(EXIT_ERROR) from error
