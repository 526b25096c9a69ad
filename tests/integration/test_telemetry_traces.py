"""Traces as a collector receives them: of one server, of a fleet, and with a collector that is away or silent."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import stub_work
from live_server import (
    Process,
    Program,
    WorkerProcess,
    caller,
    create,
    ended,
    identify,
    make_key,
    order,
    sources,
    until,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from receiver import receiver
from services import Postgres, Rabbit
from web_server import web_server

from duikou.errors import InputError
from duikou.telemetry.traces import Traces

SERVER, INTERNAL, CLIENT = 2, 1, 3  # kinds of spans, as OTLP numbers them
FAILED = 2  # a status, likewise
CALLERS_TRACE, CALLERS_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass(frozen=True)
class Sent:
    """One span as it was received."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    fault: str
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """What came in so far."""

    url: str = ""
    requests: int = 0
    spans: list[Sent] = field(default_factory=list)

    def of(self, **attributes: Any) -> list[Sent]:
        """Spans that say this of themselves, in the order of their ends."""
        return [span for span in self.spans if attributes.items() <= span.attributes.items()]

    def children(self, span: Sent) -> list[Sent]:
        return [child for child in self.spans if child.parent == span.id]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    """An OTLP/HTTP receiver on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            one.requests += 1
            if self.path == "/v1/traces":
                for group in ExportTraceServiceRequest.FromString(content).resource_spans:
                    about = _values(group.resource.attributes)
                    one.spans.extend(
                        Sent(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.kind,
                            span.status.message if span.status.code == FAILED else "",
                            _values(span.attributes),
                            about,
                        )
                        for scope in group.scope_spans
                        for span in scope.spans
                    )
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    one = Collector()
    with web_server(Handler) as one.url:
        yield one


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    files = {
        "a__mp4": stub_work.video(),
        "s__mp3": stub_work.sound(),
        "bad__mp3": stub_work.sound(render="fault"),
        "dies__mp3": stub_work.sound(render="die"),
    }
    with sources(**files) as url:
        yield url


def the(spans: list[Sent]) -> Sent:
    (span,) = spans
    return span


def check_call(got: Collector, call: Sent, attempt: Sent, stages: list[str]) -> None:
    """One trace: the call, the attempt as its part, the stages as the attempt's."""
    assert (attempt.trace, attempt.parent) == (call.trace, call.id)
    parts = got.children(attempt)
    assert [part.name for part in parts] == stages
    assert {part.trace for part in parts} == {call.trace}


def test_one_server_sends_a_call_and_its_work_as_one_trace(tmp_path: Path, site: str) -> None:
    with collector() as got, receiver() as hears, Process(tmp_path / "data", otel_endpoint=got.url + "/") as server:
        with caller(server.url) as client:
            client.headers["traceparent"] = f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"
            session = identify(client, f"{site}/a.mp4")["session_id"]
        good = create(
            server.client, {**order(session, f"{site}/s.mp3"), "callback_url": f"{hears.url}/secret?word=hush"}
        )
        bad = create(server.client, order(session, f"{site}/bad.mp3"))
        assert ended(server.client, good)["task_status"] == "succeed"
        assert ended(server.client, bad)["task_status"] == "failed"
        assert server.client.get("/nowhere/secret").status_code == 404
        assert server.client.get("/healthz").status_code == server.client.get("/readyz/").status_code == 200
        until(lambda: len(hears.heard) == 3)
        assert server.end(signal.SIGTERM) == -signal.SIGTERM

    assert {span.resource["service.name"] for span in got.spans} == {"duikou"}
    assert {span.resource["duikou.role"] for span in got.spans} == {"server"}
    looked = the(got.of(**{"http.route": "/v1/videos/identify-face"}))
    assert (looked.name, looked.kind) == ("POST /v1/videos/identify-face", SERVER)
    assert (looked.trace, looked.parent) == (CALLERS_TRACE, CALLERS_SPAN)
    assert looked.attributes["http.response.status_code"] == 200
    assert [span.name for span in got.children(looked)] == ["fetch", "probe", "attempt"]
    check_call(got, looked, the(got.of(queue="identify")), ["rendering", "signing"])

    attempt = the(got.of(task_id=good, attempt=1))
    called = the([span for span in got.spans if span.id == attempt.parent])
    assert (called.name, called.parent, called.kind) == ("POST /v1/videos/advanced-lip-sync", "", SERVER)
    check_call(got, called, attempt, ["rendering", "signing"])
    assert attempt.attributes["outcome"] == "done"
    told = [span for span in got.of(task_id=good) if span.name == "callback"]
    assert len(told) == 3
    assert {(span.trace, span.parent, span.kind, span.fault) for span in told} == {
        (called.trace, called.id, CLIENT, "")
    }

    failed = the(got.of(task_id=bad, attempt=1))
    assert (failed.attributes["outcome"], failed.fault, failed.kind) == ("input", "input", INTERNAL)
    unknown = the(got.of(**{"http.response.status_code": 404}))
    assert (unknown.name, unknown.fault, unknown.attributes["code"]) == ("GET", "", 1202)
    assert not [span for span in got.spans if "healthz" in span.name or "readyz" in span.name]
    ids = [span.attributes["request_id"] for span in got.spans if span.kind == SERVER]
    assert len(set(ids)) == len(ids)
    everything = json.dumps([(span.name, span.fault, span.attributes) for span in got.spans])
    assert not [word for word in ("secret", "hush", ".mp3", ".mp4", site, hears.url) if word in everything]


def test_work_that_is_tried_again_is_one_trace(tmp_path: Path, site: str) -> None:
    with collector() as got, Process(tmp_path / "data", otel_endpoint=got.url) as server:
        session = identify(server.client, f"{site}/a.mp4")["session_id"]
        dying = create(server.client, order(session, f"{site}/dies.mp3"))
        assert ended(server.client, dying)["task_status"] == "failed"
        server.end(signal.SIGTERM)
    tries = got.of(task_id=dying)
    assert [span.attributes["attempt"] for span in tries] == [1, 2, 3]
    assert {span.fault for span in tries} == {"worker"}
    assert len({(span.trace, span.parent) for span in tries}) == 1
    assert [stage.name for span in tries for stage in got.children(span)] == ["dying"] * 3


def test_a_fleet_sends_one_trace_from_all_its_processes(
    tmp_path: Path, site: str, postgres: Postgres, rabbit: Rabbit
) -> None:
    (tmp_path / "shared").mkdir()
    with collector() as got:
        fleet: dict[str, Any] = {
            "database_url": postgres.fresh(),
            "broker_url": rabbit.fresh(),
            "storage_url": f"file://{tmp_path}/shared",
            "otel_endpoint": got.url,
        }
        with Process(tmp_path / "server", **fleet) as server, WorkerProcess(tmp_path / "worker", **fleet) as worker:
            session = identify(server.client, f"{site}/a.mp4")["session_id"]
            made = create(server.client, order(session, f"{site}/s.mp3"))
            assert ended(server.client, made)["task_status"] == "succeed"
            assert worker.end(signal.SIGTERM) == 0
            server.end(signal.SIGTERM)

    for queue, route in (("identify", "identify-face"), ("render", "advanced-lip-sync")):
        attempt = the(got.of(queue=queue))
        call = the([span for span in got.spans if span.id == attempt.parent])
        assert call.attributes["http.route"] == f"/v1/videos/{route}"
        assert call.name.startswith("POST ")
        check_call(got, call, attempt, ["rendering", "signing"])
        assert (call.resource["duikou.role"], attempt.resource["duikou.role"]) == ("server", "worker")


def test_nothing_is_traced_unless_asked(tmp_path: Path, site: str) -> None:
    """Whatever the environment wishes: neither the SDK nor the web framework, which has telemetry of its own."""
    serve_and_tell = (
        "from duikou.server import serve\n"
        "try: serve(given, ready=lambda url: print(url, flush=True), work=stub_work.WORK)\n"
        "except KeyboardInterrupt: pass\n"
        "kinds = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "print('imported:', [name for name in sys.modules if name.startswith(kinds)], file=sys.stderr)"
    )
    data = tmp_path / "data"
    key = make_key(data, "alice").secret
    with collector() as got:
        wishes = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": got.url,
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider",
            "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
        }
        with Program(serve_and_tell, data, environment=wishes) as server, caller(server.said, key) as client:
            client.headers["traceparent"] = f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"
            session = identify(client, f"{site}/a.mp4")["session_id"]
            made = create(client, order(session, f"{site}/s.mp3"))
            assert ended(client, made)["task_status"] == "succeed"
            client.close()
            server.end(signal.SIGINT)
    assert server.log[-1] == "imported: []\n"
    assert got.requests == 0


@contextmanager
def silent() -> Iterator[str]:
    """A collector that takes connections and never answers; its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def away() -> Iterator[str]:
    """The address of a collector that is not there."""
    with socket.socket() as held:  # bound and not listening: nobody else gets the port
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize("how", ["silent", "away"])
def test_a_collector_that_fails_costs_nothing(tmp_path: Path, site: str, how: str) -> None:
    with {"silent": silent, "away": away}[how]() as url, Process(tmp_path / "data", otel_endpoint=url) as server:
        session = identify(server.client, f"{site}/a.mp4")["session_id"]
        made = create(server.client, order(session, f"{site}/s.mp3"))
        assert ended(server.client, made)["task_status"] == "succeed"
        until(lambda: [line for line in server.log if "traces cannot be sent" in line])
        began = time.monotonic()
        assert server.end(signal.SIGTERM) == -signal.SIGTERM
        assert time.monotonic() - began < 25, "the exporter's own patience is 30 s"
    lines = [json.loads(line) for line in server.log]
    assert len([line for line in lines if line["event"] == "traces cannot be sent"]) == 1
    assert not [line for line in lines if "logger" in line], "the library tells of each attempt"


def test_traces_that_cannot_be_made_are_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = Traces()
    with pytest.raises(InputError, match=r"^otel_endpoint: expected the URL of a collector"):
        traces.start("127.0.0.1:4318", "server")
    monkeypatch.delitem(sys.modules, "duikou.telemetry.otel")
    monkeypatch.setitem(sys.modules, OTLPSpanExporter.__module__, None)
    with pytest.raises(InputError, match=r"^otel_endpoint: traces need OpenTelemetry; install duikou\[otel\]$"):
        traces.start("http://127.0.0.1:4318", "server")
    with traces.span("nothing") as span:  # off
        span.note({"task_id": "1"})
    assert traces.here() == ""
