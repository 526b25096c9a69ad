"""The table of error codes: what went wrong, the code for clients, the HTTP status, and which exception maps to it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from duikou.errors import DuikouError, InputError, ModelError, StorageError, WorkerError
from duikou.sandbox.process import LimitError, StoppedError
from duikou.tasks.store.errors import QuotaError, TooManyTasksError

RETRY_AFTER_S = 10  # for conditions that pass without help: a full queue, a server that is about to be replaced
INTERNAL_MESSAGE = "The server failed; its log has the details under this request_id."


class ErrorCode(Enum):
    """Every error code of the server: the code in the answer, its HTTP status and its meaning."""

    AUTHENTICATION = (1000, 401, "the key is unknown or was revoked")
    NO_AUTHORIZATION = (1001, 401, "the Authorization header is missing or empty")
    BAD_AUTHORIZATION = (1002, 401, "the Authorization header cannot be read, or its signature is wrong")
    NOT_YET_VALID = (1003, 401, "the token is not yet valid")
    EXPIRED = (1004, 401, "the token has expired")
    NO_RIGHT = (1103, 403, "the URL or the token does not grant access, or a page of another site made the call")
    STORAGE_USED_UP = (1102, 429, "the account stores as much as it may")
    PARAMETER = (1201, 400, "a parameter is missing or out of range")
    NO_METHOD = (1202, 404, "there is no such path or method")
    NO_RESOURCE = (1203, 404, "there is no such resource, or it has expired")
    TOO_MANY_REQUESTS = (1302, 429, "the account calls too often, or has too many streams of events open")
    TOO_MANY_TASKS = (1303, 429, "the account has too many tasks or uploads at once, or the queue is full")
    INTERNAL = (5000, 500, "the server failed")
    UNAVAILABLE = (5001, 503, "the server accepts no work at the moment")
    TIMEOUT = (5002, 504, "the work exceeded its time limit")

    def __init__(self, code: int, status: int, meaning: str) -> None:
        self.code, self.status, self.meaning = code, status, meaning


class ApiError(Exception):
    """An error answer. `message` is one sentence that names the field and the figure.

    status: HTTP status where it differs from the table's. headers: HTTP headers of the answer.
    """

    def __init__(
        self, code: ErrorCode, message: str, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code.code
        self.status = status or code.status
        self.message = message
        self.headers = dict(headers or {})
        if self.status == 401:
            self.headers.setdefault("WWW-Authenticate", "Bearer")


def api_error(error: DuikouError) -> ApiError:
    """The answer to an error of the rooms below."""
    text = str(error)
    text = text if text.endswith(".") else f"{text}."
    match error:
        case InputError():
            return ApiError(ErrorCode.PARAMETER, text)
        case TooManyTasksError():
            return ApiError(ErrorCode.TOO_MANY_TASKS, text, headers={"Retry-After": str(RETRY_AFTER_S)})
        case QuotaError():
            return ApiError(ErrorCode.STORAGE_USED_UP, text)
        case StoppedError():
            return ApiError(ErrorCode.UNAVAILABLE, text, headers={"Retry-After": str(RETRY_AFTER_S)})
        case StorageError() | ModelError():
            return ApiError(ErrorCode.UNAVAILABLE, text)
        case LimitError():
            return ApiError(ErrorCode.TIMEOUT, text)
        case WorkerError():
            return ApiError(ErrorCode.INTERNAL, text)
        case _:
            return ApiError(ErrorCode.INTERNAL, INTERNAL_MESSAGE)
