"""Where bytes stay: the same cases for a folder and for an object storage, then what only one of them can suffer."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from disks import small_or_skip
from live_server import until
from services import HOST, S3, Gateway, Postgres, Rabbit, available, need

from duikou.errors import StorageError, WorkerError
from duikou.storage.base import Files, StoredFile
from duikou.storage.factory import open_files
from duikou.storage.local import LocalFiles

PATIENCE_S = 60.0
LARGE = os.urandom(1 << 20) * 9  # more than one part of an upload


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    need("s3")
    with S3() as service:
        yield service


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def objects(s3: S3, credentials: None, tmp_path: Path) -> Files:
    return open_files(s3.fresh("some/where"), tmp_path / "data", tmp_path / "scratch", PATIENCE_S)


@pytest.fixture
def gateway(s3: S3) -> Iterator[Gateway]:
    with Gateway(HOST, s3.port) as line:
        yield line


@pytest.fixture(params=["folder", "share", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    (tmp_path / "data").mkdir()
    if request.param == "folder":
        return open_files("", tmp_path / "data", tmp_path / "scratch", PATIENCE_S)
    if request.param == "share":
        return open_files((tmp_path / "data").as_uri(), tmp_path / "elsewhere", tmp_path / "scratch", PATIENCE_S)
    found: Files = request.getfixturevalue("objects")
    return found


def put(files: Files, tmp_path: Path, key: str, content: bytes = b"bytes") -> None:
    path = tmp_path / "received"
    path.write_bytes(content)
    assert files.put(path, key) == len(content)
    assert not path.exists()


def content(files: Files, key: str) -> bytes:
    size = files.size(key)
    assert size is not None
    return b"".join(files.read(key, 0, size))


# The same for all


@pytest.mark.parametrize("sent", [b"", b"bytes", LARGE], ids=["empty", "small", "large"])
def test_a_kept_file_comes_back_as_it_was(files: Files, tmp_path: Path, sent: bytes) -> None:
    put(files, tmp_path, "media/1.mp4", sent)
    assert files.size("media/1.mp4") == len(sent)
    assert content(files, "media/1.mp4") == sent
    files.copy("media/1.mp4", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == sent


def test_a_part_is_read_in_pieces_from_where_it_begins_to_where_it_ends(files: Files, tmp_path: Path) -> None:
    put(files, tmp_path, "media/1.mp4", LARGE)
    start, end = 1_000_003, 5_000_001
    pieces = list(files.read("media/1.mp4", start, end))
    assert b"".join(pieces) == LARGE[start:end]
    assert max(map(len, pieces)) <= 256 << 10
    assert list(files.read("media/1.mp4", 7, 7)) == []


def test_a_file_that_is_kept_again_is_replaced(files: Files, tmp_path: Path) -> None:
    put(files, tmp_path, "tasks/1/sound_0", b"first")
    put(files, tmp_path, "tasks/1/sound_0", b"second")
    assert content(files, "tasks/1/sound_0") == b"second"


def test_removing_takes_a_file_or_a_folder_and_nothing_beside_it(files: Files, tmp_path: Path) -> None:
    for key in ("tasks/1/sound_0", "tasks/1/2/result.mp4", "tasks/11/sound_0", "media/1.mp4"):
        put(files, tmp_path, key)
    files.remove("tasks/1")
    files.remove("tasks/1")
    assert {stored.key for stored in files.list("tasks")} == {"tasks/11/sound_0"}
    files.remove("media/1.mp4")
    files.remove("media/1.mp4")
    assert files.size("media/1.mp4") is None
    assert not list(files.list("media"))


def test_a_folder_is_copied_with_all_that_is_in_it_and_nothing_beside_it(files: Files, tmp_path: Path) -> None:
    for key in ("sessions/1/session.json", "sessions/1/deep/face_0.jpg", "sessions/11/session.json"):
        put(files, tmp_path, key, key.encode())
    assert files.copy_folder("sessions/1", "sessions/2") == 2
    files.remove("sessions/1")
    assert {stored.key for stored in files.list("sessions")} == {
        "sessions/2/session.json",
        "sessions/2/deep/face_0.jpg",
        "sessions/11/session.json",
    }
    assert content(files, "sessions/2/deep/face_0.jpg") == b"sessions/1/deep/face_0.jpg"
    assert files.copy_folder("sessions/1", "sessions/3") == 0, "it is gone"
    with pytest.raises(ValueError, match="is no key"):
        files.copy_folder("sessions/2", "../3")


def test_listing_tells_key_size_and_age(files: Files, tmp_path: Path) -> None:
    assert list(files.list("sessions")) == []
    put(files, tmp_path, "sessions/1/face_0.jpg", b"abc")
    put(files, tmp_path, "sessions/2/session.json", b"")
    found = {stored.key: stored for stored in files.list("sessions")}
    assert {key: stored.size for key, stored in found.items()} == {
        "sessions/1/face_0.jpg": 3,
        "sessions/2/session.json": 0,
    }
    assert all(0 <= stored.age_s < 60 for stored in found.values())


def test_work_finds_what_it_asks_for_and_what_it_makes_is_kept(files: Files, tmp_path: Path) -> None:
    put(files, tmp_path, "media/1.mp4", LARGE)
    put(files, tmp_path, "sessions/1/session.json", b"{}")
    put(files, tmp_path, "sessions/1/faces/0.jpg", b"picture")
    put(files, tmp_path, "tasks/1/sound_0")
    with files.workspace() as place:
        assert place.get("media/1.mp4").read_bytes() == LARGE
        session = place.get("sessions/1")
        assert (session / "session.json").read_bytes() == b"{}"
        assert (session / "faces" / "0.jpg").read_bytes() == b"picture"
        made = place.new("tasks/1/2")
        assert list(made.iterdir()) == []
        (made / "result.mp4").write_bytes(b"result")
        (made / "marked.mp4").write_bytes(LARGE)
        assert place.put("tasks/1/2/result.mp4") == 6
        assert place.put("tasks/1/2/marked.mp4") == len(LARGE)
        identified = place.new("sessions/2")
        (identified / "session.json").write_bytes(b"{}")
        (identified / "deep").mkdir()
        (identified / "deep" / "face_0.jpg").write_bytes(b"abc")
        assert place.put("sessions/2") == 5
    assert content(files, "tasks/1/2/result.mp4") == b"result"
    assert content(files, "tasks/1/2/marked.mp4") == LARGE
    assert content(files, "sessions/2/deep/face_0.jpg") == b"abc"
    assert not (tmp_path / "scratch").exists() or not list((tmp_path / "scratch").iterdir())


def test_what_is_no_plain_file_is_never_kept(files: Files, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    plants: tuple[Callable[[Path], None], ...] = (
        lambda path: path.symlink_to(secret),
        lambda path: path.symlink_to(tmp_path),
        lambda path: path.hardlink_to(secret),
        os.mkfifo,
    )
    put(files, tmp_path, "tasks/1/sound_0")
    for number, plant in enumerate(plants):
        with files.workspace() as place:
            folder = place.new(f"tasks/1/{number}")
            (folder / "a.mp4").write_bytes(b"good")
            plant(folder / "result.mp4")
            for key in (f"tasks/1/{number}/result.mp4", f"tasks/1/{number}"):
                with pytest.raises(WorkerError, match=r"left result\.mp4, which is not a regular file"):
                    place.put(key)
        files.remove(f"tasks/1/{number}")
    assert {stored.key for stored in files.list("tasks")} == {"tasks/1/sound_0"}
    assert secret.read_bytes() == b"secret"


def test_a_worker_that_made_nothing_is_told_from_a_storage_that_fails(files: Files, tmp_path: Path) -> None:
    put(files, tmp_path, "tasks/1/sound_0")
    with files.workspace() as place:
        place.new("tasks/1/1")
        with pytest.raises(WorkerError, match=r"the worker process left no result\.mp4"):
            place.put("tasks/1/1/result.mp4")


def test_what_is_no_longer_kept_is_named_by_its_kind(files: Files, tmp_path: Path) -> None:
    for key, kind in (("media/1.mp4", "the video"), ("sessions/1", "the session"), ("tasks/1/sound_0", "the task's f")):
        for ask in (
            lambda key=key: files.copy(key, tmp_path / "copy"),
            lambda key=key: list(files.read(key, 0, 5)),
        ):
            with pytest.raises(StorageError, match=f"^{kind}.* is no longer kept$"):
                ask()
        with files.workspace() as place, pytest.raises(StorageError, match=f"^{kind}.* is no longer kept$"):
            place.get(key)
        assert files.size(key) is None
    assert not (tmp_path / "copy").exists()


def test_a_key_never_leads_out_of_the_storage(files: Files, tmp_path: Path) -> None:
    for key in ("", "/etc/passwd", "media/../secret", "..", "media//a", "media/./a", "media\\a", "media/a\0"):
        for ask in (files.size, files.remove):
            with pytest.raises(ValueError, match="is no key"):
                ask(key)
        with files.workspace() as place, pytest.raises(ValueError, match="is no key"):
            place.new(key)


def test_many_threads_at_once(files: Files, tmp_path: Path) -> None:
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            (tmp_path / str(number)).mkdir()
            for turn in range(5):
                put(files, tmp_path / str(number), f"media/{number}.mp4", b"%d" % turn * 1000)
                assert content(files, f"media/{number}.mp4") == b"%d" % turn * 1000
            files.remove(f"media/{number}.mp4")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert list(files.list("media")) == []


def test_a_storage_that_is_there_answers(files: Files) -> None:
    files.ping()


def test_only_what_is_allowed_is_a_storage_and_no_refusal_repeats_a_secret(tmp_path: Path) -> None:
    need("s3")
    for url in (
        "ftp://bucket",
        "bucket",
        "file://host/folder",
        "file:folder",
        "file:///folder#part",
        "s3://[bucket",
        "s3://bucket#part",
        "s3://",
        "s3://key:hunter2@bucket/prefix",
        "s3://bucket?secret_access_key=hunter2",
        "s3://bucket?endpoint=",
        "s3://bucket?endpoint=ftp://127.0.0.1",
        "s3://bucket?endpoint=http://key:hunter2@127.0.0.1",
        "s3://bucket?endpoint=http://127.0.0.1/below",
        "s3://bucket/a/../b",
    ):
        with pytest.raises(StorageError, match=r"^storage_url: ") as refused:
            open_files(url, tmp_path, tmp_path, PATIENCE_S)
        assert "hunter2" not in str(refused.value)


def test_without_its_package_s3_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "duikou.storage.s3", raising=False)
    with pytest.raises(StorageError) as refused:
        open_files("s3://bucket", tmp_path, tmp_path, PATIENCE_S)
    assert str(refused.value) == "storage_url: s3 needs the package obstore; install duikou[fleet]"


# A folder


def test_a_folder_is_read_in_place_and_has_no_addresses(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    put(files, tmp_path, "media/1.mp4")
    path = files.local_path("media/1.mp4")
    assert path == tmp_path / "media" / "1.mp4"
    with files.workspace() as place:
        assert place.get("media/1.mp4") == path
    assert files.presigned_url("media/1.mp4", 60, media_type="video/mp4", filename="1.mp4", download=False) is None
    assert files.key_of((tmp_path / "media" / "1.mp4").as_uri()) is None


def test_no_attempt_begins_at_a_task_that_was_removed(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    put(files, tmp_path, "tasks/1/sound_0")
    with files.workspace() as place:
        place.new("tasks/1/1")
        files.remove("tasks/1")
        with pytest.raises(FileNotFoundError):
            place.new("tasks/1/2")


def test_an_empty_folder_is_listed_so_that_it_can_be_removed(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    with files.workspace() as place:
        place.new("sessions/1")
    assert [(stored.key, stored.size) for stored in files.list("sessions")] == [("sessions/1", 0)]


def test_age_is_told_from_when_a_file_was_written(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    put(files, tmp_path, "media/1.mp4")
    hour_ago = time.time() - 3_600
    os.utime(tmp_path / "media" / "1.mp4", (hour_ago, hour_ago))
    (stored,) = files.list("media")
    assert stored == StoredFile("media/1.mp4", 5, stored.age_s)
    assert 3_590 < stored.age_s < 3_700


def test_a_share_that_is_not_mounted_is_not_made(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "share")
    with pytest.raises(StorageError, match="the file storage cannot be used: No such file or directory"):
        files.ping()
    (tmp_path / "received").write_bytes(b"bytes")
    with pytest.raises(StorageError, match="the file storage cannot be used: No such file or directory"):
        files.put(tmp_path / "received", "media/1.mp4")
    assert (tmp_path / "received").exists()
    assert not (tmp_path / "share").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Another disk, of one MiB."""
    with small_or_skip(tmp_path / "disk", 1) as place:
        yield place


def test_a_file_crosses_to_another_disk_whole_or_not_at_all(disk: Path, tmp_path: Path) -> None:
    files = LocalFiles(disk)
    put(files, tmp_path, "media/1.mp4", b"x" * 1000)
    (tmp_path / "received").write_bytes(LARGE)
    with pytest.raises(StorageError, match=r"^the server's disk is full$"):
        files.put(tmp_path / "received", "media/2.mp4")
    assert (tmp_path / "received").read_bytes() == LARGE
    assert [stored.key for stored in files.list("media")] == ["media/1.mp4"]


def test_a_copy_that_does_not_fit_says_so(disk: Path) -> None:
    files = LocalFiles(disk)
    (disk / "sessions" / "1").mkdir(parents=True)
    free = shutil.disk_usage(disk).free
    (disk / "sessions" / "1" / "track_0.npz").write_bytes(bytes(free * 2 // 3))
    with pytest.raises(StorageError, match=r"^the server's disk is full$"):
        files.copy_folder("sessions/1", "sessions/2")


def test_what_does_not_fit_the_place_of_work_says_so(s3: S3, credentials: None, disk: Path, tmp_path: Path) -> None:
    files = open_files(s3.fresh(), tmp_path, disk / "scratch", PATIENCE_S)
    put(files, tmp_path, "media/1.mp4", LARGE)
    with files.workspace() as place, pytest.raises(StorageError, match=r"^the server's disk is full$"):
        place.get("media/1.mp4")
    assert list((disk / "scratch").iterdir()) == []


# An object storage


def test_a_place_of_work_is_private_and_goes_whatever_happens(objects: Files, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), objects.workspace() as place:
        folder = place.new("tasks/1/1")
        (private,) = (tmp_path / "scratch").iterdir()
        assert private.stat().st_mode & 0o777 == 0o700
        (folder / "half").write_bytes(b"half")
        raise ZeroDivisionError
    assert list((tmp_path / "scratch").iterdir()) == []
    assert list(objects.list("tasks")) == []


def test_the_address_alone_says_where_the_storage_is(
    s3: S3, credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    monkeypatch.setenv("AWS_BUCKET", "another")
    open_files(s3.fresh("some/where"), tmp_path, tmp_path, PATIENCE_S).ping()


def test_age_is_told_by_the_storages_clock(objects: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(objects, tmp_path, "media/1.mp4")
    tomorrow = time.time() + 24 * 3_600
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    (stored,) = objects.list("media")
    monkeypatch.undo()
    assert stored.age_s < 60


def test_two_prefixes_of_a_bucket_do_not_see_each_other(s3: S3, credentials: None, tmp_path: Path) -> None:
    url = s3.fresh("one")
    one, two = (open_files(name, tmp_path, tmp_path, PATIENCE_S) for name in (url, url.replace("/one?", "/two?")))
    put(one, tmp_path, "media/1.mp4")
    assert two.size("media/1.mp4") is None
    assert not list(two.list("media"))


def test_more_files_than_one_answer_lists(objects: Files, tmp_path: Path) -> None:
    """S3 lists a thousand at a time."""

    def fill(numbers: range) -> None:
        (tmp_path / str(numbers.start)).mkdir()
        for number in numbers:
            put(objects, tmp_path / str(numbers.start), f"sessions/{number // 10}/{number}", b"")

    threads = [threading.Thread(target=fill, args=(range(start, 1_010, 4),)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {stored.key for stored in objects.list("sessions")} == {f"sessions/{n // 10}/{n}" for n in range(1_010)}
    objects.remove("sessions/100")
    assert len(list(objects.list("sessions"))) == 1_000


def test_what_consoles_leave_as_folders_does_no_harm(s3: S3, credentials: None, tmp_path: Path) -> None:
    url = s3.fresh()
    files = open_files(url, tmp_path, tmp_path, PATIENCE_S)
    for marker in ("media/", "media/1/"):
        address = f"{s3.endpoint}/{urlsplit(url).netloc}/{marker}"
        urllib.request.urlopen(urllib.request.Request(address, data=b"", method="PUT")).close()
    put(files, tmp_path, "media/1.mp4")
    assert "media/1.mp4" in [stored.key for stored in files.list("media")]


@pytest.mark.parametrize("filename", ["1.mp4", "结果 1.mp4"], ids=["plain", "other letters"])
@pytest.mark.parametrize("download", [True, False])
def test_an_address_gives_the_file_with_its_type_and_name(
    objects: Files, tmp_path: Path, filename: str, download: bool
) -> None:
    put(objects, tmp_path, "media/1.mp4", b"0123456789")
    address = objects.presigned_url("media/1.mp4", 60, media_type="video/mp4", filename=filename, download=download)
    assert address is not None
    with urllib.request.urlopen(urllib.request.Request(address, headers={"Range": "bytes=2-4"})) as answer:
        assert answer.read() == b"234"
    asked = parse_qs(urlsplit(address).query)
    assert asked["X-Amz-Expires"] == ["60"]
    assert asked["response-content-type"] == ["video/mp4"]
    named = {"1.mp4": 'filename="1.mp4"', "结果 1.mp4": "filename*=utf-8''%E7%BB%93%E6%9E%9C%201.mp4"}[filename]
    assert asked["response-content-disposition"] == [f"{'attachment' if download else 'inline'}; {named}"]
    assert "testing-secret" not in address
    assert objects.key_of(address) == "media/1.mp4"


@pytest.mark.parametrize("token", ["", "a token/with+signs="], ids=["lasting", "for a session"])
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "https://storage.example", ""], ids=["port", "name", "aws"])
def test_addresses_are_signed_as_the_reference_signs_them(
    credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, token: str
) -> None:
    need("s3")
    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    from duikou.storage.s3 import ObjectFiles

    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    given = f"endpoint={endpoint}&" if endpoint else ""
    files = ObjectFiles(f"s3://bucket/some/where?{given}region=eu-west-3", tmp_path, PATIENCE_S)
    asked = {"response-content-type": "video/mp4", "response-content-disposition": 'inline; filename="a b+c~.mp4"'}
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ours = files._signed("media/1.mp4", 600, asked, at)

    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: at)
    keys = Credentials(S3.environment["AWS_ACCESS_KEY_ID"], S3.environment["AWS_SECRET_ACCESS_KEY"], token or None)
    base = endpoint or "https://s3.eu-west-3.amazonaws.com"
    request = AWSRequest("GET", f"{base}/bucket/some/where/media/1.mp4", params=dict(asked))
    botocore.auth.S3SigV4QueryAuth(keys, "s3", "eu-west-3", expires=600).add_auth(request)
    assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(request.url).query)
    assert ours.partition("?")[0] == request.url.partition("?")[0]


def test_with_the_machines_role_there_are_no_addresses(
    credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("s3")
    url = "s3://bucket?endpoint=http://127.0.0.1:9"
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match=r"storage_url: cannot be used with the AWS variables: .*SecretAccessKey"):
        open_files(url, tmp_path, tmp_path, PATIENCE_S)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    files = open_files(url, tmp_path, tmp_path, PATIENCE_S)
    assert files.presigned_url("media/1.mp4", 60, media_type="video/mp4", filename="1.mp4", download=True) is None


def test_only_an_address_of_our_bucket_leads_to_a_key(credentials: None, tmp_path: Path) -> None:
    need("s3")
    files = open_files("s3://bucket/some?endpoint=http://127.0.0.1:9000", tmp_path, tmp_path, PATIENCE_S)
    for good in (
        "http://127.0.0.1:9000/bucket/some/media/1.mp4",
        "http://127.0.0.1:9000/bucket/some/media/1.mp4?X-Amz-Signature=0#t=3",
        "http://127.0.0.1:9000/bucket/some/media/%31.mp4",
        "http://bucket.127.0.0.1:9000/some/media/1.mp4",
    ):
        assert files.key_of(good) == "media/1.mp4", good
    for bad in (
        "",
        "media/1.mp4",
        "https://127.0.0.1:9000/bucket/some/media/1.mp4",
        "http://127.0.0.1:9001/bucket/some/media/1.mp4",
        "http://127.0.0.1/bucket/some/media/1.mp4",
        "http://127.0.0.1:9000@elsewhere/bucket/some/media/1.mp4",
        "http://who:what@127.0.0.1:9000/bucket/some/media/1.mp4",
        "http://127.0.0.1:9000.elsewhere/bucket/some/media/1.mp4",
        "http://127.0.0.1:9000/buckets/some/media/1.mp4",
        "http://127.0.0.1:9000/bucket/something/media/1.mp4",
        "http://127.0.0.1:9000/bucket/some/",
        "http://127.0.0.1:9000/bucket/some/../other/1.mp4",
        "http://127.0.0.1:9000/bucket/some/media/%2e%2e/%2E%2E/1.mp4",
        "http://127.0.0.1:9000/bucket/some/media%5C1.mp4",
        "http://127.0.0.1:9000/bucket/some/media/%ff",
        "http://[127.0.0.1:9000/bucket/some/media/1.mp4",
        "http://127.0.0.1:nine/bucket/some/media/1.mp4",
    ):
        assert files.key_of(bad) is None, bad


def test_a_bucket_that_is_missing_is_told_at_once(s3: S3, credentials: None, tmp_path: Path) -> None:
    url = f"s3://nobody-made-this?endpoint={s3.endpoint}"
    files = open_files(url, tmp_path, tmp_path, PATIENCE_S)
    (tmp_path / "received").write_bytes(b"bytes")
    began = time.monotonic()
    for ask in (
        files.ping,
        lambda: files.put(tmp_path / "received", "media/1.mp4"),
        lambda: list(files.list("media")),
        lambda: list(files.read("media/1.mp4", 0, 5)),
        lambda: files.remove("media/1.mp4"),
    ):
        with pytest.raises(StorageError, match="the file storage refuses: the bucket is missing"):
            ask()
    assert time.monotonic() - began < PATIENCE_S
    assert (tmp_path / "received").exists()


# An object storage that fails

FAULTS: dict[str, Callable[[Gateway], None]] = {
    "refused": Gateway.close,
    "slow down": Gateway.answer503,
    "inner fault": lambda line: line.answer(500, "InternalError"),
    "too many": lambda line: line.answer(429, "TooManyRequests"),
    "silence": Gateway.hang,
}
FAULT_S = 0.7
CUTS = 40


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_waited_for(
    s3: S3, gateway: Gateway, credentials: None, tmp_path: Path, fault: str
) -> None:
    patience_s = 8.0 if fault == "silence" else PATIENCE_S  # half of it is what one request may take
    files = open_files(s3.fresh(endpoint=gateway.endpoint), tmp_path, tmp_path / "scratch", patience_s)
    put(files, tmp_path, "media/1.mp4", LARGE)
    put(files, tmp_path, "media/3.mp4", b"small")

    def work() -> None:
        with files.workspace() as place:
            (place.new("tasks/1/1") / "result.mp4").write_bytes(LARGE)
            place.put("tasks/1/1/result.mp4")

    for ask in (
        lambda: put(files, tmp_path, "media/2.mp4"),
        work,
        lambda: content(files, "media/1.mp4"),
        lambda: list(files.list("media")),
        lambda: files.remove("media/3.mp4"),
    ):
        FAULTS[fault](gateway)
        before = gateway.requests

        def pass_by(before: int = before) -> None:
            if fault == "silence":  # the first request was given up and asked again
                until(lambda: gateway.requests > before + 1)
            else:
                time.sleep(FAULT_S)
            gateway.open()

        passing = threading.Thread(target=pass_by)
        passing.start()
        try:
            ask()
        finally:
            passing.join()
    assert content(files, "media/2.mp4") == b"bytes"
    assert content(files, "tasks/1/1/result.mp4") == LARGE
    assert files.size("media/3.mp4") is None


@pytest.mark.parametrize("fault", FAULTS)
def test_patience_ends_and_nothing_is_lost(
    s3: S3, gateway: Gateway, credentials: None, tmp_path: Path, fault: str
) -> None:
    url = s3.fresh(endpoint=gateway.endpoint)
    patient, files = (open_files(url, tmp_path, tmp_path / "scratch", patience_s) for patience_s in (PATIENCE_S, 0.5))
    put(patient, tmp_path, "media/1.mp4")
    FAULTS[fault](gateway)
    (tmp_path / "received").write_bytes(b"bytes")

    def work() -> None:
        with files.workspace() as place:
            place.get("media/1.mp4")

    for ask in (
        work,
        files.ping,
        lambda: files.put(tmp_path / "received", "media/2.mp4"),
        lambda: files.copy("media/1.mp4", tmp_path / "copy"),
        lambda: list(files.read("media/1.mp4", 0, 5)),
        lambda: list(files.list("media")),
        lambda: files.remove("media/1.mp4"),
    ):
        began = time.monotonic()
        with pytest.raises(StorageError, match=r"^the file storage does not answer$") as failed:
            ask()
        assert time.monotonic() - began < PATIENCE_S
        assert failed.value.__cause__ is not None
        assert "testing-secret" not in f"{failed.value.__cause__}"
    assert (tmp_path / "received").read_bytes() == b"bytes"
    assert not (tmp_path / "copy").exists()
    assert list((tmp_path / "scratch").iterdir()) == []
    gateway.open()
    assert content(patient, "media/1.mp4") == b"bytes"


def test_a_line_that_breaks_in_the_middle_is_taken_up_again(
    s3: S3, gateway: Gateway, credentials: None, tmp_path: Path
) -> None:
    files = open_files(s3.fresh(endpoint=gateway.endpoint), tmp_path, tmp_path, PATIENCE_S)
    put(files, tmp_path, "media/1.mp4", LARGE)
    over = threading.Event()

    def cut() -> None:
        for _ in range(CUTS):  # so few that a slow machine gets on between them, or after them
            if over.wait(0.05):
                return
            gateway.cut()

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        assert content(files, "media/1.mp4") == LARGE
        put(files, tmp_path, "media/2.mp4", LARGE)
    finally:
        over.set()
        cutting.join()
    assert content(files, "media/2.mp4") == LARGE


def test_a_refusal_is_not_asked_again(s3: S3, gateway: Gateway, credentials: None, tmp_path: Path) -> None:
    files = open_files(s3.fresh(endpoint=gateway.endpoint), tmp_path, tmp_path, PATIENCE_S)
    gateway.answer(403, "SignatureDoesNotMatch")
    (tmp_path / "received").write_bytes(b"bytes")
    began = time.monotonic()
    for ask in (
        files.ping,
        lambda: files.size("media/1.mp4"),
        lambda: files.put(tmp_path / "received", "media/1.mp4"),
        lambda: list(files.read("media/1.mp4", 0, 5)),
        lambda: files.remove("media/1.mp4"),
    ):
        with pytest.raises(StorageError, match=r"refuses: .* the credentials may not use it") as failed:
            ask()
        assert failed.value.__cause__ is None
    assert time.monotonic() - began < PATIENCE_S


# The services themselves


def test_a_database_survives_being_killed() -> None:
    need("postgres")
    import psycopg

    with Postgres() as service:
        address = service.fresh().replace("+psycopg", "")
        assert service.fresh() != address
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
            first = service.pid
            service.kill()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        service.start()
        assert service.pid != first
        for stop in (lambda: service.stop("immediate"), service.stop):
            stop()
            service.start()
        with psycopg.connect(address) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]
        folder = service.folder
    assert not folder.exists()


def test_a_broker_survives_being_killed() -> None:
    need("rabbit")
    kombu = pytest.importorskip("kombu")
    with Rabbit() as service:
        url = service.fresh()
        with kombu.Connection(url) as connection, connection.SimpleQueue("kept") as queue:
            queue.put({"n": 1}, delivery_mode=2)
        until(lambda: service.queues(url).get("kept") == 1)
        service.kill()
        service.start()
        with kombu.Connection(url) as connection, connection.SimpleQueue("kept") as queue:
            message = queue.get(timeout=60)
            assert message.payload == {"n": 1}
            message.ack()


def test_a_missing_service_skips_a_test_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rabbit, "missing", classmethod(lambda cls: "no broker"))
    assert available("rabbit") == "no broker"
    monkeypatch.delenv("TEST_SERVICES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no broker"):
        need("rabbit")
    monkeypatch.setenv("TEST_SERVICES", "required")
    with pytest.raises(pytest.fail.Exception, match="no broker"):
        need("rabbit")
