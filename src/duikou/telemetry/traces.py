"""Traces: how long each step of a request took, across processes. Off unless a collector is configured.

While tracing is off a span costs one function call, and OpenTelemetry's SDK is not imported. Attributes name tasks and
stages; they never hold accounts, addresses or files of callers.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from duikou.telemetry.spans import Attributes, Kind, Span, Tracer


class Traces:
    """Tracing of one process; off until it is started."""

    def __init__(self) -> None:
        self._tracer: Tracer | None = None

    def start(self, endpoint: str, role: str) -> None:
        """Start tracing to a collector; an empty `endpoint` leaves it off. role: `server` or `worker`.

        Raises `InputError` where OpenTelemetry is missing or the endpoint is not a URL.
        """
        if endpoint:
            from duikou.telemetry.otel import OtlpTracer  # OpenTelemetry is an extra

            self._tracer = OtlpTracer(endpoint, role)

    def stop(self) -> None:
        """Send the remaining spans, within seconds, and stop tracing. A second call does nothing."""
        tracer, self._tracer = self._tracer, None
        if tracer is not None:
            tracer.close()

    def span(
        self, name: str, attributes: Attributes | None = None, *, parent: str | None = None, kind: Kind = "internal"
    ) -> AbstractContextManager[Span]:
        """A span around the block; an exception that leaves the block marks the span as failed.

        parent: a W3C traceparent; an empty or invalid one starts a new trace, `None` takes the current span.
        """
        if self._tracer is None:
            return nullcontext(_UNTRACED)
        return self._tracer.span(name, attributes or {}, parent, kind)

    def begin(self, name: str) -> Span:
        """Start a span below the current one; its owner ends it."""
        return self._tracer.begin(name) if self._tracer is not None else _UNTRACED

    def note(self, attributes: Attributes) -> None:
        """Set attributes of the current span."""
        if self._tracer is not None:
            self._tracer.note(attributes)

    def here(self) -> str:
        """The W3C traceparent of the current span; empty where there is none."""
        return self._tracer.here() if self._tracer is not None else ""


_UNTRACED = Span()
traces = Traces()
