"""Traces by OpenTelemetry, sent by OTLP over HTTP. Imported only where a collector is configured.

The SDK's own variables (OTEL_...) tune the export, such as the headers that a collector wants; they turn nothing on.
Only duikou's spans are created: the libraries' global tracer stays the one that does nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from duikou import __version__
from duikou.errors import InputError
from duikou.telemetry.spans import Attributes, Kind, Span

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise InputError("traces need OpenTelemetry; install duikou[otel]", field="otel_endpoint") from error

SEND_EVERY_MS = 2_000
SEND_S = 5.0  # for one batch with its retries; then it is dropped
FLUSH_S = 3.0  # for the remaining spans at a stop: a collector that hangs does not delay a rolling update
TRACEPARENT = "traceparent"

log = structlog.get_logger(__name__)
_w3c = TraceContextTextMapPropagator()


class OtlpTracer:
    """A `duikou.telemetry.spans.Tracer`. role: `server` or `worker`. Raises `InputError`."""

    def __init__(self, endpoint: str, role: str) -> None:
        if not endpoint.startswith(("http://", "https://")):
            raise InputError(
                "expected the URL of a collector, such as http://127.0.0.1:4318",
                field="otel_endpoint",
            )
        about = {"service.name": "duikou", "service.version": __version__, "duikou.role": role}
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON), resource=Resource.create(about), shutdown_on_exit=False
        )
        exporter = _Exporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=SEND_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=SEND_EVERY_MS))
        self._tracer = self._provider.get_tracer("duikou", __version__)

    @contextmanager
    def span(self, name: str, attributes: Attributes, parent: str | None, kind: Kind) -> Iterator[Span]:
        """See `duikou.telemetry.traces.Traces.span`."""
        with self._tracer.start_as_current_span(
            name,
            context=None if parent is None else _w3c.extract({TRACEPARENT: parent}, Context()),
            kind=trace.SpanKind[kind.upper()],
            attributes=attributes,
            record_exception=False,  # its text may quote what callers sent
            set_status_on_exception=False,
        ) as made:
            span = _Span(made)
            try:
                yield span
            except BaseException as error:
                span.fail(type(error).__name__)
                raise

    def begin(self, name: str) -> Span:
        """See `duikou.telemetry.traces.Traces.begin`."""
        return _Span(self._tracer.start_span(name))

    def note(self, attributes: Attributes) -> None:
        """See `duikou.telemetry.traces.Traces.note`."""
        trace.get_current_span().set_attributes(attributes)

    def here(self) -> str:
        """See `duikou.telemetry.traces.Traces.here`."""
        carrier: dict[str, str] = {}
        _w3c.inject(carrier)
        return carrier.get(TRACEPARENT, "")

    def close(self) -> None:
        """Send the remaining spans, for up to `FLUSH_S`."""
        last = threading.Thread(target=self._provider.shutdown, name="duikou-traces", daemon=True)
        last.start()
        last.join(FLUSH_S)


class _Span(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, word: str) -> None:
        self._span.set_attribute("error.type", word)
        self._span.set_status(trace.Status(trace.StatusCode.ERROR, word))

    def end(self) -> None:
        self._span.end()


class _Exporter(OTLPSpanExporter):
    """Logs once when an outage of the collector begins and once when it ends; the library logs every attempt."""

    def __init__(self, *, endpoint: str, timeout: float) -> None:
        super().__init__(endpoint=endpoint, timeout=timeout)
        self._failing = False
        self._messages: list[str] = []
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(self._capture)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; a batch that fails is lost."""
        self._messages.clear()
        result = super().export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            log.warning("traces cannot be sent", reason=next(iter(self._messages), ""))
        elif self._failing and not failing:
            log.info("traces are sent again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """Stop exporting."""
        super().shutdown()  # type: ignore[no-untyped-call]
        logging.getLogger(OTLPSpanExporter.__module__).removeFilter(self._capture)

    def _capture(self, record: logging.LogRecord) -> bool:
        self._messages.append(record.getMessage())
        return False
