"""The demo's picture: what was printed stands in it, in order and in time."""

from xml.etree import ElementTree

from acceptance.screencast import (
    COLUMNS,
    COMMANDS,
    COUNT,
    LENGTH_S,
    ROWS,
    picture,
    timed,
    wrapped,
)
from tests.docs.pages import ROOT

SVG = "{http://www.w3.org/2000/svg}"


def test_every_line_appears_once_within_the_minute_and_the_last_ones_are_seen() -> None:
    steps = [(f"echo {number} <&> '", [f"\x1b[1m{number}\x1b[m", "x" * 250]) for number in range(9)]
    root = ElementTree.fromstring(picture(timed(steps)))
    rows = root.findall(f".//{SVG}text")
    assert [row.text for row in rows][:5] == ["$ echo 0 <&> '", "0", "x" * 100, "x" * 100, "x" * 50]
    begins = [row[0].attrib["keyTimes"].partition(";")[2] for row in rows]
    times = [float(begin) * LENGTH_S for begin in begins]
    assert times == sorted(times)
    assert times[-1] < LENGTH_S
    scroll = root.find(f".//{SVG}animateTransform")
    assert scroll is not None
    moves = scroll.attrib["values"].split(";")
    assert len(moves) == len(scroll.attrib["keyTimes"].split(";")) == len(rows) - ROWS + 2


def test_a_line_is_as_wide_as_the_terminal() -> None:
    assert wrapped("") == [""]
    assert all(len(part) <= COLUMNS for part in wrapped("y" * 1000))


def test_the_picture_in_the_readme_is_of_these_commands() -> None:
    shown = ElementTree.fromstring((ROOT / "docs/demo.svg").read_text(encoding="utf-8"))
    rows = "\n".join(row.text or "" for row in shown.findall(f".//{SVG}text"))
    for command in COMMANDS:
        assert f"$ {command}" in rows
    assert "/tmp/" not in rows.replace("app02.ssh:/tmp/", "").replace("/tmp/report.csv", "")


def test_the_picture_of_continuity_leaves_no_number_out() -> None:
    shown = ElementTree.fromstring((ROOT / "docs/explanation/continuity.svg").read_text("utf-8"))
    rows = [row.text or "" for row in shown.findall(f".//{SVG}text")]
    numbers = [int(row) for row in rows if row.isdecimal()]
    assert numbers == list(range(1, len(numbers) + 1))
    events = [row.strip() for row in rows if row.startswith("  ")]
    assert rows[0] == f"$ {COUNT}"
    assert events == [
        "the network is away",
        "the network is back",
        "stagedoor upgrade",
        "the new program serves",
    ]
