"""Files in an object storage: any that speaks S3.

Writes are whole or nothing there, a folder is only what keys begin with, and every call is a request that may fail for
a while. obstore asks again by itself, with growing pauses, when a connection is refused or breaks, when an answer is
late, and when it is 429 or 5xx.

The machinery below obstore does not live through a fork: a process that forks must not have used it before.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import S3Store

from duikou.errors import StorageError
from duikou.storage.base import PIECE, PRIVATE, Stored, Workspace, checked, gone, made, plainly, require_plain

if TYPE_CHECKING:
    from obstore import ObjectMeta

PART = 8 << 20  # bytes of one request up or down; S3 takes 5 MiB and more, and 10,000 parts: up to 80 GB a file
PARTS_AT_ONCE = 2  # one on its way while the next is read: bounds what an upload holds in memory
READ_AHEAD = 2 << 20  # bytes of one request of a stream: a reader that pauses holds no connection
LISTED_AT_ONCE = 1_000  # what S3 gives in one answer
CONNECT_S = 5.0
MAX_REQUEST_S = 30.0  # of one request, before it is tried again
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0  # between tries
MAX_TRIES = 10_000  # patience ends the tries, not their number
PING_S = 2.0  # whoever asks whether the storage answers wants to know now
CLOCK_S = 5.0  # to be told the storage's time
MAX_ADDRESS_S = 7 * 24 * 3_600  # S3 signs no longer
NOTHING = "no-such-place"  # a prefix under which nothing lies
SAFE = "-_.~"  # what AWS leaves as it is in the signed form of an address
OPTIONS = ("endpoint", "region")
REFUSED = re.compile(r"status code: 4(?!08|29)\d\d")  # obstore tells a status only in its text
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]+")
PORTS = {"http": 80, "https": 443}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Place:
    """A bucket, reached by paths rather than by names of its own, which every S3 understands."""

    endpoint: str
    bucket: str
    prefix: str
    region: str

    @classmethod
    def read(cls, url: str) -> Place:
        """From `s3://bucket/prefix?endpoint=...&region=...`. Raises `StorageError`, which never holds the address."""
        parts, options = urlsplit(url), {}
        if "@" in parts.netloc:
            raise StorageError("storage_url: must hold no credentials; they belong in AWS_ACCESS_KEY_ID and its like")
        if not BUCKET.fullmatch(parts.netloc):
            raise StorageError("storage_url: must name a bucket, as in s3://bucket/prefix")
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name not in OPTIONS or not value:
                raise StorageError(f"storage_url: takes the options {' and '.join(OPTIONS)} alone, each with a value")
            options[name] = value
        region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        region = region or "us-east-1"
        prefix = unquote(parts.path).strip("/")
        try:
            endpoint = _origin(urlsplit(options.get("endpoint") or f"https://s3.{region}.amazonaws.com"))
            return cls(endpoint, parts.netloc, checked(prefix) if prefix else "", region)
        except ValueError as error:
            raise StorageError("storage_url: the prefix or the endpoint is no plain address") from error

    def path(self, key: str) -> str:
        """Path of a key below the endpoint, in its signed form."""
        return quote("/" + "/".join(filter(None, (self.bucket, self.prefix, key))), safe=SAFE + "/")

    def key_of(self, url: str) -> str | None:
        """The key that an address leads to; `None` for an address that leads elsewhere."""
        try:
            parts = urlsplit(url)
            origin = _origin(parts._replace(path="", query="", fragment=""))
            path = unquote(parts.path, errors="strict")
            # The bucket may also be the first part of the host's name, as AWS has it.
            own_name = self.endpoint.replace("://", f"://{self.bucket}.", 1)
            start = {self.endpoint: f"/{self.bucket}/", own_name: "/"}.get(origin)
            whole = start and f"{start}{self.prefix}/".replace("//", "/")
            return checked(path.removeprefix(whole)) if whole and path.startswith(whole) else None
        except ValueError:
            return None


class ObjectFiles:
    """Files in a bucket, below a prefix. Credentials come from the usual AWS variables or the machine's role.

    url: `s3://bucket/prefix?endpoint=...&region=...`; without an endpoint it is AWS. scratch: folder for what is worked
    on. patience_s: seconds for which a storage that does not answer is asked again. Raises `StorageError`.
    """

    def __init__(self, url: str, scratch: Path, patience_s: float) -> None:
        self._place, self._scratch, self._patience_s = Place.read(url), scratch, patience_s
        try:
            self._store, self._asked = _store(self._place, patience_s), _store(self._place, PING_S)
        except (BaseError, ValueError) as error:
            raise StorageError(f"storage_url: cannot be used with the AWS variables: {_first_line(error)}") from error
        self._key_id = os.environ.get("AWS_ACCESS_KEY_ID", "")
        self._secret = os.environ.get("AWS_SECRET_ACCESS_KEY", "")
        self._token = os.environ.get("AWS_SESSION_TOKEN", "")

    def keep(self, path: Path, key: str) -> int:
        """Upload a file and remove it here; its size in bytes."""
        with plainly(), path.open("rb") as file:
            size = self._upload(file, key)
        path.unlink()
        return size

    def copy(self, key: str, to: Path) -> None:
        """Download a kept file."""
        size = self.size(key)
        if size is None:
            raise gone(key)
        self._download(key, size, to)

    def remove(self, key: str) -> None:
        """Remove a file and everything below it as a folder; nothing happens where there is nothing."""
        self._delete(key)
        for found in self._below(key):
            self._delete(found["path"])

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """A private folder, which is removed whatever happens in it."""
        with plainly():
            self._scratch.mkdir(PRIVATE, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            yield _Fetched(self, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def listed(self, place: str) -> Iterator[Stored]:
        """Every file below a place, page by page."""
        now = self._now()
        for found in self._below(place):
            yield Stored(found["path"], found["size"], max(now - found["last_modified"].timestamp(), 0.0))

    def local(self, key: str) -> Path | None:
        """None: a file has to be fetched first."""

    def size(self, key: str) -> int | None:
        """Bytes of a kept file; `None` where there is none."""
        try:
            with _answered(key):
                return int(obstore.head(self._store, checked(key))["size"])
        except FileNotFoundError:
            return None

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end - 1` of a kept file, in pieces."""
        for block in self._blocks(key, start, end, READ_AHEAD):
            for at in range(0, len(block), PIECE):
                yield bytes(block[at : at + PIECE])

    def address(self, key: str, seconds: int, *, media_type: str, filename: str, download: bool) -> str | None:
        """An address that S3 itself answers for so many seconds, a week at most.

        `None` where the credentials are those of the machine's role: they are not ours to sign with, and the server
        gives the file out itself.
        """
        if not (self._key_id and self._secret):
            return None
        shown = "attachment" if download else "inline"
        plain = quote(filename, safe="") == filename  # else as RFC 6266 has it
        name = f'filename="{filename}"' if plain else f"filename*=utf-8''{quote(filename, safe='')}"
        asked = {"response-content-type": media_type, "response-content-disposition": f"{shown}; {name}"}
        return self._signed(checked(key), min(seconds, MAX_ADDRESS_S), asked, datetime.now(UTC))

    def key_of(self, url: str) -> str | None:
        """The key that an address of our bucket leads to, signed or not; `None` for any other."""
        return self._place.key_of(url)

    def ping(self) -> None:
        """Raise `StorageError` where the bucket does not answer, is missing, or may not be listed."""
        with _answered():
            obstore.list(self._asked, NOTHING).collect()

    def upload_made(self, path: Path, key: str) -> int:
        """Upload a file that a worker left, without following a link that has taken its place meanwhile."""
        with plainly():
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            require_plain(os.fstat(descriptor), path.name)
            return self._upload(file, key)

    def fetch(self, key: str, folder: Path) -> Path:
        """Download a file, or all files below a folder, into `folder` under their own keys."""
        size = self.size(key)
        found = [(key, size)] if size is not None else ((file["path"], file["size"]) for file in self._below(key))
        path = folder / checked(key)
        for name, length in found:
            to = folder / checked(name)
            with plainly():
                to.parent.mkdir(PRIVATE, parents=True, exist_ok=True)
            self._download(name, length, to)
        if not path.exists():
            raise gone(key)
        return path

    def _upload(self, file: IO[bytes], key: str) -> int:
        size = os.fstat(file.fileno()).st_size
        with _answered():
            obstore.put(
                self._store,
                checked(key),
                file,
                use_multipart=size > PART,
                chunk_size=PART,
                max_concurrency=PARTS_AT_ONCE,
            )
        return size

    def _download(self, key: str, size: int, to: Path) -> None:
        try:
            with plainly(), to.open("wb") as file:
                for block in self._blocks(key, 0, size, PART):
                    file.write(block)
        except BaseException:
            to.unlink(missing_ok=True)
            raise

    def _blocks(self, key: str, start: int, end: int, at_once: int) -> Iterator[memoryview]:
        """Parts of a file, each asked for on its own: what fails is asked again from there, not from the beginning."""
        for at in range(start, end, at_once):
            try:
                with _answered(key):
                    block = obstore.get_range(self._store, checked(key), start=at, end=min(at + at_once, end))
            except FileNotFoundError as error:
                raise gone(key) from error
            yield memoryview(block)

    def _below(self, key: str) -> Iterator[ObjectMeta]:
        pages = iter(obstore.list(self._store, checked(key), chunk_size=LISTED_AT_ONCE))
        while True:
            with _answered():
                page = next(pages, None)
            if page is None:
                return
            yield from page

    def _delete(self, key: str) -> None:
        """Delete one object. A deletion whose answer is late is the one request that obstore does not repeat."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                with _answered(key):
                    obstore.delete(self._store, checked(key))
                return
            except FileNotFoundError:
                return
            except _SilentError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(FIRST_PAUSE_S)

    def _now(self) -> float:
        """The storage's time, of which it tells in every answer, a refusal too; ours where it does not."""
        request = urllib.request.Request(f"{self._place.endpoint}/{self._place.bucket}", method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=CLOCK_S) as answer:
                date = answer.headers["Date"]
        except urllib.error.HTTPError as error:
            with error:
                date = error.headers["Date"]
        except (OSError, http.client.HTTPException):
            date = None
        return parsedate_to_datetime(date).timestamp() if date else time.time()

    def _signed(self, key: str, seconds: int, asked: dict[str, str], at: datetime) -> str:
        """A presigned GET with response headers: AWS Signature Version 4 in the query.

        obstore cannot sign those headers. botocore can, but takes 34 MB with what it needs (obstore 15 MB, all of the
        fleet extra 45 MB), and importing its signer costs 0.2 s. A test compares this URL
        with botocore's.
        https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
        """
        stamp, host = f"{at:%Y%m%dT%H%M%SZ}", urlsplit(self._place.endpoint).netloc
        steps = (f"{at:%Y%m%d}", self._place.region, "s3", "aws4_request")
        options = {
            **asked,
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": "/".join((self._key_id, *steps)),
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
        }
        if self._token:
            options["X-Amz-Security-Token"] = self._token
        query = "&".join(f"{quote(name, safe=SAFE)}={quote(options[name], safe=SAFE)}" for name in sorted(options))
        path = self._place.path(key)
        request = "\n".join(("GET", path, query, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"))
        text = "\n".join(("AWS4-HMAC-SHA256", stamp, "/".join(steps), hashlib.sha256(request.encode()).hexdigest()))
        signing = f"AWS4{self._secret}".encode()
        for step in (*steps, text):
            signing = hmac.digest(signing, step.encode(), "sha256")
        return f"{self._place.endpoint}{path}?{query}&X-Amz-Signature={signing.hex()}"


class _Fetched:
    """A workspace of copies: what is asked for is downloaded, what was made is uploaded."""

    def __init__(self, files: ObjectFiles, folder: Path) -> None:
        self._files, self._folder = files, folder

    def get(self, key: str) -> Path:
        return self._files.fetch(key, self._folder)

    def new(self, key: str) -> Path:
        path = self._folder / checked(key)
        with plainly():
            path.mkdir(PRIVATE, parents=True)
        return path

    def keep(self, key: str) -> int:
        found = list(made(self._folder / checked(key)))  # all are looked at before the first is sent
        return sum(self._files.upload_made(path, path.relative_to(self._folder).as_posix()) for path, _ in found)


class _SilentError(StorageError):
    """The storage did not answer within the patience."""


@contextmanager
def _answered(key: str = "") -> Iterator[None]:
    """Raise obstore's errors as `StorageError`; with a key `FileNotFoundError` where there is no such object.

    What a storage says to a refusal may repeat the request with its session token: neither log nor cause holds it.
    """
    try:
        yield
    except FileNotFoundError as error:
        if key and "NoSuchBucket" not in str(error):
            raise
        raise _refused(error) from None
    except BaseError as error:
        # Which of obstore's classes a 4xx becomes depends on the call.
        if REFUSED.search(str(error)):
            raise _refused(error) from None
        log.warning("the file storage does not answer", error=_first_line(error))
        raise _SilentError("the file storage does not answer") from error


def _refused(error: Exception) -> StorageError:
    log.warning("the file storage refuses", error=_first_line(error))
    return StorageError("the file storage refuses: the bucket is missing, or the credentials may not use it")


def _first_line(error: Exception) -> str:
    """What went wrong, without the answer's text; of that only the code."""
    text = str(error)
    code = re.search(r"<Code>(\w+)</Code>", text)
    return text.partition("\n")[0].partition(": <")[0] + (f" ({code[1]})" if code else "")


def _store(place: Place, patience_s: float) -> S3Store:
    return S3Store(
        place.bucket,
        prefix=place.prefix or None,
        endpoint=place.endpoint,
        aws_endpoint_url_s3=place.endpoint,  # else the variable of that name would win
        region=place.region,
        virtual_hosted_style_request=False,
        disable_bulk_delete=True,  # not every S3 has it
        client_options={
            "allow_http": place.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "timeout": timedelta(seconds=min(patience_s / 2, MAX_REQUEST_S)),
        },
        retry_config={
            "max_retries": MAX_TRIES,
            "retry_timeout": timedelta(seconds=patience_s),
            "backoff": {
                "init_backoff": timedelta(seconds=FIRST_PAUSE_S),
                "max_backoff": timedelta(seconds=MAX_PAUSE_S),
                "base": 2,
            },
        },
    )


def _origin(parts: SplitResult) -> str:
    """Scheme, host and port, in the one form in which they are compared and signed. Raises `ValueError`."""
    scheme, host = parts.scheme.lower(), parts.hostname
    rest = parts.path.strip("/") or parts.query or parts.fragment
    if scheme not in PORTS or not host or "@" in parts.netloc or rest:
        raise ValueError("no plain address")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if parts.port in (None, PORTS[scheme]) else f"{scheme}://{host}:{parts.port}"
