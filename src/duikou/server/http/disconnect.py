"""Work that only its caller waits for: it ends when the caller disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

DISCONNECT_POLL_S = 1.0  # between checks whether a waiting caller has gone

T = TypeVar("T")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Where the caller disconnects, `work` is cancelled; raises `ClientDisconnect` then.

    The request's body must have been read.
    """
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=DISCONNECT_POLL_S))[0]:
            if await request.is_disconnected():
                raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})
