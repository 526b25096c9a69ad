"""Fetching over real sockets, from servers on loopback that behave and that do not."""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web

from duikou.errors import FetchError, StorageError
from duikou.net import fetch as fetching
from duikou.net.addresses import AddressPolicy
from duikou.net.fetch import fetch

LOOPBACK = AddressPolicy((ip_network("127.0.0.1/32"),))
UNREACHABLE = (
    "video_url: the host cannot be reached from here; if its address is private, the operator must allow it in "
    "DUIKOU_PRIVATE_SOURCES."
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def get(
    handler: Handler,
    to: Path,
    *,
    url: str = "http://127.0.0.1:{port}/a.mp4",
    policy: AddressPolicy = LOOPBACK,
    max_bytes: int = 1_000_000,
    timeout_s: float = 20,
) -> Path:
    async def run() -> Path:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            port = runner.addresses[0][1]
            return await fetch(
                url.format(port=port),
                to,
                max_bytes=max_bytes,
                timeout_s=timeout_s,
                policy=policy,
                field="video_url",
            )
        finally:
            await runner.cleanup()

    return asyncio.run(run())


async def serve(_: web.Request) -> web.Response:
    return web.Response(body=b"content" * 1000)


def refused(handler: Handler, folder: Path, match: str, **options: object) -> str:
    with pytest.raises(FetchError, match=match) as error:
        get(handler, folder / "file", **options)  # type: ignore[arg-type]
    assert error.value.field == "video_url"
    assert list(folder.iterdir()) == []
    return str(error.value)


def test_a_file_arrives_whole(tmp_path: Path) -> None:
    assert get(serve, tmp_path / "file").read_bytes() == b"content" * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST.", "a.localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1"),
        *(
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[::ffff:7f00:1]",
            "0.0.0.0",
            "0",
            "[::]",
            "１２７.0.0.1",
            "127%2e0.0.1",
        ),
    ],
)
def test_loopback_by_any_name_is_refused_without_leave(tmp_path: Path, host: str) -> None:
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response()

    text = refused(handler, tmp_path, "cannot be reached", url=f"http://{host}:{{port}}/a.mp4", policy=AddressPolicy())
    assert text == UNREACHABLE
    assert not asked


def test_refused_unknown_and_dead_hosts_cannot_be_told_apart(tmp_path: Path) -> None:
    texts = {
        refused(serve, tmp_path, "cannot be reached", url=url)
        for url in ("http://127.0.0.2:{port}/", "http://nobody.invalid/", "http://127.0.0.1:1/", "http://10.255.0.1:1/")
    }
    assert texts == {UNREACHABLE}


def test_a_redirect_inwards_is_refused(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://127.0.0.2:{request.url.port}/secret")

    assert refused(handler, tmp_path, "cannot be reached") == UNREACHABLE


def test_redirects_are_followed_five_times(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        left = int(request.query.get("left", "0"))
        if left:
            raise web.HTTPTemporaryRedirect(f"/a.mp4?left={left - 1}")
        return web.Response(body=b"there")

    assert get(handler, tmp_path / "file", url="http://127.0.0.1:{port}/?left=5").read_bytes() == b"there"
    (tmp_path / "file").unlink()
    refused(handler, tmp_path, "redirects more than 5 times", url="http://127.0.0.1:{port}/?left=6")


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "gopher://x/"])
def test_redirects_to_other_schemes_are_refused(tmp_path: Path, location: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    refused(handler, tmp_path, "only http and https|must not hold a user")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("/etc/passwd", "only http and https"),
        ("ftp://example.org/a.mp4", "only http and https"),
        ("concat:a|b", "only http and https"),
        ("http://", "only http and https|not a URL"),
        ("http://user@127.0.0.1/", "must not hold a user"),
        ("http://user:word@127.0.0.1/", "must not hold a user"),
        ("http://127.0.0.1:99999/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://127.0.0.1/" + "a" * 5_000, "longer than 4096"),
        ("", "only http and https"),
    ],
)
def test_what_is_no_fetchable_url(tmp_path: Path, url: str, match: str) -> None:
    refused(serve, tmp_path, match, url=url.replace("{", "{{"))


def test_a_declared_length_above_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    refused(serve, tmp_path, "larger than 6999 bytes", max_bytes=6_999)
    assert get(serve, tmp_path / "file", max_bytes=7_000).stat().st_size == 7_000


def test_an_undeclared_length_is_counted(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 10_000)
        return response

    refused(handler, tmp_path, "larger than 50000 bytes", max_bytes=50_000)


def test_compressed_content_is_refused(tmp_path: Path) -> None:
    seen: dict[str, str] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(request.headers)
        return web.Response(body=b"\x1f\x8b" + bytes(100), headers={"Content-Encoding": "gzip"})

    refused(handler, tmp_path, "sends the file compressed")
    assert seen["Accept-Encoding"] == "identity"
    assert "Cookie" not in seen


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 403, 404, 500, 503])
def test_other_answers_are_refused_with_their_status(tmp_path: Path, status: int) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status)

    refused(handler, tmp_path, f"answered with status {status}")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"")

    refused(handler, tmp_path, "the file is empty")


def test_a_transfer_that_breaks_off_is_refused(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response

    refused(handler, tmp_path, "broke off|cannot be reached")


def _stream(pause_s: float, chunk: bytes, times: int) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(times):
            await response.write(chunk)
            await asyncio.sleep(pause_s)
        return response

    return handler


def test_a_silent_host_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "IDLE_TIMEOUT_S", 0.3)
    refused(_stream(1, b"x", 1), tmp_path, r"sent nothing for 0\.3 s")


def test_a_slow_host_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "SLOW_WINDOW_S", 0.5)
    refused(_stream(0.1, b"x" * 10, 30), tmp_path, "less than 4096 bytes per second")


def test_the_whole_takes_no_longer_than_asked(tmp_path: Path) -> None:
    refused(_stream(0.05, b"x" * 5_000, 100), tmp_path, r"was not here within 0\.5 s", timeout_s=0.5)


def test_proxies_of_the_environment_are_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert get(serve, tmp_path / "file").exists()


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="file cannot be written"):
        get(serve, tmp_path / "nowhere" / "file")
