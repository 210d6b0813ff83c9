"""The speed at which a terminal shows a flood of output, and its CPU time in the gateway."""

import contextlib
import os
import time

from benchmarks.web_stage import Programs, text_file
from columns import Column, Table
from load.channel import typed
from load.tunnel import LoadError
from load.upstream import CHUNK
from load.web_browser import Page
from load.web_socket import TtydClient, until_shown
from rounds import rounds
from stage import Stage
from web_subjects import SSH, TTYD, TTYD_SOCKET

TABLE = Table(
    "web_bulk",
    "`cat` of a large file",
    "terminal",
    (
        Column("speed", "MB/s", 1, against=TTYD),
        Column("CPU of the gateway", "ms/MB", 1),
    ),
)
READY = "stty raw -echo; printf '!'; head -c 1 >/dev/null; exec cat {}"


def run(stage: Stage, programs: Programs) -> None:
    """Measure `cat` of a large file in each terminal."""
    size, repeats = (4_000_000, 1) if stage.quick else (100_000_000, 2)
    case = f"cat of {size / 1e6:.0f} MB"
    path = text_file(stage.new_folder("text"), size)
    with contextlib.ExitStack() as stack:
        pages: dict[str, Page] = {}
        for name in programs.browsers():
            with stage.tolerating("web_bulk", name):
                page = programs.page(name, "bulk")
                if page is not None:
                    stack.callback(page.close)
                    page.cat_s(text_file(stage.new_folder("warm"), 2_000_000), "warm")
                    pages[name] = page
        subjects = [*programs.commands(), *([TTYD_SOCKET] if programs.ttyd else []), *pages]
        for number, name in rounds(subjects, repeats):
            if stage.has_failed("web_bulk", name):
                continue
            stage.report(f"web_bulk: {name}, round {number + 1}")
            with stage.tolerating("web_bulk", name):
                used = programs.cpu_s(name)
                if name in pages:
                    seconds = pages[name].cat_s(path, f"done{number}")
                elif name == TTYD_SOCKET:
                    seconds = _ttyd_s(programs, str(path), size)
                else:
                    seconds = _command_s([*programs.commands()[name], READY.format(path)], size)
                stage.result.take("web_bulk", case, name, "speed", "MB/s", size / 1e6 / seconds)
                if name != SSH:
                    cost = (programs.cpu_s(name) - used) / (size / 1e6) * 1e3
                    stage.result.take("web_bulk", case, name, "CPU of the gateway", "ms/MB", cost)
            if name in pages and stage.has_failed("web_bulk", name):
                pages[name].leave()  # or it would go on beside the next measurement


def _command_s(argv: list[str], size: int) -> float:
    with typed(argv) as channel:
        begin = time.perf_counter()
        os.write(channel.stdin, b"g")
        left = size
        while left:
            read = len(os.read(channel.stdout, CHUNK))
            if not read:
                raise LoadError(f"ended with {left} bytes left")
            left -= read
        return time.perf_counter() - begin


def _ttyd_s(programs: Programs, path: str, size: int) -> float:
    assert programs.ttyd is not None, "it is a subject"
    client = TtydClient(programs.ttyd.port).open()
    try:
        until_shown(client, b"ready>")
        # The mark is typed in two halves, since the shell echoes its input.
        client.type(f"stty raw -echo; printf '<''>'; head -c 1 >/dev/null; cat {path}\r".encode())
        until_shown(client, b"<>")
        begin = time.perf_counter()
        client.type(b"g")
        left = size
        while left > 0:
            left -= client.take()
        return time.perf_counter() - begin
    finally:
        client.close()
