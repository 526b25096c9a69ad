"""A strict stand-in for Kling's own host: exactly the contract and Kling's documentation, nothing of ours.

It refuses unknown paths and fields, anonymous calls, and an external id that was used before.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import contract
import jwt
import yaml
from jsonschema import Draft202012Validator
from spoilt_server import Answer, Asked, Fault, SpoiltServer, envelope, spoilt_server

CREATE, IDENTIFY = "/v1/videos/advanced-lip-sync", "/v1/videos/identify-face"
ACCESS, SECRET = "access-key-of-the-tests", "a-secret-key-of-32-bytes-or-more-0123456789"
PLAIN = "sk-plain-key-of-the-tests"
RESULT = bytes(range(256)) * 1_000
KLINGS_OWN = {  # documented by Kling, not in the contract
    IDENTIFY: {"video_id": {"type": "string"}},
    CREATE: {
        "callback_url": {"type": "string"},
        "watermark_info": {
            "type": "object",
            "required": ["enabled"],
            "additionalProperties": False,
            "properties": {"enabled": {"type": "boolean"}},
        },
    },
}


@cache
def request_schema(path: str) -> dict[str, Any]:
    """The contract's schema of a request's body, in which no other field is allowed."""
    call = yaml.safe_load(contract.FILE.read_text())["paths"][f"/klingai{path}"]["post"]
    schema: dict[str, Any] = call["requestBody"]["content"]["application/json"]["schema"]
    schema["properties"] |= KLINGS_OWN[path]
    schema["required"] = [name for name in schema["required"] if name != "video_url"]
    closed = [schema]
    while closed:
        one = closed.pop()
        if "properties" in one:
            one.setdefault("additionalProperties", False)
        closed += [*one.get("properties", {}).values(), *filter(None, [one.get("items")])]
    return schema


@dataclass
class KlingHost:
    """prefix: the path before `/v1`. by_external_id: whether it finds tasks by external id. unique: refuses used ones.

    states: the status of a task at each look at it; the last one stays.
    """

    prefix: str = ""
    by_external_id: bool = True
    unique: bool = True
    states: list[str] = field(default_factory=lambda: ["submitted", "processing", "succeed"])
    tasks: list[dict[str, Any]] = field(default_factory=list)
    server: SpoiltServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url + self.prefix

    def handle(self, asked: Asked) -> Answer:
        """The answer to one request."""
        parts = urlsplit(asked.path)
        if parts.path == "/result.mp4":
            return serve(asked, RESULT)
        if fault := _key_fault(asked.headers.get("authorization", "")):
            return fault
        match asked.method, parts.path.removeprefix(self.prefix):
            case "POST", path if path in (IDENTIFY, CREATE) and parts.path == self.prefix + path:
                errors = [error.message for error in Draft202012Validator(request_schema(path)).iter_errors(asked.json)]
                if errors:
                    return envelope(400, 1201, errors[0])
                return self._identify(asked) if path == IDENTIFY else self._create(asked)
            case "GET", path if path == CREATE:
                query = {name: int(values[0]) for name, values in parse_qs(parts.query).items()}
                start = (query["pageNum"] - 1) * query["pageSize"]
                return envelope(200, 0, data=self.tasks[::-1][start : start + query["pageSize"]])
            case "GET", path if path.startswith(f"{CREATE}/") and path.count("/") == CREATE.count("/") + 1:
                return self._get(unquote(path.removeprefix(f"{CREATE}/")))
        return envelope(404, 1202, "The requested method does not exist.")

    def _identify(self, asked: Asked) -> Answer:
        face = {"face_id": "0", "face_image": f"{self.url}/face.jpg", "start_time": 0, "end_time": 5_200}
        return envelope(200, 0, data={"session_id": "837461920384756192", "face_data": [face]})

    def _create(self, asked: Asked) -> Answer:
        external_id = asked.json.get("external_task_id")
        if self.unique and external_id in [task["task_info"].get("external_task_id") for task in self.tasks]:
            return envelope(400, 1201, "external_task_id is used already.")
        now_ms = int(time.time() * 1000)
        task = {
            "task_id": str(8 * 10**17 + len(self.tasks)),
            "task_status": "submitted",
            "task_status_msg": "",
            "task_info": {
                "parent_video": {"id": "1", "url": f"{self.url}/source.mp4", "duration": "5.1"},
                "external_task_id": external_id,
            },
            "task_result": {"videos": []},
            "created_at": now_ms,
            "updated_at": now_ms,
        }
        self.tasks.append(task)
        created = {name: task[name] for name in ("task_id", "task_status", "created_at", "updated_at")}
        return envelope(200, 0, data=created | {"task_info": {"external_task_id": external_id}})

    def _get(self, name: str) -> Answer:
        for task in self.tasks:
            if name == task["task_id"] or (self.by_external_id and name == task["task_info"]["external_task_id"]):
                task["task_status"] = self.states.pop(0) if len(self.states) > 1 else self.states[0]
                if task["task_status"] == "succeed":
                    url = f"{self.url.removesuffix(self.prefix)}/result.mp4"
                    task["task_result"] = {"videos": [{"id": "2", "url": url, "duration": "5.1"}]}
                elif task["task_status"] == "failed":
                    task["task_status_msg"] = "The content is against the rules."
                return envelope(200, 0, data=task)
        return envelope(404, 1203, "The task does not exist.")


def serve(asked: Asked, content: bytes, etag: str = '"one"') -> Answer:
    """A file, or the part of it that a request asks for."""
    found = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
    headers = {"Content-Type": "video/mp4", "ETag": etag}
    if found is None or asked.headers.get("if-range", etag) != etag:
        return Answer(200, content, headers)
    start = int(found[1])
    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Answer(206, content[start:], headers)


def _key_fault(header: str) -> Answer | None:
    token = header.removeprefix("Bearer ")
    if not token:
        return envelope(401, 1001, "Authorization is empty.")
    if token == PLAIN:
        return None
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"require": ["exp", "nbf", "iss"]})
    except jwt.ExpiredSignatureError:
        return envelope(401, 1004, "The token has expired.")
    except jwt.InvalidTokenError:
        return envelope(401, 1002, "Authorization is invalid.")
    return None if claims["iss"] == ACCESS else envelope(401, 1000, "The access key is unknown.")


@contextmanager
def kling_host(*faults: Fault | None, **how: Any) -> Iterator[KlingHost]:
    """A host on loopback, whose next answers may be spoilt."""
    host = KlingHost(**how)
    with spoilt_server(host.handle, *faults) as host.server:
        yield host
