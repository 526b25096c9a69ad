"""The one table of answers: what goes wrong, the code clients read, the HTTP status, and who raises it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from duikou.errors import DuikouError, InputError, ModelError, StorageError, WorkerError
from duikou.sandbox.process import LimitError, StoppedError
from duikou.tasks.store.errors import TooManyTasksError

RETRY_AFTER_S = 10  # for what passes by itself: a full queue, a server that makes way for another


@dataclass(frozen=True)
class Answer:
    """One row of the table."""

    code: int
    status: int
    meaning: str


class Code(Enum):
    """Every answer of the server's."""

    OK = Answer(0, 200, "SUCCEED")
    AUTHENTICATION = Answer(1000, 401, "the key is unknown or was revoked")
    NO_AUTHORIZATION = Answer(1001, 401, "the header Authorization is missing or empty")
    BAD_AUTHORIZATION = Answer(1002, 401, "the header Authorization cannot be read, or its signature is wrong")
    NOT_YET_VALID = Answer(1003, 401, "the token is not yet valid")
    EXPIRED = Answer(1004, 401, "the token has expired")
    NO_RIGHT = Answer(1103, 403, "an address or a token does not give the right, or another site's page calls")
    PARAMETER = Answer(1201, 400, "a parameter is missing or out of its range")
    NO_METHOD = Answer(1202, 404, "there is no such path or method")
    NO_RESOURCE = Answer(1203, 404, "there is no such resource, or it has expired")
    TOO_MANY_REQUESTS = Answer(1302, 429, "the account calls too often")
    TOO_MANY_TASKS = Answer(1303, 429, "the account has too many tasks at once, or the queue is full")
    INTERNAL = Answer(5000, 500, "the server failed")
    UNAVAILABLE = Answer(5001, 503, "the server takes no work at the moment")
    TIMEOUT = Answer(5002, 504, "the work took longer than it may")


class ApiError(Exception):
    """An answer other than success. `message` is one sentence that names the field and the figure.

    status: HTTP status where it is not the table's. headers: HTTP headers that belong to the answer.
    """

    def __init__(
        self, code: Code, message: str, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code.value.code
        self.status = status or code.value.status
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
            return ApiError(Code.PARAMETER, text)
        case TooManyTasksError():
            return ApiError(Code.TOO_MANY_TASKS, text, headers={"Retry-After": str(RETRY_AFTER_S)})
        case StoppedError():
            return ApiError(Code.UNAVAILABLE, text, headers={"Retry-After": str(RETRY_AFTER_S)})
        case StorageError() | ModelError():
            return ApiError(Code.UNAVAILABLE, text)
        case LimitError():
            return ApiError(Code.TIMEOUT, text)
        case WorkerError():
            return ApiError(Code.INTERNAL, text)
        case _:
            return ApiError(Code.INTERNAL, "The server failed; its log tells more under this request_id.")
