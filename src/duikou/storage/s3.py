"""Files in an object storage that speaks S3.

There a write is atomic, a folder is only a prefix of keys, and every call is a request that may fail for a while.
obstore retries by itself, with growing pauses, after refused or broken connections, timeouts and the statuses 429 and
5xx.

obstore's runtime does not survive a fork: a process that forks must not have used it before.
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
from concurrent.futures import ThreadPoolExecutor
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
from duikou.storage.base import (
    PIECE,
    PRIVATE,
    StoredFile,
    Workspace,
    missing,
    output_files,
    require_regular,
    storage_errors,
    valid_key,
)

if TYPE_CHECKING:
    from obstore import ObjectMeta

PART = 8 << 20  # bytes of one request up or down; S3 takes parts from 5 MiB on and 10,000 of them: 80 GB a file
PARTS_AT_ONCE = 2  # one is sent while the next is read: bounds an upload's memory
READ_AHEAD = 2 << 20  # bytes of one request of a stream: a slow reader holds no connection
COPIES_AT_ONCE = 8  # requests of one folder's copy
LISTED_AT_ONCE = 1_000  # keys in one S3 response
CONNECT_S = 5.0
MAX_REQUEST_S = 30.0  # of one request, before it is retried
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0  # between tries
MAX_TRIES = 10_000  # the patience ends retries, not their number
PING_S = 2.0  # patience of a health check
CLOCK_S = 5.0  # for the request that reads the storage's clock
MAX_ADDRESS_S = 7 * 24 * 3_600  # S3's maximum
NOTHING = "no-such-place"  # a prefix without files
SAFE = "-_.~"  # characters that AWS does not escape in the signed form of a URL
OPTIONS = ("endpoint", "region")
REFUSED = re.compile(r"status code: 4(?!08|29)\d\d")  # obstore has the status only in its text
ADDRESS = re.compile(r" https?://\S+")
BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]+")
PORTS = {"http": 80, "https": 443}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Bucket:
    """A bucket, addressed by path (`endpoint/bucket/key`), which every S3 supports."""

    endpoint: str
    name: str
    prefix: str
    region: str

    @classmethod
    def read(cls, url: str) -> Bucket:
        """From `s3://bucket/prefix?endpoint=...&region=...`. Raises `StorageError` without the URL."""
        parts, options = urlsplit(url), {}
        if "@" in parts.netloc:
            raise StorageError("storage_url: must hold no credentials; they belong in AWS_ACCESS_KEY_ID and its like")
        if not BUCKET_NAME.fullmatch(parts.netloc):
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
            return cls(endpoint, parts.netloc, valid_key(prefix) if prefix else "", region)
        except ValueError as error:
            raise StorageError("storage_url: the prefix or the endpoint is no plain address") from error

    def path(self, key: str) -> str:
        """URL path of a key, escaped as it is signed."""
        return quote("/" + "/".join(filter(None, (self.name, self.prefix, key))), safe=SAFE + "/")

    def key_of(self, url: str) -> str | None:
        """The key that a URL points to; `None` for a URL that points elsewhere."""
        try:
            parts = urlsplit(url)
            origin = _origin(parts._replace(path="", query="", fragment=""))
            path = unquote(parts.path, errors="strict")
            # AWS also accepts the bucket as the first part of the host name.
            own_name = self.endpoint.replace("://", f"://{self.name}.", 1)
            start = {self.endpoint: f"/{self.name}/", own_name: "/"}.get(origin)
            whole = start and f"{start}{self.prefix}/".replace("//", "/")
            return valid_key(path.removeprefix(whole)) if whole and path.startswith(whole) else None
        except ValueError:
            return None


class ObjectFiles:
    """Files in a bucket, below a prefix. Credentials come from the usual AWS variables or the machine's role.

    url: `s3://bucket/prefix?endpoint=...&region=...`; without an endpoint it is AWS. scratch: folder for workspaces.
    patience_s: seconds for which a storage that does not answer is asked again. Raises `StorageError`.
    """

    def __init__(self, url: str, scratch: Path, patience_s: float) -> None:
        self._bucket, self._scratch, self._patience_s = Bucket.read(url), scratch, patience_s
        try:
            self._store, self._asked = _store(self._bucket, patience_s), _store(self._bucket, PING_S)
        except (BaseError, ValueError) as error:
            raise StorageError(f"storage_url: cannot be used with the AWS variables: {_first_line(error)}") from error
        self._key_id = os.environ.get("AWS_ACCESS_KEY_ID", "")
        self._secret = os.environ.get("AWS_SECRET_ACCESS_KEY", "")
        self._token = os.environ.get("AWS_SESSION_TOKEN", "")

    def put(self, path: Path, key: str) -> int:
        """Upload a local file and remove it; its size in bytes."""
        with storage_errors(), path.open("rb") as file:
            size = self._upload(file, key)
        path.unlink()
        return size

    def copy(self, key: str, to: Path) -> None:
        """Download a stored file."""
        size = self.size(key)
        if size is None:
            raise missing(key)
        self._download(key, size, to)

    def copy_folder(self, key: str, to: str) -> int:
        """Copy every file below a folder to another folder; how many there were. The bytes stay in the storage."""
        valid_key(to)
        found = [stored["path"] for stored in self._below(key)]
        with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
            for _ in pool.map(lambda path: self._copy(path, to + path.removeprefix(key)), found):
                pass
        return len(found)

    def remove(self, key: str) -> None:
        """Remove a file and everything below it as a folder; a missing one is no error."""
        self._delete(key)
        for found in self._below(key):
            self._delete(found["path"])

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """A private folder, which is removed at the end in any case."""
        with storage_errors():
            self._scratch.mkdir(PRIVATE, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            yield _DownloadedWorkspace(self, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def list(self, top: str) -> Iterator[StoredFile]:
        """Every file below a prefix, page by page."""
        now = self._now()
        for found in self._below(top):
            yield StoredFile(found["path"], found["size"], max(now - found["last_modified"].timestamp(), 0.0))

    def local_path(self, key: str) -> Path | None:
        """None: a file has to be fetched first."""

    def size(self, key: str) -> int | None:
        """Size of a stored file in bytes; `None` where it is missing."""
        try:
            with _obstore_errors(key):
                return int(obstore.head(self._store, valid_key(key))["size"])
        except FileNotFoundError:
            return None

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end - 1` of a stored file, in pieces."""
        for block in self._blocks(key, start, end, READ_AHEAD):
            for at in range(0, len(block), PIECE):
                yield bytes(block[at : at + PIECE])

    def presigned_url(self, key: str, seconds: int, *, media_type: str, filename: str, download: bool) -> str | None:
        """A URL that S3 itself serves for `seconds`, a week at most.

        `None` where the credentials come from the machine's role: the process cannot sign with them, and the server
        serves the file itself.
        """
        if not (self._key_id and self._secret):
            return None
        shown = "attachment" if download else "inline"
        plain = quote(filename, safe="") == filename  # else encoded as RFC 6266 says
        name = f'filename="{filename}"' if plain else f"filename*=utf-8''{quote(filename, safe='')}"
        asked = {"response-content-type": media_type, "response-content-disposition": f"{shown}; {name}"}
        return self._signed(valid_key(key), min(seconds, MAX_ADDRESS_S), asked, datetime.now(UTC))

    def key_of(self, url: str) -> str | None:
        """The key that a URL of this bucket points to, signed or not; `None` for any other."""
        return self._bucket.key_of(url)

    def ping(self) -> None:
        """Raise `StorageError` where the bucket does not answer, is missing, or may not be listed."""
        with _obstore_errors():
            obstore.list(self._asked, NOTHING).collect()

    @property
    def folder(self) -> Path | None:
        """None: no disk of this machine holds the files."""

    def upload_output(self, path: Path, key: str) -> int:
        """Upload a worker's output, without following a link that has replaced the file meanwhile."""
        with storage_errors():
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            require_regular(os.fstat(descriptor), path.name)
            return self._upload(file, key)

    def fetch(self, key: str, folder: Path) -> Path:
        """Download a file, or all files below a folder, into `folder` under their own keys."""
        size = self.size(key)
        found = [(key, size)] if size is not None else ((file["path"], file["size"]) for file in self._below(key))
        path = folder / valid_key(key)
        for name, length in found:
            to = folder / valid_key(name)
            with storage_errors():
                to.parent.mkdir(PRIVATE, parents=True, exist_ok=True)
            self._download(name, length, to)
        if not path.exists():
            raise missing(key)
        return path

    def _upload(self, file: IO[bytes], key: str) -> int:
        size = os.fstat(file.fileno()).st_size
        with _obstore_errors():
            obstore.put(
                self._store,
                valid_key(key),
                file,
                use_multipart=size > PART,
                chunk_size=PART,
                max_concurrency=PARTS_AT_ONCE,
            )
        return size

    def _download(self, key: str, size: int, to: Path) -> None:
        try:
            with storage_errors(), to.open("wb") as file:
                for block in self._blocks(key, 0, size, PART):
                    file.write(block)
        except BaseException:
            to.unlink(missing_ok=True)
            raise

    def _blocks(self, key: str, start: int, end: int, at_once: int) -> Iterator[memoryview]:
        """Parts of a file, each a request of its own, so that a failure repeats one part rather than the file."""
        for at in range(start, end, at_once):
            try:
                with _obstore_errors(key):
                    block = obstore.get_range(self._store, valid_key(key), start=at, end=min(at + at_once, end))
            except FileNotFoundError as error:
                raise missing(key) from error
            yield memoryview(block)

    def _below(self, key: str) -> Iterator[ObjectMeta]:
        pages = iter(obstore.list(self._store, valid_key(key), chunk_size=LISTED_AT_ONCE))
        while True:
            with _obstore_errors():
                page = next(pages, None)
            if page is None:
                return
            yield from page

    def _copy(self, key: str, to: str) -> None:
        try:
            with _obstore_errors(key):
                obstore.copy(self._store, key, to)
        except FileNotFoundError as error:
            raise missing(key) from error

    def _delete(self, key: str) -> None:
        """Delete one object. A deletion that times out is the one request that obstore does not retry."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                with _obstore_errors(key):
                    obstore.delete(self._store, valid_key(key))
                return
            except FileNotFoundError:
                return
            except _TimeoutError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(FIRST_PAUSE_S)

    def _now(self) -> float:
        """The storage's clock, from the Date header of any response; this machine's where there is none."""
        request = urllib.request.Request(f"{self._bucket.endpoint}/{self._bucket.name}", method="HEAD")
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
        stamp, host = f"{at:%Y%m%dT%H%M%SZ}", urlsplit(self._bucket.endpoint).netloc
        steps = (f"{at:%Y%m%d}", self._bucket.region, "s3", "aws4_request")
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
        path = self._bucket.path(key)
        request = "\n".join(("GET", path, query, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"))
        text = "\n".join(("AWS4-HMAC-SHA256", stamp, "/".join(steps), hashlib.sha256(request.encode()).hexdigest()))
        signing = f"AWS4{self._secret}".encode()
        for step in (*steps, text):
            signing = hmac.digest(signing, step.encode(), "sha256")
        return f"{self._bucket.endpoint}{path}?{query}&X-Amz-Signature={signing.hex()}"


class _DownloadedWorkspace:
    """A workspace of copies: input is downloaded, output is uploaded."""

    def __init__(self, files: ObjectFiles, folder: Path) -> None:
        self._files, self._folder = files, folder

    def get(self, key: str) -> Path:
        return self._files.fetch(key, self._folder)

    def new(self, key: str) -> Path:
        path = self._folder / valid_key(key)
        with storage_errors():
            path.mkdir(PRIVATE, parents=True)
        return path

    def put(self, key: str) -> int:
        found = list(output_files(self._folder / valid_key(key)))  # all are checked before the first is sent
        return sum(self._files.upload_output(path, path.relative_to(self._folder).as_posix()) for path, _ in found)


class _TimeoutError(StorageError):
    """The storage did not answer within the patience."""


@contextmanager
def _obstore_errors(key: str = "") -> Iterator[None]:
    """Raise obstore's errors as `StorageError`; with a key, `FileNotFoundError` where there is no such object.

    A refusal may quote the request with its session token: neither the log nor the cause holds its text.
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
        raise _TimeoutError("the file storage does not answer") from error


def _refused(error: Exception) -> StorageError:
    log.warning("the file storage refuses", error=_first_line(error))
    return StorageError("the file storage refuses: the bucket is missing, or the credentials may not use it")


def _first_line(error: Exception) -> str:
    """The first line of the error without the address, and with only the code of the response's body."""
    text = ADDRESS.sub("", str(error))
    code = re.search(r"<Code>(\w+)</Code>", text)
    return text.partition("\n")[0].partition(": <")[0] + (f" ({code[1]})" if code else "")


def _store(bucket: Bucket, patience_s: float) -> S3Store:
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        endpoint=bucket.endpoint,
        aws_endpoint_url_s3=bucket.endpoint,  # else the environment variable would win
        region=bucket.region,
        virtual_hosted_style_request=False,
        disable_bulk_delete=True,  # not every S3 has it
        client_options={
            "allow_http": bucket.endpoint.startswith("http://"),
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
    """Scheme, host and port, normalised for comparing and signing. Raises `ValueError`."""
    scheme, host = parts.scheme.lower(), parts.hostname
    rest = parts.path.strip("/") or parts.query or parts.fragment
    if scheme not in PORTS or not host or "@" in parts.netloc or rest:
        raise ValueError("no plain address")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if parts.port in (None, PORTS[scheme]) else f"{scheme}://{host}:{parts.port}"
