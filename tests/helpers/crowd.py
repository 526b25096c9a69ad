"""Concurrent callers: threads of this process, or processes that share a database."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from duikou.database.engine import Database
from duikou.tasks.store import Store

WAIT_S = 120


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make all calls at the same moment, each in its own thread; their results, exceptions included."""
    start = threading.Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        start.wait(WAIT_S)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def processes_at_once(count: int, call: Callable[[str], Any], url: str) -> list[Any]:
    """Make the same call in `count` processes at the same moment; the results. call: a function of this module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["duikou.tasks.store"])
    start, told = context.Barrier(count), context.Queue()
    processes = [context.Process(target=_one, args=(call, url, start, told)) for _ in range(count)]
    for process in processes:
        process.start()
    gave = [told.get(timeout=WAIT_S) for _ in processes]
    for process in processes:
        process.join(WAIT_S)
    assert [process.exitcode for process in processes] == [0] * count
    return gave


def _one(call: Callable[[str], Any], url: str, start: Any, told: Any) -> None:
    start.wait(WAIT_S)
    told.put(call(url))


def open_database(url: str) -> None:
    """Open a database and migrate it to the current schema."""
    database = Database(url)
    database.ping()
    database.close()


def claim_all(url: str) -> list[str]:
    """Claim every waiting task; their ids."""
    database = Database(url)
    claimed = all_claims(Store(database))
    database.close()
    return claimed


def all_claims(store: Store) -> list[str]:
    """Claim every waiting task; their ids, in that order."""
    claimed = []
    while found := store.claim():
        claimed.append(found.id)
    return claimed
