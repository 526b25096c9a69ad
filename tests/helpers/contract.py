"""Checks responses and the server's OpenAPI document against docs/contract/lip-sync.openapi.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
BARE = ("/openapi.json", "/studio/settings.json")  # JSON without an envelope
MARK = "x-duikou-extension"
BEARER = ("http", "bearer")
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
    """The schema of the response to a request, or `None` if the contract has no such call."""
    path = re.sub(r"^/(klingai|kling)(?=/)", "", path).rstrip("/")
    path = re.sub(r"identify-face$", "identify-face", path, flags=re.IGNORECASE)
    one = _answers()["GET", "/v1/videos/advanced-lip-sync/{id}"]
    if (method, path) == ("GET", "/v1/videos/advanced-lip-sync"):  # the list: the same objects in an array
        return one | {"properties": one["properties"] | {"data": {"type": "array", "items": one["properties"]["data"]}}}
    if method == "GET" and path.startswith("/v1/videos/advanced-lip-sync/"):
        return one
    return _answers().get((method, path))


@cache
def request_fields() -> frozenset[str]:
    """The name of every field that a request of the contract can have, at any depth."""

    def names(schema: dict[str, Any]) -> Iterator[str]:
        yield from schema.get("properties", {})
        for inner in (*schema.get("properties", {}).values(), *filter(None, [schema.get("items")])):
            yield from names(inner)

    calls = [call for path in yaml.safe_load(FILE.read_text())["paths"].values() for call in path.values()]
    return frozenset(name for call in calls if "requestBody" in call for name in names(_schema(call["requestBody"])))


def check(response: httpx.Response) -> None:
    """Fail if a response breaks the contract, or an error response has another shape than all others."""
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
    elif response.headers.get("content-type") != "application/json" or request.url.path in BARE:
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


# The served OpenAPI document against the contract's

# Where a request may hold more than the contract says, and where it may hold less.
ALSO = {
    "video_url": {"null"},
    "sound_file": {"null"},
    "face_id": {"integer"},  # the contract's own example has one
    "external_task_id": {"null"},
}
OR = {"video_url": "video_id", "sound_file": "audio_id"}  # required by the contract; Kling takes either of the two
LIMITS = {
    "face_choose": {"minItems", "maxItems"},
    "external_task_id": {"maxLength"},
    "sound_start_time": {"minimum", "maximum"},
    "sound_end_time": {"minimum", "maximum"},
    "sound_insert_time": {"minimum", "maximum"},
}
_LIMITS = {"enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "format", "const"}


def differences(ours: dict[str, Any]) -> list[str]:
    """How an OpenAPI document differs from the contract, one line per difference."""
    found = []
    for path, calls in yaml.safe_load(FILE.read_text())["paths"].items():
        for method, theirs in calls.items():
            place = f"{method.upper()} {path}"
            mine = ours["paths"].get(path, {}).get(method)
            if mine is None:
                found.append(f"{place}: missing")
                continue
            found += [f"{place}: {line}" for line in _Comparison(ours).call(theirs, mine)]
    return found


class _Comparison:
    def __init__(self, ours: dict[str, Any]) -> None:
        self.ours = ours

    def call(self, theirs: dict[str, Any], mine: dict[str, Any]) -> Iterator[str]:
        given = {(one["in"], one["name"]): one for one in mine.get("parameters", [])}
        for one in theirs["parameters"]:
            key = (one["in"], one["name"])
            if key == ("header", "Authorization"):  # OpenAPI has another place for it
                schemes = self.ours["components"]["securitySchemes"]
                bearers = [name for name, what in schemes.items() if (what["type"], what.get("scheme")) == BEARER]
                if {} not in mine["security"] or not any({name: []} in mine["security"] for name in bearers):
                    yield "Authorization: no optional bearer"
            elif key not in given:
                yield f"{one['name']}: missing in {one['in']}"
            else:
                if one["required"] != given[key].get("required", False):
                    yield f"{one['name']}: not required alike"
                yield from self.schema(one["schema"], given[key]["schema"], one["name"], request=True)
        if "requestBody" in theirs:
            yield from self.schema(_schema(theirs["requestBody"]), _schema(mine["requestBody"]), "body", request=True)
        answers = self.kinds(_schema(mine["responses"]["200"]))
        for answer in answers:
            data = answer.get("properties", {}).get("data", {})
            if not (len(answers) > 1 and any(kind.get(MARK) for kind in self.kinds(data))):
                yield from self.schema(_schema(theirs["responses"]["200"]), answer, "answer", request=False)

    def kinds(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        """The schemas that a schema is a choice of, references followed."""
        if "$ref" in schema:
            schema = self.ours["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema and "type" not in schema:
            return [kind for one in schema["anyOf"] for kind in self.kinds(one)]
        return [schema]

    def schema(self, theirs: dict[str, Any], mine: dict[str, Any], place: str, *, request: bool) -> Iterator[str]:
        name = place.rpartition(".")[2].removesuffix("[]")
        kinds = {one.get("type"): one for one in self.kinds(mine)}
        wanted = {theirs["type"]} | (ALSO.get(name, set()) if request else set())
        if kinds.keys() != wanted:
            yield f"{place}: {sorted(map(str, kinds))} instead of {sorted(wanted)}"
        if (one := kinds.get(theirs["type"])) is None:
            return
        free = LIMITS.get(name, set()) if request else _LIMITS
        for limit in sorted(_LIMITS & (theirs.keys() | (one.keys() - free))):
            if theirs.get(limit) != one.get(limit):
                yield f"{place}: {limit} {one.get(limit)} instead of {theirs.get(limit)}"
        for part, schema in theirs.get("properties", {}).items():
            if part in one.get("properties", {}):
                yield from self.schema(schema, one["properties"][part], f"{place}.{part}", request=request)
            else:
                yield f"{place}.{part}: missing"
        if "items" in theirs:
            yield from self.schema(theirs["items"], one.get("items", {}), f"{place}[]", request=request)
        yield from (f"{place}: {line}" for line in _required(theirs, one, request=request))


def _required(theirs: dict[str, Any], mine: dict[str, Any], *, request: bool) -> Iterator[str]:
    """How the required properties of two objects differ."""
    needed, always = set(theirs.get("required", ())), set(mine.get("required", ()))
    if not request:
        if needed - always:
            yield f"may lack {sorted(needed - always)}"
        return
    either = {part for part in needed & OR.keys() if mine.get("anyOf") == _either(part, OR[part])}
    if always != needed - either:
        yield f"required {sorted(always)} instead of {sorted(needed)}"
    if "anyOf" in mine and not either:
        yield f"a choice of {mine['anyOf']}"


def _either(*names: str) -> list[dict[str, list[str]]]:
    return [{"required": [name]} for name in names]
