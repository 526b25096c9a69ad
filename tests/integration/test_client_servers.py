"""Both clients against real servers: duikou's own, a strict stand-in for Kling's, and one that fails in every way."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import stub_work
from both_clients import CLIENTS
from kling_host import ACCESS, PLAIN, RESULT, SECRET, kling_host, serve
from live_server import Process, held, in_thread, make_key, release, sources, until
from receiver import receiver
from server_settings import settings
from spoilt_server import (
    HTML,
    Answer,
    Asked,
    SpoiltServer,
    cut,
    cut_body,
    envelope,
    hang,
    lose_answer,
    refuse,
    say,
    spoilt_server,
)

from duikou.client import (
    ApiError,
    AsyncDuikou,
    AuthenticationError,
    ConnectionFailedError,
    Duikou,
    FaceChoice,
    ForbiddenError,
    InputError,
    InvalidRequestError,
    KeyPair,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    Retry,
    ServerError,
    Speaking,
    Task,
    TaskFailedError,
    TaskStatus,
    TimedOutError,
    UnsupportedError,
    WaitTimeoutError,
    __version__,
    auth,
    calls,
    drivers,
    verify_callback,
)
from duikou.database.engine import Database
from duikou.tasks.accounts import Accounts, KeyKind

CREATE, IDENTIFY = "/v1/videos/advanced-lip-sync", "/v1/videos/identify-face"
SESSION = "837461920384756192"
SPEECH = FaceChoice("https://example.com/speech.mp3", trim_end_ms=3_000)

Connect = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' servers are on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(params=CLIENTS)
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes a client of one of the two kinds."""
    made: list[Any] = []

    def new(url: str, key: Any = None, **more: Any) -> Any:
        made.append(CLIENTS[request.param](url, key, **more))
        return made[-1]

    yield new
    for client in made:
        client.close()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of the client, which take no time."""
    slept: list[float] = []

    async def nap(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(drivers, "sleep", slept.append)
    monkeypatch.setattr(drivers, "async_sleep", nap)
    return slept


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at tasks at short intervals."""
    monkeypatch.setattr(calls, "FIRST_POLL_S", 0.02)
    monkeypatch.setattr(calls, "MAX_POLL_S", 0.02)


# A duikou server


@pytest.fixture(scope="module")
def site():
    with sources(
        a__mp4=stub_work.video(),
        two__mp4=stub_work.video(
            faces=[[0, 10_000], [2_000, 10_000]],
            rejected=["hidden_lips"],
            speaking={"1": [[2_000, 6_500, 0.4]]},
            heard_ms=10_400,
        ),
        s__mp3=stub_work.sound(),
        held__mp3=stub_work.sound(render="held"),
        fault__mp3=stub_work.sound(render="fault"),
    ) as url:
        yield url


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[str]:
    with in_thread(settings(data), stub_work.WORK) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture(params=["", "/klingai", "/kling"])
def prefix(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def speech(path: Path, **what: Any) -> Path:
    path.write_bytes(stub_work.sound(**what))
    return path


def test_a_job_with_local_files(connect: Connect, server: str, prefix: str, tmp_path: Path, soon: None) -> None:
    client = connect(server + prefix)
    (tmp_path / "talk.mp4").write_bytes(stub_work.video(note="mine"))
    session = client.identify(tmp_path / "talk.mp4")
    (face,) = session.faces
    assert (face.id, face.start_ms, face.end_ms, face.box.width) == ("0", 0, 10_000, 300)
    assert [warning.code for warning in face.warnings] == ["small_face"]
    heard: list[Task] = []
    task = client.lip_sync(session, FaceChoice(speech(tmp_path / "s.mp3"), insert_ms=1_000), watermark=True)
    assert (task.status, task.videos) == (TaskStatus.SUBMITTED, ())
    done = client.wait(task, progress=heard.append)
    assert heard[-1] == done
    assert (done.id, done.external_id, done.progress) == (task.id, task.external_id, 1)
    assert (done.source.duration_ms, done.videos[0].duration_ms) == (10_000, 10_000)
    told: list[tuple[int, int | None]] = []
    result = client.download(done, tmp_path / "out.mp4", progress=lambda *bytes_: told.append(bytes_))
    assert result == tmp_path / "out.mp4"
    assert b'"note": "mine"' in result.read_bytes()
    assert told[-1] == (result.stat().st_size, result.stat().st_size)
    assert client.download(done.videos[0].watermark_url, tmp_path / "marked.mp4").read_bytes() == stub_work.MARKED
    assert client.download(face.picture_url, tmp_path / "face.jpg").read_bytes() == stub_work.PICTURE
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "face.jpg",
        "marked.mp4",
        "out.mp4",
        "s.mp3",
        "talk.mp4",
    ]


def test_every_argument_reaches_the_work(connect: Connect, server: str, site: str, tmp_path: Path, soon: None) -> None:
    client = connect(server)
    session = client.identify(f"{site}/two.mp4")
    assert [face.id for face in session.faces] == ["0", "1"]
    assert [warning.code for warning in session.rejected] == ["hidden_lips"]
    assert [face.speaking for face in session.faces] == [(), (Speaking(2_000, 6_500, 0.4),)]
    assert [(warning.code, warning.end_ms) for warning in session.warnings] == [("sound_cut", 10_400)]
    photo = tmp_path / "smile.jpg"
    photo.write_bytes(stub_work.PHOTO)
    uploaded = client.upload(speech(tmp_path / "s.mp3"))
    assert (uploaded.kind, uploaded.duration_ms, uploaded.size) == ("audio", 5_000, len(stub_work.sound()))
    choices = [
        FaceChoice(tmp_path / "s.mp3", "1", 250, 3_250, 2_000, 1.5, 0.25, [photo, f"{site}/a.mp4"]),
        FaceChoice(uploaded, "0", original_scope="speech", exclude=[(1_000, 1_200)]),
    ]
    task = client.lip_sync(session.id, choices, external_task_id=f"{type(client)}", sync_mode="cut_off")
    assert client.get(f"{type(client)}").id == task.id
    result = client.download(client.wait(task.id), tmp_path / "out.mp4").read_text()
    first, second = json.loads(result)["choices"]
    wanted = {"trim_start_ms": 250, "trim_end_ms": 3_250, "insert_ms": 2_000, "audio_volume": 1.5}
    assert first.items() >= {"face_id": "1", "original_volume": 0.25, "original_scope": "video", **wanted}.items()
    assert (
        second.items()
        >= {
            "face_id": "0",
            "trim_end_ms": 5_000,
            "original_volume": 0,
            "original_scope": "speech",
            "exclude": [[1_000, 1_200]],
        }.items()
    )
    assert json.loads(result)["lent"][0] == ["photo", stub_work.video().decode()]


def test_uploads_and_results_serve_by_their_ids(connect: Connect, server: str, tmp_path: Path, soon: None) -> None:
    client = connect(server)
    (tmp_path / "talk.mp4").write_bytes(stub_work.video())
    session = client.identify(client.upload(str(tmp_path / "talk.mp4")))
    done = client.wait(client.lip_sync(session, FaceChoice(speech(tmp_path / "s.mp3"))))
    assert client.identify(done.videos[0]).faces


def test_a_failed_task_is_an_error_with_its_reason(connect: Connect, server: str, site: str, soon: None) -> None:
    client = connect(server)
    task = client.lip_sync(client.identify(f"{site}/a.mp4"), FaceChoice(f"{site}/fault.mp3", trim_end_ms=3_000))
    with pytest.raises(TaskFailedError, match="face 0 cannot be made to speak") as caught:
        client.wait(task)
    assert (caught.value.task.id, caught.value.task.fault) == (task.id, "input")
    with pytest.raises(InputError, match=f"task {task.id} has no result: it is failed"):
        client.download(caught.value.task, "never.mp4")


def test_events_cancel_list_and_delete(connect: Connect, server: str, site: str, data: Path) -> None:
    client = connect(server)
    task = client.lip_sync(client.identify(f"{site}/a.mp4"), FaceChoice(f"{site}/held.mp3", trim_end_ms=3_000))
    states = client.events(task)
    first = next(states)
    assert first.id == task.id
    release(data)
    assert [state.status for state in states][-1] is TaskStatus.SUCCEED
    held = client.lip_sync(client.identify(f"{site}/a.mp4"), FaceChoice(f"{site}/held.mp3", trim_end_ms=3_000))
    cancelled = client.cancel(held)
    assert (cancelled.id, cancelled.status, cancelled.fault) == (held.id, TaskStatus.FAILED, "cancelled")
    assert [found.id for found in client.list(page_size=2)] == [held.id, task.id]
    assert client.list(page=900) == ()
    client.delete(held)
    with pytest.raises(NotFoundError) as caught:
        client.get(held)
    assert (caught.value.status, caught.value.code, bool(caught.value.request_id)) == (404, 1203, True)
    with pytest.raises(NotFoundError):
        client.delete(held)


def test_events_that_nobody_reads_to_the_end_hold_nothing(connect: Connect, server: str, site: str, data: Path) -> None:
    client = connect(server)
    task = client.lip_sync(client.identify(f"{site}/a.mp4"), FaceChoice(f"{site}/held.mp3", trim_end_ms=3_000))
    states = client.events(task)
    next(states)
    states.close()
    assert client.get(task).id == task.id
    client.delete(task)


def test_a_refusal_has_the_servers_words(connect: Connect, server: str, site: str) -> None:
    client = connect(server)
    session = client.identify(f"{site}/a.mp4")
    with pytest.raises(InvalidRequestError) as caught:
        client.lip_sync(session, FaceChoice(f"{site}/s.mp3", "7", trim_end_ms=3_000))
    error = caught.value
    assert (error.status, error.code) == (400, 1201)
    assert error.message.startswith("face_choose[0].face_id: the session has no face '7'")
    assert error.request_id in str(error)


def test_the_same_external_id_makes_one_task(connect: Connect, server: str, site: str) -> None:
    client = connect(server)
    session = client.identify(f"{site}/a.mp4")
    name, choice = f"one of {type(client).__name__}", FaceChoice(f"{site}/s.mp3", trim_end_ms=3_000)
    made = [client.lip_sync(session, choice, external_task_id=name).id for _ in range(2)]
    assert len(set(made)) == 1


def test_an_answer_that_is_lost_makes_no_second_task(
    connect: Connect, server: str, site: str, naps: list[float]
) -> None:
    plain = connect(server)
    session = plain.identify(f"{site}/a.mp4")
    before = len(plain.list(page_size=500))
    with spoilt_server(lambda asked: forwarded(server, asked)) as gateway:
        client = connect(gateway.url)
        gateway.faults += [lose_answer]
        task = client.lip_sync(session, FaceChoice(f"{site}/s.mp3", trim_end_ms=3_000))
        assert gateway.calls == [f"POST {CREATE}", f"GET {CREATE}/{task.external_id}"]
        gateway.faults += [lose_answer, lose_answer]
        client.delete(task)
        assert gateway.calls[2:] == [f"DELETE {CREATE}/{task.id}"] * 3
    assert len(plain.list(page_size=500)) == before


def forwarded(server: str, asked: Asked) -> Answer:
    """The answer of another server."""
    answer = httpx.request(asked.method, server + asked.path, content=asked.body, trust_env=False)
    return Answer(answer.status_code, answer.content, {"Content-Type": answer.headers["content-type"]})


@pytest.mark.parametrize("kind", KeyKind)
def test_keys_open_a_closed_server(connect: Connect, kind: KeyKind, tmp_path: Path, soon: None) -> None:
    made = make_key(tmp_path / "data", "alice", kind)
    key: Any = KeyPair(made.access, made.secret) if kind is KeyKind.SIGNING else made.secret
    (tmp_path / "a.mp4").write_bytes(stub_work.video())
    with in_thread(settings(tmp_path / "data"), stub_work.WORK) as raw, receiver() as ear:
        url = str(raw.base_url)
        with pytest.raises(AuthenticationError) as caught:
            connect(url).list()
        assert (caught.value.status, caught.value.code) == (401, 1001)
        with pytest.raises(AuthenticationError):
            connect(url, "dk-wrong").list()
        client = connect(url, key)
        session = client.identify(tmp_path / "a.mp4")
        task = client.lip_sync(session, FaceChoice(speech(tmp_path / "s.mp3")), callback_url=ear.url)
        done = client.wait(task)
        client.download(done, tmp_path / "out.mp4")
        until(lambda: [heard.status for heard in ear.heard][-1:] == ["succeed"])
    database = Database(f"sqlite:///{tmp_path / 'data' / 'duikou.db'}")
    secret = Accounts(database).callback_secret("alice")
    database.close()
    told = [verify_callback(heard.body, heard.headers, secret) for heard in ear.heard]
    assert [one.status for one in told] == ["submitted", "processing", "succeed"]
    assert told[-1].videos[0].id == done.videos[0].id


# Kling's own host


@pytest.mark.parametrize("host_prefix", ["", "/klingai"])
@pytest.mark.parametrize("key", [PLAIN, KeyPair(ACCESS, SECRET)], ids=["plain", "pair"])
def test_a_job_on_klings_host(connect: Connect, host_prefix: str, key: Any, tmp_path: Path, naps: list[float]) -> None:
    with kling_host(prefix=host_prefix) as host:
        client = connect(host.url + "/", key)
        session = client.identify("https://example.com/talk.mp4")
        assert (session.id, session.faces[0].end_ms, session.faces[0].box) == (SESSION, 5_200, None)
        choice = FaceChoice(speech(tmp_path / "s.mp3"), trim_end_ms=3_000, audio_volume=2)
        options = {"callback_url": "https://example.com/", "watermark": True}
        task = client.lip_sync(session, choice, **options)
        heard: list[Task] = []
        done = client.wait(task, progress=heard.append)
        assert [one.status for one in heard] == ["submitted", "processing", "succeed"]
        assert (done.progress, done.stage, done.external_id) == (None, None, task.external_id)
        assert naps == [1.0, 1.25]
        assert client.download(done, tmp_path / "out.mp4").read_bytes() == RESULT
        assert client.get(task.external_id).id == task.id
        assert [found.id for found in client.list()] == [task.id]
        assert host.server is not None
        paid = [asked for asked in host.server.heard if asked.path != "/result.mp4"]
        (free,) = [asked for asked in host.server.heard if asked.path == "/result.mp4"]
        assert "authorization" not in free.headers
        assert {asked.headers["user-agent"] for asked in paid} == {f"duikou-client/{__version__}"}
        sent = paid[1].json
        assert base64.b64decode(sent["face_choose"][0]["sound_file"]) == stub_work.sound()
        assert sent["watermark_info"] == {"enabled": True}
        assert sent["callback_url"] == "https://example.com/"
        if isinstance(key, KeyPair):
            token = paid[0].headers["authorization"].removeprefix("Bearer ")
            assert jwt.decode(token, SECRET, algorithms=["HS256"])["iss"] == ACCESS


@pytest.mark.parametrize("call", ["cancel", "delete", "events", "upload", "identify", "lip_sync"])
def test_extensions_are_unsupported_on_klings_host(connect: Connect, call: str, tmp_path: Path) -> None:
    file = speech(tmp_path / "s.mp3")
    files: dict[str, list[Any]] = {"upload": [file], "identify": [file], "lip_sync": [SESSION, FaceChoice(file)]}
    with kling_host() as host, pytest.raises(UnsupportedError) as caught:
        result = getattr(connect(host.url, PLAIN), call)(*files.get(call, ["1"]))
        next(result)
    assert (caught.value.status, caught.value.code) == (404, 1202)
    notes = getattr(caught.value, "__notes__", [])
    assert ("Give the URL of the file in place of the file." in notes) == (call in ("upload", "identify", "lip_sync"))
    assert any("choices[0].trim_end_ms is required" in note for note in notes) == (call == "lip_sync")


@pytest.mark.parametrize("by_external_id", [True, False])
@pytest.mark.parametrize("unique", [True, False])
def test_a_lost_answer_makes_one_task_where_the_host_can_tell(
    connect: Connect, by_external_id: bool, unique: bool, naps: list[float]
) -> None:
    with kling_host(lose_answer, by_external_id=by_external_id, unique=unique) as host:
        client = connect(host.url, PLAIN)
        if by_external_id:
            assert client.lip_sync(SESSION, SPEECH).id == host.tasks[0]["task_id"]
            assert len(host.tasks) == 1
        elif unique:  # no second task, though the first cannot be found
            with pytest.raises(InvalidRequestError, match="external_task_id is used already"):
                client.lip_sync(SESSION, SPEECH)
            assert len(host.tasks) == 1


def test_a_request_that_is_cut_before_the_work_is_done_again(connect: Connect, naps: list[float]) -> None:
    with kling_host(cut) as host:
        task = connect(host.url, PLAIN).lip_sync(SESSION, SPEECH)
        assert host.server is not None
        assert host.server.calls == [f"POST {CREATE}", f"GET {CREATE}/{task.external_id}", f"POST {CREATE}"]
        assert len(host.tasks) == 1


def test_an_expired_token_and_a_wrong_key_are_told_at_once(
    connect: Connect, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with kling_host() as host:
        monkeypatch.setattr(auth, "LIFETIME_S", -100)
        with pytest.raises(AuthenticationError, match="The token has expired") as caught:
            connect(host.url, KeyPair(ACCESS, SECRET)).list()
        assert (caught.value.code, caught.value.request_id, naps) == (1004, "request-1", [])
        with pytest.raises(AuthenticationError):
            connect(host.url, "other").list()


def test_a_task_that_failed_on_klings_host(connect: Connect, naps: list[float]) -> None:
    with kling_host(states=["processing", "failed"]) as host:
        client = connect(host.url, PLAIN)
        with pytest.raises(TaskFailedError, match="The content is against the rules"):
            client.wait(client.lip_sync(SESSION, SPEECH))


def test_a_wait_ends_at_its_time(connect: Connect, naps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "monotonic", lambda: sum(naps))
    with kling_host(states=["processing"]) as host:
        client = connect(host.url, PLAIN)
        task = client.lip_sync(SESSION, SPEECH)
        with pytest.raises(WaitTimeoutError, match=f"task {task.id} is processing after 40 s") as caught:
            client.wait(task, timeout_s=40)
    assert caught.value.task.status is TaskStatus.PROCESSING
    assert sum(naps) == 40
    assert max(naps) == calls.MAX_POLL_S


def gone(naps: list[float], seconds: float) -> Callable[[SpoiltServer, Any, Asked], None]:
    """Breaks connections, as long as the client has waited less than `seconds` in all."""

    def fault(state: SpoiltServer, handler: Any, asked: Asked) -> None:
        if sum(naps) < seconds:
            state.faults.append(fault)
            handler.hang_up()
        else:
            handler.send(state.handle(asked))

    return fault


@pytest.mark.parametrize("away_s", [60, 280])
def test_a_wait_outlasts_a_server_that_restarts(
    connect: Connect, naps: list[float], monkeypatch: pytest.MonkeyPatch, away_s: int
) -> None:
    monkeypatch.setattr(calls, "monotonic", lambda: sum(naps))
    with kling_host(states=["processing", "succeed"]) as host:
        client = connect(host.url, PLAIN)
        task = client.lip_sync(SESSION, SPEECH)
        assert host.server
        host.server.faults.append(gone(naps, away_s))
        assert client.wait(task).status is TaskStatus.SUCCEED
    assert away_s <= sum(naps) < away_s + 15
    assert max(naps) <= 10


def test_a_wait_outlasts_the_restart_of_a_duikou_server(tmp_path: Path, soon: None) -> None:
    data, brief = tmp_path / "data", Retry(tries=1, first_wait_s=0.05)
    (tmp_path / "talk.mp4").write_bytes(stub_work.video())
    with Process(data) as server, Duikou(server.url, retry=brief) as client, ThreadPoolExecutor(1) as pool:
        session = client.identify(tmp_path / "talk.mp4")
        task = client.lip_sync(session, FaceChoice(speech(tmp_path / "s.mp3", render="held_once")))
        told: list[Task] = []
        waiting = pool.submit(client.wait, task, timeout_s=100, progress=told.append)
        held(data)
        until(lambda: told)
        server.end(signal.SIGKILL)
        with pytest.raises(ConnectionFailedError):
            client.get(task)
        assert not waiting.done()
        with Process(data, port=httpx.URL(server.url).port):
            assert waiting.result(100).status is TaskStatus.SUCCEED


def _empty_place() -> str:
    """The address of a server that has ended."""
    with spoilt_server(lambda _: EMPTY) as state:
        return state.url


def test_a_wait_gives_up_on_a_server_that_stays_away(
    connect: Connect, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "monotonic", lambda: sum(naps))
    url = _empty_place()
    with pytest.raises(ConnectionFailedError, match="the connection fails"):
        connect(url).wait("8")
    assert 300 <= sum(naps) < 311
    naps.clear()
    with pytest.raises(ConnectionFailedError):
        connect(url).wait("8", timeout_s=20)
    assert sum(naps) == 20
    naps.clear()
    with pytest.raises(ConnectionFailedError):
        connect(url, retry=Retry(tries=3, outage_s=0)).wait("8")
    assert len(naps) == 2


def test_a_wait_ends_at_its_time_while_the_server_is_away(
    connect: Connect, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "monotonic", lambda: sum(naps))
    with kling_host(states=["processing"]) as host:
        client = connect(host.url, PLAIN)
        task = client.lip_sync(SESSION, SPEECH)
        assert host.server
        host.server.faults += [None, gone(naps, 1_000)]
        with pytest.raises(WaitTimeoutError, match=f"task {task.id} is processing after 40 s"):
            client.wait(task, timeout_s=40)
    assert sum(naps) == 40


def test_a_wait_does_not_bear_a_refusal(connect: Connect, naps: list[float]) -> None:
    with spoilt_server(lambda _: EMPTY, refuse(401, 1000), refuse(429, 1101)) as state:
        for kind in (AuthenticationError, RateLimitError):
            with pytest.raises(kind):
                connect(state.url).wait("8")
    assert naps == []


# A server that fails


EMPTY = envelope(200, 0, data=[])
TASK = {"task_id": "8", "task_status": "processing", "created_at": 1, "updated_at": 2}


@pytest.fixture
def bad() -> Iterator[SpoiltServer]:
    """A server whose every answer is an empty list, unless it is spoilt."""
    with spoilt_server(lambda _: EMPTY) as state:
        yield state


@pytest.mark.parametrize(
    ("fault", "waits"),
    [
        (refuse(429, 1302, Retry_After="7"), [7.0]),
        (refuse(429, 1303), None),
        (refuse(503, 5001, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), None),
        (say(503, HTML), None),
        (say(502, HTML), None),
        (say(504), None),
        (cut, None),
        (cut_body(0), None),
        (cut_body(5), None),
    ],
)
def test_what_passes_is_waited_for(
    connect: Connect, bad: SpoiltServer, naps: list[float], fault: Any, waits: list[float] | None
) -> None:
    bad.faults += [fault, fault]
    assert connect(bad.url).list() == ()
    assert len(bad.heard) == 3
    if waits:
        assert naps == waits * 2
    else:
        assert 0.25 <= naps[0] <= 0.5 <= naps[1] <= 1


@pytest.mark.parametrize(
    ("fault", "kind", "tries"),
    [
        (refuse(429, 1302), RateLimitError, 3),
        (refuse(429, 1302, Retry_After="3600"), RateLimitError, 1),
        (refuse(429, 1101), RateLimitError, 1),
        (refuse(503, 5001), ServerError, 3),
        (refuse(500, 5000), ServerError, 1),
        (refuse(403, 1103), ForbiddenError, 1),
        (say(500, HTML), ServerError, 1),
        (say(404, HTML), NotFoundError, 1),
        (say(418, HTML), ApiError, 1),
        (say(200, HTML), ProtocolError, 1),
        (say(200, b"{"), ProtocolError, 1),
        (say(204), ProtocolError, 1),
        (say(301, Location="https://example.com/"), ProtocolError, 1),
        (say(200, b"x", Content_Encoding="gzip"), ProtocolError, 1),
        (cut, ConnectionFailedError, 3),
        (cut_body(5), ConnectionFailedError, 3),
    ],
)
def test_what_does_not_pass_is_an_error(
    connect: Connect, bad: SpoiltServer, naps: list[float], fault: Any, kind: type[Exception], tries: int
) -> None:
    bad.faults += [fault] * 5
    with pytest.raises(kind) as caught:
        connect(bad.url, "sk-secret", retry=Retry(tries=3)).list()
    assert type(caught.value) is kind
    assert (len(bad.heard), len(naps)) == (tries, tries - 1)
    assert "sk-secret" not in repr(caught.value)


def test_a_server_that_is_not_there(connect: Connect, naps: list[float]) -> None:
    with spoilt_server(lambda _: EMPTY) as state:
        url = state.url
    with pytest.raises(ConnectionFailedError, match=f"GET {url}{CREATE}: the connection fails") as caught:
        connect(url, retry=Retry(tries=2)).list()
    assert (caught.value.sent, len(naps)) == (False, 1)


def test_a_server_that_does_not_answer(connect: Connect, bad: SpoiltServer, naps: list[float]) -> None:
    bad.faults += [hang, hang, hang, hang]
    client = connect(bad.url, timeout_s=0.3, retry=Retry(tries=2))
    with pytest.raises(TimedOutError, match="no answer in time"):
        client.list()
    until(lambda: len(bad.heard) >= 2)  # a busy server hears a call after the client has given it up
    with pytest.raises(TimedOutError):
        client.identify("https://example.com/a.mp4")
    until(lambda: len(bad.heard) >= 3)
    assert bad.calls[2:] == [f"POST {IDENTIFY}"], "it may still be worked on"


def test_the_key_is_in_no_log_line(
    connect: Connect, bad: SpoiltServer, naps: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bad.faults += [say(503, HTML), refuse(429, 1302)]
    connect(bad.url, "sk-secret").list()
    assert "answered 503" in caplog.text
    assert "sk-secret" not in caplog.text


def test_a_key_follows_no_redirect(connect: Connect, bad: SpoiltServer, tmp_path: Path) -> None:
    with spoilt_server(lambda asked: serve(asked, RESULT)) as other:
        bad.faults += [say(302, Location=f"{other.url}/stolen"), say(302, Location=f"{other.url}/result.mp4")]
        client = connect(bad.url, "sk-secret")
        with pytest.raises(ProtocolError, match=f"redirects to {other.url}/stolen"):
            client.list()
        assert other.heard == []
        assert client.download(f"{bad.url}/result.mp4", tmp_path / "out.mp4").read_bytes() == RESULT
        assert "authorization" not in bad.heard[1].headers
        assert "authorization" not in other.heard[0].headers


def test_an_upload_is_sent_whole_again(connect: Connect, naps: list[float], tmp_path: Path) -> None:
    file = tmp_path / "talk.mp4"
    file.write_bytes(bytes(range(256)) * 4_000)
    told = {"id": "1", "url": "http://x/", "type": "video", "size": 1, "duration": "2.5", "expires_at": 3}
    with spoilt_server(lambda _: envelope(200, 0, data=told), refuse(503, 5001), cut) as state:
        assert connect(state.url).upload(file).duration_ms == 2_500
        assert [asked.body == file.read_bytes() for asked in state.heard] == [True] * 3
        assert state.heard[0].headers["content-length"] == str(file.stat().st_size)


@pytest.mark.parametrize("name", ["missing.mp4", "empty.mp4", "."])
def test_a_file_that_cannot_be_sent(connect: Connect, bad: SpoiltServer, name: str, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    client = connect(bad.url)
    for call in (client.upload, client.identify):
        with pytest.raises((FileNotFoundError, InputError)):
            call(tmp_path / name)
    assert bad.heard == []


def test_speech_above_the_contracts_limit_is_uploaded(
    connect: Connect, server: str, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MAX_EMBEDDED", 10)
    client, choice = connect(server), FaceChoice(speech(tmp_path / "s.mp3"), trim_end_ms=3_000)
    assert client.lip_sync(client.identify(f"{site}/a.mp4"), choice).id
    with kling_host() as host, pytest.raises(UnsupportedError) as caught:
        connect(host.url, PLAIN).lip_sync(SESSION, choice)
    assert caught.value.__notes__ == ["Give the URL of the file in place of the file."]


def test_an_endless_answer_is_cut_off(connect: Connect, bad: SpoiltServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "MAX_ANSWER", 1_000)
    bad.faults += [say(200, bytes(1_001))]
    with pytest.raises(ProtocolError, match="the answer has more than 1000 bytes"):
        connect(bad.url).list()


def test_speech_at_a_url_needs_its_end(connect: Connect, bad: SpoiltServer) -> None:
    with pytest.raises(InputError, match=r"choices\[1\]\.trim_end_ms: a value is required"):
        connect(bad.url).lip_sync(SESSION, [SPEECH, FaceChoice("https://example.com/a.mp3")])
    assert bad.heard == []


def test_events_go_on_after_a_broken_connection(connect: Connect, naps: list[float]) -> None:
    lost = [dict(TASK, progress=0.3), dict(TASK, progress=0.4)]
    states = [dict(TASK, progress=0.1), dict(TASK, progress=0.1), *lost]
    states += [dict(TASK, progress=0.1), dict(TASK, task_status="succeed", progress=1)]

    def handle(_: Asked) -> Answer:
        events = b"".join(b"event: task\ndata: " + json.dumps(state).encode() + b"\n\n" for state in states[:2])
        del states[:2]
        return Answer(200, events, {"Content-Type": "text/event-stream; charset=utf-8"})

    with spoilt_server(handle, cut, refuse(503, 5001), None, cut_body(0)) as state:
        told = list(connect(state.url).events("8"))
    assert [one.progress for one in told] == [0.1, 1]
    assert len(naps) == 4


def test_where_no_more_streams_are_to_be_had_the_task_is_queried(connect: Connect, naps: list[float]) -> None:
    states = [dict(TASK, progress=0.1), dict(TASK, progress=0.1), dict(TASK, progress=0.2)]
    states.append(dict(TASK, task_status="succeed", progress=1))

    def handle(asked: Asked) -> Answer:
        if asked.path.endswith("/events"):
            return envelope(429, 1302, "The account has 100 streams of events open.", Retry_After="10")
        return envelope(200, 0, data=states.pop(0))

    with spoilt_server(handle) as state:
        told = list(connect(state.url).events("8"))
    assert [one.progress for one in told] == [0.1, 0.2, 1]
    assert naps == [10.0, 10.0, 10.0]


def test_events_that_are_none(connect: Connect, bad: SpoiltServer) -> None:
    with pytest.raises(ProtocolError, match="in place of text/event-stream"):
        next(connect(bad.url).events("8"))


# Downloads


@pytest.fixture
def files() -> Iterator[SpoiltServer]:
    with spoilt_server(lambda asked: serve(asked, RESULT)) as state:
        yield state


def fetch(client: Any, state: SpoiltServer, folder: Path) -> bytes:
    """The downloaded file; nothing else may lie in the folder afterwards."""
    client.download(f"{state.url}/result.mp4?signature=secret", folder / "out.mp4")
    assert [path.name for path in folder.iterdir()] == ["out.mp4"]
    return (folder / "out.mp4").read_bytes()


def test_a_broken_download_goes_on_where_it_broke(
    connect: Connect, files: SpoiltServer, naps: list[float], tmp_path: Path
) -> None:
    files.faults += [cut_body(100_000), cut, refuse(503, 5001), cut_body(50_000)]
    assert fetch(connect(files.url), files, tmp_path) == RESULT
    ranges = [asked.headers.get("range") for asked in files.heard]
    assert ranges == [None, "bytes=100000-", "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert {asked.headers.get("if-range") for asked in files.heard[1:]} == {'"one"'}
    assert len(naps) == 4


def test_a_server_without_ranges_sends_the_whole_again(connect: Connect, naps: list[float], tmp_path: Path) -> None:
    with spoilt_server(lambda _: Answer(200, RESULT), cut_body(100_000)) as state:
        assert fetch(connect(state.url), state, tmp_path) == RESULT


def test_a_server_that_sends_less_than_the_rest_is_asked_again(
    connect: Connect, files: SpoiltServer, naps: list[float], tmp_path: Path
) -> None:
    files.faults += [cut_body(1_000), say(206, RESULT[1_000:1_001], Content_Range=f"bytes 1000-1000/{len(RESULT)}")]
    assert fetch(connect(files.url), files, tmp_path) == RESULT
    assert [asked.headers.get("range") for asked in files.heard] == [None, "bytes=1000-", "bytes=1001-"]


def test_a_download_that_never_comes_further_ends(connect: Connect, naps: list[float], tmp_path: Path) -> None:
    with spoilt_server(lambda _: Answer(200, RESULT), *[cut_body(100_000)] * 20) as state:
        with pytest.raises(ConnectionFailedError):
            connect(state.url).download(f"{state.url}/result.mp4", tmp_path / "out.mp4")
        assert len(state.heard) == 6
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changed_is_fetched_anew(connect: Connect, naps: list[float], tmp_path: Path) -> None:
    versions = [(RESULT, '"one"'), (RESULT[::-1], '"two"')]
    with spoilt_server(lambda asked: serve(asked, *versions[len(state.heard) > 1]), cut_body(9_999)) as state:
        assert fetch(connect(state.url), state, tmp_path) == RESULT[::-1]


def test_a_part_that_cannot_be_had_is_fetched_anew(connect: Connect, naps: list[float], tmp_path: Path) -> None:
    with spoilt_server(lambda asked: serve(asked, RESULT), cut_body(9_999), say(416)) as state:
        assert fetch(connect(state.url), state, tmp_path) == RESULT
        assert [asked.headers.get("range") for asked in state.heard] == [None, "bytes=9999-", None]


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ([cut_body(1_000), *[cut] * 9], ConnectionFailedError),
        ([say(206, b"x")], ProtocolError),
        ([say(200, b"x", Content_Encoding="gzip")], ProtocolError),
        ([cut_body(1_000), say(206, b"x", Content_Range="bytes 7-7/256000")], ProtocolError),
        ([cut_body(1_000), say(206, b"x", Content_Range="bytes 1000-1000/9")], ProtocolError),
        ([cut_body(1_000), say(206, b"x" * 256_000, Content_Range="bytes 1000-255999/256000")], ProtocolError),
        ([say(404, HTML)], NotFoundError),
        ([refuse(403, 1103)], ForbiddenError),
        ([say(302, Location="ftp://example.com/")], ProtocolError),
        ([say(302, Location="/result.mp4")] * 9, ProtocolError),
    ],
)
def test_a_download_that_fails_leaves_nothing_and_keeps_what_was_there(
    connect: Connect, files: SpoiltServer, naps: list[float], tmp_path: Path, faults: list[Any], kind: type[Exception]
) -> None:
    (tmp_path / "out.mp4").write_bytes(b"old")
    files.faults += faults
    with pytest.raises(kind) as caught:
        fetch(connect(files.url), files, tmp_path)
    assert "secret" not in str(caught.value)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out.mp4", b"old")]


def test_a_caller_who_stops_a_download_leaves_nothing(connect: Connect, files: SpoiltServer, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        connect(files.url).download(f"{files.url}/result.mp4", tmp_path / "out.mp4", progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", [".", "missing/out.mp4"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_sent(
    connect: Connect, files: SpoiltServer, tmp_path: Path, to: str
) -> None:
    with pytest.raises(InputError, match=r"^to: "):
        connect(files.url).download(f"{files.url}/result.mp4", tmp_path / to)
    with pytest.raises(InputError, match=r"^source: an http or https URL is expected"):
        connect(files.url).download("file:///etc/passwd", tmp_path / "out.mp4")
    assert files.heard == []


def test_asynchronous_progress_is_awaited_and_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    told: list[int] = []

    async def run() -> None:
        async def tell(done: int, _: int | None) -> None:
            await asyncio.sleep(0)
            told.append(done)

        async with AsyncDuikou(state.url) as client:
            await client.download(f"{state.url}/a", tmp_path / "whole.mp4", progress=tell)
            task = asyncio.create_task(client.download(f"{state.url}/b", tmp_path / "part.mp4"))
            while not list(tmp_path.glob(".*.part")):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with spoilt_server(lambda asked: serve(asked, RESULT), None, hang) as state:
        asyncio.run(run())
    assert told[-1] == len(RESULT)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.mp4"]


def test_many_calls_at_once_share_one_client() -> None:
    async def run(url: str) -> list[tuple[Task, ...]]:
        async with AsyncDuikou(url) as client:
            return await asyncio.gather(*(client.list(page=page) for page in range(1, 9)))

    with spoilt_server(lambda _: EMPTY) as state:
        assert asyncio.run(run(state.url)) == [()] * 8
        with Duikou(state.url) as client, ThreadPoolExecutor(4) as pool:
            assert list(pool.map(client.list, range(1, 9))) == [()] * 8
