"""The time from a key until its echo is shown."""

import contextlib
from collections.abc import Callable

from benchmarks.web_stage import Programs
from columns import Column, Table
from load import channel
from load.channel import typed
from load.web_browser import Page
from load.web_socket import TtydClient, WebClient, keystrokes, until_shown
from rounds import rounds
from series import percentile
from stage import Stage
from web_subjects import SOCKET, TTYD_SOCKET, WEB_ORDER

TABLE = Table(
    "web_echo",
    "Keystrokes",
    "terminal",
    (Column("p50", "ms", 2), Column("p95", "ms", 2)),
)
ECHO = "stty raw -echo; printf '!'; exec cat"
WIRE = "there and back"
PICTURE = "from the key to the picture"
_BLOCK = 50
_LETTERS = "abcdefghij"


def run(stage: Stage, programs: Programs) -> None:
    """Measure round trips of each client, and the time from key to picture of each page."""
    blocks, keys, repeats = (2, 10, 1) if stage.quick else (10, 50, 3)
    with contextlib.ExitStack() as stack:
        lines: dict[str, Callable[[int], list[float]]] = {}
        for name, argv in programs.commands().items():
            with stage.tolerating("web_echo", name):
                lines[name] = _of_command(stack.enter_context(typed([*argv, ECHO])))
        if programs.gateway is not None:
            lines[SOCKET] = _of_client(stack, WebClient(programs.gateway.web, "echo", ECHO), b"!")
        if programs.ttyd is not None:
            client = TtydClient(programs.ttyd.port)
            lines[TTYD_SOCKET] = _of_client(stack, client, b"ready>", ECHO)
        names = [name for name in WEB_ORDER if name in lines]
        for name in names:
            lines[name](_BLOCK)
        for _ in range(repeats):
            stage.report("web_echo: keystrokes")
            times: dict[str, list[float]] = {name: [] for name in names}
            for _, name in rounds(names, blocks):
                times[name] += lines[name](_BLOCK)
            for name, found in times.items():
                _take(stage, WIRE, name, found)
    for name in programs.browsers():
        with stage.tolerating("web_echo", name), contextlib.ExitStack() as stack:
            page = programs.page(name, "keys")
            if page is None:
                continue
            stack.callback(page.close)
            stage.report(f"web_echo: {name}")
            page.raw()
            shown = ""
            for _ in range(repeats):
                times_s = []
                for at in range(keys):
                    letter = _LETTERS[at % len(_LETTERS)]
                    shown = (shown + letter)[-8:]
                    times_s.append(page.key_s(letter, shown))
                    if len(times_s) % 50 == 49:
                        shown = _new_row(page)
                _take(stage, PICTURE, name, times_s)


def _new_row(page: Page) -> str:
    """Begin a new first row before the current one is full; return its text.

    `cat` in raw mode echoes its input, so blanks fill the rows; zellij would take an escape sequence for a
    key.
    """
    page.tab.enter()
    page.tab.type(" " * _BLOCK)
    page.until(page.first_row_empty)
    page.tab.enter()
    return ""


def _take(stage: Stage, case: str, name: str, seconds: list[float]) -> None:
    for column in TABLE.columns:
        value = percentile(seconds, float(column.measure[1:])) * 1e3
        stage.result.take("web_echo", case, name, column.measure, "ms", value)


def _of_command(line: channel.Channel) -> Callable[[int], list[float]]:
    return lambda count: channel.keystrokes(line, count)


def _of_client(
    stack: contextlib.ExitStack, client: WebClient | TtydClient, mark: bytes, command: str = ""
) -> Callable[[int], list[float]]:
    client.open()
    stack.callback(client.close)
    until_shown(client, mark)
    if command:
        # Its shell shows what is typed: the mark is made of two halves.
        client.type(command.replace("'!'", "'<''>'").encode() + b"\r")
        until_shown(client, b"<>")
    return lambda count: keystrokes(client, count)
