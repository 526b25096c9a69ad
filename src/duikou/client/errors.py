"""The errors of the client.

Each also derives from the builtin that fits. The text is one sentence; keys and signed URLs are in none.

    ClientError
    +-- InputError (ValueError)            a wrong argument; nothing was sent
    +-- ApiError                           the server refused: code, status, message, request_id
    |   +-- AuthenticationError            the key or token is missing, wrong or expired
    |   +-- ForbiddenError                 the key may not do this
    |   +-- InvalidRequestError            a parameter is wrong
    |   +-- NotFoundError (LookupError)    an unknown task, session or file
    |   +-- UnsupportedError               the server does not know this call: an extension, at another host
    |   +-- RateLimitError                 too many calls or tasks, or the account's means are used up
    |   +-- ServerError                    the server failed, or accepts no work at the moment
    +-- ConnectionFailedError (ConnectionError)  no answer, or a broken one
    |   +-- TimedOutError (TimeoutError)   no answer in time
    +-- ProtocolError                      an answer that is not the contract's
    +-- TaskFailedError                    the task failed: task
    +-- WaitTimeoutError (TimeoutError)    the task is unfinished after the given time: task
    +-- CallbackError                      a callback that the server did not sign
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duikou.client.values import Task


class ClientError(Exception):
    """Root of every error that the client raises on purpose."""


class InputError(ClientError, ValueError):
    """A wrong argument; nothing was sent."""


class ApiError(ClientError):
    """An error answer of the server.

    code: the code of the contract; `None` if the answer has none, such as a gateway's error page.
    status: HTTP status. message: the server's sentence. request_id: the server's id of the call, "" if unknown.
    retry_after_s: how long the server asks to wait, if it does.
    """

    def __init__(
        self, message: str, *, code: int | None, status: int, request_id: str = "", retry_after_s: float | None = None
    ) -> None:
        details = [f"HTTP {status}"] + ([f"code {code}"] if code is not None else [])
        details += [f"request {request_id}"] if request_id else []
        super().__init__(f"{message} ({', '.join(details)})")
        self.code, self.status, self.message = code, status, message
        self.request_id, self.retry_after_s = request_id, retry_after_s


class AuthenticationError(ApiError):
    """The key or token is missing, wrong or expired (401; 1000 to 1004)."""


class ForbiddenError(ApiError):
    """The key may not do this (403; 1103)."""


class InvalidRequestError(ApiError):
    """A parameter is wrong, or the content is refused (400; 1200, 1201, 1300, 1301)."""


class NotFoundError(ApiError, LookupError):
    """There is no such task, session or file (404; 1203)."""


class UnsupportedError(ApiError):
    """The server does not know this call (404; 1202): Kling has no uploads, events, cancel or delete."""


class RateLimitError(ApiError):
    """Too many calls (1302), tasks or uploads (1303), or the account's means are used up (1100 to 1102, 1304).

    Status 429.
    """


class ServerError(ApiError):
    """The server failed (5000), accepts no work at the moment (5001) or took too long (5002)."""


class ConnectionFailedError(ClientError, ConnectionError):
    """No answer came, or a broken one.

    sent: whether the server may have received the request.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class TimedOutError(ConnectionFailedError, TimeoutError):
    """No answer came in time."""


class ProtocolError(ClientError):
    """An answer that is not the contract's."""


class TaskFailedError(ClientError):
    """A task failed; the text is the server's reason. task: its last state."""

    def __init__(self, task: Task) -> None:
        super().__init__(f"task {task.id} failed: {task.message or 'the server gives no reason.'}")
        self.task = task


class WaitTimeoutError(ClientError, TimeoutError):
    """A task is unfinished after the given time; it goes on. task: its last state."""

    def __init__(self, task: Task, timeout_s: float) -> None:
        super().__init__(f"task {task.id} is {task.status} after {timeout_s:g} s.")
        self.task = task


class CallbackError(ClientError):
    """A callback that is not signed with the secret, or not now."""
