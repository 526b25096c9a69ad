"""Callbacks: whether one comes from the server, signed as Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping

from duikou.client.errors import CallbackError, InputError, ProtocolError
from duikou.client.values import Task
from duikou.client.wire import read_task

TOLERANCE_S = 300  # between the clocks of server and receiver: an old callback is not accepted again


def verify_callback(body: bytes, headers: Mapping[str, str], secret: str, *, tolerance_s: float = TOLERANCE_S) -> Task:
    """The task of a callback that the server signed, no longer than `tolerance_s` ago.

    body: the request's body as it came. headers: the request's, names in any case.
    secret: `whsec_` and base64, as `duikou keys callback ACCOUNT` shows it.
    The same change may come several times, with the same header `webhook-id`.
    Raises `CallbackError` if the callback is not signed with this secret, or is old; `ProtocolError` if it is signed
    but holds no task; `InputError` for a secret that is none.
    """
    given = {name.lower(): value for name, value in headers.items()}
    key = _key(secret)
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if name not in given]
    if missing:
        raise CallbackError(f"the callback has no header {missing[0]}.")
    webhook_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
    signed = f"{webhook_id}.{timestamp}.".encode(errors="backslashreplace") + body
    right = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    if not any(
        hmac.compare_digest(right, one.encode(errors="backslashreplace")) for one in given["webhook-signature"].split()
    ):
        raise CallbackError("the callback is not signed with this secret.")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(time.time() - int(timestamp)) > tolerance_s:
        raise CallbackError(f"the callback was not signed within the last {tolerance_s:g} s.")
    try:
        return read_task(json.loads(body), "callback")
    except (ValueError, RecursionError) as error:
        raise ProtocolError("the callback is not valid JSON.") from error


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise InputError("secret: whsec_ and base64 are expected.")
    return key
