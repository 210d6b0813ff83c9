"""The settings of traces: the collector that gets the steps of logins."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from stagedoor.model.secure_url import check_secure_url
from stagedoor.settings.form import Table, report_as


class TraceSettings(Table, frozen=True):
    """The steps of each login as an OpenTelemetry trace, by OTLP over HTTP. Needs the extra `otel`.

    Traces that the collector does not accept in time are dropped; no login ever waits for it.
    """

    url: Annotated[
        str | None,
        Meta(
            description="The URL at which the collector accepts traces, such as "
            "`https://otel.example.com/v1/traces`; http to this machine only. None: nothing is exported; the "
            "log has trace ids anyway."
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        Meta(
            description="PEM file with the authorities that verify the collector's certificate. None: the "
            "public ones."
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        Meta(
            description="A file with one line, sent as `Authorization: Bearer …`. A world-readable file is "
            "refused."
        ),
    ] = None
    ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="The part of the traces that is exported: of those that begin at the gateway, and of "
            "those whose client was refused. For other traces, the client that began them decides "
            "(`traceparent`).",
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        if self.url is None:
            if self.ca_file is not None or self.token_file is not None:
                raise ValueError("traces.ca_file and traces.token_file need traces.url")
            return
        with report_as("traces.url"):
            check_secure_url(self.url)
