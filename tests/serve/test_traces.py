"""Logins as spans, as a collector of the test's own gets them: OTLP over HTTP, decoded by OpenTelemetry."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from msgspec.structs import replace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from stagedoor.admin.backup import _files_outside
from stagedoor.model.errors import SettingsError
from stagedoor.model.source import Source
from stagedoor.model.trace import LoginStep, LoginTrace, TraceContext
from stagedoor.serve import prepare
from stagedoor.serve.doctor.bundle import format_json, withhold_secrets
from stagedoor.serve.traces import STOP_S, TraceExporter
from stagedoor.settings.file import parse_settings
from stagedoor.settings.traces import TraceSettings
from tests.fixtures.gateway import SSH_TABLE, local
from tests.fixtures.laptop import open_laptop
from tests.ports import free_port
from tests.waiting import wait_until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
LOGIN = LoginTrace(
    TraceContext(TRACE),
    "connect",
    Source.of("192.0.2.1", 40000),
    100.0,
    101.0,
    "opened",
    "dev",
    "app01.ssh",
    "s1",
    (
        LoginStep("authorise", 100.0, 100.25),
        LoginStep("pulling image", 100.25, 100.5, of="shell"),
        LoginStep("shell", 100.25, 100.75),
    ),
)


class Collector:
    """Takes spans; `status` is what it answers, `hold` keeps it from answering."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.authorizations: set[str | None] = set()
        self.status = 200
        self.hold = threading.Event()
        self.hold.set()
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.authorizations.add(self.headers["Authorization"])
                while not outer.hold.wait(0.05) and not outer.over.is_set():
                    pass
                if outer.status == 200:
                    outer.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces-of-nobody-else"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            about = {
                attribute.key: attribute.value.string_value
                for attribute in resource.resource.attributes
            }
            self.services.add(about["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def named(self, name: str) -> Span:
        wait_until(lambda: any(span.name == name for span in self.spans))
        return next(span for span in self.spans if span.name == name)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.over.set()
    made.server.shutdown()
    made.server.server_close()
    thread.join(60)


@pytest.fixture
def said() -> list[str | None]:
    return []


@pytest.fixture
def export(said: list[str | None]) -> Iterator[Callable[[TraceSettings], TraceExporter]]:
    with contextlib.ExitStack() as stack:

        def make(settings: TraceSettings) -> TraceExporter:
            made = TraceExporter(settings, "i1", said.append)
            stack.callback(made.stop)
            return made

        yield make


def attributes(span: Span) -> dict[str, str | int]:
    return {
        attribute.key: attribute.value.string_value or attribute.value.int_value
        for attribute in span.attributes
    }


def test_a_login_and_its_steps_are_spans_of_one_trace(
    collector: Collector, export: Callable[[TraceSettings], TraceExporter], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("abc\n")
    exporter = export(TraceSettings(url=collector.url, token_file=token))
    exporter(LOGIN)
    exporter(replace(LOGIN, context=TraceContext("ab" * 16, SPAN), outcome="no_grant", steps=()))
    wait_until(lambda: len(collector.spans) == 5)
    assert collector.authorizations == {"Bearer abc"}
    assert collector.services == {"stagedoor"}
    login = next(
        span for span in collector.spans if span.name == "login" and not span.parent_span_id
    )
    assert login.trace_id.hex() == TRACE
    assert (login.start_time_unix_nano, login.end_time_unix_nano) == (100 * 10**9, 101 * 10**9)
    assert attributes(login) == {
        "client.address": "192.0.2.1",
        "client.port": 40000,
        "enduser.id": "dev",
        "stagedoor.access_method": "connect",
        "stagedoor.target": "app01.ssh",
        "stagedoor.outcome": "opened",
        "stagedoor.session": "s1",
    }
    shell, part = collector.named("shell"), collector.named("pulling image")
    assert shell.parent_span_id == collector.named("authorise").parent_span_id == login.span_id
    assert part.parent_span_id == shell.span_id
    assert part.end_time_unix_nano == int(100.5 * 10**9)
    refused = next(span for span in collector.spans if span.trace_id.hex() == "ab" * 16)
    assert refused.parent_span_id.hex() == SPAN
    assert refused.status.message == "no_grant"


def test_a_ratio_is_of_traces_that_begin_here(
    collector: Collector, export: Callable[[TraceSettings], TraceExporter]
) -> None:
    exporter = export(TraceSettings(url=collector.url, ratio=0.0))
    exporter(LOGIN)
    exporter(replace(LOGIN, context=TraceContext(TRACE, SPAN, sampled=False)))
    exporter(replace(LOGIN, context=TraceContext("cd" * 16, SPAN, sampled=True), steps=()))
    # Of strangers there may be as many as they like, and each would want to be exported.
    stranger = replace(LOGIN, identity="", session="", outcome="credential_wrong")
    exporter(replace(stranger, context=TraceContext("ef" * 16, SPAN, sampled=True)))
    exporter.stop()
    assert [span.trace_id.hex() for span in collector.spans] == ["cd" * 16]


def test_a_collector_that_takes_nothing_is_told_without_its_url(
    collector: Collector, export: Callable[[TraceSettings], TraceExporter], said: list[str | None]
) -> None:
    collector.status = 401
    export(TraceSettings(url=collector.url))(LOGIN)
    wait_until(lambda: bool(said))
    assert said[0] is not None
    assert said[0].endswith("takes no traces: it answers 401")
    away = f"http://127.0.0.1:{free_port()}/v1/secret-path"
    exporter = export(TraceSettings(url=away))
    exporter(LOGIN)
    exporter.stop()
    wait_until(lambda: len(said) > 1)
    assert "no answer" in str(said[1])
    assert "secret-path" not in str(said[1]) + str(said[0])
    assert "nobody-else" not in str(said[0])


def test_a_collector_that_does_not_answer_holds_up_no_stop(
    collector: Collector, export: Callable[[TraceSettings], TraceExporter]
) -> None:
    """Takes the two seconds that are allowed."""
    collector.hold.clear()
    exporter = export(TraceSettings(url=collector.url))
    for _ in range(10_000):
        exporter(replace(LOGIN, steps=()))
    began = time.monotonic()
    exporter.stop()
    assert time.monotonic() - began < STOP_S + 30
    # Its thread would retry, with random pauses, in later tests: Hypothesis refuses those.
    collector.hold.set()
    wait_until(
        lambda: "OtelBatchSpanRecordProcessor" not in {t.name for t in threading.enumerate()}
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('url = "http://otel.example.com/v1/traces"', "plain http"),
        ('token_file = "/x"', "need traces.url"),
        ('url = "https://otel.example.com/"\nratio = 2', "ratio"),
    ],
)
def test_settings_that_would_tell_others_are_refused(text: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        parse_settings(f"[traces]\n{text}\n", "x")


def test_the_url_is_in_no_report_and_the_token_in_every_backup(tmp_path: Path) -> None:
    text = f'data_dir = "{tmp_path}"\n[traces]\nurl = "https://otel.example.com/key-of-mine/v1/traces"\n'
    settings = parse_settings(f'{text}token_file = "/etc/stagedoor/otel-token"\n', "x")
    shown = format_json(withhold_secrets(settings))
    assert "otel.example.com" in shown
    assert "key-of-mine" not in shown
    assert "otel-token" not in shown
    assert Path("/etc/stagedoor/otel-token") in list(_files_outside(settings))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"stagedoor\[otel\]"):
        prepare.check_traces(TraceSettings(url="https://otel.example.com/v1/traces"))


def test_a_login_at_a_real_gateway_is_in_its_log_by_the_same_trace(
    collector: Collector, tmp_path: Path
) -> None:
    """One gateway and one ssh: some five seconds. It stops at once, though the collector is silent."""
    settings = SSH_TABLE + local("app01") + f'\n[traces]\nurl = "{collector.url}"\n'
    with open_laptop(tmp_path, settings) as laptop:
        assert laptop.ssh("app01@gw", "true", config=laptop.config()).returncode == 0
        line = laptop.gateway.wait_for(lambda line: line["event"] == "session")
        login = collector.named("login")
        assert (login.trace_id.hex(), attributes(login)["stagedoor.session"]) == (
            line["trace"], line["session"],
        )  # fmt: skip
        names = {span.name for span in collector.spans if span.parent_span_id == login.span_id}
        assert names == {"authorise", "shell", "audit", "connect"}
        collector.status = 503
        assert laptop.ssh("app01@gw", "true", config=laptop.config()).returncode == 0
        laptop.gateway.wait_for(lambda line: line["event"] == "fails" and line["part"] == "traces")
