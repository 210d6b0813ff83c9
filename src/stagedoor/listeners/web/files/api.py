"""Uploads to a shell and downloads from it, for the terminal's page.

    GET    /api/files/APP?path=          download a file, or a part of it (Range)
    POST   /api/files/APP?path=          describe what is at the path, as JSON; with `list`, its entries
    POST   /api/files/APP/upload?…       start or resume an upload: {"offset": N}
    PATCH  /api/files/APP/upload?…       send bytes from `at` on; {"name": …} once it is complete
    DELETE /api/files/APP/upload?…       drop an incomplete upload

An upload is identified by `folder`, `name`, `size` and an `id` that the page chooses. The cookie
authenticates each request, which must come from one of our pages, and each request is a session of the flow.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from stagedoor.listeners.web.errors import ClientClosedError, answer_refusal
from stagedoor.listeners.web.files.fields import (
    FilesError,
    Upload,
    describe_attachment,
    escape_path,
    join,
    make_validators,
    parse_query_fields,
    read_number,
    read_path,
    read_upload,
)
from stagedoor.listeners.web.files.session import (
    FilesDeniedError,
    SftpSession,
    open_sftp_session,
)
from stagedoor.listeners.web.files.transfer import (
    SILENT_S,
    begin,
    describe,
    drop,
    open_to_read,
    read_blocks,
    write,
)
from stagedoor.listeners.web.guard import RequestGuard, make_web_login_origin
from stagedoor.listeners.web.shell_access import ShellAccess
from stagedoor.listeners.web.sign_in.cookies import identify_browser
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.identity import Identity
from stagedoor.model.target import Target
from stagedoor.signin.passes import PassService
from stagedoor.wire.http.fields import UnsatisfiableError, parse_range
from stagedoor.wire.target import parse_login

_KEPT_NOT_SHOWN = "sandbox; default-src 'none'; frame-ancestors 'none'"


class Files:
    """The routes of files. Belongs to one event loop."""

    def __init__(self, guard: RequestGuard, passes: PassService, access: ShellAccess) -> None:
        self._guard = guard
        self._passes = passes
        self._access = access
        self.routes: list[BaseRoute] = [
            Route("/api/files/{app}", _Asgi(self._serve_file), methods=["GET", "POST"]),
            Route(
                "/api/files/{app}/upload", _Asgi(self._upload), methods=["POST", "PATCH", "DELETE"]
            ),
        ]

    # The user and the app.

    async def _admit(self, request: Request) -> tuple[Identity, Target] | Denial:
        source = self._guard.find_source(request)
        record_denial, origin = self._access.flow.record_denial, make_web_login_origin(source)
        denial = self._guard.check_source(request) or self._check_own_page(request)
        if denial is not None:
            return record_denial(denial, origin)
        target = parse_login(request.path_params["app"])
        if target is None:
            return record_denial(Denial(Reason.NO_APP, "there is no app of that name"), origin)
        identity = await identify_browser(self._guard, self._passes, request)
        if isinstance(identity, Denial):
            return record_denial(identity, origin, None, target)
        return identity, target

    def _check_own_page(self, request: Request) -> Denial | None:
        """Refuse a request unless a page of this gateway sent it.

        Browsers send an Origin with every method except GET and HEAD. For these, Fetch Metadata or the
        Referer names the page; the page of another site can forge neither.
        """
        if request.method in ("GET", "HEAD") and "origin" not in request.headers:
            site = request.headers.get("sec-fetch-site")
            own_pages = f"{self._guard.find_own_origin(request)}/"
            # `none` is sent by the browser itself when it resumes an interrupted download.
            is_by_us = request.headers.get("referer", "").startswith(own_pages)
            if site == "same-origin" or (site in (None, "none") and is_by_us):
                return None
        return self._guard.check_own_page(request)

    @asynccontextmanager
    async def _open_session(self, request: Request) -> AsyncIterator[SftpSession]:
        admitted = await self._admit(request)
        if isinstance(admitted, Denial):
            raise FilesDeniedError(admitted)
        source = self._guard.find_source(request)
        async with open_sftp_session(self._access, source, *admitted) as session:
            yield session

    # Downloads.

    async def _serve_file(self, request: Request, send: Send) -> Response | None:
        fields = parse_query_fields(request.scope["query_string"])
        path, lists = read_path(fields), "list" in fields
        async with self._open_session(request) as session:
            if request.method == "POST":
                return JSONResponse(await describe(session, path, lists=lists))
            await self._download(request, send, session, path)
            return None

    async def _download(
        self, request: Request, send: Send, session: SftpSession, path: bytes
    ) -> None:
        file, size, changed_at = await open_to_read(session, path)
        headers = {
            "content-type": "application/octet-stream",
            "content-disposition": describe_attachment(path),
            "content-security-policy": _KEPT_NOT_SHOWN,
            **make_validators(size, changed_at, self._access.flow.now()),
        }
        field = request.headers.get("range")
        if request.headers.get("if-range", headers.get("etag")) != headers.get("etag"):
            field = None  # the file has changed, so it is sent whole (RFC 9110 §13.1.5)
        try:
            wanted = parse_range(field, size) if "etag" in headers else None
        except UnsatisfiableError:
            raise FilesError(416, f"the file has {size} bytes", size) from None
        start, end = (wanted.first, wanted.last + 1) if wanted else (0, size)
        if wanted:
            headers["content-range"] = wanted.header
        # Files in /proc report size 0 but have content.
        is_size_unknown = size == 0
        if not is_size_unknown:
            headers["content-length"] = str(end - start)
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        status = 206 if wanted else 200
        await send({"type": "http.response.start", "status": status, "headers": raw})
        if request.method != "HEAD":
            limit = session.sftp.limits.max_read_len
            pieces = read_blocks(file, limit, start, None if is_size_unknown else end)
            try:
                await self._send_pieces(request, send, session, pieces)
            except BaseException:
                session.record_file_event(path, whole=False)
                raise
            session.record_file_event(path)
        await send({"type": "http.response.body", "body": b""})

    async def _send_pieces(
        self, request: Request, send: Send, session: SftpSession, pieces: AsyncGenerator[bytes]
    ) -> None:
        """Send one block after the other, so that a slow client slows the reading down."""
        gone = asyncio.create_task(_until_gone(request))
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    if gone.done():
                        raise ClientClosedError
                    session.session.received += len(piece)
        finally:
            gone.cancel()

    # Uploads.

    async def _upload(self, request: Request, _: Send) -> Response:
        fields = parse_query_fields(request.scope["query_string"])
        upload = read_upload(fields)
        async with self._open_session(request) as session:
            if request.method == "POST":
                return JSONResponse({"offset": await begin(session, upload)})
            if request.method == "DELETE":
                await drop(session, upload)
                session.record_file_event(upload.part, "remove")
                return JSONResponse({})
            return await self._write(request, session, upload, read_number(fields, "at"))

    async def _write(
        self, request: Request, session: SftpSession, upload: Upload, at: int
    ) -> Response:
        more = True

        async def pieces() -> bytes | None:
            nonlocal more
            if not more:
                return None
            try:
                async with asyncio.timeout(SILENT_S):
                    message = await request.receive()
            except TimeoutError:
                raise ClientClosedError from None
            if message["type"] == "http.disconnect":
                raise ClientClosedError
            more = message.get("more_body", False)
            body: bytes = message.get("body", b"")
            return body

        try:
            path = await write(session, upload, at, pieces)
        except BaseException:
            session.record_file_event(join(upload.folder, upload.name), whole=False)
            raise
        session.record_file_event(path or join(upload.folder, upload.name), whole=path is not None)
        if path is None:
            raise FilesError(400, f"{escape_path(upload.name)} is not complete yet")
        return JSONResponse({"name": escape_path(path.rpartition(b"/")[2])})


class _Asgi:
    """An ASGI application whose handler may send its answer itself, piece by piece.

    An error becomes the answer if nothing has been sent yet.
    """

    def __init__(self, answer: Callable[[Request, Send], Awaitable[Response | None]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI defines it."""
        request, started = Request(scope, receive), False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            answer = await self._answer(request, watched)
        except FilesDeniedError as error:
            answer = answer_refusal(error.denial)
        except FilesError as error:
            answer = JSONResponse({"message": str(error)}, error.status)
            if error.size is not None:
                answer.headers["content-range"] = f"bytes */{error.size}"
        except ClientClosedError:
            answer = JSONResponse({"message": "the upload stopped sending"}, 408)
        if started or answer is None:
            return  # a partial file cannot be taken back, so the connection is cut
        if answer.status_code >= 400:
            # The rest of an upload is not read.
            answer.headers["connection"] = "close"
        await answer(scope, receive, send)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
