"""Accounts, keys and shared secrets over both databases."""

from __future__ import annotations

from functools import partial

import pytest
from crowd import at_once

from duikou.database.engine import Database
from duikou.errors import InputError, NotFoundError
from duikou.tasks.accounts import MAX_NAME, MAX_PRIORITY, OPEN, Accounts, KeyKind, digest


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database)


def test_a_key_is_found_until_it_is_revoked(accounts: Accounts) -> None:
    assert not accounts.any()
    plain, signing = accounts.make("alice", KeyKind.PLAIN), accounts.make("alice", KeyKind.SIGNING)
    assert accounts.find(digest(plain.secret)) == plain.key
    assert accounts.find(signing.access) == signing.key
    assert accounts.find(plain.secret) is None
    revoked = accounts.revoke(plain.key.id)
    assert revoked.revoked_at >= plain.key.created_at
    assert accounts.revoke(plain.key.id) == revoked
    assert accounts.find(digest(plain.secret)) is None
    assert {key.id for key in accounts.all()} == {plain.key.id, signing.key.id}
    accounts.revoke(signing.key.id)
    assert accounts.any()
    with pytest.raises(NotFoundError, match="there is no key '12'"):
        accounts.revoke("12")


@pytest.mark.parametrize("name", ["", " a", "a\n", "x" * (MAX_NAME + 1)], ids=["none", "space", "line", "long"])
def test_a_name_that_is_none_makes_no_account(accounts: Accounts, name: str) -> None:
    with pytest.raises(InputError, match="a name has 1 to 64"):
        accounts.make(name, KeyKind.PLAIN)
    if name != OPEN:
        with pytest.raises(NotFoundError, match="there is no account"):
            accounts.set_priority(name, 2)
    assert accounts.all() == []


def test_the_longest_name_fits(accounts: Accounts) -> None:
    name = "\U0001f600" * MAX_NAME
    accounts.make(name, KeyKind.PLAIN)
    accounts.set_priority(name, MAX_PRIORITY)
    accounts.set_priority(OPEN, 1)


@pytest.mark.parametrize("priority", [-1, 0, MAX_PRIORITY + 1])
def test_a_priority_lies_in_its_bounds(accounts: Accounts, priority: int) -> None:
    with pytest.raises(InputError, match=f"priority: {priority} lies outside 1 to {MAX_PRIORITY}"):
        accounts.set_priority("alice", priority)


def test_an_account_that_many_make_at_once_has_one_secret(accounts: Accounts) -> None:
    secrets = at_once(*[partial(accounts.callback_secret, "alice")] * 8)
    assert set(secrets) == {accounts.callback_secret("alice")}
    assert secrets[0] != accounts.callback_secret("bob")


def test_the_first_secret_of_a_name_is_everyones(accounts: Accounts) -> None:
    secrets = at_once(*(partial(accounts.secret, "addresses", bytes([number]) * 32) for number in range(8)))
    assert len(set(secrets)) == 1
    assert secrets[0][1:] == secrets[0][:-1]
    assert accounts.secret("addresses", b"later") == secrets[0]
    assert accounts.secret("others", b"later") == b"later"
