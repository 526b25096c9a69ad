"""The calls as plans: what is sent, what the answer means, and what is sent again."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias, TypedDict
from urllib.parse import quote, urlencode, urlsplit

from duikou.client import wire
from duikou.client.auth import Key, authorization, check_key
from duikou.client.errors import (
    ApiError,
    ConnectionFailedError,
    InputError,
    NotFoundError,
    ProtocolError,
    TaskFailedError,
    UnsupportedError,
    WaitTimeoutError,
)
from duikou.client.retry import Retry, is_doubtful
from duikou.client.steps import Emit, Local, Open, Plan, Read, Reply, Request, Send, Sleep, Tell
from duikou.client.values import FaceChoice, Session, SyncMode, Task, TaskStatus, Upload, Video

MAX_EMBEDDED = 5 << 20  # bytes of a sound that are sent as base64: the contract's limit
FIRST_POLL_S, POLL_GROWTH, MAX_POLL_S = 1.0, 1.25, 5.0  # between looks at a task
LIP_SYNC = "/v1/videos/advanced-lip-sync"

log = logging.getLogger("duikou.client")

Settle: TypeAlias = Callable[[ApiError | ConnectionFailedError], Plan[Any]]
"""What may have happened after a failure that leaves it open: a plan for the data of the answer, or `None`."""


class TaskOptions(TypedDict, total=False):
    """What else a lip sync can be given.

    external_task_id: the caller's own id of the task, unique among the account's; without one the client makes one.
    callback_url: receives every change of status; see `verify_callback`.
    watermark: whether to make a second result with a visible mark.
    sync_mode: what a duikou server does with speech that is longer than the video. Without it, it is refused.
    """

    external_task_id: str
    callback_url: str
    watermark: bool
    sync_mode: SyncMode


@dataclass(frozen=True)
class Calls:
    """Plans for one host and key. base_url: with the path before `/v1`, such as `/klingai`."""

    base_url: str
    key: Key = field(repr=False)
    retry: Retry

    @classmethod
    def of(cls, base_url: str, key: Key, retry: Retry) -> Calls:
        """Calls for checked arguments. Raises `InputError`."""
        check_key(key)
        return cls(_checked_url(base_url), key, retry)

    def identify(self, video: str | Path | Upload | Video) -> Plan[Session]:
        """See `Duikou.identify`."""
        if isinstance(video, Upload | Video):
            wanted = {"video_id": video.id}
        elif _is_url(video):
            wanted = {"video_url": str(video)}
        else:
            wanted = {"video_url": (yield from self.upload(video)).url}
        request = self._post("/v1/videos/identify-face", wanted)
        return wire.read_session((yield from self._answer(replace(request, repeatable=False))))

    def lip_sync(
        self, session: Session | str, choices: FaceChoice | Sequence[FaceChoice], options: TaskOptions
    ) -> Plan[Task]:
        """See `Duikou.lip_sync`."""
        choices = [choices] if isinstance(choices, FaceChoice) else choices
        faces: list[dict[str, Any]] = []
        for number, choice in enumerate(choices):
            faces.append((yield from self._face_choose(choice, f"choices[{number}]")))
        external_id = options.get("external_task_id") or f"duikou-{secrets.token_hex(16)}"
        body: dict[str, Any] = {
            "session_id": session if isinstance(session, str) else session.id,
            "face_choose": faces,
            "external_task_id": external_id,
        }
        body |= {name: options[name] for name in ("callback_url", "sync_mode") if options.get(name)}
        if options.get("watermark"):
            body["watermark_info"] = {"enabled": True}

        def settle(_: ApiError | ConnectionFailedError) -> Plan[Any]:
            """The task that the first request made, if it did. Not every host knows tasks by external id."""
            try:
                return (yield from self._answer(self._request("GET", _task_path(external_id))))
            except ApiError:
                return None

        try:
            data = yield from self._answer(self._post(LIP_SYNC, body), settle=settle)
        except ConnectionFailedError as error:
            error.add_note(f"The task may exist; its external_task_id is {external_id}.")
            raise
        task = wire.read_task(data)
        return task if task.external_id else replace(task, external_id=external_id)

    def get(self, task: Task | str) -> Plan[Task]:
        """See `Duikou.get`."""
        return wire.read_task((yield from self._answer(self._request("GET", _task_path(task)))))

    def tasks(self, page: int, page_size: int) -> Plan[tuple[Task, ...]]:
        """See `Duikou.list`."""
        query = urlencode({"pageNum": page, "pageSize": page_size})
        return wire.read_tasks((yield from self._answer(self._request("GET", f"{LIP_SYNC}?{query}"))))

    def cancel(self, task: Task | str) -> Plan[Task]:
        """See `Duikou.cancel`."""
        request = self._request("POST", _task_path(task, "/cancel"))
        return wire.read_task((yield from self._answer(request, extension=True)))

    def delete(self, task: Task | str) -> Plan[None]:
        """See `Duikou.delete`."""

        def settle(error: ApiError | ConnectionFailedError) -> Plan[Any]:
            """A task that a repeated request does not find is one that the first request deleted."""
            yield from ()
            return {} if isinstance(error, NotFoundError) else None

        yield from self._answer(self._request("DELETE", _task_path(task)), settle=settle, extension=True)

    def upload(self, path: str | Path) -> Plan[Upload]:
        """See `Duikou.upload`."""
        path = Path(path)
        size: int = yield Local(lambda: path.stat().st_size)
        if not path.is_file() or not size:
            raise InputError(f"{path.name} is {'empty' if path.is_file() else 'no file'}.")
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        request = replace(self._request("POST", "/v1/files", headers), file=path, repeatable=False)
        try:
            return wire.read_upload((yield from self._answer(request, extension=True)))
        except UnsupportedError as error:
            error.add_note("Give the URL of the file in place of the file.")
            raise

    def wait(self, task: Task | str, timeout_s: float | None, progress: Callable[[Task], object] | None) -> Plan[Task]:
        """See `Duikou.wait`."""
        start_s, poll_s = monotonic(), FIRST_POLL_S
        last: Task | None = None
        request, failures, heard_s = self._request("GET", _task_path(task)), 0, start_s
        while True:
            try:
                now = wire.read_task(wire.read_data((yield Send(self._signed(request))), request.name))
            except (ApiError, ConnectionFailedError) as error:
                failures += 1
                wait_s = self.retry.outlast_s(failures, error, monotonic() - heard_s)
                if wait_s is None:
                    raise
                log.info("%s failed (%d in a row); again in %.1f s: %s", request.name, failures, wait_s, error)
                left_s = _left_s(start_s, timeout_s)
                if left_s <= 0:
                    if last is None:
                        raise
                    raise WaitTimeoutError(last, timeout_s or 0.0) from error
                yield Sleep(min(wait_s, left_s))
                continue
            if progress is not None and now != last:
                yield Tell(progress, (now,))
            if now.status is TaskStatus.FAILED:
                raise TaskFailedError(now)
            if now.finished:
                return now
            last, left_s, failures, heard_s = now, _left_s(start_s, timeout_s), 0, monotonic()
            if timeout_s is not None and left_s <= 0:
                raise WaitTimeoutError(now, timeout_s)
            yield Sleep(min(poll_s, left_s))
            poll_s = min(poll_s * POLL_GROWTH, MAX_POLL_S)

    def events(self, task: Task | str) -> Plan[None]:
        """See `Duikou.events`. Every connection begins with the task as it is, so a broken one is just made again.

        While the server refuses one more stream, the task is queried in its place.
        """
        request = self._request("GET", _task_path(task, "/events"), {"Accept": "text/event-stream"})
        last: Task | None = None
        failures = 0
        while True:
            reader = wire.EventReader()
            try:
                reply = yield Open(self._signed(request))
                _check_stream(reply, request.name)
                while chunk := (yield Read()):
                    for now in reader.feed(chunk):
                        failures = 0
                        if now != last:
                            yield Emit(now)
                        if now.finished:
                            return
                        last = now
                raise ConnectionFailedError(f"{request.name}: the events end before the task does.", sent=True)
            except (ApiError, ConnectionFailedError) as error:
                failures += 1
                if isinstance(error, ApiError) and error.status == 429:
                    now = yield from self.get(task)
                    if now != last:
                        yield Emit(now)
                    if now.finished:
                        return
                    last, failures = now, 1  # the server is there
                yield from self.pause(request, failures, error)

    # Parts of calls

    def _face_choose(self, choice: FaceChoice, place: str) -> Plan[dict[str, Any]]:
        """An entry of `face_choose`."""
        audio, end_ms = choice.audio, choice.trim_end_ms
        if not isinstance(audio, Upload) and not _is_url(audio):
            path = Path(audio)
            size: int = yield Local(lambda: path.stat().st_size)
            if end_ms is None or size > MAX_EMBEDDED:
                try:
                    audio = yield from self.upload(path)
                except UnsupportedError as error:
                    if end_ms is None:
                        error.add_note(f"{place}.trim_end_ms is required, because nobody else knows how long it is.")
                    raise
            else:
                sound: bytes = yield Local(path.read_bytes)
                audio = base64.b64encode(sound).decode()
        if isinstance(audio, Upload):
            end_ms = audio.duration_ms if end_ms is None else end_ms
        if end_ms is None:
            raise InputError(f"{place}.trim_end_ms: a value is required for the speech at a URL.")
        entry: dict[str, Any] = {
            "face_id": choice.face_id,
            **({"audio_id": audio.id} if isinstance(audio, Upload) else {"sound_file": str(audio)}),
            "sound_start_time": choice.trim_start_ms,
            "sound_end_time": end_ms,
            "sound_insert_time": choice.insert_ms,
            "sound_volume": choice.audio_volume,
            "original_audio_volume": choice.original_volume,
        }
        if choice.original_scope != "video":  # an extension
            entry["original_audio_scope"] = choice.original_scope
        if choice.exclude:
            entry["exclude"] = [list(pair) for pair in choice.exclude]
        if choice.references:
            entry["reference_urls"] = yield from self._urls(choice.references)
        return entry

    def _urls(self, files: Iterable[str | Path | Upload]) -> Plan[list[str]]:
        urls: list[str] = []
        for file in files:
            if not isinstance(file, Upload) and not _is_url(file):
                file = yield from self.upload(file)  # noqa: PLW2901
            urls.append(file.url if isinstance(file, Upload) else str(file))
        return urls

    def _answer(self, request: Request, *, settle: Settle | None = None, extension: bool = False) -> Plan[Any]:
        """The data of the answer to a request, which is sent again where that helps.

        settle: asked before a request is repeated whose first sending the server may have obeyed, and when the
        repeated one is refused.
        """
        doubt = False
        for tries in itertools.count(1):
            try:
                reply = yield Send(self._signed(request))
                return wire.read_data(reply, request.name, extension=extension)
            except (ApiError, ConnectionFailedError) as error:
                try:
                    yield from self.pause(request, tries, error)
                except ApiError:
                    if doubt and settle is not None and (found := (yield from settle(error))) is not None:
                        return found
                    raise
                doubt = doubt or is_doubtful(error)
                if doubt and settle is not None and (found := (yield from settle(error))) is not None:
                    return found
        raise AssertionError("unreachable")

    def pause(self, request: Request, tries: int, error: ApiError | ConnectionFailedError) -> Plan[None]:
        """Wait for the next try. Raises `error` if there is none."""
        wait_s = self.retry.wait_s(tries, error, repeatable=request.repeatable)
        if wait_s is None:
            raise error
        log.info("%s failed (try %d of %d); again in %.1f s: %s", request.name, tries, self.retry.tries, wait_s, error)
        yield Sleep(wait_s)

    def _request(self, method: str, path: str, headers: dict[str, str] | None = None) -> Request:
        return Request(method, self.base_url + path, headers or {})

    def _post(self, path: str, body: dict[str, Any]) -> Request:
        request = self._request("POST", path, {"Content-Type": "application/json"})
        try:
            return replace(request, body=json.dumps(body, allow_nan=False).encode())
        except (TypeError, ValueError) as error:
            raise InputError(f"the request cannot be JSON: {error}.") from error

    def _signed(self, request: Request) -> Request:
        """A request with the key; a token is made for every try, since it expires."""
        return replace(request, headers={**request.headers, **authorization(self.key)})


def _check_stream(reply: Reply, what: str) -> None:
    if reply.status >= 300:
        wire.read_data(reply, what, extension=True)
    media_type = reply.headers.get("content-type", "")
    if not media_type.startswith("text/event-stream"):
        raise ProtocolError(f"{what}: the answer is {media_type[:40] or 'nothing'} in place of text/event-stream.")


def _left_s(start_s: float, timeout_s: float | None) -> float:
    return float("inf") if timeout_s is None else start_s + timeout_s - monotonic()


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no port
    except ValueError:
        raise InputError("base_url: this is no URL.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("base_url: http:// or https:// and a host are expected.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError("base_url: no name, password, query or fragment is expected; a key has its own parameter.")
    if not url.isascii() or any(char.isspace() or not char.isprintable() for char in url):
        raise InputError("base_url: printable ASCII characters without spaces are expected.")
    url = url.rstrip("/")
    if url.endswith("/v1"):
        raise InputError("base_url: the part before /v1 is expected.")
    return url


def _is_url(text: str | Path) -> bool:
    return isinstance(text, str) and text.lower().startswith(("http://", "https://"))


def _task_path(task: Task | str, call: str = "") -> str:
    task_id = task if isinstance(task, str) else task.id
    if not task_id:
        raise InputError("task: an id is expected.")
    return f"{LIP_SYNC}/{quote(task_id, safe='').replace('.', '%2E')}{call}"
