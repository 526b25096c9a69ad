"""`duikou keys`: who may call the server. Works on the server's database, whether a server is running or not.

`keys make` creates the database where there is none, since the first key may come before the first server. All other
commands refuse then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

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
from duikou.errors import InputError

if TYPE_CHECKING:
    from duikou.tasks.accounts import Accounts

DEFAULT_ACCOUNT: Final = ""  # of a server without keys; `duikou.tasks.accounts.OPEN`
ARGUMENTS: Final = {"account": "ACCOUNT", "key": "ID", "priority": "N"}
"""What the commands call the parameters of `Accounts` that errors name."""

keys_app = typer.Typer(help="Create, list and revoke the keys of the server's accounts.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option(metavar="DIR", help="The server's data folder.", show_default="duikou-data")]


@keys_app.command("make")
def make(
    account: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="The key's account; an unknown name creates an account.")
    ],
    signing: Annotated[
        bool, typer.Option("--jwt", help="Create a pair for signed tokens (JWT, HS256) instead of a plain API key.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Create a key for ACCOUNT and show it, only this once: keep it safe. Creating the first key closes the server to
    anonymous calls.
    """
    with _accounts(data, create=True) as accounts:
        from duikou.tasks.accounts import KeyKind

        made = accounts.make(account, KeyKind.SIGNING if signing else KeyKind.PLAIN)
    shown = {"id": made.key.id, "account": account}
    shown |= {"access_key": made.access, "secret_key": made.secret} if signing else {"api_key": made.secret}
    say(json.dumps(shown) if as_json else "\n".join(f"{name}: {value}" for name, value in shown.items()))


@keys_app.command("list")
def show(data: Data = None, as_json: AsJson = False) -> None:
    """List all keys by their first characters, revoked ones included."""
    with _accounts(data) as accounts:
        found = accounts.all()
    rows = [
        {
            "id": key.id,
            "account": key.account,
            "kind": str(key.kind),
            "begins": key.hint,
            "made": format_time(key.created_at),
            "revoked": format_time(key.revoked_at),
        }
        for key in found
    ]
    if as_json:
        print_json(rows)
    elif rows:
        print_table([tuple(row.values()) for row in rows], tuple(rows[0]))
    else:
        say("there are no keys yet: the server is open, on loopback only", err=True)


@keys_app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `duikou keys list`.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key, immediately and permanently. The sessions and tasks of its account stay."""
    with _accounts(data) as accounts:
        revoked = accounts.revoke(key)
    if as_json:
        print_json({"id": revoked.id, "account": revoked.account, "begins": revoked.hint})
    else:
        say(f"revoked: {revoked.id}, {revoked.account}, {revoked.hint}...")


@keys_app.command("callback")
def callback(
    account: Annotated[
        str, typer.Argument(metavar="[ACCOUNT]", help="If left out, the account of a server without keys.")
    ] = DEFAULT_ACCOUNT,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show the secret that signs an account's callbacks (Standard Webhooks)."""
    with _accounts(data) as accounts:
        accounts.require(account)
        secret = accounts.callback_secret(account)
    if as_json:
        print_json({"account": account, "callback_secret": secret})
    else:
        say(secret)


@keys_app.command("priority")
def priority(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Whose tasks; it must exist.")],
    share: Annotated[int, typer.Argument(metavar="N", help="Multiple of an ordinary account's share, 1 to 100.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Give new tasks of ACCOUNT N times the share of an ordinary account's while tasks are queued."""
    with _accounts(data) as accounts:
        accounts.set_priority(account, share)
    if as_json:
        print_json({"account": account, "priority": share})


@contextmanager
def _accounts(data: Path | None, *, create: bool = False) -> Iterator[Accounts]:
    with server_packages():
        from duikou.tasks.accounts import Accounts

    with opened_database(read_settings(data=data), create=create) as database:
        try:
            yield Accounts(database)
        except InputError as error:
            raise error.renamed(ARGUMENTS.get(error.field, error.field)) from error
