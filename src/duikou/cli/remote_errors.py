"""Errors of the client as the library's, which the commands tell in their own words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from duikou.errors import DuikouError, InputError

if TYPE_CHECKING:
    from duikou import client

KEY_VARIABLE: Final = "DUIKOU_KEY"  # no option: everybody on this machine sees the words of a command
NAMES: Final = {
    "base_url": "--server",
    "key": KEY_VARIABLE,
    "access_key": KEY_VARIABLE,
    "secret_key": KEY_VARIABLE,
    "video_url": "video",
    "video_id": "video",
    "face_choose": "choices",
    "face_id": "face_id",
    "sound_file": "audio",
    "audio_id": "audio",
    "sound_start_time": "trim_start_ms",
    "sound_end_time": "trim_end_ms",
    "sound_insert_time": "insert_ms",
    "sound_volume": "audio_volume",
    "original_audio_volume": "original_volume",
    "original_audio_scope": "original_scope",
    "reference_urls": "references",
    "sync_mode": "sync_mode",
}
"""What the library calls the client's parameters and the fields of the wire."""
_FIELD: Final = re.compile(r"(?:face_choose\[(\d+)\]\.)?([a-z_]+)(\[\d+\])?: (.*)", re.DOTALL)


@contextmanager
def own_errors(file: str = "") -> Iterator[None]:
    """Raise the client's errors as the library's, which decide on the exit status.

    file: the parameter whose file is uploaded.
    """
    from duikou import client

    try:
        yield
    except client.InputError as error:
        raise _about(str(error), file) from error
    except client.TaskFailedError as error:
        failure = _about(_with(error.task.message or "the task failed", f"task {error.task.id}"))
        raise failure if error.task.fault == "input" else DuikouError(str(failure)) from error
    except client.AuthenticationError as error:
        raise InputError(_with_request(error.message, error), field=KEY_VARIABLE) from error
    except client.UnsupportedError as error:
        reason = "this host takes no files, because it is no duikou server; `duikou.client` can send it URLs."
        raise InputError(_with_request(reason, error), field="--server") from error
    except (client.InvalidRequestError, client.ForbiddenError, client.NotFoundError) as error:
        raise _about(_with_request(error.message, error), file) from error
    except client.ProtocolError as error:
        raise InputError(str(error), field="--server") from error
    except client.ConnectionFailedError as error:
        raise DuikouError(f"--server: {error}") from error
    except client.ApiError as error:
        raise DuikouError(_with_request(error.message, error)) from error
    except client.ClientError as error:
        raise DuikouError(str(error)) from error


def is_outage(error: DuikouError) -> bool:
    """Whether an error is that the server does not answer."""
    from duikou import client

    return isinstance(error.__cause__, client.ConnectionFailedError)


def _with_request(sentence: str, error: client.ApiError) -> str:
    """A sentence with the server's id of the call."""
    return _with(sentence, f"request {error.request_id}" if error.request_id else "")


def _with(sentence: str, more: str) -> str:
    return f"{sentence.rstrip('.')} ({more})." if more else sentence


def _about(sentence: str, file: str = "") -> InputError:
    """The error of a sentence that may begin with a field of the wire; it names the library's parameter."""
    found = _FIELD.fullmatch(sentence)
    name = ({**NAMES, "file": file}.get(found[2]) if found else file) or ""
    if found is None or not name:
        return InputError(sentence, field=name)
    place = f"choices[{found[1]}]." if found[1] is not None else ""
    return InputError(found[4], field=f"{place}{name}{found[3] or ''}")
