"""The command line: its commands, and how errors become one sentence and an exit status.

Results go to standard output, progress and errors to standard error. Exit status: 0 only where the result is complete,
2 for an error of the caller, 1 for any other error, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from functools import cache
from inspect import getdoc
from typing import Annotated, Final, NoReturn

import typer
from typer.exceptions import TyperException
from typer.main import get_command

import duikou
from duikou.cli import usage
from duikou.cli.backup import backup
from duikou.cli.batch import batch
from duikou.cli.doctor import doctor
from duikou.cli.faces import faces
from duikou.cli.inspect import inspect
from duikou.cli.keys import keys_app
from duikou.cli.serve import serve, studio, worker
from duikou.cli.sync import SyncCommand, sync
from duikou.cli.tasks import tasks_app
from duikou.cli.terminal import EXIT_ERROR, EXIT_INPUT, complain, say
from duikou.errors import DuikouError, InputError

EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
EXIT_TERMINATED: Final = 128 + signal.SIGTERM
PARAMETERS: Final = {
    "video": "VIDEO",
    "audio": "AUDIO",
    "file": "FILE",
    "face_id": "--face",
    "insert_ms": "--at",
    "trim_start_ms": "--trim",
    "trim_end_ms": "--trim",
    "audio_volume": "--volume",
    "original_volume": "--original-volume",
    "original_scope": "--original-scope",
    "references": "--reference",
    "exclude": "--exclude",
    "sync_mode": "--sync-mode",
    "output": "--output",
    "watermark": "--watermark",
    "encoder": "--encoder",
    "queues": "--queues",
    "producer": "DUIKOU_AIGC_PRODUCER",
    "certificate": "DUIKOU_C2PA_CERTIFICATE",
    "key": "DUIKOU_C2PA_KEY",
}
"""What the command line calls the library's parameters that errors name."""
DEBUG_VARIABLE: Final = "DUIKOU_DEBUG"  # if set, an unexpected error prints its traceback

app = typer.Typer(
    name="duikou",
    help="Lip sync: a video and a piece of speech in, the same video with that face speaking out.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(faces)
app.command(cls=SyncCommand)(sync)
for command in (batch, inspect, serve, studio, worker, backup, doctor):
    app.command()(command)
for name, group in (("keys", keys_app), ("tasks", tasks_app)):
    app.add_typer(group, name=name, short_help=str(group.info.help))
for registered in (one for group in (app, keys_app, tasks_app) for one in group.registered_commands):
    # Lists of commands show a short help whole, and cut off any other help in the middle of a sentence.
    registered.short_help = re.split(r"\.\s", f"{getdoc(registered.callback)} ")[0] + "."


def main() -> NoReturn:
    """Entry point of the `duikou` command."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line on `arguments` and return its exit status; errors become one sentence on stderr."""
    try:
        status = _command()(arguments, prog_name="duikou", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_ERROR
    except typer.Abort:  # Ctrl-C at a question
        return EXIT_INTERRUPTED
    except TyperException as error:
        if usage.is_help(error):
            say(error.message, err=True)
        else:
            complain(usage.sentence(error))
        return EXIT_INPUT
    except InputError as error:
        complain(str(_in_own_words(error)))
        return EXIT_INPUT
    except DuikouError as error:
        complain(_with_variable(str(error)))
        return EXIT_ERROR
    except Exception as error:  # a bug: one sentence all the same, the traceback on request
        from duikou.telemetry.logs import hidden

        if os.environ.get(DEBUG_VARIABLE):
            import traceback

            say(hidden(traceback.format_exc()), err=True)
        complain(f"unexpected {type(error).__name__}: {hidden(str(error))} (set {DEBUG_VARIABLE}=1 for the traceback)")
        return EXIT_ERROR


@cache
def _command() -> Callable[..., object]:
    """All commands as one; made of their signatures, which takes longer than many of them."""
    return get_command(app)


def _with_variable(text: str) -> str:
    """The sentence with the environment variable in place of the setting at its start."""
    from duikou.settings import PREFIX, Settings

    name, colon, reason = text.partition(": ")
    return f"{PREFIX}{name.upper()}: {reason}" if colon and name in Settings.model_fields else text


def _in_own_words(error: InputError) -> InputError:
    """The error with the option, argument or environment variable in place of the library's parameter or setting."""
    from duikou.settings import Settings

    name, _, place = error.field.rpartition(".")[2].partition("[")  # of `choices[0].references[1]`
    if name in PARAMETERS:
        return error.renamed(f"{PARAMETERS[name]} {int(place.rstrip(']')) + 1}" if place else PARAMETERS[name])
    return error.renamed(f"DUIKOU_{name.upper()}") if name in Settings.model_fields else error


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"duikou {duikou.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def _on_sigterm(_signal: int, _frame: object) -> NoReturn:
    # Unwinds the stack, so that half-written files are removed as after Ctrl-C.
    sys.exit(EXIT_TERMINATED)
