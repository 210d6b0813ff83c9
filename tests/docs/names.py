"""Find public names that say no action or no thing.

`python -m tests.docs.names` takes names that were mended off the list.
The name of a public function begins with a verb, or is a question (`is_`, `has_`, `may_`, `can_`) or a
conversion (`from_`, `to_`, `of`, `with_`, `by_`). No public function or field is named by a participle or
pronoun alone. `names-left.txt` has the names from before; it may only shrink.
"""

import ast
import asyncio
import io
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import asyncssh

from tests.docs.pages import ROOT

LEFT = ROOT / "tests/docs/names-left.txt"
VERBS = ROOT / "tests/docs/verbs.txt"
QUESTIONS = {"is", "has", "may", "can"}
CONVERSIONS = {"from", "to", "of", "with", "by"}
BARE = re.compile(
    r"asked|came|each|found|given|gone|how|kept|made|met|once|one|said|shown|taken|told|tried|wanted"
    r"|what(?:ever)?|who(?:ever|m|se)?|why"
)
"""Participles and pronouns that say nothing by themselves."""

_BASES = (
    *(asyncio.BufferedProtocol, asyncio.Protocol, asyncio.Transport, io.RawIOBase),
    *(asyncssh.SFTPServer, asyncssh.SSHClient, asyncssh.SSHClientSession, asyncssh.SSHServer),
    *(asyncssh.SSHServerConnection, asyncssh.SSHServerSession, asyncssh.SSHTCPSession),
    asyncssh.SSHServerChannel,
)
INHERITED = {name for base in _BASES for name in dir(base)}
"""Names that a library asks for."""


def words(path: Path = LEFT) -> set[str]:
    """Return the words of a list, without its comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {word for line in lines if not line.startswith("#") for word in line.split()}


def offenders() -> set[str]:
    """Return the public names of the package that break a rule."""
    verbs = words(VERBS) | QUESTIONS | CONVERSIONS
    names = set()
    for file in (ROOT / "src/stagedoor").rglob("*.py"):
        for name, is_function in _public(ast.parse(file.read_text(encoding="utf-8")).body):
            has_verb = name.partition("_")[0] in verbs or name in INHERITED
            if BARE.fullmatch(name) or (is_function and not has_verb):
                names.add(name)
    return names


def _public(body: list[ast.stmt]) -> Iterator[tuple[str, bool]]:
    """Yield each public function and field, and whether it is a function."""
    for node in body:
        match node:
            case ast.ClassDef(name=name) if not name.startswith("_"):
                yield from _public(node.body)
            case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
                yield name, False
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
                if name.startswith("_") or ".command(" in marks or ".group(" in marks:
                    continue
                yield name, "property" not in marks and "setter" not in marks


def main() -> None:
    """Write the list without the names that are no more."""
    head = [line for line in LEFT.read_text("utf-8").splitlines() if line.startswith("#")]
    left = textwrap.wrap(" ".join(sorted(words() & offenders())), 110)
    LEFT.write_text("\n".join([*head, *left]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
