"""`duikou keys`: who may call the server. Works on the data folder's database, whether a server runs on it or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from duikou.cli.terminal import output, read_settings
from duikou.database.engine import opened
from duikou.errors import NotFoundError
from duikou.tasks.accounts import OPEN, Accounts, KeyKind
from duikou.telemetry import logs

keys_app = typer.Typer(help="Make, list and revoke the keys of the server's accounts.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option(metavar="DIR", help="The server's data folder.", show_default="duikou-data")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@keys_app.command("make")
def make(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Whose key it is; a new name is a new account.")],
    signing: Annotated[
        bool, typer.Option("--jwt", help="A pair for signed tokens (JWT, HS256) and no plain API key.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for ACCOUNT and show it, this once: keep it safe. With the first key the server is open no longer."""
    with _accounts(data) as accounts:
        made = accounts.make(account, KeyKind.SIGNING if signing else KeyKind.PLAIN)
    shown = {"id": made.key.id, "account": account}
    shown |= {"access_key": made.access, "secret_key": made.secret} if signing else {"api_key": made.secret}
    typer.echo(json.dumps(shown) if as_json else "\n".join(f"{name}: {value}" for name, value in shown.items()))


@keys_app.command("list")
def show(data: Data = None, as_json: AsJson = False) -> None:
    """List all keys by their beginnings; what was revoked is listed too."""
    with _accounts(data) as accounts:
        found = accounts.all()
    rows = [
        {
            "id": key.id,
            "account": key.account,
            "kind": str(key.kind),
            "begins": key.hint,
            "made": moment(key.created_at),
            "revoked": moment(key.revoked_at),
        }
        for key in found
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif not rows:
        typer.echo("there is no key yet: the server is open, on loopback only", err=True)
    else:
        table = Table(*rows[0], box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row.values())
        output().print(table)


@keys_app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `duikou keys list` shows it.")],
    data: Data = None,
) -> None:
    """Revoke a key, at once and for good; sessions and tasks of its account stay."""
    with _accounts(data) as accounts:
        revoked = accounts.revoke(key)
    typer.echo(f"revoked: {revoked.id}, {revoked.account}, {revoked.hint}...")


@keys_app.command("callback")
def callback(
    account: Annotated[
        str, typer.Argument(metavar="[ACCOUNT]", help="Left out: the one of a server without keys.")
    ] = OPEN,
    data: Data = None,
) -> None:
    """Show the secret that signs an account's callbacks (Standard Webhooks)."""
    with _accounts(data) as accounts:
        if account != OPEN and account not in {key.account for key in accounts.all()}:
            raise NotFoundError(f"there is no account {account!r}; `duikou keys list` shows them", field="account")
        typer.echo(accounts.callback_secret(account))


@keys_app.command("priority")
def priority(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Whose tasks; a new name is a new account.")],
    share: Annotated[
        int, typer.Argument(metavar="N", help="How many times the share of an ordinary account, 1 to 100.")
    ],
    data: Data = None,
) -> None:
    """Give the tasks of ACCOUNT, from now on, N times the share of an ordinary account where many wait."""
    with _accounts(data) as accounts:
        accounts.set_priority(account, share)


@contextmanager
def _accounts(data: Path | None) -> Iterator[Accounts]:
    logs.configure()  # to the standard error: what is asked for stands alone on the standard output
    with opened(read_settings(**({} if data is None else {"data": data}))) as database:
        yield Accounts(database)


def moment(ms: int) -> str:
    """A Unix time in ms as a person reads it; empty for none."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if ms else ""
