"""How far long work is, shown on standard error: a bar on a terminal, plain lines in a file or a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from duikou import progress

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
