"""Accounts and keys: which callers are accepted, why others are not, and that no account sees another's data."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import signal
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import stub_work
from live_server import (
    WAIT_S,
    Process,
    caller,
    create,
    ended,
    held,
    identify,
    in_thread,
    make_key,
    order,
    release,
    sources,
    until,
)
from server_settings import settings

from duikou.cli import main
from duikou.database.engine import Database
from duikou.tasks.accounts import KeyKind, NewKey

IDENTIFY, CREATE, FILES = "/v1/videos/identify-face", "/v1/videos/advanced-lip-sync", "/v1/files"


@pytest.fixture(scope="module")
def site():
    with sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound(), held__mp3=stub_work.sound(render="held")) as url:
        yield url


@dataclass(frozen=True)
class Ring:
    """The keys of a server on which alice and bob have accounts."""

    alice: NewKey
    bob: NewKey
    signing: NewKey
    revoked: NewKey
    revoked_signing: NewKey


@pytest.fixture(scope="module")
def ring(data: Path) -> Ring:
    plain, signing = KeyKind.PLAIN, KeyKind.SIGNING
    kinds = (("alice", plain), ("bob", plain), ("alice", signing), ("alice", plain), ("alice", signing))
    ring = Ring(*(make_key(data, name, kind) for name, kind in kinds))
    for gone in (ring.revoked, ring.revoked_signing):
        assert main.run(["keys", "revoke", gone.key.id, "--data", str(data)]) == 0
    return ring


@pytest.fixture(scope="module")
def client(data: Path, ring: Ring):
    with in_thread(settings(data), stub_work.WORK) as client:
        yield client


@pytest.fixture
def alice(client, ring: Ring):
    with caller(client.base_url, ring.alice.secret) as alice:
        yield alice


@pytest.fixture
def bob(client, ring: Ring):
    with caller(client.base_url, ring.bob.secret) as bob:
        yield bob


def token(key: NewKey, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token made by hand and not by the library that reads it; a claim of `None` is left out."""
    now = int(time.time())
    claims = {"iss": key.access, "exp": now + 1800, "nbf": now - 5, **claims}
    claims = {name: value for name, value in claims.items() if value is not None}
    return signed(key.secret, json.dumps(header or {"alg": "HS256", "typ": "JWT"}), json.dumps(claims))


def signed(secret: str, header: str, payload: str, method: str = "sha256") -> str:
    text = f"{base64url(header.encode())}.{base64url(payload.encode())}"
    return f"{text}.{base64url(hmac.new(secret.encode(), text.encode(), method).digest())}"


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def now(add_s: float) -> int:
    return int(time.time() + add_s)


SHAPE = "Authorization: the header must be Bearer and one API key or JWT."
EMPTY = "Authorization: the header is missing or empty; send Bearer and an API key or JWT."
HEAD = '{"alg": "HS256"}'
NO_ISS = "Authorization: the token has no iss, the access key."
UNREADABLE = "Authorization: the token cannot be read as a JWT."
UNKNOWN_KEY, UNKNOWN_ISS = (
    "The API key is unknown or was revoked.",
    "The access key in the token's iss is unknown or was revoked.",
)
FORGED = "Authorization: the signature is not that of the account's key."
HS256 = "Authorization: the token must be signed with HS256."
EXPIRED = "Authorization: the token has expired (exp)."
EARLY = "Authorization: the token is not yet valid (nbf, iat)."

Header = Callable[[Ring], str | None]
REFUSED: dict[str, tuple[Header, int, str]] = {
    "no header": (lambda _: None, 1001, EMPTY),
    "empty header": (lambda _: "", 1001, EMPTY),
    "key alone": (lambda ring: ring.alice.secret, 1002, SHAPE),
    "Basic": (lambda ring: f"Basic {ring.alice.secret}", 1002, SHAPE),
    "Bearer alone": (lambda _: "Bearer", 1002, SHAPE),
    "two keys": (lambda ring: f"Bearer {ring.alice.secret} {ring.alice.secret}", 1002, SHAPE),
    "comma": (lambda ring: f"Bearer,{ring.alice.secret}", 1002, SHAPE),
    "unknown key": (lambda _: f"Bearer dk-{'A' * 43}", 1000, UNKNOWN_KEY),
    "key in capitals": (lambda ring: f"Bearer {ring.alice.secret.upper()}", 1000, UNKNOWN_KEY),
    "half a key": (lambda ring: f"Bearer {ring.alice.secret[:-1]}", 1000, UNKNOWN_KEY),
    "revoked key": (lambda ring: f"Bearer {ring.revoked.secret}", 1000, UNKNOWN_KEY),
    "a key's digest": (lambda ring: f"Bearer {ring.alice.key.public}", 1000, UNKNOWN_KEY),
    "access key alone": (lambda ring: f"Bearer {ring.signing.access}", 1000, UNKNOWN_KEY),
    "secret key alone": (lambda ring: f"Bearer {ring.signing.secret}", 1000, UNKNOWN_KEY),
    "no ASCII": (lambda _: "Bearer schlüssel", 1000, UNKNOWN_KEY),
    "garbage token": (lambda _: "Bearer a.b.c", 1002, UNREADABLE),
    "token without signature": (lambda r: f"Bearer {token(r.signing).rpartition('.')[0]}.", 1002, FORGED),
    "token of no object": (lambda r: f"Bearer {signed(r.signing.secret, '[]', '[]')}", 1002, UNREADABLE),
    "claims of no object": (lambda r: f"Bearer {signed(r.signing.secret, HEAD, '7')}", 1002, UNREADABLE),
    "claims of depth": (lambda r: f"Bearer {signed(r.signing.secret, HEAD, '[' * 20_000)}", 1002, UNREADABLE),
    "alg none": (lambda r: f"Bearer {token(r.signing, {'alg': 'none'}).rpartition('.')[0]}.", 1002, HS256),
    "alg None": (lambda r: f"Bearer {token(r.signing, {'alg': None})}", 1002, HS256),
    "no alg": (lambda r: f"Bearer {token(r.signing, {'typ': 'JWT'})}", 1002, HS256),
    "HS512": (
        lambda r: (
            "Bearer "
            + jwt.encode({"iss": r.signing.access, "exp": now(99)}, r.signing.secret.ljust(64), algorithm="HS512")
        ),
        1002,
        HS256,
    ),
    "RS256 in name": (lambda r: f"Bearer {token(r.signing, {'alg': 'RS256'})}", 1002, HS256),
    "hs256 in small": (lambda r: f"Bearer {token(r.signing, {'alg': 'hs256'})}", 1002, HS256),
    "wrong secret": (
        lambda r: f"Bearer {signed('x' * 43, HEAD, json.dumps({'iss': r.signing.access, 'exp': now(99)}))}",
        1002,
        FORGED,
    ),
    "HMAC with SHA-512": (
        lambda r: (
            "Bearer " + signed(r.signing.secret, HEAD, json.dumps({"iss": r.signing.access, "exp": now(99)}), "sha512")
        ),
        1002,
        FORGED,
    ),
    "no iss": (lambda r: f"Bearer {token(r.signing, iss=None)}", 1002, NO_ISS),
    "iss of no text": (lambda r: f"Bearer {token(r.signing, iss=7)}", 1002, NO_ISS),
    "unknown iss": (lambda r: f"Bearer {token(r.signing, iss='ak-unknown')}", 1000, UNKNOWN_ISS),
    "iss of no Unicode": (lambda r: f"Bearer {token(r.signing, iss=chr(0xD800))}", 1002, UNREADABLE),
    "account as iss": (lambda r: f"Bearer {token(r.signing, iss='alice')}", 1000, UNKNOWN_ISS),
    "revoked iss": (lambda r: f"Bearer {token(r.revoked_signing)}", 1000, UNKNOWN_ISS),
    "a plain key's digest as iss": (
        lambda r: "Bearer " + signed("", HEAD, json.dumps({"iss": r.alice.key.public, "exp": now(99)})),
        1000,
        UNKNOWN_ISS,
    ),
    "no exp": (lambda r: f"Bearer {token(r.signing, exp=None)}", 1002, "Authorization: the token has no exp."),
    "exp of no number": (lambda r: f"Bearer {token(r.signing, exp='soon')}", 1002, UNREADABLE),
    "exp as a list": (lambda r: f"Bearer {token(r.signing, exp=[1])}", 1002, UNREADABLE),
    "endless exp": (lambda r: f"Bearer {token(r.signing, exp=float('inf'))}", 1002, UNREADABLE),
    "nbf of no number": (lambda r: f"Bearer {token(r.signing, nbf='soon')}", 1002, UNREADABLE),
    "expired": (lambda r: f"Bearer {token(r.signing, exp=now(-3600))}", 1004, EXPIRED),
    "expired beyond the leeway": (lambda r: f"Bearer {token(r.signing, exp=now(-62))}", 1004, EXPIRED),
    "not yet valid": (lambda r: f"Bearer {token(r.signing, nbf=now(3600))}", 1003, EARLY),
    "not yet valid beyond the leeway": (lambda r: f"Bearer {token(r.signing, nbf=now(75))}", 1003, EARLY),
    "made in the future": (lambda r: f"Bearer {token(r.signing, iat=now(3600))}", 1003, EARLY),
}


@pytest.mark.parametrize("case", REFUSED)
def test_each_cause_has_its_code_and_sentence(client, ring: Ring, case: str) -> None:
    make, code, sentence = REFUSED[case]
    header = make(ring)
    headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
    answer = client.get(CREATE, headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (401, code, sentence)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "make",
    [
        lambda r: f"Bearer {r.alice.secret}",
        lambda r: f"bearer   {r.alice.secret}",
        lambda r: f"BEARER {r.alice.secret}",
        lambda r: f"Bearer {token(r.signing)}",
        lambda r: f"Bearer {token(r.signing, exp=now(-50))}",
        lambda r: f"Bearer {token(r.signing, nbf=now(50))}",
        lambda r: f"Bearer {token(r.signing, nbf=None)}",
        lambda r: f"Bearer {token(r.signing, exp=float(now(99)))}",
        lambda r: f"Bearer {token(r.signing, {'alg': 'HS256'})}",
        lambda r: (
            "Bearer "
            + jwt.encode(
                {"iss": r.signing.access, "exp": now(1800), "nbf": now(-5)},
                r.signing.secret,
                headers={"alg": "HS256", "typ": "JWT"},
            )
        ),
    ],
)
def test_every_form_of_a_good_key_is_the_accounts(client, alice, ring: Ring, site, make) -> None:
    task_id = create(alice, order(identify(alice, f"{site}/a.mp4")["session_id"], f"{site}/s.mp3"))
    answer = client.get(f"{CREATE}/{task_id}", headers={"Authorization": make(ring)})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", IDENTIFY),
        ("POST", CREATE),
        ("GET", CREATE),
        ("GET", f"{CREATE}/1"),
        ("GET", f"{CREATE}/1/events"),
        ("POST", f"{CREATE}/1/cancel"),
        ("POST", f"{CREATE}/1/retry"),
        ("DELETE", f"{CREATE}/1"),
        ("POST", FILES),
        ("POST", f"{FILES}/from-url"),
        ("GET", "/v1"),
        ("GET", "/v1/nothing"),
        ("PUT", IDENTIFY),
        ("POST", "/v1/videos/IDENTIFY-face/"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/klingai", "/kling"])
def test_nothing_is_told_to_strangers(client, prefix, method, path) -> None:
    answer = client.request(method, f"{prefix}{path}")
    assert (answer.status_code, answer.json()["code"]) == (401, 1001)


def test_a_stranger_who_sends_a_large_body_still_hears_why_not(client) -> None:
    for content in (b" " * (1 << 20), (b" " * (1 << 20) for _ in range(9))):
        answer = client.post(CREATE, content=content)
        assert (answer.status_code, answer.json()["code"]) == (401, 1001)


def test_health_and_what_is_no_call_need_no_key(client) -> None:
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    assert client.get("/nothing").json()["code"] == client.get("/v10").json()["code"] == 1202


def test_a_server_without_keys_is_open_until_the_first_is_made(tmp_path, site) -> None:
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        assert client.get(CREATE, headers={"Authorization": "Bearer whatever"}).status_code == 200
        made = make_key(tmp_path, "first")
        assert client.get(CREATE).json()["code"] == 1001
        with caller(client.base_url, made.secret) as first:
            assert first.get(CREATE).json()["data"] == []
            answer = first.post(CREATE, json=order(session_id, f"{site}/s.mp3"))
            assert answer.json()["message"] == f"session_id: there is no session '{session_id}', or it has expired."
            assert main.run(["keys", "revoke", made.key.id, "--data", str(tmp_path)]) == 0
            assert first.get(CREATE).json()["code"] == 1000
        assert client.get(CREATE).json()["code"] == 1001, "a server whose keys were all revoked is not open again"


def test_nobody_sees_sessions_tasks_or_files_of_another(alice, bob, site) -> None:
    session_id = identify(alice, f"{site}/a.mp4")["session_id"]
    payload = order(session_id, f"{site}/s.mp3") | {"external_task_id": "order-1"}
    task_id = create(alice, payload)
    done = ended(alice, task_id)
    (result,) = done["task_result"]["videos"]
    sound = alice.post(FILES, content=stub_work.sound()).json()["data"]

    for name in (task_id, "order-1"):
        for method, tail in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
            answer = bob.request(method, f"{CREATE}/{name}{tail}")
            assert (answer.status_code, answer.json()["code"]) == (404, 1203), (method, tail)
            assert answer.json()["message"] == f"There is no task {name}, or it has expired."
    assert bob.get(CREATE).json()["data"] == []

    def refused(path: str, body: dict[str, Any], sentence: str) -> None:
        answer = bob.post(path, json=body)
        assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (400, 1201, sentence)

    gone = "or it has expired."
    refused(CREATE, payload, f"session_id: there is no session '{session_id}', {gone}")
    refused(IDENTIFY, {"video_id": result["id"]}, f"video_id: there is no video '{result['id']}', {gone}")
    refused(f"{FILES}/from-url", {"url": result["url"]}, f"url: there is no file '{result['id']}', {gone}")
    refused(IDENTIFY, {"video_url": result["url"]}, f"video_url: there is no video '{result['id']}', {gone}")
    own = identify(bob, f"{site}/a.mp4")["session_id"]
    entry = "face_choose[0]"
    for given, field in (({"sound_file": sound["url"]}, "sound_file"), ({"audio_id": sound["id"]}, "audio_id")):
        body = order(own, "", **given)
        refused(CREATE, body, f"{entry}.{field}: there is no sound '{sound['id']}', {gone}")

    other = create(bob, order(own, f"{site}/s.mp3") | {"external_task_id": "order-1"})
    assert other != task_id, "external ids are each account's own"
    assert bob.get(f"{CREATE}/order-1").json()["data"]["task_id"] == other
    assert alice.get(f"{CREATE}/order-1").json()["data"]["task_id"] == task_id
    assert bob.delete(f"{CREATE}/order-1").status_code == 200
    assert alice.get(f"{CREATE}/order-1").json()["data"]["task_id"] == task_id
    assert httpx.get(result["url"]).status_code == 200, "who holds an address needs no key"


def test_keys_of_a_running_server_are_made_listed_and_revoked(client, data, capsys) -> None:
    where = ["--data", str(data)]
    assert main.run(["keys", "make", "carol", "--json", *where]) == 0
    made = json.loads(capsys.readouterr().out)
    with caller(client.base_url, made["api_key"]) as carol:
        assert carol.get(CREATE).status_code == 200
        assert main.run(["keys", "list", "--json", *where]) == 0
        (row,) = (row for row in json.loads(capsys.readouterr().out) if row["id"] == made["id"])
        assert (row["account"], row["kind"], row["revoked"]) == ("carol", "plain", "")
        assert main.run(["keys", "revoke", made["id"], *where]) == 0
        assert carol.get(CREATE).json()["code"] == 1000


def test_nothing_secret_is_logged_or_kept_where_a_digest_will_do(tmp_path, site) -> None:
    data = tmp_path / "data"
    plain, signing = make_key(data, "alice"), make_key(data, "alice", KeyKind.SIGNING)
    database = Database(f"sqlite:///{data / 'duikou.db'}")
    with Process(data) as server:
        shown = token(signing)
        for bearer in (plain.secret, shown, f"{shown}x", "dk-unknown-and-secret"):
            with caller(server.client.base_url, bearer) as client:
                answers = [client.get(CREATE), client.post(CREATE, content=b"{"), client.post(FILES, content=b"junk")]
                assert (answers[0].status_code == 200) == (bearer in (plain.secret, shown))
        with caller(server.client.base_url, plain.secret) as client:
            picture = identify(client, f"{site}/a.mp4")["face_data"][0]["face_image"]
            assert client.get(picture).status_code == 200
        server.end(signal.SIGTERM)
    database.close()
    log = "".join(server.log)
    lines = [json.loads(line) for line in server.log]
    assert [line["event"] for line in lines].count("request") == 14
    refused = [line for line in lines if line["event"] == "refused"]
    assert [line["code"] for line in refused] == [1201] * 4 + [1002] * 3 + [1000] * 3
    assert all(line["request_id"] and line["message"] for line in refused)
    mark = httpx.URL(picture).params["signature"]
    for secret in (plain.secret, plain.key.public, signing.secret, shown, "dk-unknown-and-secret", mark):
        assert secret not in log
    kept = b"".join(path.read_bytes() for path in data.glob("duikou.db*"))
    assert plain.secret.encode() not in kept
    assert hashlib.sha256(plain.secret.encode()).hexdigest().encode() in kept
    for path in data.glob("duikou.db*"):
        assert path.stat().st_mode & 0o077 == 0, f"{path.name} holds secrets and is readable by others"


def test_calls_in_a_second_are_counted_for_each_account(tmp_path) -> None:
    keys = [make_key(tmp_path, name).secret for name in ("alice", "alice", "bob")]
    with in_thread(settings(tmp_path, requests_per_s=3), stub_work.WORK) as client:
        one, same, other = (caller(client.base_url, key) for key in keys)
        with one, same, other:

            def burst() -> tuple[list[httpx.Response], float]:
                began = time.monotonic()
                return [(one, same)[turn % 2].get(CREATE) for turn in range(8)], time.monotonic() - began

            answers, took_s = until(lambda: (found := burst())[0][-1].status_code == 429 and found)
            refused = [answer for answer in answers if answer.is_error]
            assert len(answers) - len(refused) <= 3 * (int(took_s) + 2), "three in each second that the calls touched"
            assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(429, 1302)}
            assert refused[0].json()["message"] == ("The account sent more than 3 calls in a second; try again in 1 s.")
            assert refused[0].headers["retry-after"] == "1"
            assert other.get(CREATE).status_code == 200
            assert client.get("/healthz").status_code == 200
            time.sleep(float(refused[0].headers["retry-after"]) + 0.1)
            assert one.get(CREATE).status_code == 200


def test_an_account_has_so_many_unfinished_tasks_and_the_queue_so_many_in_all(tmp_path, site) -> None:
    keys = [make_key(tmp_path, name).secret for name in ("alice", "bob")]
    given = settings(tmp_path, tasks_at_once=2, queue_limit=3)
    with in_thread(given, stub_work.WORK) as client:
        alice, bob = (caller(client.base_url, key) for key in keys)
        with alice, bob:
            sessions = {one: identify(one, f"{site}/a.mp4")["session_id"] for one in (alice, bob)}

            def ask(one: httpx.Client, sound: str = "held.mp3", **more: Any) -> httpx.Response:
                return one.post(CREATE, json=order(sessions[one], f"{site}/{sound}") | more)

            def refused(answer: httpx.Response, sentence: str) -> None:
                assert (answer.status_code, answer.json()["code"]) == (429, 1303), answer.text
                assert answer.json()["message"] == sentence
                assert answer.headers["retry-after"] == "10"

            first = ask(alice, external_task_id="first").json()["data"]["task_id"]
            second = ask(alice).json()["data"]["task_id"]
            too_many = "This account has 2 unfinished tasks, as many as it may at once."
            refused(ask(alice), too_many)
            refused(ask(alice, dry_run=True), too_many)
            assert ask(alice, external_task_id="first").json()["data"]["task_id"] == first, "no new task, no new place"
            third = ask(bob).json()["data"]["task_id"]
            refused(ask(bob), "The queue is full: 3 tasks are unfinished, as many as it holds.")
            assert not list((tmp_path / "incoming").iterdir())
            assert len(list((tmp_path / "tasks").iterdir())) == 3
            assert alice.post(f"{CREATE}/{second}/cancel").status_code == 200
            assert ask(alice, "s.mp3").status_code == 200
            assert bob.delete(f"{CREATE}/{third}").status_code == 200
            release(tmp_path)
            assert ended(alice, first)["task_status"] == "succeed"


def _unfinished(data: Path) -> int:
    with closing(sqlite3.connect(data / "duikou.db")) as database:
        query = "SELECT count(*) FROM tasks WHERE status IN ('submitted', 'processing')"
        return int(database.execute(query).fetchone()[0])


def test_so_many_videos_wait_to_be_looked_at(tmp_path) -> None:
    with (
        sources(
            **{f"held_{number}__mp4": stub_work.video(identify="held", number=number) for number in range(1, 5)},
            quick__mp4=stub_work.video(),
        ) as address,
        in_thread(settings(tmp_path, identify_limit=2), stub_work.WORK) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        identify(client, f"{address}/quick.mp4")  # the worker is there now, and takes what comes at once
        calls = []
        for number in range(1, 4):
            calls.append(pool.submit(client.post, IDENTIFY, json={"video_url": f"{address}/held_{number}.mp4"}))
            until(lambda: _unfinished(tmp_path) == number)  # noqa: B023
            held(tmp_path)  # the first is in hand, two wait
        refused = client.post(IDENTIFY, json={"video_url": f"{address}/held_4.mp4"})
        assert (refused.status_code, refused.json()["code"]) == (429, 1303)
        assert (
            refused.json()["message"]
            == "2 videos of this account wait to be looked at, as many as may; try again in a few seconds."
        )
        assert refused.headers["retry-after"] == "10"
        assert len(list((tmp_path / "media").iterdir())) == 4
        for call in calls:
            release(tmp_path)
            assert call.result(WAIT_S).status_code == 200


def test_a_server_that_drains_finishes_what_is_in_hand_and_takes_nothing_new(tmp_path, site) -> None:
    with Process(tmp_path / "data", drain_s=600) as server:
        client = server.client
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        running = create(client, order(session_id, f"{site}/held.mp3"))
        held(tmp_path)
        waiting = create(client, order(session_id, f"{site}/s.mp3"))
        server.popen.send_signal(signal.SIGTERM)
        answer = until(lambda: (found := client.get("/readyz")).is_error and found)
        assert (answer.status_code, answer.json()["code"]) == (503, 5001)
        for path, how in (
            (CREATE, {"json": order(session_id, f"{site}/s.mp3")}),
            (IDENTIFY, {"json": {"video_url": f"{site}/a.mp4"}}),
            (FILES, {"content": stub_work.sound()}),
        ):
            answer = client.post(path, **how)
            assert (answer.status_code, answer.json()["code"]) == (503, 5001), path
            assert answer.json()["message"] == ("the server is about to stop and takes no new work.")
            assert answer.headers["retry-after"] == "10"
        assert client.get("/healthz").status_code == 200
        assert client.get(f"{CREATE}/{running}").json()["data"]["task_status"] == "processing"
        client.close()
        release(tmp_path)
        assert server.popen.wait(WAIT_S) == -signal.SIGTERM, "it ends by itself"
        server.end(signal.SIGTERM)
    lines = [json.loads(line) for line in server.log]
    told = [(line["event"], line["task_id"]) for line in lines if line["event"].startswith("task ")]
    assert ("task succeed", running) in told
    assert ("task processing", waiting) not in told, "what waits is left to the next server"
    with Process(tmp_path / "data") as again:
        assert ended(again.client, waiting)["task_status"] == "succeed"


def test_a_second_signal_ends_a_server_that_drains(tmp_path, site) -> None:
    with sources(hangs__mp3=stub_work.sound(render="hang")) as hanging, Process(tmp_path, drain_s=600) as server:
        session_id = identify(server.client, f"{site}/a.mp4")["session_id"]
        task_id = create(server.client, order(session_id, f"{hanging}/hangs.mp3"))
        until(lambda: server.client.get(f"{CREATE}/{task_id}").json()["data"]["task_status"] == "processing")
        server.popen.send_signal(signal.SIGTERM)
        until(lambda: server.client.get("/readyz").is_error)
        server.end(signal.SIGTERM)  # waits for no more than a fifth of what is left to drain
    assert any("released" in line for line in server.log)


def test_drained_by_time_the_task_waits_for_the_next_server(tmp_path, site) -> None:
    with sources(hangs__mp3=stub_work.sound(render="hang_once")) as hanging:
        with Process(tmp_path, drain_s=1) as server:
            session_id = identify(server.client, f"{site}/a.mp4")["session_id"]
            task_id = create(server.client, order(session_id, f"{hanging}/hangs.mp3"))
            until(lambda: server.client.get(f"{CREATE}/{task_id}").json()["data"]["stage"] == "hanging")
            server.end(signal.SIGTERM)
        with Process(tmp_path) as again:
            assert ended(again.client, task_id)["task_status"] == "succeed"
