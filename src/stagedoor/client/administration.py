"""The administration of a gateway over its HTTP API, with this machine's login."""

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

_PAGE = 100
"""The items of a page."""
_MOST_PAGES = 10_000
"""The pages of a list: a million items."""
_KINDS: Mapping[int, type[StagedoorError]] = {
    404: NotFoundError,
    409: ConflictError,
    422: RefusedError,
}
_LINE_CHARS = 1000
_PIECE_BYTES = MIB
_MOST_DIGITS = 15
"""The digits of a file's length."""
_PAUSE_S = 0.5
_WAIT_S = 15
"""How long the gateway may wait for a person before it answers; the client then asks again."""


class ApiConnection(WebConnection):
    """One connection to the API, whose pages are longer than other answers."""

    body_limit = 64 * MIB
    answer_s = 120.0
    """Longer than it takes to apply the files of a large set."""

    def fetch_file(self, path: str, fields: Mapping[str, str], file: BinaryIO) -> http.HttpAnswer:
        """GET a file, and write it into `file` unless it is refused. Raises TunnelError, OSError."""
        answer = self._answer("GET", path, fields)
        if answer.status != HTTPStatus.OK:
            return self.read_body(answer)
        size = answer.fields.get("content-length", "")
        if not (size.isascii() and size.isdigit() and len(size) < _MOST_DIGITS):
            raise TunnelError(NO_ANSWER, f"{self.wire.name} does not say how long the file is")
        left = int(size)
        while left > 0:
            by = time.monotonic() + self.answer_s
            piece = b"".join(http.receive(self.wire, min(left, _PIECE_BYTES), by))
            if not piece:
                line = f"{self.wire.name} hung up before the file was complete"
                raise TunnelError(NO_ANSWER, line)
            left -= file.write(piece)
        return answer


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
            # The default token file is for another gateway, which this one may not learn.
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
        headers = {}
        if operation.is_matched:
            headers["If-Match"] = self._tags.get(row) or self._read_tag(operation, path, row)
        if operation.method == "POST":
            headers["Idempotency-Key"] = secrets.token_urlsafe(18)
        sent = b"" if body is None else msgspec.json.encode(body)
        place = _make_place(operation, path, query)

        def ask(connection: ApiConnection, fields: Mapping[str, str]) -> http.HttpAnswer:
            return connection.request(operation.method, place, sent, fields)

        answer = self._ask(ask, headers)
        if "etag" in answer.fields:
            self._tags[row] = answer.fields["etag"]
        try:
            return _decode(answer.body, operation.answer)
        except msgspec.MsgspecError:
            raise self._stranger() from None

    def open_file(self, name: str, path: Mapping[str, str]) -> BinaryIO:
        """Download a file into one that has no name, as `Administration` says."""
        place = _make_place(BY_NAME[name], path, NOTHING)
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            self._ask(lambda connection, fields: connection.fetch_file(place, fields, file), {})
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
        """Yield the items of all pages, as `Administration` says."""
        count, token = 0, None
        for _ in range(_MOST_PAGES):
            size = _PAGE if limit is None else min(_PAGE, limit - count)
            paged = {**query, "page_size": str(size)}
            page = self.call(name, query=paged if token is None else {**paged, "page_token": token})
            yield from page.items
            count, token = count + len(page.items), page.next_page_token
            if token is None or (limit is not None and count >= limit):
                return
        raise StagedoorError(f"{self._web.url} sends a list without an end")

    def _read_tag(self, operation: Operation, path: Mapping[str, str], row: tuple[str, ...]) -> str:
        """Read the row that a change is about, and return its ETag."""
        self.call(f"{operation.name.partition('.')[0]}.get", path)
        return self._tags[row]

    def _ask(
        self,
        ask: Callable[[ApiConnection, Mapping[str, str]], http.HttpAnswer],
        headers: Mapping[str, str],
    ) -> http.HttpAnswer:
        """Send a request, again while the gateway waits for the person. Raises StagedoorError if refused."""
        fields = {"Authorization": self._authorization, **headers}
        answer = self._send(ask, fields)
        person = PersonPrompt("administration")
        while _asks_person(answer, person):
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
            f"{self._web.url} does not serve this version of Stagedoor's API; check the address"
        )


def _decode(body: bytes, kind: Any) -> Any:
    """Return an answer without text that controls a terminal, whatever the gateway sends.

    Raises MsgspecError.
    """
    # Without escapes, a document of printable ASCII has printable text only.
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


def _make_place(operation: Operation, path: Mapping[str, str], query: Mapping[str, str]) -> str:
    names = {name: quote(value, safe="") for name, value in path.items()}
    place = PREFIX + operation.path.format(**names)
    return f"{place}?{urlencode(query)}" if query else place


def _asks_person(answer: http.HttpAnswer, person: PersonPrompt) -> bool:
    """Show the person what the gateway wants them to do, if it does. Return whether to ask it again."""
    if answer.status != HTTPStatus.FORBIDDEN:
        return False
    try:
        problem = msgspec.json.decode(answer.body, type=Problem)
    except msgspec.MsgspecError:
        return False
    return person.show({"step": problem.step})
