"""The transfer of one file between HTTP and sftp, in order, in bounded memory, at the slower side's pace."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from stat import S_ISDIR, S_ISREG
from typing import Any
from urllib.parse import quote

import asyncssh

from stagedoor.listeners.web.files.fields import (
    MAX_NAME_BYTES,
    MAX_PATH_BYTES,
    FilesError,
    Upload,
    escape_path,
    join,
)
from stagedoor.listeners.web.files.session import SftpSession
from stagedoor.upstream.connection import MAX_MESSAGE_CHARS
from stagedoor.wire.oneline import to_one_line

BLOCK_BYTES = 256 * 1024
AHEAD_BYTES = 4 * BLOCK_BYTES
"""The most bytes of a file that are requested or sent but not answered, enough to keep a fast line busy."""
MIN_REQUEST_BYTES = 32 * 1024
"""The size of reads and writes that every sftp server supports (draft-ietf-secsh-filexfer-02 §3)."""
MAX_ANSWERS_PER_BLOCK = 128
"""The most answers for one block, since a shell that sends a few bytes in each would keep our processor
busy."""
SILENT_S = 60.0
"""An upload that sends nothing for this long is ended. Its bytes so far are kept."""
BLOCK_S = 60.0
"""How long a shell may take for one block, seconds; slower would be less than about 4 KiB a second."""
OPEN_S = 15.0
MAX_ENTRIES = 1000
"""The most entries of a folder that the page lists."""
MAX_NAME_TRIES = 100
"""How many names are tried if a file's name is in use: `name`, `name (1)` and so on."""

Pieces = Callable[[], Awaitable[bytes | None]]
"""Return the next piece of an upload, None at its end. Raises ClientClosedError."""


@asynccontextmanager
async def explain_errors(path: bytes, doing: str) -> AsyncIterator[None]:
    """Turn sftp errors about `path` into a FilesError that users understand."""
    name = escape_path(path)
    try:
        yield
    except asyncssh.SFTPConnectionLost:
        raise
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        raise FilesError(404, f"there is no {name} in the shell") from None
    except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect):
        raise FilesError(403, f"you may not {doing} {name} in the shell") from None
    except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded) as error:
        said = to_one_line(error.reason, MAX_MESSAGE_CHARS)
        raise FilesError(507, f"there is no room for {name} in the shell ({said})") from None
    except asyncssh.SFTPError as error:
        # sftp version 3 has only the status Failure for a full disk, a quota and all else.
        said = to_one_line(error.reason, MAX_MESSAGE_CHARS)
        raise FilesError(500, f"the shell cannot {doing} {name} ({said})") from None
    except TimeoutError:
        raise FilesError(504, f"the shell did not {doing} {name} in time") from None


def request_bytes(limit: int) -> int:
    """Return the size of one read or write request to a shell that reports `limit` bytes."""
    return min(max(limit, MIN_REQUEST_BYTES), BLOCK_BYTES)


async def describe(session: SftpSession, path: bytes, *, lists: bool = False) -> dict[str, object]:
    """Return the real path, percent-encoded and for a user, with its kind and size.

    With `lists`, include the entries of a folder, at most `MAX_ENTRIES`, folders first.
    """
    async with explain_errors(path, "look at"), asyncio.timeout(OPEN_S):
        real = _encode_path(await session.sftp.realpath(path))
        if len(real) > MAX_PATH_BYTES:
            raise FilesError(
                502, f"the shell says that {escape_path(path)} is a path of {len(real)} bytes"
            )
        status = await session.sftp.stat(real)
        mode = status.permissions or 0
        kind = "file" if S_ISREG(mode) else "folder" if S_ISDIR(mode) else "other"
        entries = await _list(session, real) if lists and kind == "folder" else None
    about = {
        "path": quote(real),
        "shown": escape_path(real),
        "kind": kind,
        "size": status.size or 0,
    }
    return about if entries is None else {**about, "entries": entries}


async def _list(session: SftpSession, folder: bytes) -> list[dict[str, object]]:
    """Return a folder's entries. A link is followed only once the user opens it."""
    entries = []
    async for entry in session.sftp.scandir(folder):
        name = _encode_path(entry.filename)
        # No file system has such names, but the shell's server may be any program.
        if (
            name in (b"", b".", b"..")
            or b"/" in name
            or b"\0" in name
            or len(name) > MAX_NAME_BYTES
        ):
            continue
        is_folder = S_ISDIR(entry.attrs.permissions or 0)
        entries.append((not is_folder, name, entry.attrs.size or 0))
        if len(entries) == MAX_ENTRIES:
            break
    return [
        {"name": quote(name), "shown": escape_path(name), "folder": not is_file, "size": size}
        for is_file, name, size in sorted(entries)
    ]


async def open_to_read(
    session: SftpSession, path: bytes
) -> "tuple[asyncssh.SFTPClientFile, int, int]":
    """Open a regular file. Return it with its size and last change (seconds since the epoch)."""
    async with explain_errors(path, "read"), asyncio.timeout(OPEN_S):
        # Checked before it is opened, since opening a pipe would wait for a writer.
        mode = (await session.sftp.stat(path)).permissions or 0
        if S_ISDIR(mode):
            raise FilesError(
                409, f"{escape_path(path)} is a folder; pack it first: tar -czf FILE.tgz FOLDER"
            )
        if not S_ISREG(mode):
            raise FilesError(409, f"{escape_path(path)} is not a regular file")
        # With block_size=0 each read is one request, so that we can count them.
        file = await session.sftp.open(path, "rb", encoding=None, block_size=0)
        status = await file.stat()
    return file, status.size or 0, int(status.mtime or 0)


async def read_blocks(
    file: "asyncssh.SFTPClientFile", limit: int, start: int, end: int | None
) -> AsyncGenerator[bytes]:
    """Yield a file's content from `start` up to `end`, or to its end, reading some blocks ahead.

    `limit` is the number of bytes that the shell reports to read at once. Raises FilesError.
    """
    block = request_bytes(limit)
    reads: deque[tuple[int, asyncio.Task[bytes]]] = deque()
    at = start
    try:
        while True:
            while len(reads) * block < AHEAD_BYTES and (end is None or at < end):
                size = block if end is None else min(block, end - at)
                reads.append((size, asyncio.create_task(_read(file, size, at))))
                at += size
            if not reads:
                return
            size, task = reads.popleft()
            piece = await task
            if piece:
                yield piece
            if len(piece) < size:
                if end is not None:
                    raise FilesError(500, "the file became shorter while it was read")
                return
    finally:
        await _cancel(task for _, task in reads)


async def _read(file: asyncssh.SFTPClientFile, size: int, at: int) -> bytes:
    """Return `size` bytes, or fewer at the end of the file. Raises FilesError."""
    whole = b""
    try:
        async with asyncio.timeout(BLOCK_S):
            for _ in range(MAX_ANSWERS_PER_BLOCK):
                more = await file.read(size - len(whole), at + len(whole))
                assert isinstance(more, bytes), "the file is open without an encoding"
                whole += more
                if len(whole) > size:
                    raise FilesError(502, "the shell sent more of the file than was requested")
                if not more or len(whole) == size:
                    return whole
    except TimeoutError:
        late = f"the shell did not give {size} bytes of the file within {BLOCK_S:g} s"
        raise FilesError(504, late) from None
    raise FilesError(
        502, f"the shell sends the file in pieces of {len(whole) // MAX_ANSWERS_PER_BLOCK} bytes"
    )


async def begin(session: SftpSession, upload: Upload) -> int:
    """Create or resume the incomplete file. Return the offset to send from. Raises FilesError."""
    async with explain_errors(upload.folder, "write into"), asyncio.timeout(OPEN_S):
        if not S_ISDIR((await session.sftp.stat(upload.folder)).permissions or 0):
            raise FilesError(409, f"{escape_path(upload.folder)} is not a folder")
    async with explain_errors(join(upload.folder, upload.name), "write"), asyncio.timeout(OPEN_S):
        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT
        async with session.sftp.open(upload.part, flags, encoding=None) as file:
            has = (await file.stat()).size or 0
    # After an interruption, one of the last blocks may be missing though later ones were written.
    offset = 0 if has > upload.size else max(has - AHEAD_BYTES, 0)
    await _check_room(session, upload, upload.size - has)
    return offset


async def _check_room(session: SftpSession, upload: Upload, more: int) -> None:
    """Raise FilesError if the file system reports less free space than `more` bytes."""
    with suppress(asyncssh.SFTPError):
        async with asyncio.timeout(OPEN_S):
            system = await session.sftp.statvfs(upload.folder)
        free = (system.bavail or 0) * (system.frsize or system.bsize or 0)
        if free < more:
            raise FilesError(
                507,
                f"there is no room for {escape_path(upload.name)} in the shell: {more} bytes are needed, "
                f"{free} are free",
            )


async def write(session: SftpSession, upload: Upload, offset: int, pieces: Pieces) -> bytes | None:
    """Write an upload's pieces from `offset` on. Return the file's path if it is complete, else None.

    Blocks are written at their own offsets, so bytes that come twice after an interruption do no harm.
    Raises FilesError.
    """
    path = join(upload.folder, upload.name)
    async with explain_errors(path, "write"), asyncio.timeout(OPEN_S):
        size = request_bytes(session.sftp.limits.max_write_len)
        file = await session.sftp.open(
            upload.part, asyncssh.FXF_WRITE, encoding=None, block_size=size
        )
        has = (await file.stat()).size or 0
    if offset > has:
        raise FilesError(
            409, f"{escape_path(upload.name)} has {has} bytes, and cannot be continued at {offset}"
        )
    sent: deque[asyncio.Task[int]] = deque()
    try:
        block = bytearray()
        while True:
            piece = await pieces()
            block += piece or b""
            if offset + len(block) > upload.size:
                raise FilesError(400, f"more bytes came than the announced {upload.size}")
            if block and (piece is None or len(block) >= BLOCK_BYTES):
                sent.append(asyncio.create_task(file.write(bytes(block), offset)))
                offset += len(block)
                session.session.sent += len(block)
                block.clear()
            while sent and (piece is None or len(sent) * BLOCK_BYTES >= AHEAD_BYTES):
                async with explain_errors(path, "write"), asyncio.timeout(BLOCK_S):
                    await sent.popleft()
            if piece is None:
                break
    except FilesError as error:
        if error.status == 500:  # sftp's general Failure may be a full disk
            await _check_room(session, upload, max(upload.size - offset, BLOCK_BYTES))
        raise
    finally:
        await _cancel(sent)
    async with explain_errors(path, "write"), asyncio.timeout(BLOCK_S):
        await file.close()  # some file systems report a full disk only here
        return await _finish(session, upload) if offset == upload.size else None


async def _finish(session: SftpSession, upload: Upload) -> bytes:
    """Give a complete file its name, or the next free one. An existing file is never replaced."""
    for number in range(MAX_NAME_TRIES):
        path = upload.path(number)
        try:
            # Unlike a rename, a link cannot replace a file that was created meanwhile.
            await session.sftp.link(upload.part, path)
        except asyncssh.SFTPError:
            if await _is_there(session, path):
                continue
            await session.sftp.rename(upload.part, path)  # a file system without hard links
            return path
        await session.sftp.remove(upload.part)
        return path
    raise FilesError(
        409, f"{escape_path(upload.name)} and {MAX_NAME_TRIES - 1} names like it are taken"
    )


async def _is_there(session: SftpSession, path: bytes) -> bool:
    try:
        await session.sftp.lstat(path)
    except asyncssh.SFTPNoSuchFile:
        return False
    return True


async def drop(session: SftpSession, upload: Upload) -> None:
    """Remove an incomplete file, if it exists."""
    async with explain_errors(upload.part, "remove"), asyncio.timeout(OPEN_S):
        with suppress(asyncssh.SFTPNoSuchFile):
            await session.sftp.remove(upload.part)


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _encode_path(path: bytes | str) -> bytes:
    return path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
