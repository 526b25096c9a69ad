"""Files: whole, in ranges, headers only; a path from a request never reaches the disk."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import stub_work
from live_server import create, ended, identify, in_thread, order, signing_secret, sources
from server_settings import settings

from duikou.server.signed_urls import UrlSigner


@pytest.fixture(scope="module")
def site():
    with sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound()) as url:
        yield url


@pytest.fixture(scope="module")
def client(data: Path):
    with in_thread(settings(data), stub_work.WORK) as client:
        yield client


@pytest.fixture(scope="module")
def signer(client, data: Path) -> UrlSigner:
    return UrlSigner(signing_secret(data), 1)


@pytest.fixture(scope="module")
def session(client, site):
    return identify(client, f"{site}/a.mp4")


@pytest.fixture(scope="module")
def url(client, site, session) -> str:
    return ended(client, create(client, order(session["session_id"], f"{site}/s.mp3")))["task_result"]["videos"][0][
        "url"
    ]


@pytest.fixture(scope="module")
def body(client, url) -> bytes:
    return client.get(url).content


def test_whole(client, url, body) -> None:
    answer = client.get(url, headers={"Authorization": "Bearer whatever"})
    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert int(answer.headers["content-length"]) == len(body)


def test_headers_only(client, url, body, session) -> None:
    for address, kind in ((url, "video/mp4"), (session["face_data"][0]["face_image"], "image/jpeg")):
        answer = client.head(address)
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"", kind)
    assert int(client.head(url).headers["content-length"]) == len(body)


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=5-", 5, None),
        ("bytes=-7", -7, None),
        ("BYTES=3-3", 3, 4),
        ("bytes=0-99999", 0, None),
    ],
)
def test_parts(client, url, body, wanted, start, end) -> None:
    answer = client.get(url, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, body[start:end])
    first = start % len(body)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(body)}"


def test_several_parts(client, url, body) -> None:
    answer = client.get(url, headers={"Range": "bytes=0-1,10-11"})
    assert answer.status_code == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges")
    assert body[10:12] in answer.content


@pytest.mark.parametrize("wanted", ["bytes=9-3", "lines=1-2", "bytes=a-b", "bytes=-", "bytes", "bytes=1-2,x"])
def test_a_range_that_makes_no_sense_is_ignored(client, url, body, wanted) -> None:
    answer = client.get(url, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, body)


@pytest.mark.parametrize("wanted", ["bytes=99999-", "bytes=99999-100000", "bytes=-0"])
def test_a_range_outside_is_refused_in_the_one_shape(client, url, body, wanted) -> None:
    answer = client.get(url, headers={"Range": wanted})
    assert (answer.status_code, answer.json()["code"]) == (416, 1201)
    assert answer.headers["content-range"] == f"bytes */{len(body)}"


def test_only_what_is_known_is_served(client, url, session, signer) -> None:
    session_id, video = session["session_id"], httpx.URL(url).path.rsplit("/", 1)[1]
    for path in (
        "/files/media/1234567890123456789.mp4",
        f"/files/media/{video.replace('.mp4', '.mov')}",
        f"/files/media/{video.removesuffix('.mp4')}",
        f"/files/media/{video}.",
        "/files/media/..%2f..%2fduikou.db",
        "/files/media/%00",
        f"/files/sessions/{session_id}/faces/9.jpg",
        f"/files/sessions/{session_id}/faces/..%2fface_0.jpg",
        "/files/sessions/1234567890123456789/faces/0.jpg",
        "/files/sessions/../faces/0.jpg",
    ):
        answer = client.get(signer.sign(path))
        known = answer.status_code, answer.json()["code"]
        assert known in ((404, 1202), (404, 1203), (403, 1103)), path  # 1103: the path was rewritten on its way
        assert client.get(path).json()["code"] in (1103, 1202), path


def test_a_file_that_is_gone_is_no_resource(client, site, tmp_path) -> None:
    with in_thread(settings(tmp_path), stub_work.WORK) as own:
        picture = identify(own, f"{site}/a.mp4")["face_data"][0]["face_image"]
        next(tmp_path.glob("sessions/*/face_0.jpg")).unlink()
        assert own.get(picture).json()["code"] == 1203


def test_a_link_in_place_of_a_file_is_not_served(client, site, tmp_path) -> None:
    with in_thread(settings(tmp_path), stub_work.WORK) as own:
        address = identify(own, f"{site}/a.mp4")["face_data"][0]["face_image"]
        picture = next(tmp_path.glob("sessions/*/face_0.jpg"))
        picture.unlink()
        picture.symlink_to(tmp_path / "secret")
        assert own.get(address).json()["code"] == 1203


def test_an_address_is_for_one_file_and_one_time(client, data, url, body) -> None:
    path = httpx.URL(url).path
    other = UrlSigner(signing_secret(data), -2)
    for address, sentence in (
        (path, "is not signed"),
        (url.replace("signature=", "signature=x"), "is not signed"),
        (url.replace("expires=", "expires=1"), "is not signed"),
        (url.replace("expires=", "expires=%C2%B2"), "is not signed"),
        (url.replace("/files/media/", "/files/media/1"), "is not signed"),
        (UrlSigner(b"guessed", 1).sign(path), "is not signed"),
        (other.sign(path), "expired at"),
    ):
        answer = client.get(address)
        assert (answer.status_code, answer.json()["code"]) == (403, 1103), address
        assert sentence in answer.json()["message"], address
    assert client.get(UrlSigner(signing_secret(data), 1).sign(path)).content == body


def test_a_file_is_shown_or_downloaded_under_its_name(client, url) -> None:
    name = httpx.URL(url).path.rsplit("/", 1)[1]
    assert client.get(url).headers["content-disposition"] == f'inline; filename="{name}"'
    assert client.get(f"{url}&download=1").headers["content-disposition"] == f'attachment; filename="{name}"'
