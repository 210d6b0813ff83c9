"""Exports finished logins and their steps as OpenTelemetry spans.

The libraries are an extra (`otel`). They queue spans in memory and send them from their own thread. This
module limits the queue, the time of a request, and how long a stopping worker waits for the rest.
"""

import logging
import random
import re
from collections.abc import Callable, Sequence
from threading import Thread

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from stagedoor import __version__
from stagedoor.model.secure_url import show_url
from stagedoor.model.trace import LoginStep, LoginTrace
from stagedoor.session.attempt import CANCELLED, OPENED
from stagedoor.settings.safe_files import read_secret
from stagedoor.settings.traces import TraceSettings

MAX_QUEUED = 4096
"""The most spans in the queue. A login has about six, so this covers a second of a busy gateway."""
MAX_BATCH_SPANS = 512
SEND_EVERY_S, TIMEOUT_S = 1.0, 5.0
STOP_S = 2.0
"""How long a stopping worker waits for the last spans, so that a missing collector holds up no reload."""
_NS = 1_000_000_000
Report = Callable[[str | None], None]
"""Called with the reason why the collector takes no spans, and with None once it does. In any thread."""


class TraceExporter:
    """A callable that exports each finished attempt, without blocking.

    It belongs to one event loop, except for `stop`.
    """

    def __init__(self, settings: TraceSettings, instance: str, report: Report) -> None:
        """Set up the export. `instance` names this worker. Raises SettingsError."""
        assert settings.url is not None, "made only where traces are exported"
        headers = {}
        if settings.token_file is not None:
            token = read_secret(settings.token_file, "traces.token_file", "the token")
            headers["Authorization"] = f"Bearer {token}"
        exporter = OTLPSpanExporter(
            endpoint=settings.url,
            certificate_file=str(settings.ca_file) if settings.ca_file else None,
            headers=headers,
            timeout=TIMEOUT_S,
        )
        self._ratio = settings.ratio
        self._ids = _GivenIds()
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.ratio)),
            resource=Resource(
                {
                    "service.name": "stagedoor",
                    "service.version": __version__,
                    "service.instance.id": instance,
                }
            ),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                _ReportingExporter(exporter, show_url(settings.url), report),
                max_queue_size=MAX_QUEUED,
                max_export_batch_size=MAX_BATCH_SPANS,
                schedule_delay_millis=SEND_EVERY_S * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("stagedoor", __version__)

    def __call__(self, trace: LoginTrace) -> None:
        """Export the spans of a login."""
        given = trace.context
        if given.span_id and not trace.identity and random.random() >= self._ratio:  # noqa: S311
            return  # an unauthenticated client must not decide what is exported
        parent = api.set_span_in_context(api.INVALID_SPAN)
        if given.span_id:
            flags = api.TraceFlags(api.TraceFlags.SAMPLED if given.sampled else 0)
            remote = api.SpanContext(int(given.trace_id, 16), int(given.span_id, 16), True, flags)
            parent = api.set_span_in_context(api.NonRecordingSpan(remote))
        self._ids.trace_id = int(given.trace_id, 16)
        login = self._tracer.start_span(
            "login",
            context=parent,
            kind=api.SpanKind.SERVER,
            attributes=_make_attributes(trace),
            start_time=_to_ns(trace.began),
        )
        if trace.outcome not in (OPENED, CANCELLED):
            login.set_status(api.Status(api.StatusCode.ERROR, trace.outcome))
        self._add_steps(login, trace.steps)
        login.end(_to_ns(trace.ended))

    def stop(self) -> None:
        """Send the queued spans, and give up after STOP_S."""
        stopping = Thread(target=self._provider.shutdown, daemon=True)
        stopping.start()
        stopping.join(STOP_S)

    def _add_steps(self, login: api.Span, steps: Sequence[LoginStep]) -> None:
        inside = api.set_span_in_context(login)
        whole = {step.name: step for step in steps if not step.of}
        for name, step in whole.items():
            span = self._tracer.start_span(name, context=inside, start_time=_to_ns(step.began))
            within = api.set_span_in_context(span)
            for part in (step for step in steps if step.of == name):
                child = self._tracer.start_span(
                    part.name, context=within, start_time=_to_ns(part.began)
                )
                child.end(_to_ns(part.ended))
            span.end(_to_ns(step.ended))


def _make_attributes(trace: LoginTrace) -> dict[str, str | int]:
    """Return a login's attributes, named by OpenTelemetry's semantic conventions as far as possible."""
    known: dict[str, str | int] = {
        "client.address": str(trace.source.address),
        "client.port": trace.source.port,
        "enduser.id": trace.identity,
        "stagedoor.access_method": str(trace.access_method),
        "stagedoor.target": trace.target,
        "stagedoor.outcome": str(trace.outcome),
        "stagedoor.session": trace.session,
    }
    return {name: value for name, value in known.items() if value != ""}


def _to_ns(at: float) -> int:
    return int(at * _NS)


class _GivenIds(IdGenerator):
    """A generator that gives a trace the same id as the log does."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.trace_id = 0

    def generate_trace_id(self) -> int:
        """Return the id that was set last."""
        return self.trace_id

    def generate_span_id(self) -> int:
        """Return a random id."""
        return self._random.generate_span_id()


class _ReportingExporter(SpanExporter):
    """An exporter that reports failures to `report` instead of the library's own log.

    The library's lines contain the URL, which may be a secret.
    """

    def __init__(self, exporter: OTLPSpanExporter, where: str, report: Report) -> None:
        self._exporter = exporter
        self._where = where
        self._report = report
        self._status = _LastStatus()
        logger = logging.getLogger("opentelemetry")
        logger.handlers, logger.propagate = [self._status], False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send `spans` and report whether the collector took them."""
        try:
            result = self._exporter.export(spans)
        except Exception:  # from the HTTP client, in versions of the library that do not catch it
            result = SpanExportResult.FAILURE
        status = self._status.take()
        if result is SpanExportResult.SUCCESS:
            self._report(None)
        else:
            why = f"it answers {status}" if status else "no answer (its address, traces.ca_file)"
            self._report(f"the collector {self._where} takes no traces: {why}")
        return result

    def shutdown(self) -> None:
        """Shut down the wrapped exporter."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the wrapped exporter."""
        return self._exporter.force_flush(timeout_millis)


class _LastStatus(logging.Handler):
    """A handler that keeps the HTTP status from the library's last error."""

    def __init__(self) -> None:
        super().__init__()
        self._status = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the status that `record` contains, or none."""
        match = re.search(r"code: (\d{3})\b", record.getMessage())
        self._status = match[1] if match else ""

    def take(self) -> str:
        """Return the last status and forget it; "" if there was none."""
        status, self._status = self._status, ""
        return status
