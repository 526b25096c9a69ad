"""The two clients: the same calls, blocking and asynchronous. The calls themselves are in `calls` and `download`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from typing import Final, Self, TypeAlias, Unpack

from duikou.client.auth import Key
from duikou.client.calls import Calls, TaskOptions
from duikou.client.download import Progress, Source, download
from duikou.client.drivers import AsyncDriver, Driver
from duikou.client.retry import Retry
from duikou.client.values import FaceChoice, Session, Task, Upload, Video

LOCAL: Final = "http://127.0.0.1:8000"  # where `duikou serve` listens
TIMEOUT_S: Final = 120.0  # identify-face answers when the whole video is looked at
RETRY: Final = Retry()

TaskProgress: TypeAlias = Callable[[Task], object]


class Duikou:
    """A client whose calls return when they are done. Threads may share one. Close it, or use it in `with`.

    base_url: the host, with the path before `/v1`, such as `https://api.302.ai/klingai`.
    key: an API key, a `KeyPair` for tokens that the client signs, or nothing for an open server.
    timeout_s: the longest wait for the next bytes; for a connection it is at most 10 s.
    retry: how calls are repeated after 429, 503 and broken connections.

    Every call may raise `ApiError`, when the server refuses; `ConnectionFailedError`, when all tries brought no answer;
    `ProtocolError`, when the answer is not the contract's; and `InputError` for a wrong argument.
    """

    def __init__(
        self, base_url: str = LOCAL, key: Key = None, *, timeout_s: float = TIMEOUT_S, retry: Retry = RETRY
    ) -> None:
        self._calls = Calls.of(base_url, key, retry)
        self._driver = Driver(timeout_s)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._calls.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._driver.http.close()

    def identify(self, video: str | Path | Upload | Video) -> Session:
        """Find the faces of a video that can be lip-synced.

        video: a file, which is uploaded first; a URL (http, https); an upload; or an earlier result.
        """
        return self._driver.run(self._calls.identify(video))

    def lip_sync(
        self, session: Session | str, choices: FaceChoice | Sequence[FaceChoice], **options: Unpack[TaskOptions]
    ) -> Task:
        """Make faces of a session speak; the task, which has just begun. See `wait`.

        session: it or its id. choices: one for each face that speaks. options: see `TaskOptions`.
        Speech in a file of at most 5 MiB goes along in base64 if its `trim_end_ms` is given, and is uploaded otherwise.
        The request is repeated under one `external_task_id`, so that there is never a second task.
        """
        return self._driver.run(self._calls.lip_sync(session, choices, options))

    def wait(self, task: Task | str, *, timeout_s: float | None = None, progress: TaskProgress | None = None) -> Task:
        """Wait until a task has succeeded. A server that does not answer for a while is borne: see `Retry.outage_s`.

        task: it, its id or its external id. progress: called with the task at every change.
        Raises `TaskFailedError` if it fails, `WaitTimeoutError` if it is unfinished after `timeout_s`.
        """
        return self._driver.run(self._calls.wait(task, timeout_s, progress))

    def download(self, source: Source, to: str | Path, *, progress: Progress | None = None) -> Path:
        """Download a result, or any file that an answer names. An existing file at `to` is replaced; returns `to`.

        source: a finished task, a video, an upload, or a URL, as of a face's picture.
        progress: called with the bytes so far and the bytes in all, `None` if unknown.
        The file is there when it is complete; a broken download is continued where the server can do that.
        """
        return self._driver.run(download(self._calls, source, to, progress))

    def upload(self, path: str | Path) -> Upload:
        """Store a video, audio file or photo on a duikou server. Raises `UnsupportedError` at other hosts."""
        return self._driver.run(self._calls.upload(path))

    def get(self, task: Task | str) -> Task:
        """The state of a task, which is named by itself, its id or its external id. Raises `NotFoundError`."""
        return self._driver.run(self._calls.get(task))

    def list(self, page: int = 1, page_size: int = 30) -> tuple[Task, ...]:
        """Tasks, newest first; past the end none. page: from 1 to 1000. page_size: from 1 to 500."""
        return self._driver.run(self._calls.tasks(page, page_size))

    def cancel(self, task: Task | str) -> Task:
        """End a task on a duikou server, as failed; not a finished one. Raises `UnsupportedError` elsewhere."""
        return self._driver.run(self._calls.cancel(task))

    def delete(self, task: Task | str) -> None:
        """Delete a task on a duikou server with its results. Raises `UnsupportedError` at other hosts."""
        self._driver.run(self._calls.delete(task))

    def events(self, task: Task | str) -> Generator[Task, None, None]:
        """The task at once and at every change until its end, as a duikou server sends it.

        Raises `UnsupportedError` at other hosts, where `wait` does the same by asking again and again.
        """
        with closing(self._driver.iterate(self._calls.events(task))) as tasks:
            yield from tasks


class AsyncDuikou:
    """The calls of `Duikou`, for asyncio. Close it with `aclose`, or use it in `async with`.

    `progress` may be an asynchronous function. Files are read and written in threads.
    """

    def __init__(
        self, base_url: str = LOCAL, key: Key = None, *, timeout_s: float = TIMEOUT_S, retry: Retry = RETRY
    ) -> None:
        self._calls = Calls.of(base_url, key, retry)
        self._driver = AsyncDriver(timeout_s)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._calls.base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._driver.http.aclose()

    async def identify(self, video: str | Path | Upload | Video) -> Session:
        """See `Duikou.identify`."""
        return await self._driver.run(self._calls.identify(video))

    async def lip_sync(
        self, session: Session | str, choices: FaceChoice | Sequence[FaceChoice], **options: Unpack[TaskOptions]
    ) -> Task:
        """See `Duikou.lip_sync`."""
        return await self._driver.run(self._calls.lip_sync(session, choices, options))

    async def wait(
        self,
        task: Task | str,
        *,
        timeout_s: float | None = None,
        progress: TaskProgress | Callable[[Task], Awaitable[object]] | None = None,
    ) -> Task:
        """See `Duikou.wait`."""
        return await self._driver.run(self._calls.wait(task, timeout_s, progress))

    async def download(
        self,
        source: Source,
        to: str | Path,
        *,
        progress: Progress | Callable[[int, int | None], Awaitable[object]] | None = None,
    ) -> Path:
        """See `Duikou.download`."""
        return await self._driver.run(download(self._calls, source, to, progress))

    async def upload(self, path: str | Path) -> Upload:
        """See `Duikou.upload`."""
        return await self._driver.run(self._calls.upload(path))

    async def get(self, task: Task | str) -> Task:
        """See `Duikou.get`."""
        return await self._driver.run(self._calls.get(task))

    async def list(self, page: int = 1, page_size: int = 30) -> tuple[Task, ...]:
        """See `Duikou.list`."""
        return await self._driver.run(self._calls.tasks(page, page_size))

    async def cancel(self, task: Task | str) -> Task:
        """See `Duikou.cancel`."""
        return await self._driver.run(self._calls.cancel(task))

    async def delete(self, task: Task | str) -> None:
        """See `Duikou.delete`."""
        await self._driver.run(self._calls.delete(task))

    async def events(self, task: Task | str) -> AsyncGenerator[Task, None]:
        """See `Duikou.events`."""
        async with aclosing(self._driver.iterate(self._calls.events(task))) as tasks:
            async for state in tasks:
                yield state
