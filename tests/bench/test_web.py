"""The WebShell's benchmarks: what is pure of them."""

import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from benchmarks.web_stage import text_file
from load.relay import Relay
from load.tunnel import LoadError
from load.web_socket import TtydClient, WebClient
from page import replaced
from series import Result
from stagedoor.wire.terminal.codec import encode
from stagedoor.wire.terminal.frames import Mode, Notice, NoticeKind, Out, Welcome
from targets import Above, Below
from web import filled

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance-webshell.md"


def result() -> Result:
    made = Result({"processor": "one"}, quick=False)
    for value in (10.0, 30.0, 20.0):
        made.take("web_bulk", "cat of 100 MB", "stagedoor attach", "speed", "MB/s", value)
    return made


def test_a_visit_believes_only_what_goes_on_where_it_was() -> None:
    client = WebClient(0, "main")
    assert client._handle(encode(Welcome("one", 7, 0, 1024, Mode.MIRROR))) == 0
    assert client._handle(encode(Out(7, b"abc"))) == 3
    assert (client.attachment, client.seen, bytes(client.shown)) == ("one", 10, b"abc")
    for lost_or_repeated in (11, 9):
        with pytest.raises(LoadError, match="not 10"):
            client._handle(encode(Out(lost_or_repeated, b"d")))
    client.attachment = ""  # cut, and back
    with pytest.raises(LoadError, match="not 10"):
        client._handle(encode(Welcome("one", 7, 0, 1024, Mode.MIRROR)))


def test_a_visit_that_is_sent_away_says_why() -> None:
    with pytest.raises(LoadError, match="no grant"):
        WebClient(0, "main")._handle(encode(Notice(NoticeKind.DENIED, "no grant")))
    assert WebClient(0, "main")._handle(encode(Notice(NoticeKind.PROGRESS, "starting"))) == 0


def test_of_what_ttyd_sends_only_output_counts() -> None:
    client = TtydClient(0)
    assert [client._handle(each) for each in (b"1title", b"2{}", b"0shown")] == [0, 0, 5]
    assert bytes(client.shown) == b"shown"


def test_a_target_is_reached_by_its_median() -> None:
    about = ("speed", "web_bulk", "cat of 100 MB", "speed")
    words = [
        target.judge(result()).word
        for target in (
            Above(*about, 20, "stagedoor attach"),
            Above(*about, 21, "stagedoor attach"),
            Below(*about, 20, "stagedoor attach"),
            Below(*about, 19, "stagedoor attach"),
            Above(*about, 1, "nobody"),
        )
    ]
    assert words == ["reached", "missed", "reached", "missed", "not measured"]


def test_every_part_of_the_page_is_known_and_a_stranger_is_refused() -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = filled(page, result())
    assert "| stagedoor attach | 20.0 (10.0–30.0) |" in written
    assert filled(written, result()) == written
    with pytest.raises(ValueError, match="'nobody'"):
        replaced("<!-- bench:nobody -->\n<!-- bench:end -->", {"somebody": str})


def test_the_text_is_lines_and_as_long_as_it_is_to_be(tmp_path: Path) -> None:
    text = text_file(tmp_path, 100_000).read_bytes()
    assert len(text) == 100_000
    assert {51, 110} <= {len(line) + 1 for line in text.splitlines()[:1000]}


def test_a_table_that_was_not_measured_stays_on_the_page() -> None:
    page = "".join(
        f"<!-- bench:{name} -->\nold\n<!-- bench:end -->\n" for name in ("web_bulk", "web_echo")
    )
    written = filled(page, result())
    assert "stagedoor attach" in written
    assert "<!-- bench:web_echo -->\nold\n" in written


def test_a_relay_counts_what_it_passes_until_it_falls_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        relay = Relay(server.getsockname()[1])
        with socket.create_connection(("127.0.0.1", relay.port), 5) as near:
            far, _ = server.accept()
            with far:
                far.settimeout(5)
                near.sendall(b"up")
                assert far.recv(10) == b"up"
                far.sendall(b"down")
                assert near.recv(10) == b"down"
                assert (relay.up, relay.down) == (2, 4)
                relay.fall_silent()
                near.sendall(b"lost")
                far.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    far.recv(10)
                relay.close()
