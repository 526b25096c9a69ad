"""Addresses in answers begin with what the caller calls the server, or with what a trusted proxy reports."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import stub_work
import uvicorn
from live_server import create, ended, identify, in_thread, order, sources, until
from receiver import receiver
from server_settings import settings
from starlette.types import Receive, Scope, Send

from duikou.database.engine import Database
from duikou.server.app import configure
from duikou.server.own_address import checked_host
from duikou.tasks.accounts import Accounts, KeyKind

IDENTIFY, CREATE, FILES = "/v1/videos/identify-face", "/v1/videos/advanced-lip-sync", "/v1/files"
OLDER = "/v1/videos/lip-sync"
PROXY = "127.0.0.2"  # the address from which the trusted proxy of these tests connects
LAN = "gpu-box.lan:8820"


@dataclass(frozen=True)
class Place:
    """A server with keys. direct: a client of its own; proxied: what comes through the proxy; other: another account's.

    session_id: of the first account.
    """

    direct: httpx.Client
    proxied: httpx.Client
    other: httpx.Client
    site: str
    session_id: str

    def picture(self, client: httpx.Client, **headers: Any) -> str:
        """Where the answer to an upload that has these headers says that the file is."""
        spelt = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = client.post(FILES, content=stub_work.PHOTO, headers=spelt)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["url"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data = tmp_path_factory.mktemp("data")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = settings(data, port=port, trusted_proxies=f"{PROXY}, 10.0.0.0/8")
    media = {"a__mp4": stub_work.video(), "s__mp3": stub_work.sound(), "held__mp3": stub_work.sound(render="held")}
    with sources(**media) as site, in_thread(given, stub_work.WORK) as client:
        with closing(Database(f"sqlite:///{data / 'duikou.db'}")) as database:
            first, second = (Accounts(database).make(name, KeyKind.PLAIN).secret for name in ("first", "second"))
        client.headers["Authorization"] = f"Bearer {first}"
        through = httpx.HTTPTransport(local_address=PROXY)
        with (
            httpx.Client(base_url=client.base_url, transport=through, headers=client.headers, timeout=120) as proxied,
            httpx.Client(base_url=client.base_url, headers={"Authorization": f"Bearer {second}"}, timeout=120) as other,
        ):
            yield Place(client, proxied, other, site, identify(client, f"{site}/a.mp4")["session_id"])


def base(url: str) -> str:
    return url.partition("/files/")[0]


@pytest.mark.parametrize(
    "host",
    [
        LAN,
        "gpu-box",
        "192.168.7.9:8820",
        "[fd00::7]:8820",
        "[::1]",
        "LocalHost:1",
        "my_box.lan",
        "xn--fiq228c.example.",
    ],
)
def test_every_address_in_an_answer_begins_with_the_callers_own_host(place, host) -> None:
    client, headers, wanted = place.direct, {"Host": host}, f"http://{host.lower()}"
    found = client.post(IDENTIFY, json={"video_url": f"{place.site}/a.mp4"}, headers=headers).json()["data"]
    asked = order(found["session_id"], f"{place.site}/s.mp3") | {"watermark_info": {"enabled": True}}
    made = client.post(CREATE, json=asked, headers=headers).json()["data"]
    ended(client, made["task_id"])
    one = client.get(f"{CREATE}/{made['task_id']}", headers=headers).json()["data"]
    listed = client.get(CREATE, params={"pageSize": 1}, headers=headers).json()["data"]
    events = client.get(f"{CREATE}/{made['task_id']}/events", headers=headers).text
    told = json.loads(events.partition("data: ")[2].partition("\n")[0])
    (video,) = one["task_result"]["videos"]
    urls = [found["video"]["url"], found["face_data"][0]["face_image"], made["task_info"]["parent_video"]["url"]]
    urls += [video["url"], video["watermark_url"], place.picture(client, Host=host)]
    assert {base(url) for url in urls} == {wanted}
    assert listed == [one] == [told]
    for url in urls:
        assert client.get(url.removeprefix(wanted), headers={"Host": "any.example"}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "user:word@evil.example",
        "evil.example/path",
        "evil.example?x",
        "evil.example#x",
        "a\\b",
        'a"b',
        "a'b",
        "<b>",
        "a..b",
        "-a",
        "evil.example:0",
        "evil.example:65536",
        "evil.example:port",
        "evil.example:",
        ":80",
        "[::1",
        "::1",
        "[::g]",
        "[1.2.3.4]",
        "h" * 5000,
        "h.example:80:80",
        "caf\xe9.example",
        "a%0d%0ab",
    ],
)
def test_what_is_no_host_takes_no_part(place, host) -> None:
    url = place.picture(place.direct, Host=host.encode("latin-1"))
    assert base(url) == str(place.direct.base_url).rstrip("/")


def test_a_line_break_in_a_host_is_no_host() -> None:
    assert [checked_host(text) for text in ("a\n", "a\nb", "a\r\nX: b", "[::1]\n", "a:1\n", "\u0661")] == [""] * 6


HEADERS: list[tuple[dict[str, str], str]] = [
    ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "lips.example"}, "https://lips.example"),
    ({"X-Forwarded-Proto": "https"}, f"https://{LAN}"),
    ({"X-Forwarded-Proto": "HTTPS", "X-Forwarded-Host": "a.example, lips.example:8443"}, "https://lips.example:8443"),
    (
        {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "lips.example", "X-Forwarded-Port": "443"},
        "https://lips.example",
    ),
    ({"X-Forwarded-Host": "lips.example", "X-Forwarded-Port": "8443"}, "http://lips.example:8443"),
    ({"X-Forwarded-Host": "lips.example:1", "X-Forwarded-Port": "8443"}, "http://lips.example:1"),
    ({"X-Forwarded-Host": "lips.example", "X-Forwarded-Prefix": "/dub/v2/"}, "http://lips.example/dub/v2"),
    ({"Forwarded": "for=1.2.3.4;proto=https;host=lips.example"}, "https://lips.example"),
    ({"Forwarded": 'host=evil.example, For="[::1]:5"; Host="lips.example:8" ;PROTO=https'}, "https://lips.example:8"),
    # what a proxy reports badly is ignored
    ({"X-Forwarded-Proto": "ftp", "X-Forwarded-Host": "a b", "X-Forwarded-Port": "x"}, f"http://{LAN}"),
    ({"X-Forwarded-Host": "lips.example", "X-Forwarded-Prefix": "//evil.example"}, "http://lips.example"),
    ({"X-Forwarded-Host": "lips.example", "X-Forwarded-Prefix": "/a/../b"}, "http://lips.example"),
    ({"X-Forwarded-Host": "lips.example", "X-Forwarded-Port": "99999"}, "http://lips.example"),
    ({"Forwarded": 'host="a\\"b"'}, f"http://{LAN}"),
    ({"Forwarded": "host=lips.example;;;=,"}, f"http://{LAN}"),
    ({"X-Forwarded-Host": "[fd00::7]", "X-Forwarded-Port": "81"}, "http://[fd00::7]:81"),
    ({"Host": "box.lan", "X-Forwarded-Port": "65535"}, "http://box.lan:65535"),
    ({"Host": "box.lan", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}, "https://box.lan"),
]
SCHEMES = [
    *(
        "wss",
        "ws",
        "javascript",
        "file",
        "http:",
        "https://",
        "https;x",
        "h ttps",
        "'https'",
        "https,wss",
        "https,",
        ",",
    ),
    *("\x1bhttps", "http\xa0s", ""),
]
HOSTS = [
    *("evil.example/path", "evil.example@lips.example", "me:word@evil.example", "evil.example#x", "evil.example?x"),
    *("evil.example:0", "evil.example:70000", "evil.example:-1", "evil.example:80:80", "::1", "fe80::1", "[::1", "[]"),
    *("[fe80::1%eth0]", "[1.2.3.4]", "a b", "a\\b", "a..b", "\x1b]0;x", "\xe9.example", "<b>", "http://evil.example"),
    *("a.example, b example", "a.example ,", ",", "x" * 300, "'a.example'", ""),
]
PORTS = ["0", "70000", "-1", "8 0", "0x50", "1e3", "443,", "8443;", "", "00000", "99999999999"]
PREFIXES = [
    "evil",
    "/a/../b",
    "//evil.example",
    "/a?b",
    "/a#b",
    "/a b",
    "/\x1b",
    "/%2e%2e",
    "/a\\b",
    "/" + "a" * 300,
    "/",
]
IGNORED = [
    *({"X-Forwarded-Proto": scheme} for scheme in SCHEMES),
    *({"Forwarded": f'proto="{scheme}"'} for scheme in SCHEMES),
    *({"X-Forwarded-Host": host} for host in HOSTS),
    *({"Forwarded": f'host="{host}"'} for host in HOSTS),
    *({"Host": "box.lan", "X-Forwarded-Port": port} for port in PORTS),
    *({"X-Forwarded-Prefix": prefix} for prefix in PREFIXES),
    {"Forwarded": "proto=wss;host=evil.example/x"},
    {"Forwarded": "proto=https;host=evil.example, proto=javascript"},
]
"""Headers of a trusted proxy that change nothing."""


@pytest.mark.parametrize(("headers", "wanted"), HEADERS, ids=[str(number) for number in range(len(HEADERS))])
def test_a_trusted_proxy_is_believed_and_nobody_else(place, headers, wanted) -> None:
    sent = {"Host": LAN} | headers
    assert base(place.picture(place.proxied, **sent)) == wanted
    assert base(place.picture(place.direct, **sent)) == f"http://{sent['Host']}"


def test_what_a_trusted_proxy_reports_badly_changes_nothing(place) -> None:
    found = {}
    for headers in IGNORED:
        sent = {name: value.encode("latin-1") for name, value in ({"Host": LAN} | headers).items()}
        if (url := base(place.picture(place.proxied, **sent))) != f"http://{sent['Host'].decode()}":
            found[str(headers)] = url
    assert found == {}


def test_uvicorn_believes_no_header_of_its_own_accord(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    seen: list[tuple[str, str]] = []

    async def look(scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append((scope["scheme"], scope["client"][0]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    server = uvicorn.Server(configure(look, settings(tmp_path), lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    for scheme in ("https", "wss", "javascript"):
        told = {"X-Forwarded-Proto": scheme, "X-Forwarded-For": "8.8.8.8", "Forwarded": f"for=8.8.8.8;proto={scheme}"}
        assert httpx.get(f"http://127.0.0.1:{port}/", headers=told, trust_env=False).status_code == 200
    server.should_exit = True
    thread.join()
    assert seen == [("http", "127.0.0.1")] * 3


def test_a_page_that_the_proxy_serves_may_call(place) -> None:
    headers = {"X-Forwarded-Host": "lips.example", "X-Forwarded-Proto": "https", "Origin": "https://lips.example"}
    assert place.proxied.get(CREATE, headers=headers).status_code == 200
    assert place.direct.get(CREATE, headers=headers).status_code == 403
    assert place.proxied.get(CREATE, headers={**headers, "Origin": "https://evil.example"}).status_code == 403


# Addresses that a client hands back


def speech(url: str) -> dict[str, Any]:
    return {"session_id": "", "face_choose": []} | order("", url)


def test_an_address_is_known_again_under_whatever_host_it_comes_back(place) -> None:
    client = place.direct
    url = client.post(FILES, content=stub_work.sound(), headers={"Host": LAN}).json()["data"]["url"]
    assert url.startswith(f"http://{LAN}/")
    for host in (LAN, "127.0.0.1", "elsewhere.example"):
        answer = client.post(CREATE, json=order(place.session_id, url), headers={"Host": host})
        assert answer.status_code == 200, answer.text
    behind = url.replace(f"http://{LAN}", "https://lips.example/dub")
    assert client.post(CREATE, json=order(place.session_id, behind)).status_code == 200


def test_an_address_without_our_signature_is_not_ours(place) -> None:
    client = place.direct
    url = client.post(FILES, content=stub_work.sound(), headers={"Host": LAN}).json()["data"]["url"]
    forged = url.replace("signature=", "signature=x")

    def told(url: str, host: str = LAN, client: httpx.Client = client) -> str:
        return str(client.post(f"{FILES}/from-url", json={"url": url}, headers={"Host": host}).json()["message"])

    path = url.removeprefix(f"http://{LAN}").partition("?")[0]
    assert told(forged) == f"url: the URL of {path} is not signed by this server."
    assert told(forged, "elsewhere.example").startswith("url: the host cannot be reached")
    assert told(url.replace("http://", "ftp://"), "elsewhere.example") == "url: only http and https URLs are taken."
    late = forged.replace("expires=1", "expires=0")
    assert told(late, "elsewhere.example").startswith("url: the host cannot be reached")
    assert (
        told(url.replace("//", "//me:word@"), "elsewhere.example") == "SUCCEED"
    )  # never dialled: the signature is ours
    assert told(url, LAN, place.other) == told(url, "elsewhere.example", place.other)
    assert told(url, LAN, place.other).startswith("url: there is no file ")


def test_the_servers_own_port_is_never_dialled_under_any_host(place) -> None:
    own = str(place.direct.base_url).rstrip("/")
    for url in (f"{own}/healthz", own.replace("127.0.0.1", "localhost") + "/files/media/1.mp4"):
        answer = place.direct.post(IDENTIFY, json={"video_url": url}, headers={"Host": LAN})
        assert (answer.status_code, answer.json()["code"]) == (400, 1201)
        assert "cannot be reached" in answer.json()["message"]


def test_a_callback_has_the_host_of_the_request_that_made_the_task(place) -> None:
    with receiver() as ear:
        asked = order(place.session_id, f"{place.site}/s.mp3") | {"callback_url": ear.url}
        made = place.proxied.post(CREATE, json=asked, headers={"Host": LAN, "X-Forwarded-Proto": "https"})
        until(lambda: len(ear.heard) == 3)
        done = ear.heard[2].task
        assert base(done["task_result"]["videos"][0]["url"]) == f"https://{LAN}"
        again = place.direct.post(f"{CREATE}/{made.json()['data']['task_id']}/retry", headers={"Host": "b.example"})
        assert base(again.json()["data"]["task_info"]["parent_video"]["url"]) == "http://b.example"
        until(lambda: len(ear.heard) == 6)
        assert base(ear.heard[5].task["task_result"]["videos"][0]["url"]) == "http://b.example"


def test_ids_do_for_any_host(place) -> None:
    made = create(place.direct, order(place.session_id, f"{place.site}/s.mp3"))
    (video,) = ended(place.direct, made)["task_result"]["videos"]
    answer = place.direct.post(IDENTIFY, json={"video_id": video["id"]}, headers={"Host": LAN})
    assert base(answer.json()["data"]["video"]["url"]) == f"http://{LAN}"


# Addresses that are none

NONE = [
    *("http://xn--/", "http://xn--localhost-/", "http://xn--xn--/a.mp4", "http://[::1]x@/", "http://[::1"),
    *("http://a:99999/", "https://[v1.a/", "http://\u2100.example:x/", "http:///", "http://"),
]


@pytest.mark.parametrize("url", NONE)
def test_an_address_that_is_none_is_one_sentence_for_every_field(place, url) -> None:
    older = {"mode": "audio2video", "audio_type": "url"}
    speech = order(place.session_id, f"{place.site}/s.mp3")
    calls: list[tuple[str, str, dict[str, Any]]] = [
        (IDENTIFY, "video_url", {"video_url": url}),
        (CREATE, "face_choose[0].sound_file", order(place.session_id, url)),
        (
            CREATE,
            "face_choose[0].reference_urls[0]",
            order(place.session_id, f"{place.site}/s.mp3", reference_urls=[url]),
        ),
        (CREATE, "callback_url", speech | {"callback_url": url}),
        (f"{FILES}/from-url", "url", {"url": url}),
        (OLDER, "input.video_url", {"input": older | {"video_url": url, "audio_url": f"{place.site}/s.mp3"}}),
        (OLDER, "input.audio_url", {"input": older | {"video_url": f"{place.site}/a.mp4", "audio_url": url}}),
        (
            OLDER,
            "callback_url",
            {
                "input": older | {"video_url": f"{place.site}/a.mp4", "audio_url": f"{place.site}/s.mp3"},
                "callback_url": url,
            },
        ),
    ]
    for path, field, body in calls:
        answer = place.direct.post(path, json=body)
        told = answer.json()
        assert (answer.status_code, told["code"]) == (400, 1201), told
        assert told["message"].removeprefix(f"{field}: ") in (
            "this is not a URL.",
            "only http and https URLs are taken.",
        )


@pytest.mark.parametrize(
    "host", ["[", "[::1", "]", "[x]", "a[b", "xn--", "a:b:c", ":", "[::1]x", "\xbd", "[fe80::1%eth0]"]
)
def test_a_host_or_an_origin_that_is_none_is_no_fault_of_the_server(place, host) -> None:
    for headers in ({"Host": host}, {"Origin": f"http://{host}"}, {"Origin": host}):
        packed = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = place.direct.get(CREATE, headers=packed)
        assert answer.status_code in (200, 400, 403), (headers, answer.text)
