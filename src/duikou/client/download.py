"""Downloads: into a temporary file beside the target, continued after a broken connection, renamed when complete."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from duikou.client import wire
from duikou.client.calls import Calls
from duikou.client.errors import ApiError, ConnectionFailedError, InputError, ProtocolError
from duikou.client.steps import Local, Open, Plan, Read, Reply, Request, Tell
from duikou.client.values import Task, Upload, Video

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})")

Source = Task | Video | Upload | str
Progress = Callable[[int, int | None], object]


@dataclass
class _Transfer:
    """A file on its way. done: bytes that are written. size: bytes that were promised, if known. etag: its version."""

    file: BinaryIO
    done: int = 0
    size: int | None = None
    etag: str = ""

    def headers(self) -> dict[str, str]:
        """Of the next request: the rest, unless the file has changed meanwhile."""
        identity = {"Accept-Encoding": "identity"}  # lengths count the bytes of the file itself
        if not self.done:
            return identity
        return {**identity, "Range": f"bytes={self.done}-", **({"If-Range": self.etag} if self.etag else {})}

    def begin(self, reply: Reply, what: str) -> None:
        """Get ready for the body of a reply: the rest, or the whole from its start."""
        if reply.headers.get("content-encoding", "identity") != "identity":
            raise ProtocolError(f"{what}: the file comes compressed, against the request.")
        if reply.status == 206 and self.done:
            found = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", ""))
            if found is not None and int(found[1]) == self.done and self.size in (None, int(found[2])):
                self.size = int(found[2])
                return
        if reply.status != 200:
            raise ProtocolError(f"{what}: the answer {reply.status} is not the part of the file that was asked for.")
        self.restart()
        length = reply.headers.get("content-length", "")
        self.size = int(length) if length.isdigit() else None
        etag = reply.headers.get("etag", "")
        self.etag = "" if etag.startswith("W/") else etag  # a weak one does not tell bytes apart (RFC 9110, 8.8.1)

    def restart(self) -> None:
        """Forget what came."""
        self.file.seek(0)
        self.file.truncate()
        self.done = 0

    def write(self, chunk: bytes) -> None:
        """Append. Raises `ProtocolError` for more than was promised."""
        self.file.write(chunk)
        self.done += len(chunk)
        if self.size is not None and self.done > self.size:
            raise ProtocolError(f"the file has more than the {self.size} bytes that were promised.")


def download(calls: Calls, source: Source, to: str | Path, progress: Progress | None) -> Plan[Path]:
    """See `Duikou.download`. The key is not sent: URLs of files are signed, and may lead to another host."""
    target = Path(to)
    request = Request("GET", _url(source), follow=True)
    if target.is_dir() or not target.parent.is_dir():
        raise InputError(f"to: {target} is {'a folder' if target.is_dir() else 'in a folder that does not exist'}.")
    part = target.with_name(f".duikou-{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            yield from _fill(calls, request, _Transfer(file), progress)
        yield Local(partial(part.replace, target))
    finally:
        part.unlink(missing_ok=True)
    return target


def _fill(calls: Calls, request: Request, transfer: _Transfer, progress: Progress | None) -> Plan[None]:
    failures = furthest = 0
    while True:
        try:
            reply = yield Open(Request(request.method, request.url, transfer.headers(), follow=True))
            if reply.status == 416:  # what is on the server is shorter now
                yield Local(transfer.restart)
                raise ConnectionFailedError(f"{request.name}: the file changed on the way.", sent=True)
            if reply.status >= 300:
                wire.read_data(reply, request.name)
            yield Local(partial(transfer.begin, reply, request.name))
            while chunk := (yield Read()):
                yield Local(partial(transfer.write, chunk))
                if transfer.done > furthest:  # the same bytes once more are no progress
                    failures, furthest = 0, transfer.done
                if progress is not None:
                    yield Tell(progress, (transfer.done, transfer.size))
            if transfer.size is None or transfer.done == transfer.size:
                return
            raise ConnectionFailedError(
                f"{request.name}: the file ends after {transfer.done} of {transfer.size} bytes.", sent=True
            )
        except (ApiError, ConnectionFailedError) as error:
            failures += 1
            yield from calls.pause(request, failures, error)


def _url(source: Source) -> str:
    if isinstance(source, Task):
        if not source.videos:
            raise InputError(f"task {source.id} has no result: it is {source.status}.")
        source = source.videos[0]
    url = source if isinstance(source, str) else source.url
    if not url.lower().startswith(("http://", "https://")):
        raise InputError("source: an http or https URL is expected.")
    return url
