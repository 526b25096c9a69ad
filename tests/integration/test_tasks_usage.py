"""What accounts store, over both databases: what counts, what goes for more, and what never goes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from crowd import at_once
from rows import END, Clock, add_session, identify_task, media, task

from duikou.database import tables
from duikou.database.engine import Database
from duikou.tasks.accounts import Accounts, KeyKind
from duikou.tasks.models import Media, MediaKind, SessionRecord
from duikou.tasks.states import Fault, TaskStatus
from duikou.tasks.store import Store
from duikou.tasks.store.errors import QuotaError
from duikou.tasks.store.usage import BATCH, LEAST, StorageLimits
from duikou.units import DAY_MS, MIB


def upload(store: Store, media_id: str, size: int = MIB, limits: StorageLimits | None = None, **what: Any) -> list[str]:
    """Store an upload; ids of those that went for it."""
    new = media(id=media_id, kind=MediaKind.UPLOAD, size=size, **what)
    return [one.id for one in store.usage.add(new, limits or StorageLimits())]


def kept(store: Store) -> set[str]:
    with store.media._database.reading() as connection:
        return set(connection.scalars(sa.select(tables.media.c.id)))


def test_the_oldest_unused_uploads_of_an_account_go_for_a_new_one(store: Store) -> None:
    limits = StorageLimits(unused=3 * MIB)
    for number, at in (("1", 30), ("2", 10), ("3", 20)):
        assert upload(store, number, limits=limits, created_at=at) == []
    assert upload(store, "9", 3 * MIB, limits, account="other", created_at=1) == []
    assert sorted(upload(store, "4", MIB + 1, limits, created_at=40)) == ["2", "3"]
    assert sorted(upload(store, "5", 5 * MIB, limits, created_at=50)) == ["1", "4"], "one alone may be larger"
    assert kept(store) == {"5", "9"}


def test_what_is_used_or_needed_stays_and_does_not_count_as_unused(store: Store) -> None:
    limits = StorageLimits(unused=2 * MIB)
    for number in "12345":
        upload(store, number)
    assert store.media.use("1", END)
    add_session(store, SessionRecord("8", "", media(id="2"), (), 1, END))
    store.tasks.add(task(id="7", source_id="3"))
    store.tasks.add(identify_task(id="6", source_id="4"))
    assert upload(store, "x", limits=limits) == []
    assert upload(store, "y", limits=limits) == ["5"]
    assert {one.id for one in store.usage.take_unused("x", -9 * MIB)} == {"x", "y"}
    assert kept(store) == {"1", "2", "3", "4"}


def test_an_upload_that_went_is_not_used_and_one_that_is_used_does_not_go(store: Store) -> None:
    for number in range(8):
        upload(store, str(number))
    calls = [partial(store.media.use, str(number), END) for number in range(8)]
    *used, gone = at_once(*calls, partial(store.usage.take_unused, "x", 0))
    ids = {one.id for one in gone}
    assert [str(number) in ids for number in range(8)] == [not one for one in used]
    assert kept(store) == {str(number) for number in range(8)} - ids


def test_an_account_stores_no_more_than_it_may(store: Store, clock: Clock) -> None:
    limits = StorageLimits(stored=10 * MIB)
    source = media(id="1", size=4 * MIB)
    store.usage.add(source, limits)
    store.usage.add(media(id="2", kind=MediaKind.RESULT, size=2 * MIB), limits)
    store.tasks.add(replace(task(id="3"), size=2 * MIB))
    add_session(store, replace(SessionRecord("4", "", source, (), 1, END), size=MIB))
    store.usage.require_room("", limits)
    upload(store, "5", MIB, limits)
    store.usage.require_room("", limits)  # for it would go
    upload(store, "9", 9 * MIB, limits, account="other")
    sentence = (
        "^This account stores 10.0 MB of the 10 MB that it may, and 1.5 MB would be added; delete tasks that are no "
        "longer needed, or wait until some of it expires.$"
    )
    with pytest.raises(QuotaError, match=sentence):
        store.usage.add(media(id="6", size=3 * MIB // 2), limits)
    assert kept(store) == {"1", "2", "5", "9"}, "nothing goes in vain"
    assert [one.id for one in store.usage.add(media(id="6", size=MIB), limits)] == ["5"]
    with pytest.raises(QuotaError, match=r"^This account stores 10\.0 MB of the 10 MB that it may; delete tasks"):
        store.usage.require_room("", limits)
    store.usage.require_room("other", limits)
    store.usage.require_room("", StorageLimits())


def test_files_that_come_at_once_count_each_other(store: Store) -> None:
    limits = StorageLimits(stored=3 * MIB)
    files = [media(id=str(number), size=MIB) for number in range(8)]
    came = at_once(*(partial(store.usage.add, one, limits) for one in files))
    assert sum(isinstance(one, QuotaError) for one in came) == 5
    assert len(kept(store)) == 3


def test_tiny_uploads_count_for_more_than_they_have_and_many_go_for_a_large_one(store: Store) -> None:
    limits = StorageLimits(unused=3 * BATCH * LEAST)
    for number in range(3 * BATCH):
        assert upload(store, str(number), 1, limits, created_at=number) == []
    assert upload(store, "one more", 1, limits, created_at=1_000) == ["0"]
    gone = upload(store, "large", (2 * BATCH + 1) * LEAST, limits, created_at=1_001)
    assert sorted(map(int, gone)) == list(range(1, 2 * BATCH + 2))


def test_on_a_full_disk_those_go_who_have_most(store: Store) -> None:
    for number in range(10):
        upload(store, f"a{number}", account="a", created_at=100 + number)
    for number in range(3):
        upload(store, f"b{number}", account="b", created_at=number)
    assert store.usage.take_unused("c", 10 * MIB) == []
    assert store.usage.take_unused("a", 3 * MIB) == [], "a's own stay for a's own call"
    gone = {one.id for one in store.usage.take_unused("c", 4 * MIB)}
    assert gone == {"a0", "a1", "a2"}, "7 MB are left of a's, and 7 MB are free"
    gone = {one.id for one in store.usage.take_unused("c", -2 * MIB)}
    assert {"a3", "a4", "a5", "a6"} <= gone
    assert not gone & {"b1", "b2"}
    assert store.usage.take_unused("c", 3 * MIB) == []


def test_whoever_fills_the_disk_is_refused_and_others_are_not(store: Store, clock: Clock, database: Database) -> None:
    clock.ms = 2 * DAY_MS
    month_old, today = DAY_MS // 2, clock.ms - DAY_MS // 2
    store.usage.add(media(id="1", account="old", size=900 * MIB, created_at=month_old))
    store.usage.add(media(id="2", account="a", size=200 * MIB, created_at=today))
    store.tasks.add(replace(task(id="3", account="a", created_at=today), size=100 * MIB))
    store.tasks.add(replace(task(id="4", account="a", status=TaskStatus.FAILED, created_at=1), size=900 * MIB))
    keys = Accounts(database)
    for _ in range(2):
        keys.make("a", KeyKind.PLAIN)
    assert store.usage.require_share("a", 0, replaces=True) == [], "who is alone"
    keys.make("old", KeyKind.PLAIN)
    for account, left in (("a", 300 * MIB), ("old", 0)):
        assert store.usage.require_share(account, left, replaces=False) == []
    sentence = (
        "^The server's disk is nearly full, and this account has stored 301.0 MB within a day, which is more than the "
        "298.0 MB left for all; delete tasks"
    )
    for number in range(2):
        upload(store, f"5{number}", MIB // 2, account="a", created_at=today + number)
    with pytest.raises(QuotaError, match=sentence):
        store.usage.require_share("a", 298 * MIB, replaces=True)
    with pytest.raises(QuotaError):
        store.usage.require_share("a", 300 * MIB, replaces=False)
    assert kept(store) == {"1", "2", "50", "51"}, "none goes in vain"
    assert [one.id for one in store.usage.require_share("a", 300 * MIB, replaces=True)] == ["50"]
    assert [one.id for one in store.usage.require_share("a", 300 * MIB, replaces=True)] == ["51"]
    assert store.usage.require_share("a", 300 * MIB, replaces=False) == []


def test_who_is_alone_loses_unused_uploads_only_below_the_floor(store: Store) -> None:
    for number in range(3):
        upload(store, str(number), created_at=number)
    assert store.usage.require_share("", 0, replaces=True) == []
    assert store.usage.require_share("", -1, replaces=False) == []
    assert [one.id for one in store.usage.require_share("", -1, replaces=True)] == ["0"]


def test_a_source_is_kept_as_long_as_the_tasks_that_start_from_it(store: Store, clock: Clock) -> None:
    source = media(id="1", expires_at=2_000)
    store.usage.add(source)
    store.tasks.add(task(id="2", source_id="1"), source_until=5_000)
    assert _until(store, source) == 5_000
    claimed = store.queue.claim()
    assert claimed
    assert store.tasks.fail(claimed, "no", Fault.INPUT, expires_at=9_000)
    assert _until(store, source) == 9_000
    store.tasks.add(task(id="3", source_id="1"), source_until=6_000)
    assert _until(store, source) == 9_000, "never for less"


def test_a_source_that_is_a_result_ends_with_its_task(store: Store) -> None:
    result = media(id="1", kind=MediaKind.RESULT, expires_at=2_000)
    store.usage.add(result)
    store.tasks.add(task(id="2", source_id="1"), source_until=5_000)
    assert _until(store, result) == 2_000


def _until(store: Store, source: Media) -> int:
    found = store.media.get(source.id)
    assert found
    return found.expires_at
