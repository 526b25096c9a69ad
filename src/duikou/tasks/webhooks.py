"""Delivers webhooks from the outbox, signed as Standard Webhooks, and retries until the receiver answers 2xx.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. No task waits for it.
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
from functools import partial

import structlog

from duikou.errors import FetchError
from duikou.net.addresses import AddressPolicy
from duikou.tasks.accounts import Accounts
from duikou.tasks.models import RenderTask
from duikou.tasks.outbox import JITTER, MAX_TRIES, Outbox, OutboxEntry, usual_wait_s
from duikou.tasks.places import Places
from duikou.telemetry import metrics
from duikou.telemetry.spans import Span
from duikou.telemetry.traces import traces

AT_ONCE = 32  # deliveries, shared as `Places` says; one receiver alone gets 8 of them
TIMEOUT_S = 10.0  # from looking up the name to the answer's status; receivers should answer first and work later
LEASE_MS = 60_000  # of an entry during its delivery: longer than a delivery can take
IDLE_S = 0.5  # between looks at the outbox
GONE = 410

log = structlog.get_logger(__name__)


class WebhookSender:
    """A thread that delivers the outbox. body: makes the request's body of a task."""

    def __init__(
        self,
        outbox: Outbox,
        accounts: Accounts,
        body: Callable[[RenderTask], bytes],
        *,
        policy: AddressPolicy,
        stopping: threading.Event,
    ) -> None:
        self._outbox, self._accounts, self._body = outbox, accounts, body
        self._policy, self._stopping = policy, stopping
        self._places = Places(AT_ONCE)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="duikou-webhooks", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def join(self) -> None:
        """Wait, after the stop was requested, until no delivery is under way; interrupted ones are retried later."""
        if self._thread.is_alive():
            self._thread.join()

    async def _serve(self) -> None:
        running: set[asyncio.Task[None]] = set()
        while not self._stopping.is_set():
            try:
                while self._places.free and (claimed := self._outbox.claim(self._places, LEASE_MS)):
                    for entry in claimed:
                        running.add(delivery := asyncio.create_task(self._deliver(entry)))
                        delivery.add_done_callback(partial(self._leave, entry))
                    await asyncio.sleep(0)  # they begin
            except Exception:
                log.exception("no callback can be claimed")
            if running:
                _, running = await asyncio.wait(running, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(IDLE_S)
        for delivery in running:
            delivery.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _leave(self, entry: OutboxEntry, _: asyncio.Task[None]) -> None:
        self._places.give(entry.lane)

    async def _deliver(self, entry: OutboxEntry) -> None:
        task = entry.task
        context = {"request_id": task.request_id, "task_id": task.id, "callback_id": entry.id}
        known: dict[str, str | int] = {"task_id": task.id, "callback_id": entry.id, "tries": entry.tries}
        with (
            structlog.contextvars.bound_contextvars(**context),
            traces.span("callback", known, parent=task.trace, kind="client") as span,
        ):
            try:
                await self._send(entry, span)
            except Exception:
                log.exception("a callback cannot be delivered")  # it is due again when its lease ends

    async def _send(self, entry: OutboxEntry, span: Span) -> None:
        from duikou.net.fetch import post  # its HTTP client takes a tenth of a server's start to import

        callback = entry.task.callback
        assert callback is not None, "the outbox holds tasks with a callback only"
        body = self._body(entry.task)
        headers = signed_headers(body, entry.id, int(time.time()), self._accounts.callback_secret(entry.task.account))
        began = time.monotonic()
        try:
            status = await post(callback.url, body, headers, timeout_s=TIMEOUT_S, policy=self._policy)
        except FetchError as error:
            self._places.unanswered(entry.lane, began)
            span.fail("unreachable")
            self._retry(entry, str(error))
            return
        self._places.answered(entry.lane)
        span.note({"http.response.status_code": status})
        if status >= 300:
            span.fail(str(status))
        if 200 <= status < 300:
            self._outbox.remove(entry)
            metrics.callbacks.labels("delivered").inc()
            log.info("callback delivered", status=str(entry.task.status), tries=entry.tries)
        elif status == GONE:
            self._outbox.stop(entry)
            metrics.callbacks.labels("gone").inc()
            log.info("callbacks stopped: their receiver is gone")
        else:
            self._retry(entry, f"status {status}")

    def _retry(self, entry: OutboxEntry, outcome: str) -> None:
        if entry.tries >= MAX_TRIES:
            self._outbox.remove(entry)
            metrics.callbacks.labels("given_up").inc()
            log.warning("callback given up", outcome=outcome, tries=entry.tries)
        else:
            wait_s = wait_after(entry.tries)
            self._outbox.retry(entry, round(wait_s * 1000))
            metrics.callbacks.labels("failed").inc()
            log.info("callback failed", outcome=outcome, tries=entry.tries, again_in_s=round(wait_s))


def wait_after(tries: int) -> float:
    """Seconds until the next try after so many, with jitter."""
    return usual_wait_s(tries) * random.uniform(1 - JITTER, 1 + JITTER)


def signed_headers(body: bytes, webhook_id: str, at_s: int, secret: str) -> dict[str, str]:
    """The headers of a webhook: its id, its time and its signature. secret: `whsec_` and base64."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.new(key, f"{webhook_id}.{at_s}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
