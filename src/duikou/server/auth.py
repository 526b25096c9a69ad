"""Who is calling, and not too often: every call under `/v1` passes here before its body is read."""

from __future__ import annotations

import hmac
import math
import re
import time
from contextlib import suppress

import jwt
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from duikou.errors import DuikouError
from duikou.server.dependencies import Desk
from duikou.server.errors import ApiError, Code, api_error
from duikou.server.http.browser import CALLS, require_own_name, require_same_site
from duikou.server.http.middleware import drain, fault_response
from duikou.tasks.accounts import OPEN, Accounts, Key, KeyKind, digest

LEEWAY_S = 60  # clocks differ by that much
ALGORITHM = "HS256"
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*")  # three parts in base64url: a signed token (RFC 7519)


class Gate:
    """Leaves the caller's account in the request's state, or answers with the reason why not."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on under its account."""
        if scope["type"] == "http" and CALLS.match(scope["path"]):
            desk: Desk = scope["app"].state.desk
            headers = Headers(scope=scope)
            try:
                require_same_site(headers)
                account = await run_in_threadpool(account_of, desk.jobs.accounts, headers.get("authorization"))
                if account == OPEN:
                    require_own_name(headers, desk.settings.public_url)
                scope["state"]["account"] = account
                await self._count(scope["state"]["account"], desk.settings.requests_per_s)
            except (ApiError, DuikouError) as error:
                fault = error if isinstance(error, ApiError) else api_error(error)
                with suppress(HTTPException):  # a body above the limit: that it may not come in at all matters more
                    await drain(receive)
                await fault_response(fault, scope["state"]["request_id"])(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _count(self, account: str, per_s: int) -> None:
        if not per_s:
            return
        limit = RateLimitItemPerSecond(per_s)
        if not await self._limiter.hit(limit, account):
            window = await self._limiter.get_window_stats(limit, account)
            wait_s = max(math.ceil(window.reset_time - time.time()), 1)
            raise ApiError(
                Code.TOO_MANY_REQUESTS,
                f"More than {per_s} calls in a second; try again in {wait_s} s.",
                headers={"Retry-After": str(wait_s)},
            )


def account_of(accounts: Accounts, header: str | None) -> str:
    """The account that a header `Authorization` proves. Raises `ApiError`, each code for its own cause.

    Without any key everything belongs to one open account: such a server listens on loopback only.
    """
    if not accounts.any():
        return OPEN
    if header is None or not header.strip():
        raise ApiError(
            Code.NO_AUTHORIZATION, "Authorization: the header is missing or empty; send Bearer and an API key or JWT."
        )
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or " " in token:
        raise ApiError(Code.BAD_AUTHORIZATION, "Authorization: the header must be Bearer and one API key or JWT.")
    return _signer_of(accounts, token) if _TOKEN.fullmatch(token) else _owner_of(accounts, token)


def _owner_of(accounts: Accounts, plain: str) -> str:
    mark = digest(plain)
    return _known(accounts.find(mark), mark, KeyKind.PLAIN, "The API key").account


def _signer_of(accounts: Accounts, token: str) -> str:
    try:
        if jwt.get_unverified_header(token).get("alg") != ALGORITHM:
            raise ApiError(Code.BAD_AUTHORIZATION, f"Authorization: the token must be signed with {ALGORITHM}.")
        access = jwt.decode(token, options={"verify_signature": False}).get("iss")
        if not isinstance(access, str):
            raise ApiError(Code.BAD_AUTHORIZATION, "Authorization: the token has no iss, the access key.")
        key = _known(accounts.find(access), access, KeyKind.SIGNING, "The access key in the token's iss")
        jwt.decode(token, key.secret, algorithms=[ALGORITHM], leeway=LEEWAY_S, options={"require": ["exp", "iss"]})
    except jwt.ExpiredSignatureError as error:
        raise ApiError(Code.EXPIRED, "Authorization: the token has expired (exp).") from error
    except jwt.ImmatureSignatureError as error:
        raise ApiError(Code.NOT_YET_VALID, "Authorization: the token is not yet valid (nbf, iat).") from error
    except jwt.MissingRequiredClaimError as error:
        raise ApiError(Code.BAD_AUTHORIZATION, f"Authorization: the token has no {error.claim}.") from error
    except jwt.InvalidSignatureError as error:
        raise ApiError(Code.BAD_AUTHORIZATION, "Authorization: the token's signature is not the account's.") from error
    except (jwt.InvalidTokenError, UnicodeEncodeError) as error:  # JSON can hold an iss that is no Unicode text
        raise ApiError(Code.BAD_AUTHORIZATION, "Authorization: the token cannot be read as a JWT.") from error
    return key.account


def _known(key: Key | None, public: str, kind: KeyKind, what: str) -> Key:
    """The key that was found, if it is what was shown; compared in constant time, whatever the database did."""
    if key is None or key.kind is not kind or not hmac.compare_digest(key.public.encode(), public.encode()):
        raise ApiError(Code.AUTHENTICATION, f"{what} is unknown or was revoked.")
    return key
