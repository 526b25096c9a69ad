"""`duikou batch`: a file of jobs, each as `duikou sync` does one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Final

import typer

from duikou.cli import remote
from duikou.cli.batch_run import DONE, FAILED, SKIPPED, BatchRun, Outcome, Ready
from duikou.cli.batch_state import BatchState
from duikou.cli.jobs import Fault, Job, read_jobs
from duikou.cli.terminal import (
    EXIT_ERROR,
    EXIT_INPUT,
    AsJson,
    Quiet,
    complain,
    print_json,
    print_table,
    read_settings,
    require_file,
    show_progress,
    warn,
)
from duikou.errors import DuikouError, InputError, StorageError
from duikou.progress import Progress

HEADER: Final = ("line", "output", "state", "seconds", "error")


def batch(
    jobs: Annotated[
        Path,
        typer.Argument(
            metavar="JOBS",
            help="A CSV or JSONL file with a job on each line, by the fields of a plan file.",
            show_default=False,
        ),
    ],
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The file that remembers what is done, so that the next run does the rest.",
            show_default="JOBS.state.jsonl",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Do all jobs, also those that are done.")] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Do the other jobs if some are at fault, in place of none.")
    ] = False,
    parallel: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="How many jobs a server gets at once.")] = 4,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that duikou has not made.")] = False,
    server: remote.ServerUrl = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Do every lip sync that JOBS lists, and print a table of what became of each.

    The exit status is 2 if a job is at fault or its input cannot be used, and 1 if a job failed for another reason.
    """
    from duikou.faces.devices import allow_gpu
    from duikou.provenance.producer import configured, user_folder

    require_file(jobs, "JOBS")
    began = monotonic()
    settings = read_settings()
    found = read_jobs(jobs, configured(settings, user_folder()), server)
    if server is None:
        found = [one.encoded_by(settings.encoder) if isinstance(one, Job) else one for one in found]
        allow_gpu(allowed=settings.face_device == "auto")
    with BatchState.opened(state or jobs.with_name(f"{jobs.name}.state.jsonl")) as kept:
        with show_progress(jobs.name, quiet=quiet) as progress:
            checked = _checked(found, None if again else kept, progress, force=force)
        faults = [one for one in checked if isinstance(one, Fault)]
        for fault in faults if not keep_going else ():
            complain(f"{jobs.name} line {fault.line}: {fault.reason}")
        if faults and not keep_going:
            raise typer.Exit(EXIT_INPUT)
        ready = [one for one in checked if isinstance(one, Ready)]
        if not quiet:
            warn(f"line {one.job.line}: {doubt}" for one in ready for doubt in one.checked.doubts)
        if again:
            kept.begin()
        ended = [one for one in checked if isinstance(one, Outcome)]
        ended += [
            Outcome(one.line, one.video, one.output, None, FAILED, error=one.reason, exit_status=EXIT_INPUT)
            for one in faults
        ]
        with show_progress(jobs.name, quiet=quiet) as progress:
            run = BatchRun(kept, ready, progress, quiet=quiet)
            stop = _do(run, server, parallel) if ready else None
        _show(
            [*ended, *run.outcomes], left=len(ready) - len(run.outcomes), seconds=monotonic() - began, as_json=as_json
        )
    if stop is not None:
        raise stop
    statuses = {one.exit_status for one in (*ended, *run.outcomes)}
    for status in (EXIT_ERROR, EXIT_INPUT):
        if status in statuses:
            raise typer.Exit(status)


def _checked(
    found: Sequence[Job | Fault], kept: BatchState | None, progress: Progress, *, force: bool
) -> list[Fault | Outcome | Ready]:
    """What is to be done, what was done before, and what cannot be done. kept: `None` to do everything again."""
    checked: list[Fault | Outcome | Ready] = []
    for number, one in enumerate(found):
        progress("checking", number / len(found))
        checked.append(one if isinstance(one, Fault) else _sorted(one, kept, force=force))
    progress("checking", 1.0)
    return checked


def _sorted(job: Job, kept: BatchState | None, *, force: bool) -> Fault | Outcome | Ready:
    paths = job.order.output.paths(Path(job.order.video)).values()
    try:
        if kept is not None and all(path.is_file() for path in paths) and kept.is_done(job.output, job.digest()):
            return Outcome.of(job, SKIPPED)
        return Ready(job, job.order.check(force=force, ask=False), job.digest())
    except InputError as error:
        reason = job.in_own_words(error)
    except DuikouError as error:
        reason = str(error)
    except OSError as error:  # such as a name that is too long, or a file that has just gone
        reason = f"{error.filename}: {error.strerror}"
    return Fault(job.line, reason, str(job.order.video), str(job.order.output.path))


def _do(run: BatchRun, server: str | None, parallel: int) -> BaseException | None:
    """Do the jobs; what stopped them on the way, if the table is still to be shown."""
    try:
        with remote.work_at(server, patient=True) as work:
            if isinstance(work, remote.Server):
                run.at(work, parallel)
            else:
                run.here(work)
    except (KeyboardInterrupt, SystemExit, StorageError) as stop:
        return stop
    return None


def _show(outcomes: Sequence[Outcome], *, left: int, seconds: float, as_json: bool) -> None:
    outcomes = sorted(outcomes, key=lambda one: one.line)
    counts = {state: sum(one.state == state for one in outcomes) for state in (DONE, SKIPPED, FAILED)}
    if as_json:
        totals: dict[str, Any] = {**counts, "left": left, "seconds": round(seconds, 1)}
        print_json({"jobs": [one.as_json() for one in outcomes], **totals})
        return
    print_table(map(_row, outcomes), HEADER)
    if left:
        warn([f"{left} jobs are left; the same command does them."], heading="")


def _row(one: Outcome) -> tuple[str, ...]:
    spent = "" if one.seconds is None else f"{one.seconds:.1f}"
    return str(one.line), one.output, one.state, spent, one.error or ""
