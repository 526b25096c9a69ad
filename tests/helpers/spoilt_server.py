"""A web server that records requests, and whose answers can be spoilt, one request after the other."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from web_server import web_server


@dataclass(frozen=True)
class Asked:
    """One request. headers: names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What a server answers."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def envelope(status: int, code: int, message: str = "SUCCEED", data: Any = None, **headers: str) -> Answer:
    """An answer in the form of the contract; `_` in names of headers is `-`."""
    body = {"code": code, "message": message, "request_id": "request-1", "data": data}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json", **named})


Handle = Callable[[Asked], Answer]
Fault = Callable[["SpoiltServer", "_Handler", Asked], None]


@dataclass
class SpoiltServer:
    """handle: answers requests. faults: what is done instead with the next requests; `None` spoils nothing."""

    handle: Handle
    faults: list[Fault | None] = field(default_factory=list)
    heard: list[Asked] = field(default_factory=list)
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def calls(self) -> list[str]:
        """The requests so far, each as `METHOD /path`, without queries."""
        return [f"{asked.method} {asked.path.partition('?')[0]}" for asked in self.heard]


class _Handler(BaseHTTPRequestHandler):
    server_state: SpoiltServer

    def _do(self) -> None:
        state = self.server_state
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body)
        state.heard.append(asked)
        fault = state.faults.pop(0) if state.faults else None
        if fault is None:
            self.send(state.handle(asked))
        else:
            fault(state, self, asked)

    do_GET = do_POST = do_DELETE = _do  # noqa: N815

    def send(self, answer: Answer, length: int | None = None) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[:length])

    def hang_up(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


@contextmanager
def spoilt_server(handle: Handle, *faults: Fault | None) -> Iterator[SpoiltServer]:
    """A server on loopback."""
    state = SpoiltServer(handle, list(faults))
    with web_server(type("_Bound", (_Handler,), {"server_state": state})) as state.url:
        try:
            yield state
        finally:
            state.over.set()


def cut(_: SpoiltServer, handler: _Handler, __: Asked) -> None:
    """The connection breaks before the server has worked."""
    handler.hang_up()


def lose_answer(state: SpoiltServer, handler: _Handler, asked: Asked) -> None:
    """The server works, and the connection breaks before its answer."""
    state.handle(asked)
    handler.hang_up()


def cut_body(length: int) -> Fault:
    """The connection breaks after so many bytes of the answer's body."""

    def fault(state: SpoiltServer, handler: _Handler, asked: Asked) -> None:
        handler.send(state.handle(asked), length)
        handler.hang_up()

    return fault


def hang(state: SpoiltServer, _: _Handler, __: Asked) -> None:
    """No answer until the test is over."""
    state.over.wait(60)


def say(status: int, body: bytes = b"", **headers: str) -> Fault:
    """Another answer; `_` in names of headers is `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _, handler, __: handler.send(Answer(status, body, named))


def refuse(status: int, code: int, message: str = "No.", **headers: str) -> Fault:
    """An error answer of the contract."""
    return lambda _, handler, __: handler.send(envelope(status, code, message, **headers))


HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
