"""``--traces``: a run as an OpenTelemetry trace, sent as the ``OTEL_*`` variables say.

One span for the run, below the span that ``TRACEPARENT`` names where there is one, and one for each
operation and each file of a directory, with its failed attempts as events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from pegasus_toolkit import __version__
from pegasus_toolkit.cli.metrics import Unavailable
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.model import Outcome
from pegasus_toolkit.transfer.records.report import ends

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.observer import Observer, Progress

NAME = "pegasus-transfer"
PATIENCE = 3.0  # seconds that the collector gets at the end


class Traces:
    """An observer that makes a span of each outcome."""

    def __init__(self, environ: Mapping[str, str], exporter: Any = None) -> None:
        """``exporter``: in place of the one that ``OTEL_TRACES_EXPORTER`` names. Raises ``Unavailable``."""
        try:
            from opentelemetry.propagate import extract
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import Status, StatusCode, set_span_in_context
        except ImportError as error:
            text = f"traces need {error.name}: pip install 'pegasus-toolkit[traces]'"
            raise Unavailable(text) from error
        name = environ.get("OTEL_SERVICE_NAME") or NAME
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _exporter(environ)))
        self._tracer = self._provider.get_tracer("pegasus_toolkit", __version__)
        carrier = {"traceparent": environ.get("TRACEPARENT", ""), "tracestate": environ.get("TRACESTATE", "")}
        self._run = self._tracer.start_span(NAME, context=extract(carrier))
        self._context = set_span_in_context(self._run)
        self._status: Any = Status
        self._error = StatusCode.ERROR

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._span(outcome)

    def tick(self, progress: Progress) -> None:
        """Only outcomes count here, not the time between them."""

    def finish(self, code: int) -> str | None:
        """Sends what was not sent yet; what is wrong if the collector does not take it."""
        self._run.set_attribute("pegasus.exit_code", code)
        if code:
            self._run.set_status(self._status(self._error, f"exit code {code}"))
        self._run.end()
        sender = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        sender.start()
        sender.join(PATIENCE)
        return "traces: the collector did not take all spans" if sender.is_alive() else None

    def _span(self, outcome: Outcome) -> None:
        attempts = outcome.attempts
        began = attempts[0].started if attempts else time.time()
        ended = attempts[-1].started + attempts[-1].seconds if attempts else began
        span = self._tracer.start_span(
            outcome.kind, context=self._context, start_time=_ns(began), attributes=_attributes(outcome)
        )
        for attempt in attempts:
            if attempt.error is not None:
                fields = {"error.type": attempt.error.kind, "message": redact.message(str(attempt.error))}
                span.add_event("attempt failed", fields, _ns(attempt.started + attempt.seconds))
        if outcome.error is not None:
            span.set_status(self._status(self._error, redact.message(str(outcome.error))))
        span.end(_ns(ended))


if TYPE_CHECKING:
    _: type[Observer] = Traces


def _attributes(outcome: Outcome) -> dict[str, str | int | bool]:
    source, destination = ends(outcome.operation)
    if outcome.attempts:
        source, destination = outcome.attempts[-1].source or source, outcome.attempts[-1].destination
    told: dict[str, str | int | bool] = {
        "pegasus.status": outcome.status,
        "pegasus.lfn": getattr(outcome.operation, "lfn", ""),
        "pegasus.destination": redact.url(destination.url),
        "pegasus.route": outcome.route,
        "pegasus.bytes": outcome.size,
        "pegasus.attempts": len(outcome.attempts),
        "pegasus.verified": ",".join(outcome.verified),
        "pegasus.member": outcome.member,
        "server.address": destination.endpoint.host,
    }
    if source is not None:
        told["pegasus.source"] = redact.url(source.url)
    if outcome.error is not None:
        told["error.type"] = outcome.error.kind
    return told


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _exporter(environ: Mapping[str, str]) -> Any:
    """The SDK's own way: an entry point of that name, which some package brings; of OTLP's there is one for
    each protocol."""
    name = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    exact = "otlp_proto_grpc" if environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc" else "otlp_proto_http"
    known = entry_points(group="opentelemetry_traces_exporter")
    found = list(known.select(name=exact if name == "otlp" else name))
    if not found:
        text = f"no exporter for traces is called {name!r}: pip install 'pegasus-toolkit[traces]', or set"
        raise Unavailable(f"{text} OTEL_TRACES_EXPORTER")
    try:
        return found[0].load()()
    except Exception as error:  # a plugin's own, whatever it is
        raise Unavailable(f"traces: {name} cannot be used: {error}") from error
