"""No log line, answer, callback or file name contains a secret, and stored files are private to their owner."""

from __future__ import annotations

import base64
import json
import signal
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
import sqlalchemy as sa
import stub_work
from live_server import Process, caller, create, ended, identify, make_key, order, signing_secret, sources, until
from prying_work import OWN_FILES, PLANTED
from receiver import receiver

from duikou.database.engine import Database
from duikou.provenance.certificates import self_signed
from duikou.sandbox import forkserver
from duikou.tasks.accounts import Accounts, KeyKind

IDENTIFY, CREATE = "/v1/videos/identify-face", "/v1/videos/advanced-lip-sync"
TOKEN = "tok-3f9a1c77e0"  # in addresses that callers send: theirs, and nobody else's to read
SECRET_VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD", "OTEL_EXPORTER_OTLP_HEADERS"),
    *("HTTPS_PROXY", "DUIKOU_KEY", "SOMEBODY_ELSES_TOKEN"),
)
SOUND = stub_work.sound(render="bug", mark="speech-of-a-caller")
BROKEN = "http://127.0.0.1:1"


def test_no_secret_is_ever_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    database = Database(f"sqlite:///{data / 'duikou.db'}")
    accounts = Accounts(database)
    plain, signing = accounts.make("alice", KeyKind.PLAIN), accounts.make("alice", KeyKind.SIGNING)
    callback_secret = accounts.callback_secret("alice")
    database.close()
    now = int(time.time())
    token = jwt.encode({"iss": signing.access, "exp": now + 600}, signing.secret, algorithm="HS256")
    stale = jwt.encode({"iss": signing.access, "exp": now - 600}, signing.secret, algorithm="HS256")
    answers: list[httpx.Response] = []
    with (
        sources(a__mp4=stub_work.video(), bug__mp4=stub_work.video(identify="bug"), s__mp3=stub_work.sound()) as site,
        receiver(500, 200) as ear,
        Process(data) as server,
        caller(server.url, plain.secret) as client,
    ):
        client.event_hooks["response"].append(answers.append)
        session_id = identify(client, f"{site}/a.mp4")["session_id"]
        told = {"callback_url": f"{ear.url}/hook?token={TOKEN}"}
        done = ended(client, create(client, order(session_id, f"{site}/s.mp3") | told))
        for payload in (
            order(session_id, base64.b64encode(SOUND).decode()),
            order(session_id, f"{BROKEN}/s.mp3?token={TOKEN}"),
            order(session_id, f"{site}/s.mp3") | {"callback_url": f"{BROKEN}/x?token={TOKEN}"},
            order(session_id, f"http://user:{TOKEN}@127.0.0.1/"),
        ):
            client.post(CREATE, json=payload)
        for url in (
            f"{site}/bug.mp4?token={TOKEN}",
            f"{site}/bug.mp4",
            f"{BROKEN}/?token={TOKEN}",
            f"ftp://{TOKEN}@x/",
        ):
            client.post(IDENTIFY, json={"video_url": url})
        for header in (
            f"Bearer {token}",
            f"Bearer {stale}",
            f"Bearer {plain.secret}x",
            f"Basic {plain.secret}",
            plain.secret,
        ):
            client.get(CREATE, headers={"Authorization": header})
        result = done["task_result"]["videos"][0]["url"]
        client.get(result)
        client.get(result.replace("signature=", "signature=x"))
        until(lambda: len(ear.heard) >= 4)
        until(lambda: any('"event": "callback failed"' in line for line in server.log))
        server.end(signal.SIGTERM)
    log = "".join(server.log)
    assert '"event": "callback failed"' in log
    assert "ZeroDivisionError" in log
    signature = parse_qs(urlsplit(result).query)["signature"][0]
    secrets = {
        "api key": plain.secret,
        "signing secret": signing.secret,
        "token": token,
        "stale token": stale,
        "callback secret": callback_secret.removeprefix("whsec_"),
        "caller's token": TOKEN,
        "signature": signature,
        "signing secret of addresses": signing_secret(data).hex(),
        "sound": base64.b64encode(SOUND).decode(),
        "content": "speech-of-a-caller",
    }
    names = "\n".join(str(path) for path in tmp_path.rglob("*"))
    for what, secret in secrets.items():
        assert secret not in log, what
        assert secret not in names, what
        if what != "signature":  # addresses are given to whom they belong
            assert all(secret not in answer.text and secret not in str(answer.headers) for answer in answers), what
            assert all(secret.encode() not in heard.body for heard in ear.heard), what
    texts = [answer.text for answer in answers if answer.headers["content-type"] == "application/json"]
    assert len(texts) > 10
    assert str(tmp_path) not in "".join(texts)
    assert (data / "duikou.db").stat().st_mode & 0o77 == 0


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="memory is read through /proc")
def test_a_child_that_was_taken_over_finds_no_secret(tmp_path: Path) -> None:
    data, chain, key = tmp_path / "data", tmp_path / "chain.pem", tmp_path / "key.pem"
    own = self_signed(tmp_path / "own")
    chain.write_bytes(own.chain.read_bytes())
    key.write_bytes(own.key.read_bytes())
    plain, signing = make_key(data, "alice"), make_key(data, "alice", KeyKind.SIGNING)
    environment = {name: f"{name.lower()}-{TOKEN}" for name in SECRET_VARIABLES}
    certificate = {"c2pa_certificate": str(chain), "c2pa_key": str(key), "metrics_token": f"metrics-{TOKEN}"}
    with (
        Process(data, environment=environment, work="prying_work", **certificate) as server,
        caller(server.url, plain.secret) as client,
    ):
        secrets = [
            *environment.values(),
            certificate["metrics_token"],
            plain.secret,
            signing.secret,
            signing_secret(data).hex(),
            key.read_text().splitlines()[1],
        ]
        halves = [[secret[: len(secret) // 2], secret[len(secret) // 2 :]] for secret in secrets]
        files = [
            str(path) for path in (key, chain, data / "duikou.db", data / "lock", data / "certificate" / "key.pem")
        ]
        wanted = {"halves": halves, "files": files}
        video = client.post("/v1/files", content=stub_work.video(**wanted)).json()["data"]["url"]
        session_id = identify(client, video)["session_id"]
        sound = base64.b64encode(stub_work.sound(forge=True, **wanted)).decode()
        done = ended(client, create(client, order(session_id, sound)))
        found = json.loads(client.get(done["task_result"]["videos"][0]["url"]).content)
        server.end(signal.SIGTERM)
    assert found.keys() == {"render", "sign"}
    for where, what in found.items():
        assert what["memory"] == [PLANTED[0]], where
        assert what["opened"] == [], where
        assert not {name for name in what["environments"] if forkserver.clean_environment({name: ""}) == {}} - {
            "ORT_DISABLE_TELEMETRY",
            "TMPDIR",
        }, where
        assert what["descriptors"] == OWN_FILES, where
    lines = [json.loads(line) for line in server.log]
    forged = [line for line in lines if "forged by a child" in json.dumps(line)]
    assert len(forged) >= 3, "standard output, standard error and the log"
    assert all(line["event"] != "forged by a child" for line in forged)
    (logged,) = [line for line in forged if line.get("process") != "child"]
    assert logged["event"].startswith("said ")
    assert logged["task_id"] == done["task_id"]


def test_errors_of_the_database_show_no_values(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'duikou.db'}")
    with pytest.raises(sa.exc.SQLAlchemyError) as error, database.writing() as connection:
        connection.execute(sa.text("insert into nowhere values (:value)"), {"value": TOKEN})
    assert TOKEN not in str(error.value)
    database.close()


def test_nothing_that_is_kept_can_be_run(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound()) as site, Process(data) as server:
        session_id = identify(server.client, f"{site}/a.mp4")["session_id"]
        ended(server.client, create(server.client, order(session_id, f"{site}/s.mp3")))
        server.client.post("/v1/files", content=stub_work.video())
        for path in data.rglob("*"):
            if path.is_file():
                assert path.stat().st_mode & 0o111 == 0, path
