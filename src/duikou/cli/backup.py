"""`duikou backup`: a copy of one machine's data folder, taken while its server runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from duikou.cli.keys import Data
from duikou.cli.terminal import EXIT_ERROR, AsJson, complain, print_json, read_settings, say, server_packages
from duikou.errors import InputError
from duikou.units import MIB

PATIENCE_S = 60.0  # with a file storage that does not answer


def backup(
    to: Annotated[
        Path, typer.Argument(metavar="TO", help="A new folder, or an earlier backup, which is brought up to date.")
    ],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Copy the data folder of a server, which may be running, to TO. `duikou serve --data TO` serves the copy.

    The exit status is 1 if the database names files that the server itself has lost.
    """
    with server_packages():
        from duikou.storage.data_folder import DataFolder
        from duikou.storage.factory import open_files
        from duikou.tasks.backup import back_up
        from duikou.telemetry import logs

    settings = read_settings(data=data)
    logs.configure(settings.secrets())
    if settings.database_url:
        raise InputError(
            "backs up the data folder of one machine; back up a fleet's database with pg_dump and its bucket with "
            "the storage's own tools (docs/operations.md)",
            field="duikou backup",
        )
    folder = DataFolder(settings.data)
    files = open_files(settings.storage_url, folder.root, folder.scratch, PATIENCE_S)
    try:
        made = back_up(folder, files, to)
    except InputError as error:
        raise error.renamed({"to": "TO", "data": "--data or DUIKOU_DATA"}.get(error.field, error.field)) from error
    if as_json:
        print_json({"to": str(to.absolute()), **asdict(made)})
    else:
        say(f"backed up {made.files} files, {made.bytes / MIB:.1f} MiB, {made.copied} of them new, to {to}")
    if made.missing:
        complain(f"{len(made.missing)} files that the database names are not stored, such as {made.missing[0]}")
        raise typer.Exit(EXIT_ERROR)
