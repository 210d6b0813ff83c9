"""The settings of traces: where the steps of logins are exported to."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from stagedoor.model.secure_url import check_secure_url
from stagedoor.settings.form import Table


class Traces(Table, frozen=True):
    """The steps of each login as an OpenTelemetry trace, by OTLP over HTTP. Needs the extra `otel`. What a
    collector does not take in time is dropped; no login ever waits for it.
    """

    url: Annotated[
        str | None,
        Meta(
            description="Where the collector takes traces, such as `https://otel.example.com/v1/traces`; "
            "http to this machine only. None: nothing is exported, and the log has trace ids all the same."
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        Meta(
            description="The authorities (PEM) that the collector's certificate is verified by. None: the "
            "public ones."
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        Meta(
            description="A file with one line, sent as `Authorization: Bearer …`. It is refused if everybody "
            "may read it."
        ),
    ] = None
    ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Which part of the traces that begin here is exported, and of those whose client was "
            "not let in. Of one that another client began, the client says whether (`traceparent`).",
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        if self.url is None:
            if self.ca_file is not None or self.token_file is not None:
                raise ValueError("traces.ca_file and traces.token_file need traces.url")
            return
        try:
            check_secure_url(self.url)
        except ValueError as error:
            raise ValueError(f"traces.url: {error}") from None
