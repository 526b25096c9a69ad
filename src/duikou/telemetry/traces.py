"""Traces: what took how long, through every process that had a hand in a call. Off unless an address is set for them.

While they are off a span costs the call of a function, and OpenTelemetry's SDK is not imported. What is noted names
tasks and stages; accounts, addresses and files of callers are not in it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from duikou.telemetry.spans import Attributes, Kind, Span, Tracer


class Traces:
    """Those of one process: off until they are started."""

    def __init__(self) -> None:
        self._tracer: Tracer | None = None

    def start(self, endpoint: str, role: str) -> None:
        """Trace from now on and send it there; nothing where `endpoint` is empty. role: what this process is.

        Raises `InputError` where OpenTelemetry is missing or the endpoint is none.
        """
        if endpoint:
            from duikou.telemetry.otel import OtlpTracer  # OpenTelemetry is for those who ask for it

            self._tracer = OtlpTracer(endpoint, role)

    def stop(self) -> None:
        """Send what is left, within seconds, and trace no more. A second call does nothing."""
        tracer, self._tracer = self._tracer, None
        if tracer is not None:
            tracer.close()

    def span(
        self, name: str, attributes: Attributes | None = None, *, parent: str | None = None, kind: Kind = "internal"
    ) -> AbstractContextManager[Span]:
        """Trace what the block does; an exception that leaves it makes the span one that failed.

        parent: the W3C traceparent of what it is a part of. Empty, or not valid: a trace of its own; `None`: a part of
        what is traced here at the moment.
        """
        if self._tracer is None:
            return nullcontext(_UNTRACED)
        return self._tracer.span(name, attributes or {}, parent, kind)

    def begin(self, name: str) -> Span:
        """Trace what happens from now until the span is ended, as a part of what is traced here at the moment."""
        return self._tracer.begin(name) if self._tracer is not None else _UNTRACED

    def note(self, attributes: Attributes) -> None:
        """Say more of what is traced here at the moment."""
        if self._tracer is not None:
            self._tracer.note(attributes)

    def here(self) -> str:
        """The W3C traceparent of what is traced here at the moment; empty where nothing is."""
        return self._tracer.here() if self._tracer is not None else ""


_UNTRACED = Span()
traces = Traces()
