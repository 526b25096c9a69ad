"""What every task has in common at its start."""

from __future__ import annotations

from typing import Any

import structlog

from duikou.database.ids import new_id, now_ms
from duikou.tasks.models import Media, TaskSource
from duikou.telemetry.traces import traces


def new_task(account: str, source: Media) -> dict[str, Any]:
    """The fields that every new task on a video has, created by the current call."""
    at = now_ms()
    return {
        "id": new_id(),
        "account": account,
        "source": TaskSource(source.id, source.suffix, source.duration_ms),
        "not_before": at,
        "created_at": at,
        "updated_at": at,
        "request_id": str(structlog.contextvars.get_contextvars().get("request_id", "")),
        "trace": traces.here(),
    }
