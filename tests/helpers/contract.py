"""Checks answers against docs/contract/lip-sync.openapi.yaml, which every client in the wild was written to."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml
from jsonschema import Draft202012Validator

FILE = Path(__file__).parents[2] / "docs" / "contract" / "lip-sync.openapi.yaml"
FAULT = {
    "type": "object",
    "required": ["code", "message", "request_id", "data"],
    "additionalProperties": False,
    "properties": {
        "code": {"type": "integer", "minimum": 1000},
        "message": {"type": "string", "pattern": r"^\S.*\.$"},
        "request_id": {"type": "string", "minLength": 8},
        "data": {"type": "null"},
    },
}
_ID = re.compile(r"\d{18,19}")


@cache
def _answers() -> dict[tuple[str, str], dict[str, Any]]:
    document = yaml.safe_load(FILE.read_text())
    return {
        (method.upper(), path.removeprefix("/klingai")): _schema(call["responses"]["200"])
        for path, calls in document["paths"].items()
        for method, call in calls.items()
    }


def _schema(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answer["content"]["application/json"]["schema"]
    return found


def schema(method: str, path: str) -> dict[str, Any] | None:
    """The schema of the answer to a request, or `None` where the contract has no such call."""
    path = re.sub(r"^/(klingai|kling)(?=/)", "", path).rstrip("/")
    path = re.sub(r"identify-face$", "identify-face", path, flags=re.IGNORECASE)
    one = _answers()["GET", "/v1/videos/advanced-lip-sync/{id}"]
    if (method, path) == ("GET", "/v1/videos/advanced-lip-sync"):  # the list: the same objects in an array
        return one | {"properties": one["properties"] | {"data": {"type": "array", "items": one["properties"]["data"]}}}
    if method == "GET" and path.startswith("/v1/videos/advanced-lip-sync/"):
        return one
    return _answers().get((method, path))


def check(response: httpx.Response) -> None:
    """Fail where an answer breaks the contract, or a fault the one shape of faults."""
    request = response.request
    assert response.headers["x-request-id"]
    if request.method == "HEAD" or response.headers.get("content-type", "").startswith("text/event-stream"):
        return
    if response.is_error:
        response.read()
        Draft202012Validator(FAULT).validate(response.json())
    elif (found := schema(request.method, request.url.path)) is not None and not _is_dry_run(response):
        Draft202012Validator(found).validate(response.json())
        assert not [value for value in _texts(response.json()) if value is None], "null breaks strict clients"
        _check_ids(response.json()["data"])
    elif response.headers["content-type"] != "application/json":
        return
    response.read()
    assert response.json()["request_id"] == response.headers["x-request-id"]


def _is_dry_run(response: httpx.Response) -> bool:
    response.read()
    data = response.json()["data"]
    return isinstance(data, dict) and data.get("dry_run") is True


def _check_ids(data: Any) -> None:
    for item in data if isinstance(data, list) else [data]:
        ids = [item.get("task_id"), item.get("session_id")]
        ids += [video["id"] for video in item.get("task_result", {}).get("videos", [])]
        assert all(_ID.fullmatch(value) for value in ids if value is not None), ids


def _texts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value]
