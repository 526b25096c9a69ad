"""Browsers: pages of other sites cannot call the server, and no answer can run in a browser."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import stub_work
from live_server import caller, create, ended, identify, in_thread, make_key, order, sources, until
from server_settings import settings

from duikou.database.engine import Database
from duikou.server import create_app
from duikou.tasks.accounts import Accounts, KeyKind

IDENTIFY, CREATE, FILES = "/v1/videos/identify-face", "/v1/videos/advanced-lip-sync", "/v1/files"
FOREIGN = (403, 1103, "Origin: pages of other sites may not call this server.")


@pytest.fixture(scope="module")
def site():
    with sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound()) as url:
        yield url


@pytest.fixture(scope="module")
def client(tmp_path_factory, site):
    given = settings(tmp_path_factory.mktemp("browser") / "data", public_url="https://lips.example/base")
    with in_thread(given, stub_work.WORK) as client:
        yield client


def told(answer: httpx.Response) -> tuple[int, int, str]:
    return answer.status_code, answer.json()["code"], answer.json()["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},  # a sandboxed frame, a file of the user's disk
        {"Origin": "http://127.0.0.1:1"},  # another port is another site
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "https://lips.example.evil.example"},
        {"Origin": "nonsense"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "anything"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", IDENTIFY),
        ("POST", CREATE),
        ("POST", f"/kling{CREATE}"),
        ("POST", f"{CREATE}/1/cancel"),
        ("POST", f"{CREATE}/1/retry"),
        ("DELETE", f"{CREATE}/1"),
        ("POST", FILES),
        ("POST", f"{FILES}/from-url"),
        ("GET", CREATE),
    ],
)
def test_pages_of_other_sites_are_refused(client, method, path, headers) -> None:
    simple = {"Content-Type": "text/plain"}  # what a page may send without asking first
    answer = client.request(method, path, headers=headers | simple, content=b"" if method == "GET" else b"{}")
    assert told(answer) == FOREIGN


def test_what_is_no_page_and_what_is_our_own_is_served(client) -> None:
    host = client.base_url.netloc.decode()
    for headers in (
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{host}"},
        {"Origin": "https://lips.example", "Host": "lips.example"},  # behind a proxy that ends TLS
    ):
        assert client.get(CREATE, headers=headers).status_code == 200, headers


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:80",
        "localhost.evil.example",
        "",
        "a b",
        "[",
        "[::1",
        "a[b",
        "[x]",
        "xn--",
    ],
)
def test_a_name_that_is_bound_to_our_address_is_not_ours(client, host) -> None:
    status, code, sentence = told(client.get(CREATE, headers={"Host": host}))
    assert (status, code) == (403, 1103)
    assert re.match(r"Host: '.*' is not a name of this server; without keys it accepts its address, ", sentence)


@pytest.mark.parametrize(
    "host", ["localhost:9", "app.localhost", "127.0.0.1", "[::1]:80", "10.1.2.3", "lips.example:443"]
)
def test_our_names(client, host) -> None:
    assert client.get(CREATE, headers={"Host": host}).status_code == 200


def test_with_keys_any_name_will_do_and_a_page_still_will_not(tmp_path) -> None:
    given = settings(tmp_path)
    with in_thread(given, stub_work.WORK) as open_one:
        database = Database(f"sqlite:///{tmp_path / 'duikou.db'}")
        key = Accounts(database).make("someone", KeyKind.PLAIN).secret
        database.close()
        with caller(str(open_one.base_url), key) as client:
            assert client.get(CREATE, headers={"Host": "any.example"}).status_code == 200
            assert told(client.get(CREATE, headers={"Origin": "https://evil.example"})) == FOREIGN


def test_nobody_is_allowed_in_by_cors(client) -> None:
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for answer in (client.options(CREATE, headers=asks), client.get("/healthz", headers=asks), client.get("/docs")):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert client.options(CREATE, headers=asks).status_code in (403, 404)


# Pages of origins that the operator names

APP = "https://app.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A server with a key that pages of one other origin may call, and the key."""
    data = tmp_path_factory.mktemp("named") / "data"
    key = make_key(data, "someone").secret
    given = settings(data, allowed_origins=f"{APP},http://localhost:5173")
    with in_thread(given, stub_work.WORK) as client, httpx.Client(base_url=client.base_url, timeout=120) as page:
        yield page, {"Authorization": f"Bearer {key}"}


def test_a_named_origin_may_ask_and_no_other(named) -> None:
    page, _ = named
    for path in (CREATE, f"/kling{CREATE}/1", FILES, "/files/media/1.mp4"):
        told = page.options(
            path, headers={**PREFLIGHT, "Origin": APP, "Access-Control-Request-Private-Network": "true"}
        )
        assert told.status_code == 200
        assert told.headers["access-control-allow-origin"] == APP
        assert told.headers["access-control-allow-headers"] == "authorization,content-type"
        assert told.headers["access-control-allow-private-network"] == "true"
        assert {"GET", "POST", "DELETE"} <= set(told.headers["access-control-allow-methods"].split(", "))
        assert "Origin" in told.headers["vary"]
        for origin in ("https://evil.example", f"{APP}.evil.example", "http://app.example", f"{APP}:8443", "null"):
            other = page.options(path, headers={**PREFLIGHT, "Origin": origin})
            assert other.status_code in (403, 404)
            assert not [name for name in other.headers if name.startswith("access-control")]
            assert other.headers["vary"] == "Origin"


REFUSALS = {
    "success": (("GET", CREATE, None, True), 200, 0),
    "no key": (("GET", CREATE, None, False), 401, 1001),
    "no such path": (("GET", "/v1/nothing", None, True), 404, 1202),
    "no task": (("GET", f"{CREATE}/1", None, True), 404, 1203),
    "a fault": (("POST", IDENTIFY, b"{}", True), 400, 1201),
    "too large": (("POST", IDENTIFY, b" " * ((8 << 20) + 1), True), 400, 1201),
    "a file": (("GET", "/files/media/1.mp4", None, False), 403, 1103),
    "no file": (("HEAD", "/files/media/1.mp4", None, False), 403, None),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_page_may_read_every_answer_refusals_too(named, what) -> None:
    page, key = named
    (method, path, body, with_key), status, code = REFUSALS[what]
    for origin in (APP, "https://evil.example", None):
        headers = {
            **(key if with_key else {}),
            **({"Origin": origin, "Sec-Fetch-Site": "cross-site"} if origin else {}),
        }
        answer = page.request(method, path, headers=headers, content=body)
        assert "Origin" in answer.headers["vary"].split(", ")
        allowed = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
        if origin == APP:
            assert (answer.status_code, code is None or answer.json()["code"] == code) == (status, True)
            assert allowed.pop("access-control-allow-origin") == APP
            exposed = allowed.pop("access-control-expose-headers").split(", ")
            assert {"X-Request-Id", "Retry-After", "Content-Range", "Accept-Ranges", "ETag"} <= set(exposed)
        assert allowed == {}, "credentials above all"


def test_a_page_may_read_that_it_calls_too_often_and_when_to_try_again(tmp_path) -> None:
    with in_thread(settings(tmp_path, allowed_origins=APP, requests_per_s=1), stub_work.WORK) as client:

        def refused() -> httpx.Response | None:
            answer = client.get(CREATE, headers={"Origin": APP})
            return answer if answer.status_code == 429 else None

        told = until(refused)
    assert told.headers["access-control-allow-origin"] == APP
    assert told.headers["retry-after"]


# What answers may do in a browser


@pytest.fixture(scope="module")
def answers(client, site) -> dict[str, httpx.Response]:
    data = identify(client, f"{site}/a.mp4")
    task_id = create(client, order(data["session_id"], f"{site}/s.mp3"))
    own = str(client.base_url).rstrip("/")
    video = ended(client, task_id)["task_result"]["videos"][0]["url"]

    def file(url: str) -> str:
        parts = urlsplit(url)
        return f"{own}{parts.path.removeprefix('/base')}?{parts.query}"

    return {
        "video": client.get(file(video)),
        "picture": client.get(file(data["face_data"][0]["face_image"])),
        "part": client.get(file(video), headers={"Range": "bytes=0-3"}),
        "task": client.get(f"{CREATE}/{task_id}"),
        "fault": client.post(IDENTIFY, json={"video_url": "<script>alert(1)</script>"}),
        "missing": client.get("/<script>alert(1)</script>"),
        "unsigned": client.get("/files/media/1.mp4"),
        "health": client.get("/healthz"),
        "openapi": client.get("/openapi.json"),
        "docs": client.get("/docs"),
        "studio": client.get("/"),
        "too large": client.post(CREATE, content=b" " * ((8 << 20) + 1)),
    }


@pytest.mark.parametrize(
    "name", ["video", "picture", "part", "task", "fault", "missing", "unsigned", "health", "docs", "studio"]
)
def test_every_answer_is_kept_from_acting(answers, name) -> None:
    answer = answers[name]
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    expected = "cross-origin" if name in ("video", "picture", "part") else "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == expected
    kind = answer.headers["Content-Type"]
    assert kind.split(";")[0] in ("video/mp4", "image/jpeg", "application/json", "text/html"), kind
    assert (kind.startswith("text/html")) == (name in ("docs", "studio"))


def test_addresses_of_files_stay_out_of_shared_caches(answers) -> None:
    assert answers["task"].headers["Cache-Control"] == "no-store"
    assert answers["video"].headers["Cache-Control"] == "private"


class _Page(html.parser.HTMLParser):
    """What a page would run, load or send by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._open = tag if tag in ("script", "style") and "src" not in given else ""
        for name, value in attrs:
            if name.startswith("on") or name == "style" or (value or "").strip().lower().startswith("javascript:"):
                self.found.append(f"{tag} {name}")
            if name in ("src", "href", "action") and re.match(r"(https?:)?//", value or ""):
                self.found.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.found.append(f"inline {self._open}")


def _paths(routes: list[Any]) -> Iterator[str]:
    """Every path of an application that a browser could open as it stands."""
    for route in routes:
        if included := getattr(route, "original_router", None):
            yield from _paths(included.routes)
        elif "{" not in route.path and "GET" in (getattr(route, "methods", None) or ("GET",)):
            yield route.path


def test_no_page_runs_or_loads_what_does_not_come_from_here(client, tmp_path) -> None:
    pages = []
    for path in _paths(create_app(settings(tmp_path)).routes):
        answer = client.get(path)
        if answer.headers.get("content-type", "").startswith("text/html"):
            pages.append(path)
            page = _Page()
            page.feed(answer.text)
            assert page.found == [], path
            for name in ("script-src", "style-src", "connect-src"):
                assert f"{name} 'self';" in answer.headers["Content-Security-Policy"]
    assert {"/", "/docs"} <= set(pages)
