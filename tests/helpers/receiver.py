"""A web server for callbacks: it records every request and responds with the given status codes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from web_server import web_server

HANG = 0  # in place of a status code: no response at all


@dataclass
class Heard:
    """One POST."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def task(self) -> Any:
        return json.loads(self.body)

    @property
    def status(self) -> str:
        return str(self.task["task_status"])

    def is_signed_with(self, secret: str) -> bool:
        """Whether one of its signatures is valid and its timestamp is current, as Standard Webhooks defines it."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        text = b".".join((self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), self.body))
        right = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        now = abs(int(self.headers["webhook-timestamp"]) - time.time()) < 30
        return now and right in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """answers: the status code of each response in turn; the last one also for all later requests."""

    answers: list[int]
    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, heard: Heard) -> int:
        self.heard.append(heard)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def receiver(*answers: int, port: int = 0) -> Iterator[Receiver]:
    """A receiver on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = one.answer(Heard(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            if status == HANG:
                one.over.wait(60)
                return
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{one.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            one.heard.append(Heard(self.path, {}, b'{"task_status": "GET"}'))
            self.send_error(405)

    one = Receiver(list(answers or (200,)))
    with web_server(Handler, port) as one.url:
        try:
            yield one
        finally:
            one.over.set()
