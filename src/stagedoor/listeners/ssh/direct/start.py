"""The start of a program or a forward in a shell, with time limits."""

import asyncio
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import asyncssh

from stagedoor.listeners.ssh.direct.channel import DirectChannel, ShellSide
from stagedoor.recording.channel_audit import ChannelRequest
from stagedoor.recording.recorder import RecordingError
from stagedoor.upstream.connection import MAX_MESSAGE_CHARS, explain_hang_up
from stagedoor.wire.oneline import to_one_line

PROGRAM_S = 20.0
"""The longest that the shell may take to start a program."""
FORWARD_S = 75.0
"""The longest that the shell may take to connect: a TCP connection may need all its retries."""
ENVIRONMENT_LIMIT = 64
"""The most variables that are accepted from one client."""
Environment = dict[bytes | str, bytes | str]


def select_environment(asked: Mapping[bytes, bytes], patterns: Iterable[str]) -> Environment:
    """Return the first 64 variables whose names match one of `patterns` (as in sshd's AcceptEnv).

    The shell's sshd has its own allow list.
    """
    allowed: Environment = {}
    patterns = tuple(patterns)
    for name, value in asked.items():
        text = name.decode("ascii", "replace")
        if len(allowed) < ENVIRONMENT_LIMIT and any(
            fnmatchcase(text, pattern) for pattern in patterns
        ):
            allowed[name] = value
    return allowed


async def run_program(
    shell: asyncssh.SSHClientConnection,
    request: ChannelRequest,
    channel: DirectChannel,
    patterns: Iterable[str],
    with_agent: bool,
    side: ShellSide,
) -> None:
    """Run a program in the shell, with the variables that match `patterns`."""
    downstream = channel.downstream
    assert isinstance(downstream, asyncssh.SSHServerChannel), "a program's channel is open"
    if with_agent and (path := downstream.get_agent_path()) is not None:
        # asyncssh takes this only as an option of the whole connection, which is already open.
        shell._agent_forward_path = path
    environment = select_environment(downstream.get_environment_bytes(), patterns)
    if request.original:
        # PROTOCOL.certkeys: the forced command finds the request in a variable, as under sshd(8).
        environment[b"SSH_ORIGINAL_COMMAND"] = request.original.encode()
    term_type, term_size, term_modes = channel.terminal or (None, None, None)
    async with asyncio.timeout(PROGRAM_S):
        await shell.create_session(
            lambda: side,
            # asyncssh would take an empty command for none, and start a shell.
            (request.what or " ") if request.kind == "exec" else None,
            subsystem=request.what if request.kind == "subsystem" else None,
            env=environment,
            request_pty="force" if channel.terminal else False,
            term_type=term_type,
            term_size=term_size,
            term_modes=term_modes,
            encoding=None,
        )


async def connect_forward(
    shell: asyncssh.SSHClientConnection, host: str, port: int, side: ShellSide
) -> None:
    """Connect from the shell to `host` and `port`."""
    async with asyncio.timeout(FORWARD_S):
        await shell.create_connection(lambda: side, host, port)


def explain_not_started(
    error: Exception, request: ChannelRequest, name: str, shell: asyncssh.SSHClientConnection
) -> tuple[str, int] | None:
    """Return why the shell `name` did not start this, and the code for a forward.

    Return None if the error is a bug in Stagedoor.
    """
    is_forward = request.kind == "forward"
    code = asyncssh.OPEN_CONNECT_FAILED
    match error:
        case RecordingError():
            why = f"this session has to be recorded and cannot be ({error}); report this to an administrator"
        case asyncssh.ChannelOpenError() if is_forward:
            why, code = to_one_line(error.reason, MAX_MESSAGE_CHARS), error.code
        case asyncssh.ChannelOpenError(code=asyncssh.OPEN_REQUEST_PTY_FAILED):
            why = f"the shell {name} gives no terminal; try without (ssh -T)"
        case asyncssh.ChannelOpenError(code=asyncssh.OPEN_REQUEST_SESSION_FAILED):
            what = "command" if request.kind == "exec" else f"{request.kind} {request.what}"
            why = f"the shell {name} refused this {what.strip()}"
        case asyncssh.ChannelOpenError():
            why = f"the shell {name} opened no channel: {to_one_line(error.reason, MAX_MESSAGE_CHARS)}"
        case TimeoutError():
            limit_s = FORWARD_S if is_forward else PROGRAM_S
            why = f"the shell {name} did not answer within {limit_s:g} s"
        case asyncssh.Error() | OSError():
            why = explain_hang_up(name, error)
        case _ if shell.is_closed():  # asyncssh fails if it is lost while a channel is opened
            why = explain_hang_up(name, None)
        case _:
            return None
    return why, code
