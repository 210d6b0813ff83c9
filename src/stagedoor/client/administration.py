"""The administration of a gateway over its HTTP API, with this machine's login."""

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from stagedoor.client.attach.secret_prompt import PersonPrompt
from stagedoor.client.contexts import Context
from stagedoor.laptop.login_files import find_login_options
from stagedoor.laptop.login_web import GatewayWeb
from stagedoor.laptop.tunnel import http
from stagedoor.laptop.tunnel.errors import TunnelError, clean
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.tunnel.secret import find_secret
from stagedoor.laptop.web import WebConnection
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError, StagedoorError
from stagedoor.wire.api.inputs import Input
from stagedoor.wire.api.operation import Operation
from stagedoor.wire.api.operations import BY_NAME, PREFIX
from stagedoor.wire.api.port import NOTHING
from stagedoor.wire.api.types import Problem

_PAGE = 100
"""The items of a page."""
_KINDS: Mapping[int, type[StagedoorError]] = {
    404: NotFoundError,
    409: ConflictError,
    422: RefusedError,
}
_LINE_CHARS = 1000
_PAUSE_S = 0.5
_WAIT_S = 15
"""How long the gateway may wait for a person before it answers; the client then asks again."""


class ApiConnection(WebConnection):
    """One connection to the API, whose pages are longer than other answers."""

    body_limit = 8 * 1024 * 1024


class ApiAdministration:
    """An `Administration` over the API of the gateway in a context."""

    def __init__(self, context: Context) -> None:
        """Find the login at the gateway. Raises StagedoorError."""
        self._tags: dict[tuple[str, ...], str] = {}
        """The ETags of the rows that were read, by resource and path."""
        try:
            self._web = GatewayWeb(context.gateway, context.ca_file)
            given = {"--gateway": self._web.origin}
            given |= find_login_options({"--gateway": self._web.url}, os.environ)
            if context.ca_file:
                given["--ca-file"] = context.ca_file
            self._options = Options(given, ["gateway"], dict(os.environ), "the context")
            secret = find_secret(self._options)
        except TunnelError as error:
            raise StagedoorError(error.line) from None
        if secret is None:
            raise StagedoorError(
                f"this machine is not logged in at {self._web.url}; run: stagedoor login {self._web.url}"
            )
        self._authorization = http.encode_basic(f"{self._options.user}:{secret.value}")

    @property
    def is_shared(self) -> bool:
        """Return False: the API does not say."""
        return False

    def call(
        self,
        name: str,
        path: Mapping[str, str] = NOTHING,
        query: Mapping[str, str] = NOTHING,
        body: Input | None = None,
    ) -> Any:
        """Perform an operation, as `Administration` says."""
        operation = BY_NAME[name]
        row = (name.partition(".")[0], *path.values())
        headers = {"Authorization": self._authorization}
        if operation.is_matched:
            headers["If-Match"] = self._tags.get(row) or self._read_tag(operation, path, row)
        if operation.method == "POST":
            headers["Idempotency-Key"] = secrets.token_urlsafe(18)
        sent = b"" if body is None else msgspec.json.encode(body)
        answer = self._send(operation, path, query, headers, sent)
        person = PersonPrompt("administration")
        while _asks_person(answer, person):
            time.sleep(_PAUSE_S)
            waiting = {**headers, "Prefer": f"wait={_WAIT_S}"}
            answer = self._send(operation, path, query, waiting, sent)
        if "etag" in answer.fields:
            self._tags[row] = answer.fields["etag"]
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self._explain(answer)
        try:
            return msgspec.json.decode(answer.body, type=operation.answer)
        except msgspec.MsgspecError:
            raise self._stranger() from None

    def list_all(
        self, name: str, query: Mapping[str, str] = NOTHING, limit: int | None = None
    ) -> Iterator[Any]:
        """Yield the items of all pages, as `Administration` says."""
        count, token = 0, None
        while True:
            size = _PAGE if limit is None else min(_PAGE, limit - count)
            paged = {**query, "page_size": str(size)}
            page = self.call(name, query=paged if token is None else {**paged, "page_token": token})
            yield from page.items
            count, token = count + len(page.items), page.next_page_token
            if token is None or (limit is not None and count >= limit):
                return

    def _read_tag(self, operation: Operation, path: Mapping[str, str], row: tuple[str, ...]) -> str:
        """Read the row that a change is about, and return its ETag."""
        self.call(f"{operation.name.partition('.')[0]}.get", path)
        return self._tags[row]

    def _send(
        self,
        operation: Operation,
        path: Mapping[str, str],
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> http.HttpAnswer:
        names = {name: quote(value, safe="") for name, value in path.items()}
        place = PREFIX + operation.path.format(**names)
        if query:
            place += f"?{urlencode(query)}"
        try:
            connection = ApiConnection(self._options, self._web.path)
            try:
                return connection.request(operation.method, place, body, headers)
            finally:
                connection.close()
        except TunnelError as error:
            raise StagedoorError(error.line) from None

    def _explain(self, answer: http.HttpAnswer) -> StagedoorError:
        """Return a problem as the error that the store would have raised."""
        try:
            problem = msgspec.json.decode(answer.body, type=Problem)
        except msgspec.MsgspecError:
            return self._stranger()
        line = clean(problem.mend or problem.detail, _LINE_CHARS)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            line += f"; log in: stagedoor login {self._web.url}"
        return _KINDS.get(answer.status, StagedoorError)(line)

    def _stranger(self) -> StagedoorError:
        return StagedoorError(
            f"what answers at {self._web.url} has no Stagedoor API of this version; check the address"
        )


def _asks_person(answer: http.HttpAnswer, person: PersonPrompt) -> bool:
    """Show the person what the gateway wants them to do, if it does. Return whether to ask it again."""
    if answer.status != HTTPStatus.FORBIDDEN:
        return False
    try:
        problem = msgspec.json.decode(answer.body, type=Problem)
    except msgspec.MsgspecError:
        return False
    return person.show({"step": problem.step})
