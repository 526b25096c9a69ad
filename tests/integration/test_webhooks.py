"""Callbacks: every change of a task is told to a real receiver, signed, in order and again until it is heard."""

from __future__ import annotations

import signal
import socket
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import stub_work
from dns_peer import dns_peer
from live_server import (
    WAIT_S,
    Process,
    caller,
    create,
    ended,
    identify,
    in_thread,
    make_key,
    order,
    release,
    sources,
    until,
)
from receiver import HANG, receiver
from rows import add_callbacks
from server_settings import settings

from duikou.database.engine import Database
from duikou.net import fetch
from duikou.tasks import outbox, places, webhooks
from duikou.tasks.accounts import Accounts

pytestmark = pytest.mark.long

UNREACHABLE = (
    "callback_url: the host cannot be reached from here; if its address is private, the operator must allow it in "
    "DUIKOU_PRIVATE_SOURCES."
)
CREATE = "/v1/videos/advanced-lip-sync"
ALL = ["submitted", "processing", "succeed"]


@pytest.fixture(scope="module")
def site():
    with sources(
        a__mp4=stub_work.video(),
        s__mp3=stub_work.sound(),
        slow__mp3=stub_work.sound(render="slow"),
        held__mp3=stub_work.sound(render="held"),
        hang__mp3=stub_work.sound(render="hang"),
        fault__mp3=stub_work.sound(render="fault"),
    ) as url:
        yield url


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that a test can bear."""
    monkeypatch.setattr(outbox, "FIRST_WAIT_S", 0.1)
    monkeypatch.setattr(webhooks, "IDLE_S", 0.02)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server waits for an answer for as long as a test lasts."""
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 600.0)
    monkeypatch.setattr(fetch, "IDLE_TIMEOUT_S", 600)


@pytest.fixture
def client(tmp_path: Path):
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        yield client


def secret(data: Path, account: str = "") -> str:
    database = Database(f"sqlite:///{data / 'duikou.db'}")
    try:
        return Accounts(database).callback_secret(account)
    finally:
        database.close()


def ask(client: httpx.Client, site: str, callback_url: str, sound: str = "s.mp3", **more: Any) -> str:
    """The id of a new task of which `callback_url` is told."""
    session_id = identify(client, f"{site}/a.mp4")["session_id"]
    return create(client, order(session_id, f"{site}/{sound}") | {"callback_url": callback_url} | more)


def told(ear) -> list[str]:
    return [heard.status for heard in ear.heard]


def quiet(ear, seconds: float = 1.0) -> int:
    """How much was heard once nothing came for a while."""
    for _ in range(round(WAIT_S / seconds)):
        before = len(ear.heard)
        time.sleep(seconds)
        if len(ear.heard) == before:
            return before
    raise AssertionError("the receiver is called without end")


def test_every_change_is_told_in_order_as_the_query_tells_it(client, tmp_path, site) -> None:
    with receiver() as ear:
        task_id = ask(client, site, f"{ear.url}/hook?for=me", external_task_id="mine")
        until(lambda: len(ear.heard) == 3)
        assert told(ear) == ALL
        key = secret(tmp_path)
        for heard in ear.heard:
            assert heard.path == "/hook?for=me"
            assert heard.headers["content-type"] == "application/json"
            assert heard.is_signed_with(key)
            assert not heard.is_signed_with("whsec_" + "A" * 44)
            assert (heard.task["task_id"], heard.task["task_info"]["external_task_id"]) == (task_id, "mine")
        assert ear.heard[0].task["task_result"] == {"videos": []}
        assert len({heard.headers["webhook-id"] for heard in ear.heard}) == 3
        assert ear.heard[2].task == ended(client, task_id)
        url = ear.heard[2].task["task_result"]["videos"][0]["url"]
        assert httpx.get(url).status_code == 200
        assert quiet(ear) == 3


def test_a_failed_task_is_told_with_its_reason(client, site) -> None:
    with receiver() as ear:
        task_id = ask(client, site, ear.url, "fault.mp3")
        until(lambda: len(ear.heard) == 3)
        assert told(ear) == ["submitted", "processing", "failed"]
        assert ear.heard[2].task == ended(client, task_id)
        assert ear.heard[2].task["task_status_msg"] == "face 0 cannot be made to speak"


def test_a_cancelled_task_is_told_once(client, site) -> None:
    with receiver() as ear:
        task_id = ask(client, site, ear.url, "hang.mp3")
        until(lambda: told(ear) == ALL[:2])
        for _ in range(2):
            assert client.post(f"{CREATE}/{task_id}/cancel").status_code == 200
        until(lambda: len(ear.heard) == 3)
        assert ear.heard[2].task["task_status_msg"] == "The task was cancelled by its caller."
        assert quiet(ear) == 3
        assert told(ear) == ["submitted", "processing", "failed"]


def test_links_begin_with_the_public_address(tmp_path, site) -> None:
    given = settings(tmp_path, public_url="https://sync.example.org/base/")
    with in_thread(given, stub_work.WORK) as client, receiver() as ear:
        ask(client, site, ear.url)
        until(lambda: len(ear.heard) == 3)
        url = ear.heard[2].task["task_result"]["videos"][0]["url"]
        assert url.startswith("https://sync.example.org/base/files/media/")
        assert client.get(url.removeprefix("https://sync.example.org/base")).status_code == 200


def test_each_account_has_its_own_secret(tmp_path, site) -> None:
    keys = {name: make_key(tmp_path, name).secret for name in ("alice", "bob")}
    with in_thread(settings(tmp_path), stub_work.WORK) as client, receiver() as ear:
        for name, key in keys.items():
            with caller(client.base_url, key) as own:
                ask(own, site, f"{ear.url}/{name}")
        until(lambda: len(ear.heard) == 6)
        for heard in ear.heard:
            assert [name for name in keys if heard.is_signed_with(secret(tmp_path, name))] == [heard.path[1:]]


@pytest.mark.parametrize("answer", [500, 404, 429, 302, 307])
def test_what_was_not_heard_is_told_again_under_the_same_id_and_before_what_follows(client, site, answer) -> None:
    with receiver(answer, answer, 200) as ear:
        ask(client, site, ear.url)
        until(lambda: len(ear.heard) == 5)
        assert told(ear) == ["submitted", "submitted", "submitted", "processing", "succeed"]
        assert len({heard.headers["webhook-id"] for heard in ear.heard[:3]}) == 1
        assert len({heard.body for heard in ear.heard[:3]}) == 1
        assert {heard.path for heard in ear.heard} == {"/"}, "no redirect is followed"
        assert quiet(ear) == 5


def test_waits_double_up_to_the_longest_and_differ(monkeypatch) -> None:
    monkeypatch.undo()
    for tries, usual in ((1, 5), (2, 10), (5, 80), (11, 5_120), (13, 14_400), (60, 14_400)):
        waits = [webhooks.wait_after(tries) for _ in range(200)]
        assert usual * 0.8 <= min(waits) < usual * 0.9
        assert usual * 1.1 < max(waits) <= usual * 1.2
    usual_s = sum(min(5 * 2**tries, 14_400) for tries in range(outbox.MAX_TRIES - 1))
    assert 24 * 3600 < usual_s < 36 * 3600


def test_after_the_last_try_the_next_change_is_told(client, site, monkeypatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_TRIES", 2)
    with receiver(500, 500, 200) as ear:
        ask(client, site, ear.url)
        until(lambda: len(ear.heard) == 4)
        assert told(ear) == ["submitted", "submitted", "processing", "succeed"]


def test_a_receiver_that_is_gone_is_told_nothing_more(client, site) -> None:
    with receiver(410, 200) as ear:
        task_id = ask(client, site, ear.url, "slow.mp3")
        assert ended(client, task_id)["task_status"] == "succeed"
        assert quiet(ear) == 1, told(ear)
        ask(client, site, ear.url)
        until(lambda: told(ear)[1:] == ALL)


@pytest.mark.usefixtures("patient")
def test_a_receiver_that_never_answers_delays_neither_its_task_nor_others(client, site) -> None:
    with receiver(HANG) as deaf, receiver() as ear:
        assert ended(client, ask(client, site, deaf.url))["task_status"] == "succeed"
        ask(client, site, ear.url)
        until(lambda: told(ear) == ALL)
        assert told(deaf) == ["submitted"], "its first is still under way"


def told_of(data: Path, account: str, *urls: str, tasks: int) -> None:
    """Have the server tell each of these receivers of so many tasks of an account."""
    database = Database(f"sqlite:///{data / 'duikou.db'}")
    try:
        add_callbacks(database, account, *urls, tasks=tasks)
    finally:
        database.close()


@pytest.mark.usefixtures("patient")
def test_a_hundred_that_never_answer_leave_places_for_other_accounts_and_receivers(tmp_path, site) -> None:
    keys = {name: make_key(tmp_path, name).secret for name in ("alice", "bob")}
    with (
        in_thread(settings(tmp_path), stub_work.WORK) as client,
        receiver(HANG) as deaf,
        receiver(HANG) as dumb,
        receiver() as ear,
    ):
        told_of(tmp_path, "alice", deaf.url, dumb.url, tasks=100)
        until(lambda: len(deaf.heard) + len(dumb.heard) >= webhooks.AT_ONCE // 3)
        with caller(client.base_url, keys["bob"]) as bob, caller(client.base_url, keys["alice"]) as alice:
            ask(bob, site, f"{ear.url}/bob")
            until(lambda: told(ear) == ALL)
            ask(alice, site, f"{ear.url}/alice")
            until(lambda: told(ear) == ALL * 2)
        assert min(len(deaf.heard), len(dumb.heard)) > 0
        assert len(deaf.heard) + len(dumb.heard) <= webhooks.AT_ONCE // 2, "all of these are still under way"


def test_a_receiver_that_is_silent_again_and_again_rests_while_others_of_its_account_are_told(
    client, tmp_path, site, monkeypatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(places, "FIRST_REST_S", 600.0)
    monkeypatch.setattr(places, "LONGEST_REST_S", 600.0)
    with receiver(HANG) as deaf, receiver() as ear:
        told_of(tmp_path, "", deaf.url, tasks=100)
        before = quiet(deaf)
        assert places.SILENCES <= before < 100
        ask(client, site, ear.url)
        until(lambda: told(ear) == ALL)
        assert len(deaf.heard) == before


def test_a_receiver_that_takes_five_seconds_has_time_enough() -> None:
    assert webhooks.TIMEOUT_S >= 1.5 * 5
    assert webhooks.LEASE_MS > 3 * webhooks.TIMEOUT_S * 1000, "no other server begins meanwhile"


def test_addresses_that_are_not_allowed_are_never_dialled(tmp_path, site) -> None:
    data = tmp_path / "data"
    with in_thread(settings(data), stub_work.WORK) as client:
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
    with receiver() as ear, dns_peer(inner__test=[["127.0.0.1"]], mapped__test=[["::ffff:127.0.0.1"]]) as dns:
        given = settings(data).model_copy(update={"private_sources": (), "nameservers": (dns.address,)})
        with in_thread(given, stub_work.WORK) as client:
            sound = client.post("/v1/files", content=stub_work.sound()).json()["data"]["id"]
            port = ear.url.rpartition(":")[2]

            def asked(host: str) -> dict[str, Any]:
                return order(session_id, "", audio_id=sound) | {"callback_url": f"http://{host}:{port}/"}

            for host in ("127.0.0.1", "localhost", "a.localhost", "[::ffff:127.0.0.1]", "0.0.0.0"):
                answer = client.post(CREATE, json=asked(host))
                assert (answer.status_code, answer.json()["message"]) == (400, UNREACHABLE), host
            # What a name leads to is known only once it is dialled.
            tasks = [create(client, asked(host)) for host in ("inner.test", "mapped.test")]
            assert {ended(client, task_id)["task_status"] for task_id in tasks} == {"succeed"}
            until(lambda: {"inner.test", "mapped.test"} <= set(dns.asked))
        assert quiet(ear) == 0


def test_a_task_cannot_make_the_server_call_itself(tmp_path, site) -> None:
    """A server without keys would take its own callback for its user's wish."""
    with Process(tmp_path / "data") as server:
        session_id = identify(server.client, f"{site}/a.mp4")["session_id"]
        victim = create(server.client, order(session_id, f"{site}/held.mp3"))
        for host in ("127.0.0.1", "localhost", "[::1]", "127.0.0.2", "0.0.0.0"):
            own = f"http://{host}:{server.url.rpartition(':')[2]}{CREATE}/{victim}/cancel"
            refused = server.client.post(CREATE, json=order(session_id, f"{site}/s.mp3") | {"callback_url": own})
            assert (refused.status_code, refused.json()["message"]) == (400, UNREACHABLE)
            answer = server.client.post("/v1/videos/identify-face", json={"video_url": own})
            assert answer.json()["message"].startswith("video_url: the host cannot be reached from here")
        release(tmp_path / "data")
        assert ended(server.client, victim)["task_status"] == "succeed"
        assert not [line for line in server.log if f"{victim}/cancel" in line]


NEVER_CALLED: list[tuple[Any, str]] = [
    ("nonsense", "callback_url: only http and https URLs are taken."),
    ("ftp://127.0.0.1/", "callback_url: only http and https URLs are taken."),
    ("http://", "callback_url: only http and https URLs are taken."),
    ("http://a:99999/", "callback_url: this is not a URL."),
    ("http://user:word@127.0.0.1/", "callback_url: the URL must not hold a user or a password."),
    (
        "http://2130706433/",
        UNREACHABLE,
    ),
    ("http://10.0.0.1/", UNREACHABLE),
    ("https://169.254.169.254/latest", UNREACHABLE),
    ("http://[fd00::1]/", UNREACHABLE),
    ("http://[::ffff:192.168.1.1]:8080/", UNREACHABLE),
    ("http://10.0.0.1./", UNREACHABLE),
    ("http://hooks.invalid/", UNREACHABLE),
    ("http://-hooks.example.org/", UNREACHABLE),
    ("http://hooks..example.org/", UNREACHABLE),
    ("http://ho oks.example.org/", UNREACHABLE),
    (f"http://{'x' * 64}.example.org/", UNREACHABLE),
    (f"http://{'x.' * 127}org/", UNREACHABLE),
    ("http://hooks.example.org:0/", "callback_url: port 0 cannot be reached."),
    ("http://a/" + "x" * 4096, "callback_url: the address is longer than 4096 characters."),
    (5, "callback_url: a string is expected, not 5."),
]


def test_what_cannot_be_called_is_refused(client, site) -> None:
    session_id = identify(client, f"{site}/a.mp4")["session_id"]
    for url, sentence in NEVER_CALLED:
        answer = client.post(CREATE, json=order(session_id, f"{site}/s.mp3") | {"callback_url": url})
        assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (400, 1201, sentence), url


CALLED = [
    "https://hooks.example.org/a?b=c",
    "http://hooks_1.internal:8443/",
    "http://hooks.example.org./",
    "http://b\u00fccher.example/",
    "http://8.8.8.8/",
    "http://[2606:4700::1111]/",
    "http://localhost:9/",
    "http://127.0.0.1:9/",
]


def test_what_may_be_called_is_taken(client, site) -> None:
    session_id = identify(client, f"{site}/a.mp4")["session_id"]
    for url in CALLED:
        create(client, order(session_id, f"{site}/s.mp3") | {"callback_url": url})


def test_a_deleted_task_is_told_no_more(client, tmp_path, site, monkeypatch) -> None:
    monkeypatch.setattr(outbox, "LONGEST_WAIT_S", 0.1)
    monkeypatch.setattr(webhooks, "MAX_TRIES", 10_000)
    with receiver(500) as ear:
        task_id = ask(client, site, ear.url, "hang.mp3")
        until(lambda: len(ear.heard) >= 2)
        assert client.delete(f"{CREATE}/{task_id}").status_code == 200
        with sqlite3.connect(tmp_path / "duikou.db") as database:
            assert database.execute("SELECT count(*) FROM callbacks").fetchone() == (0,)
        database.close()
        quiet(ear)  # one call was under way
        assert set(told(ear)) == {"submitted"}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_not_told_before_the_end_is_told_after_the_next_start(tmp_path, site, how) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Process(tmp_path / "data") as server:
        task_id = ask(server.client, site, f"http://127.0.0.1:{port}/")
        done = ended(server.client, task_id)
        until(lambda: any("callback failed" in line for line in server.log))
        server.end(how)
    with receiver(port=port) as ear, Process(tmp_path / "data") as again:
        until(lambda: len(ear.heard) == 3)
        assert told(ear) == ALL
        assert all(heard.is_signed_with(secret(tmp_path / "data")) for heard in ear.heard)
        assert ear.heard[2].task["updated_at"] == done["updated_at"]
        assert ended(again.client, task_id)["updated_at"] == done["updated_at"]
