"""Keys: what goes into the header `Authorization`."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TypeAlias

import jwt

from duikou.client.errors import InputError

LIFETIME_S = 1_800  # of a token, as Kling's documentation has it
EARLY_S = 5  # a token is valid a little before it is made: clocks differ
_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class KeyPair:
    """An access key and its secret key, for tokens (JWT, HS256) that the client signs itself."""

    access_key: str
    secret_key: str = field(repr=False)


Key: TypeAlias = str | KeyPair | None


def check_key(key: Key) -> None:
    """Raise `InputError` for a key that no header can hold. The text does not repeat it."""
    parts = {"key": key} if isinstance(key, str) else vars(key) if key else {}
    for name, part in parts.items():
        if not _KEY.fullmatch(part):
            raise InputError(f"{name}: visible ASCII characters without spaces are expected.")


def authorization(key: Key) -> dict[str, str]:
    """The header for one request: a plain key, a new token, or none."""
    if key is None:
        return {}
    return {"Authorization": f"Bearer {key if isinstance(key, str) else _token(key)}"}


def _token(pair: KeyPair) -> str:
    now_s = int(time.time())
    claims = {"iss": pair.access_key, "exp": now_s + LIFETIME_S, "nbf": now_s - EARLY_S}
    return jwt.encode(claims, pair.secret_key, algorithm="HS256")
