"""Limits on connections: their number, their slowness, and requests that are not valid HTTP.

uvicorn limits neither the time in which a request arrives nor the time in which an answer is read.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import uuid
from contextlib import suppress
from typing import Any, ClassVar

import h11
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from duikou.server.errors import RETRY_AFTER_S, ApiError, ErrorCode
from duikou.server.http.browser import SECURITY_HEADERS
from duikou.server.http.middleware import error_response

HEADER_S = 15.0  # from the connection, or a request's first byte, to the end of its head: 1 s is enough for any client
STALL_S = 60.0  # within which a client must read something; a paused player comes back with a range request
UNSENT_BYTES = 128 << 10  # in the socket's send buffer: the default, 4 MB, would hide for a minute that a client reads
HEAD_BYTES = 32 << 10  # of a request's first line and headers together
BACKLOG = 512  # connections that wait to be accepted; each needs a file descriptor before it can be refused
LINGER_S = 2.0  # in which a refused connection's sender may finish: else it sees a reset in place of the answer
LINGER_BYTES = 1 << 20  # of that
LINGERING = 64  # refused connections that linger; further ones are closed at once
FILES_PER_CONNECTION = 2  # its socket and the file that it sends or receives
OTHER_FILES = 256  # database, workers, fetches, callbacks

log = structlog.get_logger(__name__)


def connection_limit(connections: int) -> int:
    """How many connections, up to `connections`, the process has file descriptors for, after raising their limit."""
    if sys.platform == "win32":  # it has no such limit
        return connections
    import resource

    wanted = OTHER_FILES + BACKLOG + FILES_PER_CONNECTION * connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _below(soft, wanted):
        with suppress(OSError, ValueError):  # macOS reports a higher limit than it allows
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard if _below(hard, wanted) else wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = connections
    if _below(soft, wanted):
        room = max(min(connections, (soft - OTHER_FILES) // FILES_PER_CONNECTION), 1)
        log.warning("the limit of open files is low", files=soft, wanted=wanted, connections=room)
    return room


def _below(limit: int, wanted: int) -> bool:
    return 0 <= limit < wanted  # a negative number means no limit


class Connection(H11Protocol):
    """uvicorn's connection with a limit on every wait for the client.

    uvicorn's `limit_concurrency` is the number of connections at once. Further ones get an answer before their request
    is read.
    """

    _lingering: ClassVar[set[Connection]] = set()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = _StrictH11(h11.SERVER, HEAD_BYTES)
        self._max_connections = self.limit_concurrency
        self.limit_concurrency = None  # uvicorn would answer in plain text
        self._request_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._linger_bytes = LINGER_BYTES

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request, or refuse the connection."""
        full = self._max_connections is not None and len(self.connections) >= self._max_connections
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # pause writing as soon as the client does not read everything
        with suppress(AttributeError, OSError):  # not on every system; on macOS not after the client has left
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if full:
            self._refuse(
                ApiError(
                    ErrorCode.UNAVAILABLE,
                    f"The server has {self._max_connections} connections, its limit; try again in {RETRY_AFTER_S} s.",
                    headers={"Retry-After": str(RETRY_AFTER_S)},
                )
            )
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._lingering.discard(self)
        _cancel(self._request_timer)
        _cancel(self._reader_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received bytes; those of a refused connection are dropped."""
        if self in self._lingering:
            self._linger_bytes -= len(data)
            if self._linger_bytes <= 0:
                self.transport.close()
            return
        super().data_received(data)
        self._await_request()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not valid HTTP, unless an answer has begun."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._refuse(
                ApiError(
                    ErrorCode.PARAMETER,
                    f"The request cannot be read: it is not valid HTTP, or its head has more than {HEAD_BYTES} bytes.",
                )
            )
        else:
            log.info("invalid HTTP after the answer")
            self.transport.close()

    def pause_writing(self) -> None:
        """Watch a client that did not read everything."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Stop watching a client that has read everything."""
        super().resume_writing()
        _cancel(self._reader_timer)

    def _await_request(self) -> None:
        """Run a timer while waiting for a request's head, or for the rest of a body after its answer.

        Whoever reads a body limits the wait for it.
        """
        answered = self.cycle is None or self.cycle.response_complete
        if not answered or self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
            _cancel(self._request_timer)
            self._request_timer = None
        elif self._request_timer is None:
            self._request_timer = self.loop.call_later(HEADER_S, self._give_up)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            log.info("the request took too long to arrive", seconds=HEADER_S)
            self.transport.close()

    def _watch_reader(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._reader_timer = self.loop.call_later(STALL_S, self._check_reader, left)

    def _check_reader(self, left_before: int) -> None:
        if self.transport.get_write_buffer_size() < left_before:
            self._watch_reader()
        else:
            log.info("the client reads nothing", seconds=STALL_S, left_bytes=left_before)
            self.transport.abort()

    def _refuse(self, error: ApiError) -> None:
        request_id = str(uuid.uuid4())
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            answer = error_response(error, request_id)
        answer.headers.update(SECURITY_HEADERS)
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
        self._linger()

    def _linger(self) -> None:
        """Close the connection once its client has seen the answer: a client that is still sending must not be cut."""
        if len(self._lingering) >= LINGERING or not self.transport.can_write_eof():
            self.transport.close()
            return
        if self.cycle is not None:  # whoever reads the request's body learns that there is no more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._unset_keepalive_if_required()
        _cancel(self._request_timer)
        self.connections.discard(self)  # it takes no place among those that are served
        self._lingering.add(self)
        self.transport.write_eof()
        self._request_timer = self.loop.call_later(LINGER_S, self.transport.close)


class _StrictH11(h11.Connection):
    """h11, stricter about HTTP versions, long heads that arrive at once, and requests with two lengths.

    Of two lengths a proxy may use the other one, and forward as a body what this server reads as a request (request
    smuggling: RFC 9112, 11.2).
    """

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event. Raises `h11.RemoteProtocolError` where the client breaks the protocol."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            if event.http_version not in {b"1.0", b"1.1"}:
                raise h11.RemoteProtocolError("unknown HTTP version")
            if {b"transfer-encoding", b"content-length"} <= {name for name, _ in event.headers}:
                raise h11.RemoteProtocolError("two lengths of one body")
            if len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers) > HEAD_BYTES:
                raise h11.RemoteProtocolError("the head is too long")
        return event


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
