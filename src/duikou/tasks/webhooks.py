"""Delivers callbacks: each from the outbox, signed as Standard Webhooks are, again and again until it is heard.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. A task never waits for it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import threading
import time
from collections.abc import Callable

import structlog

from duikou.errors import FetchError
from duikou.net.addresses import AddressPolicy
from duikou.net.fetch import post
from duikou.tasks.accounts import Accounts
from duikou.tasks.models import Task
from duikou.tasks.outbox import JITTER, MAX_TRIES, Callback, Outbox, usual_wait_s
from duikou.telemetry import metrics
from duikou.telemetry.spans import Span
from duikou.telemetry.traces import traces

AT_ONCE = 16  # deliveries: a few receivers that never answer do not hold up the rest
TIMEOUT_S = 15.0
HOLD_MS = 60_000  # how long one delivery has a callback to itself: longer than it can take
IDLE_S = 0.5  # how soon something new is seen
GONE = 410

log = structlog.get_logger(__name__)


class Courier:
    """A thread of its own. `body` makes what is posted of a task."""

    def __init__(
        self,
        outbox: Outbox,
        accounts: Accounts,
        body: Callable[[Task], bytes],
        *,
        reach: AddressPolicy,
        stopping: threading.Event,
    ) -> None:
        self._outbox, self._accounts, self._body = outbox, accounts, body
        self._reach, self._stopping = reach, stopping
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="duikou-courier", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def join(self) -> None:
        """After the stop was asked for: wait until nothing is on its way; what was, is tried again later."""
        if self._thread.is_alive():
            self._thread.join()

    async def _serve(self) -> None:
        under_way: set[asyncio.Task[None]] = set()
        while not self._stopping.is_set():
            try:
                for callback in (
                    self._outbox.claim(AT_ONCE - len(under_way), HOLD_MS) if len(under_way) < AT_ONCE else []
                ):
                    under_way.add(asyncio.create_task(self._deliver(callback)))
            except Exception:
                log.exception("no callback can be claimed")
            if under_way:
                _, under_way = await asyncio.wait(under_way, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(IDLE_S)
        for delivery in under_way:
            delivery.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _deliver(self, callback: Callback) -> None:
        task = callback.task
        context = {"request_id": task.request_id, "task_id": task.id, "callback_id": callback.id}
        known: dict[str, str | int] = {"task_id": task.id, "callback_id": callback.id, "tries": callback.tries}
        with (
            structlog.contextvars.bound_contextvars(**context),
            traces.span("callback", known, parent=task.trace, kind="client") as span,
        ):
            try:
                await self._tell(callback, span)
            except Exception:
                log.exception("a callback cannot be delivered")  # it is due again once nobody holds it

    async def _tell(self, callback: Callback, span: Span) -> None:
        body = self._body(callback.task)
        headers = signed(body, callback.id, int(time.time()), self._accounts.callback_secret(callback.task.account))
        try:
            status = await post(callback.task.callback_url, body, headers, timeout_s=TIMEOUT_S, policy=self._reach)
        except FetchError as error:
            outcome = str(error)
            span.fail("unreachable")
        else:
            outcome = f"status {status}"
            span.note({"http.response.status_code": status})
            if status >= 300:
                span.fail(str(status))
            if 200 <= status < 300:
                self._outbox.delivered(callback)
                metrics.callbacks.labels("delivered").inc()
                log.info("callback delivered", status=str(callback.task.status), tries=callback.tries)
                return
            if status == GONE:
                self._outbox.stop(callback)
                metrics.callbacks.labels("gone").inc()
                log.info("callbacks stopped: their receiver is gone")
                return
        if callback.tries >= MAX_TRIES:
            self._outbox.delivered(callback)
            metrics.callbacks.labels("given_up").inc()
            log.warning("callback given up", outcome=outcome, tries=callback.tries)
        else:
            wait_s = wait_after(callback.tries)
            self._outbox.again(callback, round(wait_s * 1000))
            metrics.callbacks.labels("failed").inc()
            log.info("callback failed", outcome=outcome, tries=callback.tries, again_in_s=round(wait_s))


def wait_after(tries: int) -> float:
    """Seconds until the next try after so many."""
    return usual_wait_s(tries) * random.uniform(1 - JITTER, 1 + JITTER)


def signed(body: bytes, callback_id: str, at_s: int, secret: str) -> dict[str, str]:
    """The headers of a callback: its id, its time and what proves that it is ours."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mark = hmac.new(key, f"{callback_id}.{at_s}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": callback_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(mark).decode()}",
    }
