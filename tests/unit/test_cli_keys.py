"""`duikou keys` on a data folder: what it prints where, and what it leaves in the database."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import structlog
from rows import task

from duikou.cli import main
from duikou.database.engine import Database
from duikou.tasks.accounts import Accounts, KeyKind, digest
from duikou.tasks.store import Store


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUIKOU_DATA", str(tmp_path / "data"))
    structlog.reset_defaults()  # whatever tests before this one have set up
    return tmp_path / "data"


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a call that succeeds prints."""
    capsys.readouterr()
    assert main.run(["keys", *arguments]) == 0
    return capsys.readouterr().out


def fault(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a call that the caller got wrong complains of."""
    capsys.readouterr()
    assert main.run(["keys", *arguments]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    return shown.err


def using(data: Path) -> str:
    """What commands say first."""
    return f"using the data folder {data}\n"


@pytest.fixture
def accounts(data: Path):
    data.mkdir()
    database = Database(f"sqlite:///{data / 'duikou.db'}")
    yield Accounts(database)
    database.close()


def test_a_plain_key_is_shown_once_and_kept_as_its_digest(accounts, capsys) -> None:
    made = json.loads(answer(capsys, "make", "alice", "--json"))
    assert made.keys() == {"id", "account", "api_key"}
    found = accounts.find(digest(made["api_key"]))
    assert (found.id, found.account, found.kind, found.secret) == (made["id"], "alice", KeyKind.PLAIN, "")
    assert len(made["api_key"]) >= 43
    listed = answer(capsys, "list", "--json")
    assert made["api_key"] not in listed
    (row,) = json.loads(listed)
    assert row["begins"] == made["api_key"][: len(row["begins"])]
    assert row["made"].endswith(" UTC")


def test_a_signing_pair_has_a_secret_of_at_least_32_bytes(accounts, capsys) -> None:
    made = dict(line.split(": ") for line in answer(capsys, "make", "bob", "--jwt").splitlines())
    assert made.keys() == {"id", "account", "access_key", "secret_key"}
    found = accounts.find(made["access_key"])
    assert (found.kind, found.secret) == (KeyKind.SIGNING, made["secret_key"])
    assert len(made["secret_key"].encode()) >= 32
    assert made["secret_key"] not in answer(capsys, "list", "--json")


def test_keys_are_listed_in_a_table_revoked_ones_too(data, capsys) -> None:
    first, second = (json.loads(answer(capsys, "make", name, "--json"))["id"] for name in ("alice", "bob"))
    revoked = answer(capsys, "revoke", first)
    assert revoked.startswith(f"revoked: {first}, alice, dk-")
    rows = answer(capsys, "list").splitlines()
    assert rows[0].split() == ["id", "account", "kind", "begins", "made", "revoked"]
    assert [row.split()[0] for row in rows[1:]] == [first, second]
    assert (rows[1].count(" UTC"), rows[2].count(" UTC")) == (2, 1)


def test_revoking_again_changes_nothing(accounts, capsys) -> None:
    key_id = json.loads(answer(capsys, "make", "alice", "--json"))["id"]
    answer(capsys, "revoke", key_id)
    (before,) = accounts.all()
    answer(capsys, "revoke", key_id)
    assert accounts.all() == [before]
    assert before.revoked_at > 0
    assert accounts.any()


def test_no_keys_are_no_fault(accounts, data, capsys) -> None:
    assert main.run(["keys", "list"]) == 0
    shown = capsys.readouterr()
    told = f"{using(data)}there are no keys yet: the server is open, on loopback only\n"
    assert (shown.out, shown.err) == ("", told)
    assert json.loads(answer(capsys, "list", "--json")) == []


@pytest.mark.parametrize(
    "command", ["keys list", "keys revoke 1", "keys callback", "keys priority alice 2", "tasks list", "tasks show 1"]
)
@pytest.mark.parametrize("folder", [False, True])
def test_where_there_is_no_database_only_a_key_makes_one(data, capsys, command, folder) -> None:
    if folder:
        data.mkdir()
    assert main.run(command.split()) == 2
    assert capsys.readouterr().err == (
        f"duikou: --data or DUIKOU_DATA: there is no database of duikou in the data folder {data}; `duikou keys make` "
        "and `duikou serve` make one\n"
    )
    assert list(data.iterdir()) == [] if folder else not data.exists()
    answer(capsys, "make", "alice")
    assert main.run(["keys", "list"]) == 0
    assert capsys.readouterr().err == using(data)


def test_an_empty_file_is_no_database(data, capsys) -> None:
    data.mkdir()
    (data / "duikou.db").touch()
    assert main.run(["keys", "list"]) == 2
    assert "there is no database of duikou in" in capsys.readouterr().err


def test_a_misspelt_setting_is_told(accounts, data, capsys, monkeypatch) -> None:
    monkeypatch.setenv("DUIKOU_WORKRES", "2")
    assert main.run(["keys", "list", "--json"]) == 0
    told = "warning: there is no setting DUIKOU_WORKRES; did you mean DUIKOU_WORKERS?\n"
    assert capsys.readouterr().err == told + using(data)


def test_an_accounts_callbacks_are_signed_with_one_secret(accounts, capsys) -> None:
    answer(capsys, "make", "alice")
    secret = answer(capsys, "callback", "alice").strip()
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64, "Standard Webhooks"
    assert answer(capsys, "callback", "alice").strip() == secret == accounts.callback_secret("alice")
    assert answer(capsys, "callback").strip() == accounts.callback_secret("") != secret


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("make", " alice"), "ACCOUNT: a name has 1 to 64 printable characters and no space around them, not ' alice'"),
        (("make", ""), "ACCOUNT: a name has 1 to 64 printable characters"),
        (("make", "x" * 65), "ACCOUNT: a name has 1 to 64 printable characters"),
        (("make", "a\nb"), "ACCOUNT: a name has 1 to 64 printable characters"),
        (("revoke", "12"), "ID: there is no key '12'; `duikou keys list` shows them"),
        (("callback", "nobody"), "ACCOUNT: there is no account 'nobody'; `duikou keys list` shows all that have a key"),
        (("priority", "nobody", "2"), "ACCOUNT: there is no account 'nobody'; `duikou keys list` shows all that"),
        (("priority", "alice", "0"), "N: 0 lies outside 1 to 100"),
        (("priority", "alice", "101"), "N: 101 lies outside 1 to 100"),
        (("priority", "alice", "much"), "N: "),
        (("priority", "alice"), "N"),
        (("priority", "x" * 65, "2"), "ACCOUNT: there is no account"),
        (("make",), "ACCOUNT"),
        (("dance",), "dance"),
    ],
)
def test_faults(accounts, capsys, arguments, sentence) -> None:
    assert sentence in fault(capsys, *arguments)
    assert json.loads(answer(capsys, "list", "--json")) == []


def test_an_account_gets_more_of_what_waits_from_now_on(accounts, data, capsys) -> None:
    database = Database(f"sqlite:///{data / 'duikou.db'}")
    store, apart = Store(database), []
    answer(capsys, "make", "alice")
    for share in (1, 4):
        assert answer(capsys, "priority", "alice", str(share)) == ""
        first, second = (store.tasks.add(task(account="alice", source_duration_ms=10_000)) for _ in range(2))
        apart.append(second.turn - first.turn)
    assert apart == [10.0, 2.5]
    database.close()


def test_the_open_account_has_a_priority_too(accounts, capsys) -> None:
    assert answer(capsys, "priority", "", "2") == ""


def test_the_folder_may_be_named(tmp_path, data, capsys) -> None:
    answer(capsys, "make", "alice", "--data", str(tmp_path / "other"))
    assert "alice" in answer(capsys, "list", "--data", str(tmp_path / "other"))
    assert not data.exists()
