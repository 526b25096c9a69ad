"""Signed URLs of files: their holder needs no key, and they expire."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from duikou.errors import InputError
from duikou.server.errors import ApiError, ErrorCode
from duikou.storage import keys
from duikou.storage.base import Files
from duikou.tasks.models import SessionRecord

HOUR_S = 3600
MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
_MEDIA = re.compile(r"/files/media/(\d{1,19})\.[a-z0-9]{2,4}\Z")


@dataclass(frozen=True)
class UrlSigner:
    """Signs paths and verifies signatures. key: secret bytes. hours: how long a signature is valid."""

    key: bytes
    hours: int

    def sign(self, path: str, until_s: int | None = None) -> str:
        """The path with its signature, the same for every call within one clock hour.

        until_s: when the file is deleted, in Unix time, if that may be earlier than the signature's end.
        """
        expires = (int(time.time()) // HOUR_S + 1 + self.hours) * HOUR_S
        expires = expires if until_s is None else min(expires, until_s)
        return f"{path}?expires={expires}&signature={self._signature(path, expires)}"

    def verify(self, path: str, query: Mapping[str, str]) -> None:
        """Raise `ApiError` where the query is not a valid signature of the path."""
        if problem := self.problem(path, query):
            raise ApiError(ErrorCode.NO_RIGHT, f"The {problem}")

    def problem(self, path: str, query: Mapping[str, str]) -> str:
        """Why the query is not a valid signature of the path, as the end of a sentence; empty where it is."""
        if not self.signed(path, query):
            return f"URL of {path[:80]} is not signed by this server."
        if time.time() >= (expires := _expiry(query)):
            return f"URL of {path[:80]} expired at {expires} (Unix time); request a new one."
        return ""

    def signed(self, path: str, query: Mapping[str, str]) -> bool:
        """Whether the query is a signature of the path, expired or not."""
        given = query.get("signature", "").encode()
        return hmac.compare_digest(self._signature(path, _expiry(query)).encode(), given)

    def _signature(self, path: str, expires: int) -> str:
        digest = hmac.new(self.key, f"{path}\n{expires}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _expiry(query: Mapping[str, str]) -> int:
    """When a signed URL expires, Unix time in s; 0 for a query without that."""
    text = query.get("expires", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0


@dataclass(frozen=True)
class FileUrls:
    """Builds the URLs of files. base: the part before `/files`, without a slash at its end.

    storage: builds presigned URLs, where the settings ask for those.
    """

    base: str
    signer: UrlSigner
    storage: Files | None = None

    def media(self, media_id: str, suffix: str, key: str) -> str:
        """URL of a stored file. key: its key in the storage."""
        return self._url(key, f"{media_id}{suffix}", f"/files/media/{media_id}{suffix}")

    def picture(self, session: SessionRecord, face_id: str) -> str:
        """URL of a face's picture, valid as long as the session keeps the picture."""
        key = keys.picture_key(session.id, face_id)
        path = f"/files/sessions/{session.id}/faces/{face_id}.jpg"
        return self._url(key, f"{session.id}-{face_id}.jpg", path, until_s=-(-session.expires_at // 1000))

    def _url(self, key: str, name: str, path: str, until_s: int | None = None) -> str:
        return self._presigned(key, name, until_s) or self.base + self.signer.sign(path, until_s)

    def _presigned(self, key: str, name: str, until_s: int | None = None) -> str | None:
        if self.storage is None:
            return None
        kind = MEDIA_TYPES[f".{name.rpartition('.')[2]}"]
        seconds = self.signer.hours * HOUR_S
        if until_s is not None:
            seconds = max(min(seconds, until_s - int(time.time())), 1)
        return self.storage.presigned_url(key, seconds, media_type=kind, filename=name, download=False)

    def storage_origin(self) -> str:
        """Scheme, host and port of the URLs that the storage itself serves; empty where this server serves them."""
        url = self._presigned(keys.source_key("0", ".mp4"), "0.mp4")
        parts = urlsplit(url or "")
        return f"{parts.scheme}://{parts.netloc}" if url else ""

    def storage_key(self, url: str) -> str | None:
        """The key of the file that a URL of the storage leads to; `None` for any other URL."""
        return None if self.storage is None else self.storage.key_of(url)

    def media_id(self, url: str, field: str) -> str | None:
        """The id of the file that a URL of this server leads to; `None` for any other URL. Raises `InputError`.

        A server has as many addresses as callers know hosts for it: whatever comes before `/files`, a valid signature
        tells that the URL is this server's. With the host of this call, one without is refused, else fetched.
        """
        own = url.startswith(f"{self.base}/files/")
        try:
            parts = urlsplit(url)
        except ValueError:  # the fetch tells what is wrong with it
            return None
        found = _MEDIA.search(parts.path)
        if found is None or parts.scheme not in ("http", "https"):
            return None
        query = dict(parse_qsl(parts.query))
        if not own and not self.signer.signed(found[0], query):
            return None
        if problem := self.signer.problem(found[0], query):
            raise InputError(f"the {problem}", field=field)
        return found[1]
