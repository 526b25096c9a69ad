"""Connections that would block the server, over real sockets: silent, slow, too many, or not HTTP."""

from __future__ import annotations

import asyncio
import json
import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import contract
import httpx
import pytest
import stub_work
from jsonschema import Draft202012Validator
from live_server import Process, caller, create, identify, in_thread, order, sources, until
from server_settings import settings
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from duikou.server import app
from duikou.server.http import connections, middleware

MOST = 50  # connections
LIMIT_S = 1.5  # every limit of time, made small
SLACK_S = 60.0  # on a busy machine
FILES = Path("/proc/self/fd")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "connections.HEADER_S",
            "connections.STALL_S",
            "middleware.SILENT_S",
            "middleware.DISCARD_S",
            "connections.LINGER_S",
        ):
            patch.setattr(f"duikou.server.http.{name}", LIMIT_S)
        patch.setattr("duikou.server.http.middleware.PACE_S", LIMIT_S / 2)
        with in_thread(settings(data, connections=MOST), stub_work.WORK) as client:
            yield client


@pytest.fixture
def url(server: httpx.Client, data: Path, caplog: pytest.LogCaptureFixture) -> Iterator[httpx.URL]:
    """The server's address; at the end it must answer, and hold nothing that it did not hold before."""
    before = held(data)
    yield server.base_url
    assert not caplog.get_records("call"), "uvicorn or asyncio met a fault"
    healthy(server.base_url)
    until(lambda: held(data) <= before, SLACK_S)
    assert not list((data / "incoming").iterdir())


def held(data: Path) -> int:
    """How many sockets and files of the data folder, but for the database, this process has open."""
    found = []
    for link in FILES.iterdir() if FILES.is_dir() else ():
        with suppress(OSError):
            found.append(str(link.readlink()))
    return sum(name.startswith(("socket:", str(data))) and "duikou.db" not in name for name in found)


@contextmanager
def connected(url: httpx.URL, sent: bytes = b"", receive_bytes: int = 0) -> Iterator[socket.socket]:
    """A connection on which something was sent."""
    with socket.socket() as sock:
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.settimeout(LIMIT_S + SLACK_S)
        sock.connect((url.host, url.port))
        with suppress(ConnectionError):  # refused before everything was sent
            sock.sendall(sent)
        yield sock


def answer(sock: socket.socket, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    with closing(HTTPResponse(sock, method=method)) as found:
        found.begin()
        return found, found.read()


def refused(sock: socket.socket, status: int, code: int, sentence: str) -> HTTPResponse:
    found, body = answer(sock)
    fault = json.loads(body)
    assert (found.status, fault["code"]) == (status, code), body
    assert sentence in fault["message"]
    Draft202012Validator(contract.FAULT).validate(fault)
    assert found.headers["x-request-id"] == fault["request_id"]
    assert found.headers["content-type"] == "application/json"
    return found


def rest(sock: socket.socket) -> bytes:
    """What comes until the server closes."""
    found = b""
    with suppress(ConnectionError):
        while part := sock.recv(65536):
            found += part
    return found


def drip(sock: socket.socket, piece: bytes, every_s: float = 0.05) -> None:
    """Send on until the server says something or closes."""
    deadline = time.monotonic() + LIMIT_S + SLACK_S
    while not select.select([sock], [], [], every_s)[0]:
        assert time.monotonic() < deadline, "the server has patience without end"
        try:
            sock.sendall(piece)
        except ConnectionError:
            return


def healthy(url: httpx.URL) -> None:
    assert status(url) == 200


def status(url: httpx.URL) -> int:
    with connected(url, HEALTH + b"\r\n") as sock:
        return answer(sock)[0].status


# Heads


def test_silent_connections_are_closed(url, capfd) -> None:
    with ExitStack() as stack:
        socks = [stack.enter_context(connected(url)) for _ in range(5)]
        healthy(url)
        assert [rest(sock) for sock in socks] == [b""] * 5
    assert capfd.readouterr().err.count("the request took too long to arrive") == 5


@pytest.mark.parametrize(("begun", "piece"), [(b"", b"G"), (HEALTH, b"X: a\r\n"), (HEALTH + b"X: ", b"a")])
def test_a_dripped_head_is_cut_while_others_are_served(url, begun, piece) -> None:
    with connected(url, begun) as sock:
        healthy(url)
        drip(sock, piece)
        assert rest(sock) == b""


def test_a_dripped_head_is_cut_on_a_kept_connection_too(url) -> None:
    with connected(url, HEALTH + b"\r\n") as sock:
        assert answer(sock)[0].status == 200
        drip(sock, b"G")
        assert rest(sock) == b""


def test_a_kept_connection_may_rest_for_longer_than_a_head_may_take(url) -> None:
    with connected(url) as sock:
        sock.sendall(HEALTH + b"\r\n")
        assert answer(sock)[0].status == 200
        time.sleep(1.5 * LIMIT_S)
        sock.sendall(HEALTH)
        time.sleep(LIMIT_S / 4)
        sock.sendall(b"\r\n")
        assert answer(sock)[0].status == 200


def test_requests_in_one_piece_are_answered_one_after_the_other(url) -> None:
    head = b"HEAD" + HEALTH.removeprefix(b"GET").replace(b"/healthz", b"/nowhere") + b"\r\n"
    with connected(url, HEALTH + b"\r\n" + head + HEALTH + b"Connection: close\r\n\r\n") as sock:
        text = rest(sock)
    assert [part.split(b" ", 1)[0] for part in text.split(b"HTTP/1.1 ")] == [b"", b"200", b"404", b"200"]


# Too many


def test_one_connection_too_many_is_refused_and_the_next_is_served_once_one_goes(url) -> None:
    with ExitStack() as stack:
        socks = [stack.enter_context(connected(url, HEALTH + b"\r\n")) for _ in range(MOST)]
        assert all(answer(sock)[0].status == 200 for sock in socks)  # all kept
        with connected(url) as sock:
            found = refused(sock, 503, 5001, f"The server has {MOST} connections, its limit")
            assert found.headers["retry-after"] == "10"
            assert rest(sock) == b""
        with caller(url) as client:
            assert client.post("/v1/files", content=b"x" * 1000).status_code == 503
        socks[0].close()
        until(lambda: status(url) == 200, SLACK_S)


def test_hundreds_of_silent_connections_keep_nobody_out_for_longer_than_a_head_may_take(url) -> None:
    with ExitStack() as stack:
        socks = [stack.enter_context(connected(url)) for _ in range(300)]
        until(lambda: status(url) == 200, LIMIT_S + SLACK_S)
        answers = [rest(sock) for sock in socks]
    assert {one.split(b"\r\n")[0] for one in answers} == {b"", b"HTTP/1.1 503 "}


def test_a_server_of_its_own_keeps_to_the_same_limits(tmp_path) -> None:
    with Process(tmp_path, connections=1) as server, connected(server.client.base_url):
        assert server.client.get("/healthz").status_code == 503


@pytest.mark.parametrize(
    ("soft", "hard", "room", "raised"),
    [
        (65536, 65536, 1000, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1000, None),
        (256, resource.RLIM_INFINITY, 1000, 2768),
        (1024, 524288, 1000, 2768),
        (1024, 2000, 872, 2000),
        (1024, 1024, 384, 1024),
        (64, 64, 1, 64),
    ],
)
def test_files_are_had_for_as_many_connections_as_may_be(monkeypatch, soft, hard, room, raised) -> None:
    limit = [(soft, hard)]
    monkeypatch.setattr("resource.getrlimit", lambda _what: limit[-1])
    monkeypatch.setattr("resource.setrlimit", lambda _what, new: limit.append(new))
    assert connections.connection_limit(1000) == room
    assert limit[1:] == ([(raised, hard)] if raised else [])


# Bodies


@pytest.mark.parametrize("kind", [b"audio/mpeg", b"multipart/form-data; boundary=b"])
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_body_that_drips_or_stops_is_refused_and_leaves_nothing(url, data, kind, goes_on) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    with connected(url, UPLOAD + b"Content-Type: " + kind + b"\r\n\r\n" + part) as sock:
        if goes_on:
            drip(sock, b"x" * 100)  # 2 KB/s
        found = refused(sock, 408, 1201, "arrives too slowly: " if goes_on else "stopped: nothing arrived for 1.5 s.")
        assert found.headers["connection"] == "close"
        assert rest(sock) == b""


@pytest.mark.parametrize("path", [b"/v1/videos/advanced-lip-sync", b"/v1/videos/identify-face"])
def test_a_body_of_json_that_stops_is_refused(url, path) -> None:
    with connected(url, b"POST " + path + b' HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"a": ') as sock:
        refused(sock, 408, 1201, "stopped")


def test_a_slow_body_that_keeps_the_pace_is_taken(url) -> None:
    sound = stub_work.sound(padding="x" * 60_000)
    head = UPLOAD.replace(b"100000", str(len(sound)).encode()) + b"\r\n"
    with connected(url, head) as sock:
        for start in range(0, len(sound), 2000):
            time.sleep(0.05)  # 40 KB/s
            sock.sendall(sound[start : start + 2000])
        assert answer(sock, "POST")[0].status == 200


class Sender:
    """Sends parts of a body, with neither a server nor a socket, and is the clock that the pace is measured by."""

    def __init__(self) -> None:
        self.now, self.wait_s, self.sleep_s, self.bytes, self.more = 100.0, 0.05, 0.0, 1, True
        self.body = middleware._BodyReader(self.receive, Headers({"transfer-encoding": "chunked"}))

    def monotonic(self) -> float:
        return self.now

    async def receive(self) -> dict[str, object]:
        self.now += self.wait_s
        await asyncio.sleep(self.sleep_s)
        return {"type": "http.request", "body": bytes(self.bytes), "more_body": self.more}

    def asked(self, times: int, pause_s: float = 0.0) -> None:
        async def ask() -> None:
            for _ in range(times):
                await self.body.receive()
                self.now += pause_s

        asyncio.run(ask())


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setattr(middleware, "SILENT_S", 0.2)
    monkeypatch.setattr(middleware, "PACE_S", 0.2)
    sender = Sender()
    monkeypatch.setattr(middleware, "time", sender)
    return sender


def test_only_time_that_is_spent_waiting_counts(sender) -> None:
    sender.wait_s = 0.001
    sender.asked(5, pause_s=0.1)
    sender.wait_s = 0.05
    with pytest.raises(HTTPException, match="The request body "):
        sender.asked(5)


def test_a_fast_beginning_is_no_excuse(sender) -> None:
    sender.bytes = 100_000
    sender.asked(5)
    sender.bytes = 1
    with pytest.raises(HTTPException, match="The request body "):
        sender.asked(9)


def test_that_a_client_goes_away_is_waited_for_without_end(sender) -> None:
    sender.more = False
    sender.asked(1)
    sender.sleep_s = 0.3
    sender.asked(2)


def test_a_refused_body_is_not_read_for_ever(url) -> None:
    with connected(url, UPLOAD.replace(b"100000", b"9" * 15) + b"\r\n") as sock:
        drip(sock, b"x")
        refused(sock, 400, 1201, "more than the")
        drip(sock, b"x")
        assert rest(sock) == b""


def test_a_body_that_nobody_reads_does_not_hold_the_connection(url) -> None:
    with connected(url, UPLOAD.replace(b"/v1/files", b"/nowhere") + b"\r\n") as sock:
        refused(sock, 404, 1202, "/nowhere")
        drip(sock, b"x")
        assert rest(sock) == b""


# A refusal reaches a caller that is still sending

GATES = {
    "no such path": ("/v1/nowhere", {}, 404, 1202),
    "another site": ("/v1/files", {"Origin": "https://evil.example"}, 403, 1103),
    "another host": ("/v1/videos/identify-face", {"Host": "evil.example"}, 403, 1103),
    "too large": ("/v1/videos/identify-face", {}, 400, 1201),
    "chunks that grow too large": ("/v1/videos/identify-face", {"Transfer-Encoding": "chunked"}, 400, 1201),
    "no task": ("/v1/videos/advanced-lip-sync/1/cancel", {}, 404, 1203),
}


@pytest.mark.parametrize("gate", GATES)
def test_a_refusal_reaches_whoever_sends_everything_before_reading(url, gate, monkeypatch) -> None:
    monkeypatch.setattr(middleware, "DISCARD_S", SLACK_S)
    path, headers, status, code = GATES[gate]
    body = b" " * ((9 if "large" in gate else 7) << 20)  # more than a socket's buffers hold
    for more in ({}, {"Connection": "close"}):  # as urllib sends
        with closing(HTTPConnection(url.host, url.port or 0, timeout=SLACK_S)) as http:
            chunked = "Transfer-Encoding" in headers
            http.request("POST", path, iter([body]) if chunked else body, {**headers, **more}, encode_chunked=chunked)
            found = http.getresponse()
            assert (found.status, json.loads(found.read())["code"]) == (status, code)


def test_one_who_sends_for_ever_gets_the_answer_and_is_cut(url) -> None:
    for end in (b"", b"Connection: close\r\n"):
        begun = POST.replace(b"/v1/videos", b"/nowhere") + b"Transfer-Encoding: chunked\r\n" + end + b"\r\n"
        with connected(url, begun) as sock:
            drip(sock, b"1000\r\n" + b"x" * 4096 + b"\r\n")
            refused(sock, 404, 1202, "/nowhere")


@pytest.mark.parametrize("path", ["/nowhere", "/v1/files/"])
def test_one_who_waits_to_be_asked_for_the_body_is_answered_in_place_of_that(url, path) -> None:
    large = UPLOAD.replace(b"100000", b"9" * (15 if path == "/v1/files/" else 6)).replace(b"/v1/files", path.encode())
    with connected(url, large + b"Expect: 100-continue\r\n\r\n") as sock:
        found, _ = answer(sock)
        assert (found.status, found.headers["connection"]) == (404 if path == "/nowhere" else 400, "close")
        assert rest(sock) == b""
    wanted = b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with connected(url, POST + wanted) as sock:
        assert sock.recv(4096).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"{}")
        refused(sock, 400, 1201, "exactly one of")


def test_a_connection_too_many_is_answered_while_it_sends(url) -> None:
    with ExitStack() as stack:
        socks = [stack.enter_context(connected(url, HEALTH + b"\r\n")) for _ in range(MOST)]
        assert all(answer(sock)[0].status == 200 for sock in socks)
        for _ in range(3):
            with closing(HTTPConnection(url.host, url.port or 0, timeout=SLACK_S)) as http:
                http.request("POST", "/v1/files", b"x" * 250_000)
                assert http.getresponse().status == 503
        with connected(url, UPLOAD + b"\r\n") as endless:
            drip(endless, b"x" * 4096)
            refused(endless, 503, 5001, "its limit")


# Readers


@pytest.fixture(scope="module")
def task_id(server: httpx.Client) -> str:
    with sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound(render="slow")) as site:
        return create(server, order(identify(server, f"{site}/a.mp4")["session_id"], f"{site}/s.mp3"))


def test_events_go_on_beyond_every_limit_even_for_who_owes_a_body(url, server, task_id) -> None:
    events = f"GET /v1/videos/advanced-lip-sync/{task_id}/events HTTP/1.1\r\nHost: localhost\r\n".encode()
    with connected(url, events + b"Content-Length: 5\r\n\r\n") as owing, connected(url, events + b"\r\n") as sock:
        for one in (owing, sock):
            found, body = answer(one)
            assert found.status == 200
            assert json.loads(body.split(b"data: ")[-1].split(b"\n")[0])["task_status"] == "succeed"


@pytest.fixture
def large(server: httpx.Client, data: Path) -> tuple[Path, bytes]:
    """A file of the server's that can be made larger, and a request for it."""
    found = server.post("/v1/files", content=stub_work.video()).json()["data"]
    address = httpx.URL(found["url"])
    return next(data.rglob(f"*{found['id']}*")), b"GET " + address.raw_path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.skipif(not FILES.is_dir(), reason="counts open files")
@pytest.mark.parametrize("size", [50 << 20, 190_000])  # with much to come, and with the last part on its way
def test_a_reader_that_takes_nothing_is_cut_and_its_file_closed(url, data, large, size, capfd) -> None:
    path, request = large
    with path.open("r+b") as file:
        file.truncate(size)
    before = held(data)
    with connected(url, request, receive_bytes=4096):
        until(lambda: held(data) > before + 1, SLACK_S)
        until(lambda: held(data) == before + 1, 5 + LIMIT_S + SLACK_S)  # its own end only
    assert "the client reads nothing" in capfd.readouterr().err


@pytest.mark.parametrize("whole", [False, True])  # in parts as files are, and as one that is written at once
def test_a_slow_reader_gets_everything(url, large, monkeypatch, whole) -> None:
    path, request = large
    with path.open("r+b") as file:
        file.truncate(5 << 19)
    if whole:
        monkeypatch.setattr("duikou.server.routes.docs.document", lambda _app: "x" * (5 << 19))
        request = HEALTH.replace(b"/healthz", b"/openapi.json") + b"\r\n"
    began, found = time.monotonic(), 0
    with connected(url, request, receive_bytes=65536) as sock:
        while found < 5 << 19:
            part = sock.recv(65536)
            assert part, f"cut after {found} bytes"
            found += len(part)
            time.sleep(LIMIT_S / 15)  # 40 parts take longer than two limits
    assert time.monotonic() - began > 2 * LIMIT_S


# No HTTP

POST = b"POST /v1/videos/identify-face HTTP/1.1\r\nHost: localhost\r\n"
NO_HTTP = {
    "noise": bytes(range(256)) * 8,
    "TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160) + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": HEALTH + b"Host: b\r\n\r\n",
    "a blank in the target": HEALTH.replace(b"z", b" z") + b"\r\n",
    "no colon": HEALTH + b"X\r\n\r\n",
    "a blank before the colon": HEALTH + b"Content-Length : 5\r\n\r\n",
    "a NUL": HEALTH + b"X: \0\r\n\r\n",
    "a folded name": HEALTH + b" X: a\r\n\r\n"[1:].replace(b"X", b"X\r\n"),
    "a header of 100 KB": HEALTH + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "a header of 33 KB": HEALTH + b"X: " + b"a" * 33_000 + b"\r\n\r\n",
    "10,000 headers": HEALTH + b"X: a\r\n" * 10_000 + b"\r\n",
    "a target of 100 KB": HEALTH.replace(b"z ", b"z?" + b"a" * 100_000 + b" ") + b"\r\n",
    "a length in words": POST + b"Content-Length: five\r\n\r\n12345",
    "a length below zero": POST + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\n12345",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
    "two lengths in one": POST + b"Content-Length: 5, 6\r\n\r\n12345",
    "a length beyond all numbers": POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HEALTH + b"\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in a cloak": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks but not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a bad chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5x\r\n12345\r\n0\r\n\r\n",
    "a bad chunk that nobody reads": POST.replace(b"/v1/videos", b"") + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_is_answered_in_our_shape(url, capfd, sent) -> None:
    with connected(url, sent) as sock:
        found = refused(sock, 400, 1201, "The request cannot be read: ")
        assert found.headers["connection"] == "close"
        assert rest(sock) == b"", "one answer to one request"
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("first", [b"GET http://example.org/healthz", b"CONNECT example.org:443", b"OPTIONS *"])
def test_targets_that_only_proxies_know_are_nothing_of_ours(url, first) -> None:
    with connected(url, first + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") as sock:
        refused(sock, 404, 1202, "There is no ")
        sock.sendall(HEALTH + b"\r\n")
        assert answer(sock)[0].status == 200


def test_noise_after_an_answer_cuts_the_connection(url, capfd) -> None:
    late = POST.replace(b"/v1/videos", b"") + b"Transfer-Encoding: chunked\r\n\r\n"
    for request, status in ((HEALTH + b"\r\n", 200), (late, 404)):
        with connected(url, request) as sock:
            assert answer(sock)[0].status == status
            sock.sendall(b"\0noise\r\n\r\n")
            assert rest(sock).startswith(b"HTTP/1.1 400 " if status == 200 else b"")
    assert "Traceback" not in capfd.readouterr().err


def test_an_upgrade_is_not_taken(url) -> None:
    with connected(url, HEALTH + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n") as sock:
        assert answer(sock)[0].status == 200


def test_no_answer_waits_for_a_client_to_say_that_it_has_the_last_one() -> None:
    with app._listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
