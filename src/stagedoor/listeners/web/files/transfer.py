"""Bytes of one file, between HTTP and sftp: in order, in bounded memory, at the slower side's pace."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from stat import S_ISDIR, S_ISREG
from typing import Any
from urllib.parse import quote

import asyncssh

from stagedoor.listeners.web.files.fields import MAX_PATH_BYTES, FilesError, Upload, join, shown
from stagedoor.listeners.web.files.session import SftpSession
from stagedoor.upstream.connection import SAID_CHARS
from stagedoor.wire.oneline import one_line

BLOCK_BYTES = 256 * 1024
AHEAD_BYTES = 4 * BLOCK_BYTES
"""Of a file, asked for or sent and not answered yet: as much as keeps a fast line busy."""
LEAST_REQUEST_BYTES = 32 * 1024
"""So much at once every sftp server reads and writes (draft-ietf-secsh-filexfer-02 §3)."""
ANSWERS = 128
"""So many for one block, and no more: a shell that gives a few bytes each time would cost us a processor."""
SILENT_S = 60.0
"""An upload that sends nothing for so long is over; what has come of it stays."""
BLOCK_S = 60.0
"""A shell that takes longer for a block has stopped: that would be 4 KiB a second at most."""
OPEN_S = 15.0
TAKEN = 100
"""So many names that are taken already are tried: `name (1)` and on."""

Pieces = Callable[[], Awaitable[bytes | None]]
"""Return the next piece of an upload, None at its end. Raises ClientClosedError."""


@asynccontextmanager
async def speaking_of(path: bytes, doing: str) -> AsyncIterator[None]:
    """Turns what sftp says of `path` into a FilesError that a person understands."""
    name = shown(path)
    try:
        yield
    except asyncssh.SFTPConnectionLost:
        raise
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        raise FilesError(404, f"there is no {name} in the shell") from None
    except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect):
        raise FilesError(403, f"you may not {doing} {name} in the shell") from None
    except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded) as error:
        said = one_line(error.reason, SAID_CHARS)
        raise FilesError(507, f"there is no room for {name} in the shell ({said})") from None
    except asyncssh.SFTPError as error:
        # The sftp that all speak has one word, Failure, for a full disk, a quota and the rest.
        said = one_line(error.reason, SAID_CHARS)
        raise FilesError(500, f"the shell cannot {doing} {name} ({said})") from None
    except TimeoutError:
        raise FilesError(504, f"the shell did not {doing} {name} in time") from None


def request_bytes(limit: int) -> int:
    """What is read or written by one request to a shell that says it takes `limit` bytes."""
    return min(max(limit, LEAST_REQUEST_BYTES), BLOCK_BYTES)


async def about(session: SftpSession, path: bytes) -> dict[str, str | int]:
    """What is at `path`: where that is in the shell, percent-encoded and for a person, and what."""
    async with speaking_of(path, "look at"), asyncio.timeout(OPEN_S):
        real = _bytes(await session.sftp.realpath(path))
        if len(real) > MAX_PATH_BYTES:
            raise FilesError(
                502, f"the shell says that {shown(path)} is a path of {len(real)} bytes"
            )
        found = await session.sftp.stat(real)
    mode = found.permissions or 0
    kind = "file" if S_ISREG(mode) else "folder" if S_ISDIR(mode) else "other"
    return {"path": quote(real), "shown": shown(real), "kind": kind, "size": found.size or 0}


async def open_to_read(
    session: SftpSession, path: bytes
) -> "tuple[asyncssh.SFTPClientFile, int, int]":
    """The file, its size, and when it was changed (seconds since the epoch)."""
    async with speaking_of(path, "read"), asyncio.timeout(OPEN_S):
        # Asked before it is opened: to open a pipe would wait for somebody who writes into it.
        mode = (await session.sftp.stat(path)).permissions or 0
        if S_ISDIR(mode):
            raise FilesError(
                409, f"{shown(path)} is a folder; pack it first: tar -czf FILE.tgz FOLDER"
            )
        if not S_ISREG(mode):
            raise FilesError(409, f"{shown(path)} is no regular file")
        # A read is one request each (block_size=0), so that we count them.
        file = await session.sftp.open(path, "rb", encoding=None, block_size=0)
        found = await file.stat()
    return file, found.size or 0, int(found.mtime or 0)


async def blocks(
    file: "asyncssh.SFTPClientFile", limit: int, start: int, end: int | None
) -> AsyncGenerator[bytes]:
    """What a file holds from `start` up to `end`, or until it ends; some of it is read ahead.

    `limit`: as many bytes as the shell says that it gives at once. Raises FilesError.
    """
    block = request_bytes(limit)
    asked: deque[tuple[int, asyncio.Task[bytes]]] = deque()
    at = start
    try:
        while True:
            while len(asked) * block < AHEAD_BYTES and (end is None or at < end):
                size = block if end is None else min(block, end - at)
                asked.append((size, asyncio.create_task(_read(file, size, at))))
                at += size
            if not asked:
                return
            size, task = asked.popleft()
            piece = await task
            if piece:
                yield piece
            if len(piece) < size:
                if end is not None:
                    raise FilesError(500, "the file became shorter while it was read")
                return
    finally:
        await _drop(task for _, task in asked)


async def _read(file: asyncssh.SFTPClientFile, size: int, at: int) -> bytes:
    """`size` bytes, or fewer at the end of the file."""
    whole = b""
    try:
        async with asyncio.timeout(BLOCK_S):
            for _ in range(ANSWERS):
                more = await file.read(size - len(whole), at + len(whole))
                assert isinstance(more, bytes), "it was opened without an encoding"
                whole += more
                if len(whole) > size:
                    raise FilesError(502, "the shell gives more of the file than it was asked for")
                if not more or len(whole) == size:
                    return whole
    except TimeoutError:
        late = f"the shell did not give {size} bytes of the file within {BLOCK_S:g} s"
        raise FilesError(504, late) from None
    raise FilesError(502, f"the shell gives the file in pieces of {len(whole) // ANSWERS} bytes")


async def begin(session: SftpSession, upload: Upload) -> int:
    """Make room for a file, or find what has come of it; returns the offset to go on from."""
    async with speaking_of(upload.folder, "write into"), asyncio.timeout(OPEN_S):
        if not S_ISDIR((await session.sftp.stat(upload.folder)).permissions or 0):
            raise FilesError(409, f"{shown(upload.folder)} is no folder")
    async with speaking_of(join(upload.folder, upload.name), "write"), asyncio.timeout(OPEN_S):
        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT
        async with session.sftp.open(upload.part, flags, encoding=None) as file:
            has = (await file.stat()).size or 0
    # When a line is cut, some of the last blocks may be there and one before them not.
    offset = 0 if has > upload.size else max(has - AHEAD_BYTES, 0)
    await _room(session, upload, upload.size - has)
    return offset


async def _room(session: SftpSession, upload: Upload, more: int) -> None:
    """Raises FilesError if the file system has less room than that, as far as it tells."""
    with suppress(asyncssh.SFTPError):
        async with asyncio.timeout(OPEN_S):
            system = await session.sftp.statvfs(upload.folder)
        free = (system.bavail or 0) * (system.frsize or system.bsize or 0)
        if free < more:
            raise FilesError(
                507,
                f"there is no room for {shown(upload.name)} in the shell: {more} bytes are to come, "
                f"{free} are free",
            )


async def take(session: SftpSession, upload: Upload, offset: int, pieces: Pieces) -> bytes | None:
    """Write what comes, from `offset` on; the path once the file is whole, None if more is to come.

    Blocks are written at their own offsets: what comes twice, of a line that was cut, is the same.
    """
    path = join(upload.folder, upload.name)
    async with speaking_of(path, "write"), asyncio.timeout(OPEN_S):
        size = request_bytes(session.sftp.limits.max_write_len)
        file = await session.sftp.open(
            upload.part, asyncssh.FXF_WRITE, encoding=None, block_size=size
        )
        has = (await file.stat()).size or 0
    if offset > has:
        raise FilesError(409, f"{shown(upload.name)} has {has} bytes, and cannot go on at {offset}")
    sent: deque[asyncio.Task[int]] = deque()
    try:
        block = bytearray()
        while True:
            piece = await pieces()
            block += piece or b""
            if offset + len(block) > upload.size:
                raise FilesError(400, f"more than the {upload.size} bytes came that were announced")
            if block and (piece is None or len(block) >= BLOCK_BYTES):
                sent.append(asyncio.create_task(file.write(bytes(block), offset)))
                offset += len(block)
                session.sent += len(block)
                block.clear()
            while sent and (piece is None or len(sent) * BLOCK_BYTES >= AHEAD_BYTES):
                async with speaking_of(path, "write"), asyncio.timeout(BLOCK_S):
                    await sent.popleft()
            if piece is None:
                break
    except FilesError as error:
        if error.status == 500:  # what has no word of its own may be a full disk
            await _room(session, upload, max(upload.size - offset, BLOCK_BYTES))
        raise
    finally:
        await _drop(sent)
    async with speaking_of(path, "write"), asyncio.timeout(BLOCK_S):
        await file.close()  # where a file system tells of a full disk only now
        return await _finish(session, upload) if offset == upload.size else None


async def _finish(session: SftpSession, upload: Upload) -> bytes:
    """Give a whole file its name, or the next that is free: nothing is ever replaced."""
    for number in range(TAKEN):
        path = upload.path(number)
        try:
            # A link, unlike a rename, cannot replace what has come there meanwhile.
            await session.sftp.link(upload.part, path)
        except asyncssh.SFTPError:
            if await _is_there(session, path):
                continue
            await session.sftp.rename(upload.part, path)  # a file system without hard links
            return path
        await session.sftp.remove(upload.part)
        return path
    raise FilesError(409, f"{shown(upload.name)} and {TAKEN - 1} names like it are taken")


async def _is_there(session: SftpSession, path: bytes) -> bool:
    try:
        await session.sftp.lstat(path)
    except asyncssh.SFTPNoSuchFile:
        return False
    return True


async def drop(session: SftpSession, upload: Upload) -> None:
    """Remove what has come of a file that is not wanted any more; fine if nothing has."""
    async with speaking_of(upload.part, "remove"), asyncio.timeout(OPEN_S):
        with suppress(asyncssh.SFTPNoSuchFile):
            await session.sftp.remove(upload.part)


async def _drop(tasks: Iterable[asyncio.Task[Any]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _bytes(path: bytes | str) -> bytes:
    return path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
