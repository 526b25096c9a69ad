"""Fetches a caller's URL without giving the caller access to the server's network (server-side request forgery).

Each address is checked when its socket is opened. So DNS rebinding, redirects and names with several addresses make no
difference (OWASP SSRF prevention cheat sheet). All of it happens in a loop of its own, and what a host may send around
its content is metered: a host that means harm keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp.client_exceptions import ClientConnectorCertificateError, ClientConnectorSSLError
from aiohttp.resolver import AsyncResolver
from yarl import URL

from duikou.errors import FetchError, StorageError
from duikou.net import own_loop
from duikou.net.addresses import AddressPolicy
from duikou.net.meter import Meter, MeteredSocket
from duikou.net.urls import PUBLIC, checked, unreachable

MAX_REDIRECTS: Final = 5
CONNECT_TIMEOUT_S: Final = 10  # one attempt to connect, TLS included
DNS_TIMEOUT_S: Final = 3.0  # one query to one name server
DNS_TRIES: Final = 2
IDLE_TIMEOUT_S: Final = 15  # without any byte
SLOW_WINDOW_S: Final = 10.0  # over this time the mean rate must reach
SLOW_BYTES_PER_S: Final = 4096  # this; a trickle of bytes would hold a connection until the total limit
_CHUNK_BYTES: Final = 64 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def _ignore(size: int) -> None:
    pass


async def fetch(  # noqa: PLR0913 - all but two are named
    url: str,
    to: Path,
    *,
    max_bytes: int,
    timeout_s: float,
    policy: AddressPolicy = PUBLIC,
    field: str = "url",
    arrived: Callable[[int], None] = _ignore,
) -> Path:
    """Download `url` to the file `to`, which appears only when it is complete. Returns `to`.

    Only http and https, without user or password; at most 5 redirects, each checked like the first URL; no
    decompression; no proxies from the environment. Limits: `max_bytes` of content, `timeout_s` in all, 10 s to connect,
    15 s without a byte, 4 kB/s on average over 10 s, no more bytes around the content than `Meter` allows.
    Raises `FetchError` that names `field`. Unknown names, refused addresses and dead hosts have the same text, so that
    nobody can map the server's network. `StorageError` where `to` cannot be written.
    arrived: is told the number of bytes of each piece before it is written; what it raises ends the transfer.
    """
    part = to.with_name(f".{to.name}.{uuid.uuid4().hex}.part")
    return await own_loop.run(_fetch(url, to, _Download(part, max_bytes, policy, field, arrived), timeout_s))


@dataclass(frozen=True)
class _Download:
    """The file `part` that a content goes to, and what limits it; see `fetch`."""

    part: Path
    max_bytes: int
    policy: AddressPolicy
    field: str
    arrived: Callable[[int], None]


async def _fetch(url: str, to: Path, wanted: _Download, timeout_s: float) -> Path:
    part, field = wanted.part, wanted.field
    try:
        async with asyncio.timeout(timeout_s):
            await _download(checked(url, field), wanted)
        part.replace(to)
    except TimeoutError as error:
        raise FetchError(f"the file was not here within {timeout_s:g} s.", field=field) from error
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{to.name} cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return to


async def post(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, policy: AddressPolicy = PUBLIC
) -> int:
    """Post to a caller's URL through the same guarded connector; the response's status.

    The response's body is not read, and no redirect is followed. Raises `FetchError`.
    """
    return await own_loop.run(_post(url, body, headers, timeout_s=timeout_s, policy=policy))


async def _post(url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, policy: AddressPolicy) -> int:
    field, meter = "callback_url", Meter()
    try:
        async with (
            asyncio.timeout(timeout_s),
            _session(policy, meter) as session,
            _outcome(
                session.post(checked(url, field), data=body, headers=headers, allow_redirects=False), meter, field
            ) as answer,
        ):
            return answer.status
    except TimeoutError as error:
        raise FetchError(f"there was no answer within {timeout_s:g} s.", field=field) from error


async def _download(url: URL, wanted: _Download) -> None:
    meter, field = Meter(), wanted.field
    async with _session(wanted.policy, meter) as session:
        for _ in range(MAX_REDIRECTS + 1):
            meter.expect_head()
            async with _outcome(session.get(url, allow_redirects=False), meter, field) as answer:
                if answer.status in _REDIRECTS:
                    url = _target(answer, url, field)
                    continue
                _check_answer(answer, wanted.max_bytes, field)
                await _save(answer, wanted, meter)
                return
    raise FetchError(f"the URL redirects more than {MAX_REDIRECTS} times.", field=field)


@asynccontextmanager
async def _session(policy: AddressPolicy, meter: Meter) -> AsyncIterator[aiohttp.ClientSession]:
    def checked_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = info
        if not policy.allows(str(where[0]), int(where[1])):
            raise PermissionError("address refused")
        return MeteredSocket(meter, family=family, type=kind, proto=protocol)

    # It resolves in the event loop and can be cancelled at once: names that never answer hold no thread.
    resolver = AsyncResolver(nameservers=policy.nameservers or None, timeout=DNS_TIMEOUT_S, tries=DNS_TRIES)
    try:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=resolver, socket_factory=checked_socket, use_dns_cache=False, force_close=True
            ),
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity", "Accept": "*/*", "User-Agent": "duikou"},
            read_bufsize=_CHUNK_BYTES,
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S),
        ) as session:
            yield session
    finally:
        await resolver.close()


@asynccontextmanager
async def _outcome(
    request: AbstractAsyncContextManager[aiohttp.ClientResponse], meter: Meter, field: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The response to one request, its body not yet read. Errors of the request become `FetchError`."""
    try:
        async with request as answer:
            yield answer
    except (ClientConnectorCertificateError, ClientConnectorSSLError) as error:
        raise FetchError("the host has no valid TLS certificate.", field=field) from error
    except aiohttp.SocketTimeoutError as error:
        raise FetchError(f"the host did not answer or sent nothing for {IDLE_TIMEOUT_S} s.", field=field) from error
    except (aiohttp.ClientConnectionError, aiohttp.InvalidURL, UnicodeError) as error:
        raise (_too_much_around(field) if meter.spent else unreachable(field)) from error
    except aiohttp.ClientError as error:
        if meter.spent:
            raise _too_much_around(field) from error
        raise FetchError("the transfer broke off before the file was whole.", field=field) from error


def _target(answer: aiohttp.ClientResponse, url: URL, field: str) -> URL:
    location = answer.headers.get("Location")
    if not location:
        raise FetchError("the URL redirects to nowhere.", field=field)
    try:
        target = url.join(URL(location))
    except Exception as error:  # see `checked`
        raise FetchError("the URL redirects to what is not a URL.", field=field) from error
    return checked(target, field)


def _check_answer(answer: aiohttp.ClientResponse, max_bytes: int, field: str) -> None:
    if answer.status != 200:
        raise FetchError(f"the host answered with status {answer.status}.", field=field)
    if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise FetchError("the host sends the file compressed, it must be sent as it is.", field=field)
    if answer.content_length is not None and answer.content_length > max_bytes:
        raise _too_large(max_bytes, field)


async def _save(answer: aiohttp.ClientResponse, wanted: _Download, meter: Meter) -> None:
    """Write the body to `part` and count its length, whatever the header says."""
    max_bytes, field = wanted.max_bytes, wanted.field
    meter.expect_content()
    received = window_bytes = 0
    window_start = time.monotonic()
    with wanted.part.open("wb") as file:
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            received += len(chunk)
            meter.count_content(len(chunk))
            window_bytes += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes, field)
            wanted.arrived(len(chunk))
            file.write(chunk)
            elapsed = time.monotonic() - window_start
            if elapsed >= SLOW_WINDOW_S:
                if window_bytes < SLOW_BYTES_PER_S * elapsed:
                    raise FetchError(f"the host sends less than {SLOW_BYTES_PER_S} bytes per second.", field=field)
                window_start, window_bytes = time.monotonic(), 0
    if meter.spent:  # aiohttp takes a content without a length for whole however it ends
        raise _too_much_around(field)
    if not received:
        raise FetchError("the file is empty.", field=field)


def _too_much_around(field: str) -> FetchError:
    return FetchError("the host sends too much around its answer.", field=field)


def _too_large(max_bytes: int, field: str) -> FetchError:
    megabytes = f"{max_bytes / 2**20:g} MB" if max_bytes >= 2**20 else f"{max_bytes} bytes"
    return FetchError(f"the file is larger than {megabytes}.", field=field)
