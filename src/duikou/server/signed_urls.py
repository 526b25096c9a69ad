"""Addresses of files that we hand out: signed, so that who holds one needs no key, and expiring."""

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
from duikou.server.errors import ApiError, Code
from duikou.storage import keys
from duikou.storage.base import Files

HOUR_S = 3600
MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".jpg": "image/jpeg",
}
_MEDIA = re.compile(r"/files/media/(\d{1,19})\.[a-z0-9]{2,4}")


@dataclass(frozen=True)
class Signer:
    """Signs paths. key: secret bytes. hours: how long a signature works."""

    key: bytes
    hours: int

    def signed(self, path: str) -> str:
        """The path with its signature; the same for all who ask within an hour."""
        expires = (int(time.time()) // HOUR_S + 1 + self.hours) * HOUR_S
        return f"{path}?expires={expires}&signature={self._mark(path, expires)}"

    def check(self, path: str, query: Mapping[str, str]) -> None:
        """Raise `ApiError` where the query does not sign the path, or no longer."""
        if fault := self.fault(path, query):
            raise ApiError(Code.NO_RIGHT, f"The {fault}")

    def fault(self, path: str, query: Mapping[str, str]) -> str:
        """Why the query does not sign the path, or no longer, as the end of a sentence; empty where it does."""
        text, mark = query.get("expires", ""), query.get("signature", "")
        expires = int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0
        if not hmac.compare_digest(self._mark(path, expires).encode(), mark.encode()):
            return f"address of {path[:80]} is not signed by this server."
        if time.time() >= expires:
            return f"address of {path[:80]} worked until {expires} (Unix time); ask for a new one."
        return ""

    def _mark(self, path: str, expires: int) -> str:
        digest = hmac.new(self.key, f"{path}\n{expires}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True)
class Links:
    """Makes whole addresses. base: what stands before `/files`, without a slash at its end.

    storage: makes addresses of its own, where those are to be handed out.
    """

    base: str
    signer: Signer
    storage: Files | None = None

    def media(self, media_id: str, suffix: str, key: str) -> str:
        """Address of a video or a sound; key: where it is kept."""
        return self._address(key, f"{media_id}{suffix}", f"/files/media/{media_id}{suffix}")

    def picture(self, session_id: str, face_id: str) -> str:
        """Address of a face's picture."""
        key = keys.picture_key(session_id, face_id)
        return self._address(key, f"{session_id}-{face_id}.jpg", f"/files/sessions/{session_id}/faces/{face_id}.jpg")

    def _address(self, key: str, name: str, path: str) -> str:
        given = None
        if self.storage is not None:
            seconds = self.signer.hours * HOUR_S
            kind = MEDIA_TYPES[f".{name.rpartition('.')[2]}"]
            given = self.storage.presigned_url(key, seconds, media_type=kind, filename=name, download=False)
        return given or self.base + self.signer.signed(path)

    def own_key(self, url: str) -> str | None:
        """The key of a file that an address of the storage's own leads to; `None` for any other."""
        return None if self.storage is None else self.storage.key_of(url)

    def own_media_id(self, url: str, field: str) -> str | None:
        """The file that an address of ours leads to; `None` for any other. Raises `InputError`."""
        if not url.startswith(f"{self.base}/files/"):
            return None
        parts = urlsplit(url[len(self.base) :])
        found = _MEDIA.fullmatch(parts.path)
        if found is None:
            return None
        if fault := self.signer.fault(parts.path, dict(parse_qsl(parts.query))):
            raise InputError(f"the {fault}", field=field)
        return found[1]
