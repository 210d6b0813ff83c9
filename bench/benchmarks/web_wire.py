"""The bytes on the wire of a terminal, and the server's memory with one page."""

import contextlib

from benchmarks.web_stage import Programs, text_file
from columns import Column, Table
from load.relay import Relay
from measure import proportional_kib
from stage import Stage

TABLE = Table(
    "web_wire",
    "Bytes on the line, and the server's memory",
    "terminal",
    (
        Column("the page, nothing cached", "KiB", 0),
        Column("a key, both ways", "bytes", 0),
        Column("a byte of output", "bytes", 2),
        Column("memory of the server, one page", "MiB", 0),
    ),
)
CASE = "one terminal"
_KEYS = "abcdefghij"


def run(stage: Stage, programs: Programs) -> None:
    """Measure each page behind a relay that counts bytes."""
    size = 2_000_000
    path = text_file(stage.new_folder("wire"), size)
    for name in programs.browsers():
        stage.report(f"web_wire: {name}")
        with stage.tolerating("web_wire", name), contextlib.ExitStack() as stack:
            relay = Relay(programs.port(name))
            stack.callback(relay.close)
            page = programs.page(name, "wire", relay.port)
            assert page is not None, "it is a subject"
            stack.callback(page.close)

            def take(measure: str, unit: str, value: float, name: str = name) -> None:
                stage.result.take("web_wire", CASE, name, measure, unit, value)

            before = relay.up + relay.down
            page.load_all()
            take("the page, nothing cached", "KiB", (relay.up + relay.down - before) / 1024)
            before = relay.down
            page.cat_s(path, "end")
            take("a byte of output", "bytes", (relay.down - before) / size)
            page.raw()
            before = relay.up + relay.down
            for at in range(len(_KEYS)):
                page.key_s(_KEYS[at], _KEYS[: at + 1])
            take("a key, both ways", "bytes", (relay.up + relay.down - before) / len(_KEYS))
            memory = proportional_kib(programs.servers(name)) / 1024
            take("memory of the server, one page", "MiB", memory)
