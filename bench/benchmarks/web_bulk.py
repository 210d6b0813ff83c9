"""How fast does a terminal take what a program floods it with, and what does it cost the gateway?"""

import contextlib
import os
import time

from benchmarks.web_stage import House, text_file
from columns import Column, Table
from load.channel import typed
from load.tunnel import LoadError
from load.upstream import CHUNK
from load.web_browser import Page
from load.web_socket import TtydVisit, until_shown
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


def run(stage: Stage, house: House) -> None:
    size, repeats = (4_000_000, 1) if stage.quick else (100_000_000, 2)
    case = f"cat of {size / 1e6:.0f} MB"
    path = text_file(stage.new_folder("text"), size)
    with contextlib.ExitStack() as stack:
        pages: dict[str, Page] = {}
        for name in house.browsers():
            with stage.tolerating("web_bulk", name):
                page = house.page(name, "bulk")
                if page is not None:
                    stack.callback(page.close)
                    page.cat_s(text_file(stage.new_folder("warm"), 2_000_000), "warm")
                    pages[name] = page
        subjects = [*house.commands(), *([TTYD_SOCKET] if house.ttyd else []), *pages]
        for number, name in rounds(subjects, repeats):
            if stage.has_failed("web_bulk", name):
                continue
            stage.tell(f"web_bulk: {name}, round {number + 1}")
            with stage.tolerating("web_bulk", name):
                used = house.cpu_s(name)
                if name in pages:
                    seconds = pages[name].cat_s(path, f"done{number}")
                elif name == TTYD_SOCKET:
                    seconds = _ttyd_s(house, str(path), size)
                else:
                    seconds = _command_s([*house.commands()[name], READY.format(path)], size)
                stage.result.take("web_bulk", case, name, "speed", "MB/s", size / 1e6 / seconds)
                if name != SSH:
                    cost = (house.cpu_s(name) - used) / (size / 1e6) * 1e3
                    stage.result.take("web_bulk", case, name, "CPU of the gateway", "ms/MB", cost)
            if name in pages and stage.has_failed("web_bulk", name):
                pages[name].leave()  # else it goes on beside the others


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


def _ttyd_s(house: House, path: str, size: int) -> float:
    assert house.ttyd is not None, "it is a subject"
    visit = TtydVisit(house.ttyd.port).open()
    try:
        until_shown(visit, b"ready>")
        # Its shell shows what is typed: the mark is made of two halves.
        visit.type(f"stty raw -echo; printf '<''>'; head -c 1 >/dev/null; cat {path}\r".encode())
        until_shown(visit, b"<>")
        begin = time.perf_counter()
        visit.type(b"g")
        left = size
        while left > 0:
            left -= visit.take()
        return time.perf_counter() - begin
    finally:
        visit.close()
