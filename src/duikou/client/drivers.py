"""Drivers: they take the steps of a plan, over httpx."""

from __future__ import annotations

import inspect
from asyncio import sleep as async_sleep
from asyncio import to_thread
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, closing, contextmanager
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

import httpx

from duikou.client.errors import ConnectionFailedError, ProtocolError, TimedOutError
from duikou.client.steps import Emit, Local, Open, Plan, Read, Reply, Request, Send, Sleep, Step, Tell
from duikou.client.version import __version__

CONNECT_S = 10.0  # for a connection: a host that is there answers in a second or two
MAX_ANSWER = 64 << 20  # bytes of an answer that is not a file: a list of 500 tasks takes one million
MAX_REDIRECTS = 5
CHUNK = 256 << 10  # bytes of an upload that are read at once

T = TypeVar("T")


def _settings(timeout_s: float) -> dict[str, Any]:
    return {
        "timeout": httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
        "headers": {"User-Agent": f"duikou-client/{__version__}"},
        "max_redirects": MAX_REDIRECTS,
    }


def _emitting(plan: Plan[T]) -> Plan[None]:
    """A plan that hands over its result as a value."""
    yield Emit((yield from plan))


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Raise httpx's errors as the client's. name: the request's."""
    try:
        yield
    except httpx.TimeoutException as error:
        sent = not isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
        raise TimedOutError(f"{name}: no answer in time.", sent=sent) from error
    except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError) as error:
        sent = not isinstance(error, httpx.ConnectError)
        raise ConnectionFailedError(f"{name}: the connection fails: {error or 'it is broken'}.", sent=sent) from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last of a host that is none
        raise ProtocolError(f"{name}: {error}.") from error


def _arguments(request: Request, chunks_of: Callable[[Path], Any]) -> dict[str, Any]:
    """What httpx sends. chunks_of: reads a file in chunks."""
    return {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        "content": chunks_of(request.file) if request.file else request.body or None,
        "follow_redirects": request.follow,
    }


def _reply(response: httpx.Response, body: bytes = b"") -> Reply:
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def _append(body: bytearray, chunk: bytes, name: str) -> None:
    body += chunk
    if len(body) > MAX_ANSWER:
        raise ProtocolError(f"{name}: the answer has more than {MAX_ANSWER} bytes.")


class Driver:
    """Takes steps in the caller's thread; several threads may share it."""

    def __init__(self, timeout_s: float) -> None:
        self.http = httpx.Client(**_settings(timeout_s))

    def run(self, plan: Plan[T]) -> T:
        """The result of a plan."""
        with closing(self.iterate(_emitting(plan))) as values:
            result: T = next(values)
        return result

    def iterate(self, plan: Plan[None]) -> Generator[Any, None, None]:
        """The values that a plan emits."""
        with _Run(self.http) as run, closing(plan):
            resume, value = plan.send, None
            while True:
                try:
                    step = resume(value)
                except StopIteration:
                    return
                try:
                    resume, value = plan.send, (yield step.value) if isinstance(step, Emit) else run.take(step)
                except Exception as error:
                    resume, value = plan.throw, error


class _Run:
    """The steps of one plan, and the reply that it reads."""

    def __init__(self, http: httpx.Client) -> None:
        self._http, self._open, self._name = http, ExitStack(), ""
        self._chunks: Iterator[bytes] = iter(())

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def take(self, step: Step) -> Any:
        """The result of a step."""
        match step:
            case Send(request):
                with ExitStack() as here:
                    response = self._begin(request, here)
                    return _reply(response, self._body(response, request.name))
            case Open(request):
                self._open.close()
                self._name = request.name
                response = self._begin(request, self._open)
                if response.status_code >= 300:
                    return _reply(response, self._body(response, request.name))
                self._chunks = response.iter_raw()
                return _reply(response)
            case Read():
                with _translated(self._name):
                    return next(self._chunks, b"")
            case Sleep(seconds):
                return sleep(seconds)
            case Local(function):
                return function()
            case Tell(function, arguments):
                return function(*arguments)
        raise AssertionError(step)

    def _begin(self, request: Request, stack: ExitStack) -> httpx.Response:
        with _translated(request.name):
            return stack.enter_context(self._http.stream(**_arguments(request, _chunks_of)))

    def _body(self, response: httpx.Response, name: str) -> bytes:
        body = bytearray()
        with _translated(name):
            for chunk in response.iter_bytes():
                _append(body, chunk, name)
        return bytes(body)


def _chunks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


class AsyncDriver:
    """Takes steps in an asyncio event loop; what may block, it does in threads."""

    def __init__(self, timeout_s: float) -> None:
        self.http = httpx.AsyncClient(**_settings(timeout_s))

    async def run(self, plan: Plan[T]) -> T:
        """The result of a plan."""
        async with aclosing(self.iterate(_emitting(plan))) as values:
            result: T = await anext(values)
        return result

    async def iterate(self, plan: Plan[None]) -> AsyncGenerator[Any, None]:
        """The values that a plan emits."""
        async with _AsyncRun(self.http) as run:
            with closing(plan):
                resume, value = plan.send, None
                while True:
                    try:
                        step = resume(value)
                    except StopIteration:
                        return
                    try:
                        resume, value = (
                            plan.send,
                            (yield step.value) if isinstance(step, Emit) else await run.take(step),
                        )
                    except Exception as error:
                        resume, value = plan.throw, error


class _AsyncRun:
    """The steps of one plan, and the reply that it reads."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http, self._open, self._name = http, AsyncExitStack(), ""
        self._chunks: AsyncIterator[bytes]

    async def __aenter__(self) -> _AsyncRun:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def take(self, step: Step) -> Any:
        """The result of a step."""
        match step:
            case Send(request):
                async with AsyncExitStack() as here:
                    response = await self._begin(request, here)
                    return _reply(response, await self._body(response, request.name))
            case Open(request):
                await self._open.aclose()
                self._name = request.name
                response = await self._begin(request, self._open)
                if response.status_code >= 300:
                    return _reply(response, await self._body(response, request.name))
                self._chunks = response.aiter_raw()
                return _reply(response)
            case Read():
                with _translated(self._name):
                    return await anext(self._chunks, b"")
            case Sleep(seconds):
                return await async_sleep(seconds)
            case Local(function):
                return await to_thread(function)
            case Tell(function, arguments):
                told = function(*arguments)
                return await told if inspect.isawaitable(told) else told
        raise AssertionError(step)

    async def _begin(self, request: Request, stack: AsyncExitStack) -> httpx.Response:
        with _translated(request.name):
            return await stack.enter_async_context(self._http.stream(**_arguments(request, _async_chunks_of)))

    async def _body(self, response: httpx.Response, name: str) -> bytes:
        body = bytearray()
        with _translated(name):
            async for chunk in response.aiter_bytes():
                _append(body, chunk, name)
        return bytes(body)


async def _async_chunks_of(path: Path) -> AsyncIterator[bytes]:
    file = await to_thread(path.open, "rb")
    try:
        while chunk := await to_thread(file.read, CHUNK):
            yield chunk
    finally:
        file.close()
