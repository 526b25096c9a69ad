"""Authentication and the rate limit: every call under `/v1` passes here before its body is read."""

from __future__ import annotations

import hmac
import math
import re
import time

import jwt
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from duikou.errors import DuikouError
from duikou.server.dependencies import AppContext
from duikou.server.errors import ApiError, ErrorCode, api_error
from duikou.server.http.browser import API_PATHS, require_known_host, require_same_origin
from duikou.server.http.middleware import error_response
from duikou.server.threads import bounded_by, run_in_threadpool
from duikou.tasks.accounts import OPEN, Accounts, Key, KeyKind, digest

LEEWAY_S = 60  # clocks of client and server may differ by this much
ALGORITHM = "HS256"
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*")  # a signed token: three parts in base64url (RFC 7519)


class AuthMiddleware:
    """Stores the caller's account in the request's state, or refuses the call."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate the call and pass it on."""
        if scope["type"] == "http" and API_PATHS.match(scope["path"]):
            context: AppContext = scope["app"].state.context
            headers = Headers(scope=scope)
            try:
                require_same_origin(headers, context.settings.allowed_origins)
                account = await run_in_threadpool(authenticate, context.accounts, headers.get("authorization"))
                if account == OPEN:
                    require_known_host(headers, context.settings.public_url)
                scope["state"]["account"] = account
                await self._count(account, context.settings.requests_per_s)
            except (ApiError, DuikouError) as error:
                refusal = error if isinstance(error, ApiError) else api_error(error)
                await error_response(refusal, scope["state"]["request_id"])(scope, receive, send)
                return
            with bounded_by(context.threads.of(account)):
                await self.app(scope, receive, send)
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
                ErrorCode.TOO_MANY_REQUESTS,
                f"The account sent more than {per_s} calls in a second; try again in {wait_s} s.",
                headers={"Retry-After": str(wait_s)},
            )


def authenticate(accounts: Accounts, header: str | None) -> str:
    """The account to which an `Authorization` header belongs. Raises `ApiError` with a code for each cause.

    While no key exists, everything belongs to one open account; such a server listens on loopback only.
    """
    if not accounts.any():
        return OPEN
    if header is None or not header.strip():
        raise ApiError(
            ErrorCode.NO_AUTHORIZATION,
            "Authorization: the header is missing or empty; send Bearer and an API key or JWT.",
        )
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or " " in token:
        raise ApiError(ErrorCode.BAD_AUTHORIZATION, "Authorization: the header must be Bearer and one API key or JWT.")
    return _account_of_token(accounts, token) if _TOKEN.fullmatch(token) else _account_of_key(accounts, token)


def _account_of_key(accounts: Accounts, plain: str) -> str:
    mark = digest(plain)
    return _verified(accounts.find(mark), mark, KeyKind.PLAIN, "The API key").account


def _account_of_token(accounts: Accounts, token: str) -> str:
    try:
        if jwt.get_unverified_header(token).get("alg") != ALGORITHM:
            raise ApiError(ErrorCode.BAD_AUTHORIZATION, f"Authorization: the token must be signed with {ALGORITHM}.")
        access = jwt.decode(token, options={"verify_signature": False}).get("iss")
        if not isinstance(access, str):
            raise ApiError(ErrorCode.BAD_AUTHORIZATION, "Authorization: the token has no iss, the access key.")
        key = _verified(accounts.find(access), access, KeyKind.SIGNING, "The access key in the token's iss")
        jwt.decode(token, key.secret, algorithms=[ALGORITHM], leeway=LEEWAY_S, options={"require": ["exp", "iss"]})
    except jwt.ExpiredSignatureError as error:
        raise ApiError(ErrorCode.EXPIRED, "Authorization: the token has expired (exp).") from error
    except jwt.ImmatureSignatureError as error:
        raise ApiError(ErrorCode.NOT_YET_VALID, "Authorization: the token is not yet valid (nbf, iat).") from error
    except jwt.MissingRequiredClaimError as error:
        raise ApiError(ErrorCode.BAD_AUTHORIZATION, f"Authorization: the token has no {error.claim}.") from error
    except jwt.InvalidSignatureError as error:
        raise ApiError(
            ErrorCode.BAD_AUTHORIZATION, "Authorization: the signature is not that of the account's key."
        ) from error
    except (jwt.InvalidTokenError, UnicodeEncodeError) as error:  # JSON can hold an iss that is not valid Unicode
        raise ApiError(ErrorCode.BAD_AUTHORIZATION, "Authorization: the token cannot be read as a JWT.") from error
    return key.account


def _verified(key: Key | None, public: str, kind: KeyKind, what: str) -> Key:
    """The key found, if its kind and public part match. The comparison takes constant time, unlike the lookup."""
    if key is None or key.kind is not kind or not hmac.compare_digest(key.public.encode(), public.encode()):
        raise ApiError(ErrorCode.AUTHENTICATION, f"{what} is unknown or was revoked.")
    return key
