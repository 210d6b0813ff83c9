"""A client of a gateway's HTTP API for administration, with this machine's login."""

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

import msgspec

from stagedoor.client.attach.secret_prompt import PersonPrompt
from stagedoor.client.contexts import Context
from stagedoor.laptop.login_files import find_login_options
from stagedoor.laptop.login_web import GatewayWeb
from stagedoor.laptop.tunnel import http
from stagedoor.laptop.tunnel.errors import NO_ANSWER, TunnelError, clean
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.tunnel.secret import find_secret
from stagedoor.laptop.web import WebConnection
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError, StagedoorError
from stagedoor.model.units import MIB
from stagedoor.wire.api.inputs import Input
from stagedoor.wire.api.operation import Operation
from stagedoor.wire.api.operations import BY_NAME, PREFIX
from stagedoor.wire.api.port import NOTHING
from stagedoor.wire.api.types import Problem
from stagedoor.wire.oneline import clean_lines

_PAGE_ITEMS = 100
_MAX_PAGES = 10_000
"""The limit of pages in a list: a million items."""
_KINDS: Mapping[int, type[StagedoorError]] = {
    404: NotFoundError,
    409: ConflictError,
    422: RefusedError,
}
_LINE_CHARS = 1000
_PIECE_BYTES = MIB
_LENGTH_DIGITS = 15
"""The limit of digits in a file's length."""
_PAUSE_S = 0.5
_WAIT_S = 15
"""How long the gateway may wait for a proof of presence before it answers and the client asks again."""


class ApiConnection(WebConnection):
    """A connection to the API, which has larger answers than the rest of the web."""

    body_limit = 64 * MIB
    answer_s = 120.0
    """In seconds: enough for the gateway to apply a large set of files."""

    def fetch_file(self, path: str, fields: Mapping[str, str], file: BinaryIO) -> http.HttpAnswer:
        """GET a file and write it into `file`. Return the answer, which has a body only if it is a refusal.

        Raises TunnelError, and OSError if `file` cannot be written.
        """
        answer = self._answer("GET", path, fields)
        if answer.status != HTTPStatus.OK:
            return self.read_body(answer)
        size = answer.fields.get("content-length", "")
        if not (size.isascii() and size.isdigit() and len(size) < _LENGTH_DIGITS):
            raise TunnelError(NO_ANSWER, f"{self.wire.name} sent a file without its length")
        left = int(size)
        while left > 0:
            deadline = time.monotonic() + self.answer_s
            try:
                piece = b"".join(http.receive(self.wire, min(left, _PIECE_BYTES), deadline))
            except OSError as error:
                line = f"{self.wire.name} hung up before the file was complete ({error.strerror or error})"
                raise TunnelError(NO_ANSWER, line) from None
            if not piece:
                line = f"{self.wire.name} hung up before the file was complete"
                raise TunnelError(NO_ANSWER, line)
            left -= file.write(piece)
        return answer


class ApiAdministration:
    """An `Administration` over the API of a context's gateway."""

    def __init__(self, context: Context) -> None:
        """Find this machine's login at the gateway. Raises StagedoorError if there is none."""
        self._tags: dict[tuple[str, ...], str] = {}
        """The last ETag of each row, by resource and path."""
        try:
            self._web = GatewayWeb(context.gateway, context.ca_file)
            values = {"--gateway": self._web.origin}
            values |= find_login_options(values, os.environ)
            if context.ca_file:
                values["--ca-file"] = context.ca_file
            self._options = Options(values, ["gateway"], dict(os.environ), "the context")
            # The default token file may be for another gateway: do not send its token to this one.
            secret = find_secret(self._options, default_file=False)
        except TunnelError as error:
            raise StagedoorError(error.line) from None
        if secret is None:
            raise StagedoorError(
                f"this machine is not logged in at {self._web.url}; run: stagedoor login {self._web.url}"
            )
        self._authorization = http.encode_basic(f"{self._options.user}:{secret.value}")

    @property
    def is_shared(self) -> bool:
        """False, since the API does not report it."""
        return False

    def call(
        self,
        name: str,
        path: Mapping[str, str] = NOTHING,
        query: Mapping[str, str] = NOTHING,
        body: Input | None = None,
    ) -> Any:
        """Perform an operation. See `Administration.call`."""
        operation = BY_NAME[name]
        row = (name.partition(".")[0], *path.values())
        headers = {}
        if operation.is_matched:
            headers["If-Match"] = self._tags.get(row) or self._read_tag(operation, path, row)
        if operation.method == "POST":
            headers["Idempotency-Key"] = secrets.token_urlsafe(18)
        data = b"" if body is None else msgspec.json.encode(body)
        target = _format_target(operation, path, query)

        def ask(connection: ApiConnection, fields: Mapping[str, str]) -> http.HttpAnswer:
            return connection.request(operation.method, target, data, fields)

        answer = self._ask(ask, headers)
        if "etag" in answer.fields:
            self._tags[row] = answer.fields["etag"]
        try:
            return _decode(answer.body, operation.answer)
        except msgspec.MsgspecError:
            raise self._make_version_error() from None

    def open_file(self, name: str, path: Mapping[str, str]) -> BinaryIO:
        """Download a file into a temporary file. See `Administration.open_file`."""
        target = _format_target(BY_NAME[name], path, NOTHING)
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            self._ask(lambda connection, fields: connection.fetch_file(target, fields, file), {})
            file.seek(0)
        except OSError as error:
            file.close()
            raise StagedoorError(f"the download cannot be stored: {error.strerror}") from None
        except StagedoorError:
            file.close()
            raise
        return file

    def list_all(
        self, name: str, query: Mapping[str, str] = NOTHING, limit: int | None = None
    ) -> Iterator[Any]:
        """Yield the items of all pages. See `Administration.list_all`."""
        count, token = 0, None
        for _ in range(_MAX_PAGES):
            size = _PAGE_ITEMS if limit is None else min(_PAGE_ITEMS, limit - count)
            fields = {**query, "page_size": str(size)}
            if token is not None:
                fields["page_token"] = token
            page = self.call(name, query=fields)
            yield from page.items
            count, token = count + len(page.items), page.next_page_token
            if token is None or (limit is not None and count >= limit):
                return
        raise StagedoorError(f"{self._web.url} sends a list without an end")

    def _read_tag(self, operation: Operation, path: Mapping[str, str], row: tuple[str, ...]) -> str:
        """Read the row that `operation` changes, and return its ETag."""
        self.call(f"{operation.name.partition('.')[0]}.get", path)
        return self._tags[row]

    def _ask(
        self,
        ask: Callable[[ApiConnection, Mapping[str, str]], http.HttpAnswer],
        headers: Mapping[str, str],
    ) -> http.HttpAnswer:
        """Send a request and return the answer. Raises StagedoorError if the gateway refuses it.

        Repeat the request while the gateway waits for the administrator's proof of presence.
        """
        fields = {"Authorization": self._authorization, **headers}
        answer = self._send(ask, fields)
        prompt = PersonPrompt("administration")
        while _show_hint(answer, prompt):
            time.sleep(_PAUSE_S)
            answer = self._send(ask, {**fields, "Prefer": f"wait={_WAIT_S}"})
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise self._explain(answer)
        return answer

    def _send(
        self,
        ask: Callable[[ApiConnection, Mapping[str, str]], http.HttpAnswer],
        fields: Mapping[str, str],
    ) -> http.HttpAnswer:
        try:
            with closing(ApiConnection(self._options, self._web.path)) as connection:
                return ask(connection, fields)
        except TunnelError as error:
            raise StagedoorError(error.line) from None

    def _explain(self, answer: http.HttpAnswer) -> StagedoorError:
        """Return the error that the store would have raised for a problem."""
        try:
            problem = msgspec.json.decode(answer.body, type=Problem)
        except msgspec.MsgspecError:
            return self._make_version_error()
        line = clean(problem.fix or problem.detail, _LINE_CHARS)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            line += f"; log in: stagedoor login {self._web.url}"
        return _KINDS.get(answer.status, StagedoorError)(line)

    def _make_version_error(self) -> StagedoorError:
        return StagedoorError(
            f"{self._web.url} does not serve this version of Stagedoor's API; check the address"
        )


def _decode(body: bytes, kind: Any) -> Any:
    """Decode an answer as `kind`, and replace text that would control a terminal. Raises MsgspecError."""
    # Printable ASCII without escapes decodes to printable text.
    if body.isascii() and b"\\" not in body and b"\x7f" not in body:
        return msgspec.json.decode(body, type=kind)
    return msgspec.convert(_clean(msgspec.json.decode(body)), kind)


def _clean(value: Any) -> Any:
    match value:
        case str():
            return clean_lines(value)
        case list():
            return [_clean(item) for item in value]
        case dict():
            return {clean_lines(name): _clean(item) for name, item in value.items()}
    return value


def _format_target(operation: Operation, path: Mapping[str, str], query: Mapping[str, str]) -> str:
    names = {name: quote(value, safe="") for name, value in path.items()}
    target = PREFIX + operation.path.format(**names)
    return f"{target}?{urlencode(query)}" if query else target


def _show_hint(answer: http.HttpAnswer, prompt: PersonPrompt) -> bool:
    """Show what the administrator has to do, if the answer says so. Return True to repeat the request."""
    if answer.status != HTTPStatus.FORBIDDEN:
        return False
    try:
        problem = msgspec.json.decode(answer.body, type=Problem)
    except msgspec.MsgspecError:
        return False
    return prompt.show({"step": problem.step})
