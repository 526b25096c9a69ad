"""Endpoints for operators: liveness, readiness and Prometheus metrics."""

from __future__ import annotations

import hmac
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

from duikou.server.dependencies import Context
from duikou.server.errors import ApiError, ErrorCode
from duikou.server.openapi import error_responses, extension
from duikou.server.schemas import answers
from duikou.server.threads import run_in_threadpool
from duikou.telemetry import metrics

METRICS_RESPONSE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

router = APIRouter(tags=["Operation"])


@router.get("/healthz", responses=error_responses(ErrorCode.INTERNAL), openapi_extra=extension())
async def healthz(request: Request) -> answers.Envelope[answers.StatusData]:
    """Liveness: whether the server runs."""
    return answers.Envelope(request_id=request.state.request_id, data=answers.StatusData(status="ok", warnings=None))


@router.get("/readyz", responses=error_responses(ErrorCode.INTERNAL, ErrorCode.UNAVAILABLE), openapi_extra=extension())
async def readyz(request: Request, context: Context) -> answers.Envelope[answers.StatusData]:
    """Readiness: whether the server accepts new work. An error answer names what is missing.

    A ready server whose work nobody does says so in `warnings`: other servers would be no better.
    """
    missing = await run_in_threadpool(context.service.missing)
    if missing:
        sentences = [f"{what[:1].upper()}{what[1:].rstrip('.')}." for what in missing]
        raise ApiError(ErrorCode.UNAVAILABLE, " ".join(sentences))
    data = answers.StatusData(status="ready", warnings=context.service.warnings() or None)
    return answers.Envelope(request_id=request.state.request_id, data=data)


@router.get(
    "/metrics",
    response_model=None,
    response_class=Response,
    responses=METRICS_RESPONSE | error_responses(ErrorCode.NO_RIGHT, ErrorCode.INTERNAL),
    openapi_extra=extension(),
)
async def get_metrics(request: Request, context: Context) -> Response:
    """Metrics in Prometheus' text format, without those of the queues while the database does not answer."""
    token = context.settings.metrics_token
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token and not hmac.compare_digest(given.encode(), token.encode()):
        raise ApiError(
            ErrorCode.NO_RIGHT, "Authorization: the metrics need Bearer and the token of DUIKOU_METRICS_TOKEN."
        )
    return Response(
        await run_in_threadpool(metrics.exposition, context.queue_metrics), media_type=CONTENT_TYPE_PLAIN_0_0_4
    )
