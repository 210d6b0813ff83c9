"""The pages, taken apart: code blocks, code spans, links, headings, tables."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADMINISTRATION = tuple(
    ROOT / f"docs/how-to/{name}.md"
    for name in (
        *("administrator", "users-and-grants", "ssh-servers", "ssh-listener"),
        *("tls-and-networks", "operate"),
    )
)
"""The administrator's pages, in the order in which their commands work on a bare machine."""
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

FENCE = re.compile(r"^```([a-z-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{name(self.page)}: {self.text.strip().splitlines()[0][:50]}"


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", text(page))


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in one of these languages."""
    return [
        Block(page, language, body)
        for page in PAGES
        for language, body in FENCE.findall(text(page))
        if language in languages
    ]


def spans(page: Path) -> list[str]:
    """What stands between single backticks, as one line each."""
    return [" ".join(span.split()) for span in _SPAN.findall(prose(page))]


def links(page: Path) -> list[str]:
    """The targets of links and pictures that lead to another place in this repository."""
    found = _LINK.findall(prose(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        candidate, count = slug, 0
        while candidate in found:
            count += 1
            candidate = f"{slug}-{count}"
        found.add(candidate)
    return found


def table(page: Path, heading: str) -> list[list[str]]:
    """The rows, head left out, of the first table below a heading."""
    below = text(page).partition(f"# {heading}\n")[2]
    assert below, f"{name(page)} has no heading {heading!r}"
    lines = []
    for line in below.splitlines():
        if line.startswith("|"):
            lines.append(line)
        elif lines or line.startswith("#"):
            break
    assert len(lines) > 2, f"{name(page)} has no table below {heading!r}"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def calls(block: Block) -> Iterator[list[str]]:
    """Every `stagedoor …` in a block of shell or ssh_config: its arguments."""
    if block.language == "ssh-config":
        for line in block.text.splitlines():
            keyword, _, command = line.strip().partition(" ")
            if keyword == "ProxyCommand":
                yield from calls_in(command)
        return
    for command in commands(block):
        yield from calls_in(command)


def commands(block: Block) -> Iterator[str]:
    """The commands in a block of shell, each with all of its lines."""
    pending = ""
    for line in block.text.replace("\\\n", " ").splitlines():
        pending += line
        try:
            shlex.split(pending, comments=True)
        except ValueError:  # a quotation that goes over several lines
            pending += "\n"
            continue
        if pending.strip():
            yield pending
        pending = ""
    assert not pending, f"an open quotation in {block}"


def calls_in(line: str) -> Iterator[list[str]]:
    """Every `stagedoor …` in a line of shell, those in a quoted ProxyCommand included."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if "ProxyCommand=" in word:
            yield from calls_in(word.partition("ProxyCommand=")[2])
        if set(word) <= set("();<>|&"):
            if command and command[0].rpartition("/")[2] == "stagedoor":
                yield command[1:]
            command = []
            continue
        command.append(word)
        if command[0] == "sudo":
            command = []
