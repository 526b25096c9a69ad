"""Studio: the page at `/` and its files, and what it learns of the server."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import stub_work
from live_server import WAIT_S, Process, in_thread, make_key
from server_settings import settings
from services import S3

import duikou
from duikou.media import limits
from duikou.server.routes.studio import FOLDER

SETTINGS = "/studio/settings.json"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
TOLD = {
    "version": duikou.__version__,
    "needs_key": False,
    "several_faces": True,
    "any_size": False,
    "session_hours": 24,
    "max_entries": 64,
    "max_exclusions": 64,
    "max_references": 4,
    "max_video_mb": 100,
    "max_audio_mb": 5,
    "min_video_ms": 2_000,
    "max_video_ms": 60_000,
    "min_audio_ms": 2_000,
    "max_audio_ms": 60_000,
    "min_speech_ms": 2_000,
    "min_overlap_ms": 2_000,
    "min_side": 512,
    "max_side": 2_160,
    "min_short_side": 684,
    "max_short_side": 1_134,
    "min_pixels": 783_360,
    "max_pixels": 2_384_640,
    "max_frame_rate": 120,
}


@pytest.fixture(scope="module")
def client(data: Path):
    with in_thread(settings(data), stub_work.WORK) as client:
        yield client


def test_the_root_is_the_page(client) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.content) == (200, (FOLDER / "index.html").read_bytes())
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["permissions-policy"] == "camera=(self), microphone=(self)"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_file_of_the_page_is_served_as_what_it_is(client) -> None:
    files = [path for path in FOLDER.rglob("*") if path.suffix in KINDS]
    assert {"main.js", "studio.css"} <= {path.name for path in files}
    for path in files:
        answer = client.get(f"/studio/{path.relative_to(FOLDER).as_posix()}")
        assert (answer.status_code, answer.content) == (200, path.read_bytes()), path
        assert answer.headers["content-type"] == KINDS[path.suffix]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/studio/main.js"])
def test_a_browser_asks_each_time_and_gets_a_file_that_it_has_only_once(client, path) -> None:
    answer = client.get(path)
    assert answer.headers["cache-control"] == "no-cache"
    tag = answer.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), known
        assert again.headers.get("permissions-policy") == answer.headers.get("permissions-policy")
        assert again.headers["content-security-policy"] == answer.headers["content-security-policy"]
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/words",
        "/__init__.py",
        "/index.html",
        "/nothing.js",
        "/../server/app.py",
        "/%2e%2e/server/app.py",
        "/..%2fstudio%2fmain.js",
        "//etc/passwd",
        "/main.js%00",
        "/MAIN.JS",
    ],
)
def test_nothing_else_is_served(client, path) -> None:
    line = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=WAIT_S)
    with closing(line):
        line.request("GET", f"/studio{path}")  # as it stands: httpx would resolve the dots
        answer = line.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (404, 1202)


def test_the_page_learns_the_limits_of_the_server(client) -> None:
    answer = client.get(SETTINGS)
    assert answer.json() == TOLD
    assert answer.headers["cache-control"] == "no-store"


def test_the_page_learns_the_limits_that_settings_change(tmp_path) -> None:
    given = settings(tmp_path, any_size=True, several_faces=False, max_video_mb=7, max_audio_mb=3, session_hours=2)
    changed = {
        "any_size": True,
        "several_faces": False,
        "max_entries": 1,
        "max_video_mb": 7,
        "max_audio_mb": 3,
        "session_hours": 2,
        "min_side": 1,
        "max_side": limits.MAX_SIDE,
        "min_short_side": 1,
        "max_short_side": limits.MAX_SIDE,
        "min_pixels": 1,
        "max_pixels": limits.MAX_PIXELS,
    }
    with in_thread(given, stub_work.WORK) as client:
        assert client.get(SETTINGS).json() == TOLD | changed


def test_the_page_needs_no_key_and_learns_that_calls_need_one(tmp_path) -> None:
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        assert client.get(SETTINGS).json()["needs_key"] is False
        make_key(tmp_path, "someone")
        assert client.get(SETTINGS).json() == TOLD | {"needs_key": True}
        assert [client.get(path).status_code for path in ("/", "/studio/main.js", "/v1/files/x")] == [200, 200, 401]


def test_the_page_may_load_from_a_storage_that_serves_the_files_itself(tmp_path, s3) -> None:
    common = {"storage_url": s3.fresh(), "environment": S3.environment}
    with Process(tmp_path / "a", storage_links="presigned", **common) as server:
        url = urlsplit(server.client.post("/v1/files", content=stub_work.video()).json()["data"]["url"])
        origin = f"{url.scheme}://{url.netloc}"
        assert origin != server.url
        expected = POLICY.replace("blob:;", f"blob: {origin};").replace(
            "connect-src 'self'", f"connect-src 'self' {origin}"
        )
        assert server.client.get("/").headers["content-security-policy"] == expected
    with Process(tmp_path / "b", **common) as server:
        assert server.client.get("/").headers["content-security-policy"] == POLICY
