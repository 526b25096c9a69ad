"""What operators ask: whether the server lives, whether it takes work, and its figures."""

from __future__ import annotations

import hmac
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from duikou.server import schemas
from duikou.server.errors import ApiError, Code
from duikou.server.openapi import extension, faults
from duikou.server.routes.lip_sync import At
from duikou.telemetry import metrics

FIGURES: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

router = APIRouter(tags=["Operation"])


@router.get("/healthz", responses=faults(Code.INTERNAL), openapi_extra=extension())
async def healthz(request: Request) -> schemas.Envelope[schemas.StatusData]:
    """Whether the server runs at all."""
    return schemas.Envelope(request_id=request.state.request_id, data=schemas.StatusData(status="ok"))


@router.get("/readyz", responses=faults(Code.INTERNAL, Code.UNAVAILABLE), openapi_extra=extension())
async def readyz(request: Request, desk: At) -> schemas.Envelope[schemas.StatusData]:
    """Whether new work would be taken; names what is missing."""
    missing = await run_in_threadpool(desk.jobs.missing)
    if missing:
        raise ApiError(Code.UNAVAILABLE, " ".join(f"{what[:1].upper()}{what[1:].rstrip('.')}." for what in missing))
    return schemas.Envelope(request_id=request.state.request_id, data=schemas.StatusData(status="ready"))


@router.get(
    "/metrics",
    response_model=None,
    response_class=Response,
    responses=FIGURES | faults(Code.NO_RIGHT, Code.INTERNAL),
    openapi_extra=extension(),
)
async def figures(request: Request, desk: At) -> Response:
    """Figures in Prometheus' text format; those of the queues are left out while the database does not answer."""
    token = desk.settings.metrics_token
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token and not hmac.compare_digest(given.encode(), token.encode()):
        raise ApiError(Code.NO_RIGHT, "Authorization: the figures need Bearer and the token of DUIKOU_METRICS_TOKEN.")
    return Response(await run_in_threadpool(metrics.exposition, desk.jobs.fleet), media_type=CONTENT_TYPE_PLAIN_0_0_4)
