"""Streams of events: a task at every change, for all who listen to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from weakref import WeakKeyDictionary

from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from duikou.server.caller import Caller
from duikou.server.errors import RETRY_AFTER_S, ApiError, ErrorCode
from duikou.server.schemas import build
from duikou.server.signed_urls import FileUrls
from duikou.tasks.models import RenderTask
from duikou.tasks.waiting import Seen, TaskWatcher, Watch

ADDRESSES = 8  # of this server, for which the JSON of a change is kept; callers can make up any number
ALIVE = b": alive\n\n"  # a comment: proxies cut idle connections


class EventStreams:
    """The open streams of this server. limit: how many one account may have; 0 is no limit.

    A stream that nothing is sent to costs neither a thread nor a query. What a change makes of a task is written as
    JSON once for all who see its files under the same address.
    """

    def __init__(self, watcher: TaskWatcher, limit: int) -> None:
        self._watcher, self._limit = watcher, limit
        self._open: Counter[str] = Counter()
        self._events: WeakKeyDictionary[Seen, dict[FileUrls, bytes]] = WeakKeyDictionary()

    def require_room(self, account: str) -> None:
        """Raise `ApiError` where the account has as many streams as it may."""
        if self._limit and self._open[account] >= self._limit:
            raise ApiError(
                ErrorCode.TOO_MANY_REQUESTS,
                f"The account has {self._limit} streams of events open, as many as it may at once; close one, or query "
                "the task.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )

    def stream(self, caller: Caller, task: RenderTask, position: int | None) -> StreamingResponse:
        """The events of a task, which was read just now. Raises `ApiError`; see `require_room`."""
        self.require_room(caller.account)
        return _Stream(self, caller, task, position)

    def opened(self, account: str, task: RenderTask, position: int | None) -> Watch:
        """Count a stream, and watch its task."""
        self._open[account] += 1
        return self._watcher.watch(task, position)

    def closed(self, account: str, watch: Watch) -> None:
        """Count it no more."""
        self._watcher.leave(watch)
        self._open[account] -= 1
        if not self._open[account]:
            del self._open[account]

    def event(self, seen: Seen, urls: FileUrls) -> bytes:
        """A change as an event."""
        written = self._events.setdefault(seen, {})
        event = written.get(urls)
        if event is None:
            data = build.task_data(seen.task, urls, seen.position).model_dump_json()
            event = format_sse_event(event="task", data_str=data)
            if len(written) < ADDRESSES:
                written[urls] = event
        return event


class _Stream(StreamingResponse):
    """One stream. It is counted from the moment it is made, and until it ends, however that happens."""

    def __init__(self, streams: EventStreams, caller: Caller, task: RenderTask, position: int | None) -> None:
        self._streams, self._caller = streams, caller
        self._watch = streams.opened(caller.account, task, position)
        super().__init__(self._changes(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.closed(self._caller.account, self._watch)

    async def _changes(self) -> AsyncIterator[bytes]:
        async for seen in self._watch:
            yield ALIVE if seen is None else self._streams.event(seen, self._caller.urls)
