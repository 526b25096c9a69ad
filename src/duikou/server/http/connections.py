"""Connections that cannot hold the server: too many of them, too slow ones, and what is no HTTP.

uvicorn limits neither the time that a request takes to arrive nor the time that an answer takes to be read.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import uuid
from contextlib import suppress
from typing import Any

import h11
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from duikou.server.errors import RETRY_AFTER_S, ApiError, Code
from duikou.server.http.browser import PROTECTION
from duikou.server.http.middleware import fault_response

HEADER_S = 15.0  # from the connection, or a request's first byte, to the end of its head: a second will do for anyone
STALL_S = 60.0  # in which a reader must take something: a player that is paused comes back with a range
UNSENT_BYTES = 128 << 10  # that the system holds for a reader: it would hold 4 MB, and hide for a minute what is read
HEAD_BYTES = 32 << 10  # of a request's first line and headers together
BACKLOG = 512  # connections that are taken up at once: each needs a file before it can be refused
FILES_EACH = 2  # per connection: its socket and the file that it sends or receives
OWN_FILES = 256  # besides: database, workers, fetches, callbacks

log = structlog.get_logger(__name__)


def room_for(connections: int) -> int:
    """How many of so many connections the process has files for, once its limit is as high as they need or may be."""
    if sys.platform == "win32":  # which has no such limit
        return connections
    import resource

    wanted = OWN_FILES + BACKLOG + FILES_EACH * connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _below(soft, wanted):
        with suppress(OSError, ValueError):  # macOS has a lower limit than the one it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard if _below(hard, wanted) else wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = connections
    if _below(soft, wanted):
        room = max(min(connections, (soft - OWN_FILES) // FILES_EACH), 1)
        log.warning("few files may be open", files=soft, wanted=wanted, connections=room)
    return room


def _below(limit: int, wanted: int) -> bool:
    return 0 <= limit < wanted  # no limit is a negative number


class Connection(H11Protocol):
    """One connection: uvicorn's, with an end to every wait for the client.

    How many there may be at once is uvicorn's `limit_concurrency`; one more is answered before its request is read.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = _Http(h11.SERVER, HEAD_BYTES)
        self._most, self.limit_concurrency = self.limit_concurrency, None  # uvicorn would answer in plain text
        self._request_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, or refuse the connection."""
        full = self._most is not None and len(self.connections) >= self._most
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # writing is paused as soon as the reader does not take everything
        with suppress(AttributeError, OSError):  # not every system can; macOS cannot once the client has gone
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if full:
            self._refuse(
                ApiError(
                    Code.UNAVAILABLE,
                    f"The server holds {self._most} connections, the most it may; try again in {RETRY_AFTER_S} s.",
                    headers={"Retry-After": str(RETRY_AFTER_S)},
                )
            )
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        _cancel(self._request_timer)
        _cancel(self._reader_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take up what has come."""
        super().data_received(data)
        self._await_request()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, where no answer has begun."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._refuse(
                ApiError(
                    Code.PARAMETER,
                    f"The request cannot be read: it is no valid HTTP, or its head has more than {HEAD_BYTES} bytes.",
                )
            )
        else:
            log.info("no valid HTTP after the answer")
            self.transport.close()

    def pause_writing(self) -> None:
        """Begin to watch a reader that has left something."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Leave a reader alone that has taken everything."""
        super().resume_writing()
        _cancel(self._reader_timer)

    def _await_request(self) -> None:
        """Have a timer while a request is awaited: its head, or what follows of a body that was answered already.

        A body that is still being read is up to who reads it.
        """
        answered = self.cycle is None or self.cycle.response_complete
        if not answered or self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
            _cancel(self._request_timer)
            self._request_timer = None
        elif self._request_timer is None:
            self._request_timer = self.loop.call_later(HEADER_S, self._give_up)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            log.info("no whole request in time", seconds=HEADER_S)
            self.transport.close()

    def _watch_reader(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._reader_timer = self.loop.call_later(STALL_S, self._check_reader, left)

    def _check_reader(self, left_before: int) -> None:
        if self.transport.get_write_buffer_size() < left_before:
            self._watch_reader()
        else:
            log.info("the reader takes nothing", seconds=STALL_S, left_bytes=left_before)
            self.transport.abort()

    def _refuse(self, fault: ApiError) -> None:
        request_id = str(uuid.uuid4())
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            answer = fault_response(fault, request_id)
        answer.headers.update(PROTECTION)
        headers = [
            *self.server_state.default_headers,
            *answer.raw_headers,
            (b"x-request-id", request_id.encode()),
            CLOSE_HEADER,
        ]
        events = (
            h11.Response(status_code=answer.status_code, headers=headers),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()


class _Http(h11.Connection):
    """h11, but strict where it is not: about other versions, long heads that come at once, and lengths told twice.

    Of two lengths a proxy before us may believe the other one, and hand on as a body what we take for a request
    (RFC 9112, 11.2).
    """

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event. Raises `h11.RemoteProtocolError` where the client breaks the protocol."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            if event.http_version not in {b"1.0", b"1.1"}:
                raise h11.RemoteProtocolError("another version")
            if {b"transfer-encoding", b"content-length"} <= {name for name, _ in event.headers}:
                raise h11.RemoteProtocolError("two lengths of one body")
            if len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers) > HEAD_BYTES:
                raise h11.RemoteProtocolError("the head is too long")
        return event


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
