"""The client without a network: arguments, keys, retries, the JSON of answers, callbacks."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

import duikou.client
from duikou.client import (
    ApiError,
    AsyncDuikou,
    CallbackError,
    ClientError,
    ConnectionFailedError,
    Duikou,
    InputError,
    KeyPair,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    Retry,
    ServerError,
    Task,
    TaskStatus,
    TimedOutError,
    UnsupportedError,
    auth,
    retry,
    verify_callback,
    wire,
)
from duikou.client.calls import Calls
from duikou.client.steps import Reply, Request, Send, Sleep
from duikou.tasks.webhooks import signed_headers

SECRET_KEY = "a-secret-key-of-32-bytes-or-more-0123456789"
WEBHOOK_SECRET = f"whsec_{base64.b64encode(bytes(range(24))).decode()}"
TASK: dict[str, Any] = {"task_id": "8", "task_status": "submitted", "created_at": 1, "updated_at": 2}


def task(**more: Any) -> Task:
    return wire.read_task({**TASK, **more})


@pytest.mark.parametrize("name", duikou.client.__all__)
def test_every_public_name_exists_and_is_described(name: str) -> None:
    thing = getattr(duikou.client, name)
    assert thing is not None
    assert isinstance(thing, str) or thing.__doc__ or name in ("OriginalScope", "SyncMode")


@pytest.mark.parametrize("client", [Duikou, AsyncDuikou])
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "base_url: http:// or https:// and a host are expected."),
        ("127.0.0.1:8000", "base_url: http:// or https:// and a host are expected."),
        ("ftp://example.com", "base_url: http:// or https:// and a host are expected."),
        ("https://", "base_url: http:// or https:// and a host are expected."),
        ("http://[::1", "base_url: this is no URL."),
        ("http://example.com:port", "base_url: this is no URL."),
        ("https://user:word@example.com", "base_url: no name, password, query or fragment is expected"),
        ("https://example.com/?key=1", "base_url: no name, password, query or fragment is expected"),
        ("https://example.com/klingai/v1/", "base_url: the part before /v1 is expected."),
        ("https://example.com/a b", "base_url: printable ASCII characters without spaces are expected."),
        ("https://exämple.com", "base_url: printable ASCII characters without spaces are expected."),
    ],
)
def test_a_wrong_base_url_is_refused_at_once(client: Any, url: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        client(url)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("key", ["", "two words", "line\n", KeyPair("a", ""), KeyPair("ключ", "s")])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key: Any) -> None:
    with pytest.raises(InputError, match="visible ASCII characters") as caught:
        Duikou("https://example.com", key)
    assert "two words" not in str(caught.value)


def test_keys_are_in_no_repr() -> None:
    pair = KeyPair("access", SECRET_KEY)
    with Duikou("https://example.com/klingai/", pair) as client:
        assert repr(client) == "Duikou('https://example.com/klingai')"
        assert SECRET_KEY not in repr(pair) + repr(client._calls) + repr(vars(client))
    calls = Calls.of("https://example.com", "sk-plain", Retry())
    assert "sk-plain" not in repr(calls) + repr(next(calls.get("1")))


def test_a_plain_key_is_sent_as_it_is() -> None:
    assert auth.authorization("sk-plain") == {"Authorization": "Bearer sk-plain"}
    assert auth.authorization(None) == {}


def test_a_key_pair_signs_a_token_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.9)
    token = auth.authorization(KeyPair("access", SECRET_KEY))["Authorization"].removeprefix("Bearer ")
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    claims = jwt.decode(token, SECRET_KEY, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False})
    assert claims == {"iss": "access", "exp": 1_001_800, "nbf": 999_995}


# Retries


def wait(after: int, error: Any, *, repeatable: bool = True, **policy: Any) -> float | None:
    return Retry(**policy).wait_s(after, error, repeatable=repeatable)


def refused(status: int, code: int | None = None, after_s: float | None = None) -> ApiError:
    return ApiError("No.", status=status, code=code, retry_after_s=after_s)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionFailedError("broken", sent=True), True),
        (TimedOutError("late", sent=True), True),
        (refused(429, 1302), True),
        (refused(429, 1303), True),
        (refused(200, 1303), True),
        (refused(429), True),
        (refused(429, 1100), False),
        (refused(429, 1101), False),
        (refused(429, 1102), False),
        (refused(429, 1304), False),
        (refused(503, 5001), True),
        (refused(503), True),
        (refused(502), True),
        (refused(504), True),
        (refused(504, 5002), False),
        (refused(500, 5000), False),
        (refused(500), False),
        (refused(400, 1201), False),
        (refused(401, 1004), False),
    ],
)
def test_only_what_passes_is_tried_again(error: Any, again: bool) -> None:
    assert (wait(1, error) is not None) == again


def test_what_may_still_be_worked_on_is_repeated_only_where_that_is_harmless() -> None:
    late, unsent = TimedOutError("late", sent=True), TimedOutError("no connection", sent=False)
    assert wait(1, late, repeatable=False) is None
    assert wait(1, refused(504), repeatable=False) is None
    assert wait(1, unsent, repeatable=False) is not None


def test_waits_double_up_to_the_longest_and_differ() -> None:
    for after, usual_s in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (900, 5.0)):
        waits = [wait(after, refused(503), tries=1_000, first_wait_s=1.0, max_wait_s=5.0) for _ in range(200)]
        assert all(wait_s is not None and usual_s / 2 <= wait_s <= usual_s for wait_s in waits)
        assert len(set(waits)) > 100


def test_the_last_try_is_the_last() -> None:
    assert wait(5, refused(503)) is not None
    assert wait(6, refused(503)) is None
    assert wait(1, refused(503), tries=1) is None


def test_a_server_that_asks_for_time_gets_it_or_no_further_try() -> None:
    assert wait(1, refused(429, 1302, after_s=7.0)) == 7.0
    assert wait(1, refused(429, 1302, after_s=60.0)) == 60.0
    assert wait(1, refused(429, 1302, after_s=61.0)) is None
    early = wait(1, refused(429, 1302, after_s=0.0))
    assert early is not None
    assert early >= 0.25


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:16:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:16:40", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        (None, None),
        ("²", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(
    header: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 910.0)
    assert retry.retry_after_s(header) == seconds


def drive(plan: Any, *results: Any) -> tuple[list[Any], Any]:
    """The steps of a plan that gets these results, waits apart; and what it returns."""
    steps: list[Any] = []
    left: list[Any] = list(results)
    resume, value = plan.send, None
    while True:
        try:
            step = resume(value)
        except StopIteration as end:
            return steps, end.value
        if isinstance(step, Sleep):
            steps.append("wait")
            resume, value = plan.send, None
            continue
        steps.append(step.request if isinstance(step, Send) else step)
        value = left.pop(0)
        resume = plan.throw if isinstance(value, Exception) else plan.send


def reply(status: int = 200, code: int = 0, data: Any = None, **headers: str) -> Reply:
    body = {"code": code, "message": "m", "request_id": "r", "data": data}
    return Reply(status, headers, json.dumps(body).encode())


CALLS = Calls.of("https://example.com/klingai", "sk", Retry())
CHOICE = duikou.client.FaceChoice("https://example.com/a.mp3", trim_end_ms=3_000)
BROKEN = ConnectionFailedError("broken", sent=True)


def names(steps: list[Any]) -> list[str]:
    return [step.name if isinstance(step, Request) else step for step in steps]


def test_a_task_is_asked_for_before_a_request_is_repeated_that_the_server_may_have_obeyed() -> None:
    plan = CALLS.lip_sync("session", CHOICE, {"external_task_id": "mine"})
    steps, made = drive(plan, BROKEN, reply(data=TASK))
    create = "POST https://example.com/klingai/v1/videos/advanced-lip-sync"
    assert names(steps) == [create, "wait", "GET https://example.com/klingai/v1/videos/advanced-lip-sync/mine"]
    assert made == task(task_info={"external_task_id": "mine"})


def test_a_repeated_request_is_the_same_with_the_same_external_id() -> None:
    steps, made = drive(CALLS.lip_sync("session", CHOICE, {}), BROKEN, reply(404, 1203), reply(data=TASK))
    first, _, _, second = steps
    assert first.body == second.body
    sent = json.loads(first.body)
    assert sent["external_task_id"] == made.external_id
    assert sent["external_task_id"].startswith("duikou-")
    other, _ = drive(CALLS.lip_sync("session", CHOICE, {}), reply(data=TASK))
    assert json.loads(other[0].body)["external_task_id"] != sent["external_task_id"]


def test_a_repeated_request_that_is_refused_as_a_repetition_finds_the_first_ones_task() -> None:
    plan = CALLS.lip_sync("session", CHOICE, {"external_task_id": "mine"})
    steps, made = drive(plan, BROKEN, reply(404, 1203), reply(400, 1201), reply(data=TASK))
    assert [step.split("/")[-1] for step in names(steps)][-2:] == ["advanced-lip-sync", "mine"]
    assert made.id == "8"


def test_a_refusal_without_a_doubt_is_final() -> None:
    with pytest.raises(duikou.client.InvalidRequestError):
        drive(CALLS.lip_sync("session", CHOICE, {}), reply(400, 1201))
    with pytest.raises(duikou.client.InvalidRequestError):
        drive(CALLS.lip_sync("session", CHOICE, {}), reply(429, 1303), reply(400, 1201))


def test_a_request_that_never_left_is_repeated_without_a_question() -> None:
    unsent = ConnectionFailedError("refused", sent=False)
    steps, _ = drive(CALLS.lip_sync("session", CHOICE, {}), unsent, reply(data=TASK))
    assert [step.rpartition(" ")[0] or step for step in names(steps)] == ["POST", "wait", "POST"]


def test_the_external_id_is_told_when_the_answer_stays_away() -> None:
    calls = Calls.of("https://example.com", None, Retry(tries=1))
    with pytest.raises(ConnectionFailedError) as caught:
        drive(calls.lip_sync("session", CHOICE, {"external_task_id": "mine"}), BROKEN)
    assert caught.value.__notes__ == ["The task may exist; its external_task_id is mine."]


def test_a_repeated_deletion_that_finds_nothing_is_done() -> None:
    assert drive(CALLS.delete("8"), BROKEN, reply(404, 1203))[1] is None
    with pytest.raises(NotFoundError):
        drive(CALLS.delete("8"), reply(404, 1203))


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a?b#c", "ключ", "x\ny", "%2F"])
def test_any_external_id_has_its_own_path(name: str) -> None:
    (request,), _ = drive(CALLS.get(name), reply(data=TASK))
    last = request.url.removeprefix("https://example.com/klingai/v1/videos/advanced-lip-sync/")
    assert all(char.isalnum() or char in "%-_~" for char in last)
    assert httpx.URL(request.url).path == f"/klingai/v1/videos/advanced-lip-sync/{name}"
    assert httpx.URL(request.url).raw_path.decode().endswith(last)


def test_what_cannot_be_json_is_a_wrong_argument() -> None:
    for wrong in ({"audio_volume": float("nan")}, {"face_id": b"0"}):
        with pytest.raises(InputError, match="the request cannot be JSON"):
            drive(CALLS.lip_sync("session", replace(CHOICE, **wrong), {}))


def test_an_empty_id_is_no_task() -> None:
    with pytest.raises(InputError):
        drive(CALLS.delete(""))


def test_retries_are_logged_without_key_and_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    drive(CALLS.tasks(1, 30), reply(503, 5001), reply(data=[]))
    (line,) = caplog.messages
    assert line.startswith("GET https://example.com/klingai/v1/videos/advanced-lip-sync failed (try 1 of 6); again in ")
    assert "Bearer" not in line


# Answers


def test_fields_that_nobody_knows_are_ignored_and_ours_may_be_absent() -> None:
    bare = task(novelty={"x": [1]})
    assert bare == Task("8", TaskStatus.SUBMITTED, 1, 2)
    assert not bare.finished
    session = wire.read_session({"session_id": "1", "face_data": [{"face_id": "0", "start_time": 0, "end_time": 9}]})
    assert session.faces == (duikou.client.Face("0", 0, 9),)
    assert wire.read_session({"session_id": "1", "face_data": None}).faces == ()


def test_numbers_in_place_of_strings_are_read() -> None:
    parent = {"id": 5, "url": "http://x/", "duration": 5.1}
    read = task(task_id=8, task_info={"parent_video": parent}, created_at=1.0, task_result=None)
    assert (read.id, read.source) == ("8", duikou.client.Video("5", "http://x/", 5_100))


@pytest.mark.parametrize(
    ("text", "ms"),
    [("5.1", 5_100), ("10", 10_000), ("", None), (None, None), ("long", None), ("NaN", None), (2, 2_000)],
)
def test_durations_are_milliseconds(text: Any, ms: int | None) -> None:
    videos = [{"id": "1", "url": "http://x/", "duration": text}]
    assert task(task_result={"videos": videos}).videos[0].duration_ms == ms


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"task_id": None}, "data.task_id: the answer has None in place of a string."),
        ({"task_status": "melted"}, "data.task_status: the answer has 'melted', which is no status."),
        ({"created_at": "today"}, "data.created_at: the answer has 'today' in place of a number."),
        ({"created_at": float("nan")}, "data.created_at: the answer has nan in place of a number."),
        ({"updated_at": True}, "data.updated_at: the answer has True in place of a number."),
        ({"task_info": []}, "data.task_info: the answer has [] in place of an object."),
        ({"task_result": {"videos": {}}}, "data.task_result.videos: the answer has {} in place of an array."),
        ({"task_result": {"videos": [1]}}, "data.task_result.videos[0]: the answer has 1 in place of an object."),
    ],
)
def test_a_wrong_answer_names_the_place(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        task(**change)
    assert str(caught.value) == sentence


def test_a_wrong_list_or_upload_names_the_place() -> None:
    with pytest.raises(ProtocolError, match=r"^data: the answer has \{\} in place of an array\.$"):
        wire.read_tasks({})
    with pytest.raises(ProtocolError, match=r"^data\[0\]\.task_id: the answer has nothing in place of a string\.$"):
        wire.read_tasks([{"task_status": "succeed"}])
    with pytest.raises(ProtocolError, match=r"^data\.type: the answer has 'text', which is no kind of file\.$"):
        wire.read_upload({"type": "text"})


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"code": "0"}', b'{"code": 0}', b"[" * 100_000, b"\xff", b"null"]
)
def test_a_success_that_is_not_the_contracts_is_an_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="the answer is not the contract's JSON"):
        wire.read_data(Reply(200, {}, body), "GET x")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, 1000, duikou.client.AuthenticationError),
        (401, 1004, duikou.client.AuthenticationError),
        (403, 1103, duikou.client.ForbiddenError),
        (400, 1201, duikou.client.InvalidRequestError),
        (400, 1301, duikou.client.InvalidRequestError),
        (404, 1203, NotFoundError),
        (404, 1202, UnsupportedError),
        (429, 1303, RateLimitError),
        (429, 1101, RateLimitError),
        (500, 5000, ServerError),
        (504, 5002, ServerError),
        (200, 1201, duikou.client.InvalidRequestError),
        (418, 9999, ApiError),
        (599, 9999, ServerError),
    ],
)
def test_an_error_has_code_message_request_id_and_status(status: int, code: int, kind: type) -> None:
    with pytest.raises(ApiError) as caught:
        wire.read_data(reply(status, code, **{"retry-after": "3"}), "GET x")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.message, error.request_id, error.status) == (code, "m", "r", status)
    assert error.retry_after_s == 3
    assert str(error) == f"m (HTTP {status}, code {code}, request r)"


def test_an_error_page_of_a_gateway_is_told_by_its_status() -> None:
    with pytest.raises(ServerError) as caught:
        wire.read_data(Reply(502, {"x-request-id": "r-9"}, b"<html>secret</html>"), "GET x")
    assert str(caught.value) == (
        "GET x: the server answered 502 without a message of the contract. (HTTP 502, request r-9)"
    )


@pytest.mark.parametrize("answer", [Reply(404, {}, b"<html>"), Reply(405, {}, b"{}"), reply(404, 1202)])
def test_an_extension_that_a_host_lacks_is_unsupported(answer: Reply) -> None:
    with pytest.raises(UnsupportedError, match="this server does not know the call, an extension of duikou's"):
        wire.read_data(answer, "POST x", extension=True)


def test_a_redirect_names_the_other_host_without_its_query() -> None:
    with pytest.raises(ProtocolError, match=r"redirects to https://other/v1; give that host as base URL\.$"):
        wire.read_data(Reply(308, {"location": "https://other/v1?token=1"}, b""), "GET x")


def test_events_are_read_from_chunks_of_any_size() -> None:
    line = json.dumps(TASK).encode()
    stream = (
        b": alive\n\nevent: task\ndata: " + line + b"\n\n:\n\nevent: task\r\nid: 3\r\ndata:" + line + b"\r\n\r\ndata: {"
    )
    for size in (1, 2, 7, 1_000):
        reader = wire.EventReader()
        chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert [one for chunk in chunks for one in reader.feed(chunk)] == [task(), task()]


def test_events_have_an_end() -> None:
    with pytest.raises(ProtocolError, match="an event has more than 4194304 bytes"):
        list(wire.EventReader().feed(b"data: " + bytes(wire.MAX_EVENT)))
    with pytest.raises(ProtocolError, match="an event is not valid JSON"):
        list(wire.EventReader().feed(b"data: {\n\n"))


# Callbacks


BODY = json.dumps({**TASK, "task_status": "failed", "task_status_msg": "No face."}).encode()


def test_a_callback_of_the_server_is_its_task() -> None:
    headers = signed_headers(BODY, "7", int(time.time()), WEBHOOK_SECRET)
    assert verify_callback(BODY, headers, WEBHOOK_SECRET) == task(task_status="failed", task_status_msg="No face.")
    shouted = {name.upper(): value for name, value in headers.items()}
    shouted["WEBHOOK-SIGNATURE"] = f"v1a,other v1,{base64.b64encode(b'old').decode()} {shouted['WEBHOOK-SIGNATURE']}"
    assert verify_callback(BODY, shouted, WEBHOOK_SECRET.removeprefix("whsec_")).message == "No face."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"webhook-id": "8"}, "the callback is not signed with this secret."),
        ({"webhook-timestamp": "1"}, "the callback is not signed with this secret."),
        ({"webhook-signature": ""}, "the callback is not signed with this secret."),
        ({"webhook-signature": "v1,ü \udc80"}, "the callback is not signed with this secret."),
        ({"webhook-id": None}, "the callback has no header webhook-id."),
        ({"webhook-signature": None}, "the callback has no header webhook-signature."),
    ],
)
def test_a_callback_of_anybody_else_is_refused(change: dict[str, Any], sentence: str) -> None:
    headers = {**signed_headers(BODY, "7", int(time.time()), WEBHOOK_SECRET), **change}
    given = {name: value for name, value in headers.items() if value is not None}
    with pytest.raises(CallbackError) as caught:
        verify_callback(BODY, given, WEBHOOK_SECRET)
    assert str(caught.value) == sentence
    with pytest.raises(CallbackError):
        verify_callback(BODY + b" ", signed_headers(BODY, "7", int(time.time()), WEBHOOK_SECRET), WEBHOOK_SECRET)


@pytest.mark.parametrize("late_s", [-400, 400])
def test_an_old_callback_is_refused(late_s: int) -> None:
    headers = signed_headers(BODY, "7", int(time.time()) - late_s, WEBHOOK_SECRET)
    with pytest.raises(CallbackError, match="was not signed within the last 300 s"):
        verify_callback(BODY, headers, WEBHOOK_SECRET)
    assert verify_callback(BODY, headers, WEBHOOK_SECRET, tolerance_s=1_000).id == "8"


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]"])
def test_a_signed_callback_that_is_no_task_is_a_fault_of_the_server(body: bytes) -> None:
    headers = signed_headers(body, "7", int(time.time()), WEBHOOK_SECRET)
    with pytest.raises(ProtocolError):
        verify_callback(body, headers, WEBHOOK_SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!"])
def test_a_secret_that_is_none_is_a_wrong_argument(secret: str) -> None:
    with pytest.raises(InputError, match=r"^secret: whsec_ and base64 are expected\.$"):
        verify_callback(BODY, {}, secret)


def test_every_error_is_the_clients_and_a_fitting_builtin() -> None:
    kinds = [getattr(duikou.client, name) for name in duikou.client.__all__ if name.endswith("Error")]
    assert len(kinds) == 16
    assert all(issubclass(kind, ClientError) for kind in kinds)
    assert issubclass(InputError, ValueError)
    assert issubclass(TimedOutError, TimeoutError)
    assert issubclass(TimedOutError, ConnectionError)


def test_values_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(task())) == task()


def test_a_client_that_is_made_and_closed_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Duikou().close()


@pytest.mark.parametrize(
    "url",
    ["http://[", "http://xn--/", "http://xn--localhost-/", "http://[::1]x@/", f"http://{'a' * 300}/", "http://\ud800/"],
)
def test_a_server_that_names_no_address_is_an_error_of_the_client(url: str, tmp_path: Path) -> None:
    with Duikou("http://127.0.0.1:1") as client, pytest.raises(ClientError):
        client.download(url, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
