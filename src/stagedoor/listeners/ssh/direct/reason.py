"""The reason for access: from a program's environment, or typed at a terminal before a shell has it."""

import asyncio
from collections.abc import Callable, Sequence

from stagedoor.listeners.ssh.direct.channel import DirectChannel
from stagedoor.listeners.ssh.direct.prompt import INTERRUPT_BYTE, LinePrompt
from stagedoor.model.access_request import MAX_REASON_CHARS

REASON_VARIABLE = b"STAGEDOOR_REASON"
"""The variable by which a program gives its reason (`ssh -o SetEnv=…`, ssh_config(5))."""


async def ask_reason(channels: Sequence[DirectChannel], question: str) -> str | None:
    """Return the reason, or None if none of `channels` has a terminal on which to ask `question`."""
    for channel in channels:
        if sent := channel.variables.get(REASON_VARIABLE):
            return sent.decode("utf-8", "replace")
    terminal = next((channel for channel in channels if channel.terminal is not None), None)
    return None if terminal is None else await _read_reason(terminal, question)


async def _read_reason(channel: DirectChannel, question: str) -> str:
    prompt, done = LinePrompt(MAX_REASON_CHARS), asyncio.Event()

    def read(keys: bytes) -> None:
        channel.show(prompt.feed(keys))
        if prompt.line is not None:
            done.set()

    channel.show(question.encode())
    channel.divert_keystrokes(read)
    try:
        await done.wait()
    finally:
        channel.divert_keystrokes(None)
    return prompt.line or ""


def watch_interrupt(channel: DirectChannel, leave: Callable[[], None]) -> None:
    """Call `leave` on the interrupt key, and drop other keys, since there is no shell to take them."""

    def read(keys: bytes) -> None:
        if INTERRUPT_BYTE in keys:
            leave()

    channel.divert_keystrokes(read)
