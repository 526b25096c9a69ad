"""Our OpenAPI: whole against the contract, valid, true of the running server, and shown without any other server."""

from __future__ import annotations

import copy
import ipaddress
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urljoin, urlsplit

import contract
import pytest
import stub_work
from jsonschema import Draft202012Validator
from live_server import create, ended, identify, in_thread, order, sources
from repeats import repeats
from server_settings import settings

from duikou.database.engine import Database
from duikou.errors import InputError
from duikou.net.urls import check_url
from duikou.server.errors import ErrorCode
from duikou.server.schemas.requests import IdentifyRequest, LipSyncRequest
from duikou.tasks.accounts import Accounts, KeyKind

if TYPE_CHECKING:  # it takes a second to import, in each process of the tests
    import schemathesis
    from schemathesis import HookContext

LIP_SYNC = "/klingai/v1/videos/advanced-lip-sync"
OLDER = "/v1/videos/lip-sync"
CHECKS = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
}
EXAMPLES = repeats(25, 6)  # of each operation
DRY_RUNS = 0.3  # share of the good requests for lip sync
UNKNOWN_SESSION = "1" * 19
SEED = 20240501


@pytest.fixture(scope="module")
def site():
    with sources(a__mp4=stub_work.video(), s__mp3=stub_work.sound(), text__mp4=b"#EXTM3U") as url:
        yield url


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    with in_thread(settings(tmp_path_factory.mktemp("data")), stub_work.WORK) as client:
        yield client


@pytest.fixture(scope="module")
def document(client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


# Against the contract


def test_the_whole_contract_is_in_our_document(document) -> None:
    assert contract.differences(document) == []


def _schemas(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def _referred(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return _schemas(document, schema["$ref"].rpartition("/")[2]) if "$ref" in schema else {}


def _drop(schema: str, name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda document: _schemas(document, schema)["properties"].pop(name)


def _retype(schema: str, name: str, what: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda document: _schemas(document, schema)["properties"].update({name: what})


def _limit(schema: str, name: str, **what: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda document: _schemas(document, schema)["properties"][name].update(what)


MUTATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "POST /klingai/v1/videos/identify-face: missing": lambda document: document["paths"].pop(
        "/klingai/v1/videos/identify-face"
    ),
    f"GET {LIP_SYNC}/{{id}}: missing": lambda document: document["paths"][f"{LIP_SYNC}/{{id}}"].pop("get"),
    "id: missing in path": lambda document: document["paths"][f"{LIP_SYNC}/{{id}}"]["get"]["parameters"][0].update(
        name="task_id"
    ),
    "id: not required alike": lambda document: document["paths"][f"{LIP_SYNC}/{{id}}"]["get"]["parameters"][0].update(
        required=False
    ),
    "Authorization: no optional bearer": lambda document: document["paths"][LIP_SYNC]["post"].update(
        security=[{"bearer": []}]
    ),
    "body.face_choose[].sound_insert_time: missing": _drop("FaceChoose", "sound_insert_time"),
    "body.external_task_id: missing": _drop("LipSyncRequest", "external_task_id"),
    "answer.data.task_status_msg: missing": _drop("TaskData", "task_status_msg"),
    "answer.data.task_info.parent_video.duration: missing": _drop("VideoData", "duration"),
    "answer.data.face_data[].end_time: missing": _drop("FaceData", "end_time"),
    "body.session_id: ['integer'] instead of ['string']": _retype("LipSyncRequest", "session_id", {"type": "integer"}),
    "answer.data.created_at: ['number'] instead of ['integer']": _retype("TaskData", "created_at", {"type": "number"}),
    "answer.data.task_id: ['null', 'string'] instead of ['string']": _retype(
        "TaskData", "task_id", {"anyOf": [{"type": "string"}, {"type": "null"}]}
    ),
    "answer.data.task_status: enum ['submitted', 'succeed'] instead of": _retype(
        "TaskData", "task_status", {"type": "string", "enum": ["submitted", "succeed"]}
    ),
    "sound_volume: maximum 1 instead of 2": _limit("FaceChoose", "sound_volume", maximum=1),
    "original_audio_volume: minimum 0.5 instead of 0": _limit("FaceChoose", "original_audio_volume", minimum=0.5),
    "session_id: maxLength 19 instead of None": _limit("LipSyncRequest", "session_id", maxLength=19),
    "body: required ['face_choose'] instead of": lambda document: _schemas(document, "LipSyncRequest").update(
        required=["face_choose"]
    ),
    "body.face_choose[]: required ['face_id'] instead of": lambda document: _schemas(document, "FaceChoose").update(
        required=["face_id"]
    ),
    "body: required [] instead of ['video_url']": lambda document: _schemas(document, "IdentifyRequest").pop("anyOf"),
    "answer.data: may lack ['task_info']": lambda document: _schemas(document, "TaskData")["required"].remove(
        "task_info"
    ),
    "answer: may lack ['code']": lambda document: _schemas(document, "Envelope_IdentifyData_")["required"].remove(
        "code"
    ),
}


@pytest.mark.parametrize("line", MUTATIONS)
def test_the_comparison_sees_what_differs(document, line) -> None:
    other = copy.deepcopy(document)
    MUTATIONS[line](other)
    assert [found for found in contract.differences(other) if line in found]


def test_what_the_contract_and_kling_lack_is_marked(document) -> None:
    kling = {
        "IdentifyRequest": {"video_url", "video_id"},
        "OlderLipSyncRequest": {"input", "external_task_id", "callback_url", "watermark_info"},
        "LipSyncRequest": {"session_id", "face_choose", "external_task_id", "callback_url", "watermark_info"},
        "TaskData": {
            *("task_id", "task_status", "task_status_msg", "task_info", "task_result", "created_at", "updated_at"),
            *("watermark_info", "final_unit_deduction"),
        },
        "FaceData": {"face_id", "face_image", "start_time", "end_time"},
        "IdentifyData": {"session_id", "final_unit_deduction", "face_data"},
        "VideoData": {"id", "url", "duration", "watermark_url"},
    }
    for name, names in kling.items():
        parts = _schemas(document, name)["properties"]
        unmarked = {part for part, what in parts.items() if contract.MARK not in {**_referred(document, what), **what}}
        assert unmarked == names
    calls = {
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if contract.MARK not in operation
    }
    own = {"identify_face", *(f"{verb}_{kind}" for kind in ("task", "older_task") for verb in ("create", "get"))}
    own |= {"list_tasks", "list_older_tasks"}
    assert calls == own | {f"{prefix}_{name}" for prefix in ("klingai", "kling") for name in own}


# The document itself


def test_it_is_valid_openapi_3_1(document) -> None:
    import schemathesis

    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in re.findall(r"'\$ref': '#/([^']+)'", str(document)):
        found = document
        for step in reference.split("/"):
            found = found[step]


def test_every_operation_has_a_name_of_its_own_and_tells_its_faults(document) -> None:
    operations = [
        (path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()
    ]
    names = Counter(operation["operationId"] for *_, operation in operations)
    assert set(names.values()) == {1}
    parameter = ErrorCode.PARAMETER.code
    known = {(answer.status, answer.code) for answer in ErrorCode} | {(408, parameter), (416, parameter)}
    for path, method, operation in operations:
        assert "422" not in operation["responses"]
        assert {"200", "500"} <= operation["responses"].keys()
        assert ("401" in operation["responses"]) == ("429" in operation["responses"]) == ("/v1/" in path)
        for status, answer in operation["responses"].items():
            assert answer["headers"]["X-Request-Id"]
            if int(status) >= 400 and method != "head":
                schema = answer["content"]["application/json"]["schema"]
                assert schema["$ref"].endswith("/ErrorEnvelope")
                codes = schema["properties"]["code"]["enum"]
                assert {(int(status), code) for code in codes} <= known
                assert all(f"{code}: " in answer["description"] for code in codes)


def test_every_field_of_a_request_is_explained(document) -> None:
    for name in (
        *("IdentifyRequest", "LipSyncRequest", "FaceChoose", "FetchRequest", "WatermarkInfo"),
        *("OlderLipSyncRequest", "OlderInput"),
    ):
        assert all(part["description"] for part in _schemas(document, name)["properties"].values())


def test_it_tells_where_the_server_is(tmp_path) -> None:
    with in_thread(settings(tmp_path, public_url="https://sync.example.org/base/"), stub_work.WORK) as client:
        assert client.get("/openapi.json").json()["servers"] == [{"url": "https://sync.example.org/base"}]


# The page


class _References(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []
        self._in: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [value for name in ("src", "href") if (value := given.get(name))]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        self._in = tag if tag in ("script", "style") else None

    def handle_data(self, data: str) -> None:
        if self._in and data.strip():
            self.inline.append(data)


def test_the_page_asks_nobody_else(client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    references = _References(page.text)
    assert references.inline == []
    links = [link for link in references.found if not link.startswith("data:")]
    kinds = {}
    for link in links:
        assert not urlsplit(link).netloc
        answer = client.get(urljoin(str(page.url), link))
        assert (answer.status_code, len(answer.content) > 100) == (200, True)
        kinds[link.rpartition("/")[2]] = answer.headers["content-type"].partition(";")[0]
    assert kinds == {
        "swagger-ui.css": "text/css",
        "swagger-ui-bundle.js": "text/javascript",
        "start.js": "text/javascript",
    }
    style = client.get("/docs/swagger/swagger-ui.css").text
    assert all(link.startswith(("data:", "#")) for link in re.findall(r"url\(\s*[\"']?([^\"')]+)", style))
    assert "@import" not in style


def test_the_page_is_started_with_our_document_and_no_validator(client) -> None:
    start = client.get("/docs/start.js").text
    (address,) = re.findall(r'url: "([^"]+)"', start)
    assert client.get(urljoin(f"{client.base_url}/docs", address)).json()["openapi"]
    assert "validatorUrl: null" in start
    assert "//" not in start


def test_the_page_may_load_from_this_server_only(client) -> None:
    policy = {
        words[0]: set(words[1:])
        for part in client.get("/docs").headers["content-security-policy"].split(";")
        if (words := part.split())
    }
    assert policy["default-src"] == {"'none'"}
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == {"'self'"}
    assert set().union(*policy.values()) <= {"'none'", "'self'", "data:", "blob:"}


def test_a_slash_at_the_end_leads_to_the_page(client) -> None:
    answer = client.get("/docs/")
    assert answer.status_code == 307
    assert client.get(urljoin(str(answer.request.url), answer.headers["location"])).text == client.get("/docs").text


def test_both_are_for_anyone_where_calls_need_a_key(tmp_path) -> None:
    with in_thread(settings(tmp_path), stub_work.WORK) as client:
        database = Database(f"sqlite:///{tmp_path / 'duikou.db'}")
        Accounts(database).make("someone", KeyKind.PLAIN)
        database.close()
        assert client.get(LIP_SYNC).status_code == 401
        assert client.get("/openapi.json").status_code == client.get("/docs").status_code == 200


# Against the running server


class Traffic:
    """Stands between schemathesis and the server.

    Half of the requests get values that only a server can know (ids, signed addresses) or that chance would not hit, so
    that calls succeed as well as fail. An address that the server would dial becomes one of this test's own.
    """

    def __init__(self, site: str) -> None:
        self.site = site
        self.random = random.Random(SEED)
        self.sessions: list[str] = []
        self.tasks: dict[bool, list[str]] = {True: [], False: []}  # of the older call, and of the other
        self.files: list[str] = []
        self.answered: Counter[tuple[str, int]] = Counter()

    def prepare(self, case: schemathesis.Case) -> None:
        case.body = self._tame(case.body, "")
        if self.random.random() < 0.5:
            return
        path = case.operation.path
        if "{id}" in path and (tasks := self.tasks[OLDER in path]):
            case.path_parameters["id"] = self.random.choice(tasks)
        elif path.startswith("/files/"):
            self._to_a_file(path, case)
        elif path == "/v1/files/from-url":
            case.body = {"url": f"{self.site}/{self.random.choice(['a.mp4', 's.mp3'])}"}
        elif path == "/v1/files":
            file = self.random.choice([stub_work.video(), stub_work.sound()])
            case.body = cast(Any, {"file": file}) if isinstance(case.body, dict) else file
        elif path == "/v1/videos/identify-face" and isinstance(case.body, dict):
            case.body = {**case.body, "video_url": f"{self.site}/a.mp4", "video_id": None}
        elif case.operation.label == "POST /v1/videos/advanced-lip-sync" and isinstance(case.body, dict):
            session = self.random.choice([*self.sessions, UNKNOWN_SESSION])
            dry = {"dry_run": True} if self.random.random() < DRY_RUNS else {}
            case.body = {**case.body, **order(session, f"{self.site}/s.mp3"), **dry}
        elif case.operation.label == f"POST {OLDER}" and isinstance(case.body, dict):
            case.body = {**case.body, "input": {"video_url": f"{self.site}/a.mp4", "audio_url": f"{self.site}/s.mp3"}}

    def _to_a_file(self, path: str, case: schemathesis.Case) -> None:
        pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))
        found = [(match, link) for link in self.files if (match := pattern.fullmatch(urlsplit(link).path))]
        if found:
            match, link = self.random.choice(found)
            case.path_parameters.update(match.groupdict())
            case.query = {**(case.query or {}), **dict(parse_qsl(urlsplit(link).query))}

    def learn(self, case: schemathesis.Case, response: schemathesis.Response) -> None:
        self.answered[case.operation.label, response.status_code] += 1
        if response.status_code == 200 and response.headers["content-type"] == ["application/json"]:
            self._learn(response.json(), older=OLDER in case.operation.path)

    def _learn(self, value: Any, *, older: bool) -> None:
        for part in value if isinstance(value, list) else ():
            self._learn(part, older=older)
        for name, part in value.items() if isinstance(value, dict) else ():
            match name:
                case "session_id":
                    self.sessions.append(part)
                case "task_id":
                    self.tasks[older].append(part)
                case "url" | "face_image":
                    self.files.append(part)
                case _:
                    self._learn(part, older=older)

    def _tame(self, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: self._tame(part, key) for key, part in value.items()}
        if isinstance(value, list):
            return [self._tame(part, name) for part in value]
        if isinstance(value, str) and name in DIALLED and _is_dialled(value):
            return f"{self.site}/text.mp4"
        return value


DIALLED = ("url", "video_url", "sound_file", "audio_file", "audio_url", "audio", "callback_url")


def _is_dialled(url: str) -> bool:
    try:
        check_url(url, "url")
    except InputError:
        return False
    return True


@contextmanager
def hosts_asked() -> Iterator[list[str]]:
    """What this process looks up or dials."""
    asked: list[str] = []

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if listening and event == "socket.getaddrinfo":
            asked.append(str(arguments[0]))
        elif listening and event == "socket.connect" and isinstance(arguments[1], tuple):
            asked.append(str(arguments[1][0]))

    listening = True
    sys.addaudithook(hear)
    try:
        yield asked
    finally:
        listening = False


def faults_found(url: str, traffic: Traffic) -> list[str]:
    """Run schemathesis in all its phases, and what it has to say of the server at `url`."""
    import schemathesis
    from schemathesis import engine
    from schemathesis.config import ChecksConfig, GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
    from schemathesis.engine import StopReason, events

    generation = GenerationConfig(max_examples=EXAMPLES, database="none")
    checks = ChecksConfig.from_dict({"enabled": False} | {name: {"enabled": True} for name in CHECKS})
    project = ProjectConfig(generation=generation, checks=checks, continue_on_failure=True, request_timeout=120)
    config = SchemathesisConfig(seed=SEED, projects=ProjectsConfig(default=project))
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config).exclude(path_regex="^/kling")

    @schemathesis.hook
    def before_call(context: HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
        traffic.prepare(case)

    @schemathesis.hook
    def after_call(context: HookContext, case: schemathesis.Case, response: schemathesis.Response) -> None:
        traffic.learn(case, response)

    said = []
    try:
        for event in engine.from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                checked = [check for found in event.recorder.checks.values() for check in found]
                failed = [(check.name, check.failure_info.failure) for check in checked if check.failure_info]
                said += [f"{event.recorder.label}: {name}: {failure}" for name, failure in failed]
                assert {check.name for check in checked} <= CHECKS
            elif isinstance(event, events.NonFatalError | events.FatalError):
                said.append(str(event))
            elif isinstance(event, events.EngineFinished):
                assert event.stop_reason is StopReason.COMPLETED
    finally:
        schemathesis.hooks.unregister_all()
    return said


@pytest.mark.slow_repeats
@pytest.mark.timeout(1_800)  # 25 operations under generated requests: a minute of processor time
def test_generated_requests_find_no_answer_outside_the_document(client, site, document) -> None:
    traffic = Traffic(site)
    ended(client, create(client, order(identify(client, f"{site}/a.mp4")["session_id"], f"{site}/s.mp3")))
    traffic.sessions.append(identify(client, f"{site}/a.mp4")["session_id"])
    with hosts_asked() as hosts:
        said = faults_found(str(client.base_url), traffic)
    assert said == []
    assert {ipaddress.ip_address(host).is_loopback for host in hosts} == {True}
    succeeded = {label for label, status in traffic.answered if status == 200}
    every = {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in item
        if not path.startswith("/kling")
    }
    assert succeeded == every


def test_the_page_at_the_root_links_to_the_page_of_calls(client) -> None:
    references = _References(client.get("/").text)
    assert urljoin(f"{client.base_url}/", "docs") in [urljoin(f"{client.base_url}/", one) for one in references.found]


def test_examples_are_requests_that_a_caller_would_send(document) -> None:
    found = {name: _schemas(document, name)["examples"] for name in ("IdentifyRequest", "LipSyncRequest")}
    (identify,), (sync,) = found.values()
    assert IdentifyRequest.model_validate(identify).video_url
    assert [choice.sound_end_time for choice in LipSyncRequest.model_validate(sync).face_choose] == [2000]
    assert "86400000" not in json.dumps(found)
    for example, name in ((identify, "IdentifyRequest"), (sync["face_choose"][0], "FaceChoose")):
        alternatives = [one["required"][0] for one in _schemas(document, name)["anyOf"]]
        assert len([one for one in alternatives if one in example]) == 1


def test_each_call_shows_once(client, document) -> None:
    start = client.get("/docs/start.js").text
    folded = json.loads(re.findall(r"of (\[.*?\])\)", start)[0])
    for path, item in document["paths"].items():
        for operation in item.values():
            assert (operation["tags"][0] in folded) == path.startswith(("/kling/", "/klingai/"))
