"""Messages to developers name no administrator's command and no setting, which are not theirs to use.

`Denial.with_fix` and `StagedoorError.with_fix` keep the two apart: `fix` is for the log and for
administrators. The test reads every text in the packages whose texts a developer may meet, every refusal
in the packages below them, the pages, their scripts and the kit.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec
import pytest

from stagedoor.cli.app import stagedoor
from stagedoor.settings.settings import Settings

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "stagedoor"

DEVELOPERS_COMMANDS = frozenset(
    (
        "attach",
        "completion",
        "doctor",
        "login",
        "logout",
        "ls",
        "run",
        "ssh-config",
        "tunnel",
        "whoami",
    )
)

SHOWN = (
    *(
        "authn",
        "authz",
        "client",
        "laptop",
        "listeners",
        "model",
        "session",
        "shells",
        "signin",
        "upstream",
    ),
    *("oidc/machine.py",),
)
"""All texts here may reach a developer, but for those of `LOGGED`."""

REFUSING = ("admin", "store")
"""Administrators' commands run what is here too; a developer meets only the refusals."""

REFUSALS = frozenset(("Denial", "RefusedError", "NotFoundError", "ConflictError"))

LOGGED = frozenset(
    (
        *("SettingsError", "UnavailableError", "Meta", "load_trust", "read_secret"),
        *(
            "warning",
            "error",
            "_log_refused",
            "_log_refusal",
            "_log_problem",
            "explain_sealed",
            "load_or_create",
        ),
    )
)
"""Functions whose texts, or calls whose arguments, are for administrators: they stop the start, describe a
setting, name it to what reads its file, or are logged. An auditor who has a key plays a sealed recording."""


def settings() -> Iterator[str]:
    """Yield each setting in a table, such as `web.share_s`."""

    def walk(kind: object, path: str) -> Iterator[str]:
        for part in (kind, *getattr(kind, "__args__", ())):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                for field in msgspec.structs.fields(part):
                    inner = f"{path}.{field.encode_name}" if path else field.encode_name
                    yield from [*walk(field.type, inner)] or [inner]
            elif part is not kind:
                yield from walk(part, path)

    return (path for path in walk(Settings, "") if "." in path)


ADMINISTRATORS = re.compile(
    r"\bstagedoor (?:{})\b|\[\[[a-z.]+\]\]|\b(?:{})\b".format(
        "|".join(set(stagedoor.list_commands(click.Context(stagedoor))) - DEVELOPERS_COMMANDS),
        "|".join(re.escape(path) for path in sorted(set(settings()))),
    )
)


def name_of(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def is_for_administrators(node: ast.AST) -> bool:
    """Return whether all texts in `node` are for administrators: logged, or called `fix`."""
    match node:
        case ast.Call(func=called):
            return name_of(called) in LOGGED
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name in LOGGED
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.keyword(arg=name):
            return name == "fix"
        case ast.Expr(value=ast.Constant()) | ast.arguments():
            return True  # a docstring, a default
    return False


def texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the texts in `node` that a developer may read, with their lines."""
    if is_for_administrators(node):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.Call) and name_of(node.func) == "with_fix":
        fix = 1 if len(node.args) == 2 else 2  # of an error, of a Denial
        children = [child for child in children if child is not node.args[fix]]
    for child in children:
        yield from texts(child)


def refusals(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            owner = called.value if isinstance(called, ast.Attribute) else called
            if name_of(owner) in REFUSALS:
                yield node


def modules(part: str) -> list[Path]:
    path = SOURCE / part
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def wrong(path: Path, shown: Iterable[tuple[int, str]]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {match[0]}"
        for line, text in shown
        if (match := ADMINISTRATORS.search(text))
    ]


@pytest.mark.parametrize("part", SHOWN)
def test_no_text_for_developers_names_a_command_or_setting_of_administrators(part: str) -> None:
    for path in modules(part):
        assert not wrong(path, texts(ast.parse(path.read_text())))


@pytest.mark.parametrize("part", REFUSING)
def test_no_refusal_does(part: str) -> None:
    for path in modules(part):
        for refusal in refusals(ast.parse(path.read_text())):
            assert not wrong(path, texts(refusal))


@pytest.mark.parametrize(
    "where",
    [
        "src/stagedoor/listeners/web/templates/*.html",
        "web/src/**/*.ts",
        "deploy/kit/source/**/*.[ch]",
    ],
)
def test_no_page_script_or_program_of_the_kit_does(where: str) -> None:
    files = sorted(ROOT.glob(where))
    assert files
    for path in files:
        assert not wrong(path, enumerate(path.read_text().splitlines(), start=1))


def test_a_text_that_does_is_seen() -> None:
    shown = (
        'Denial(Reason.NO_GRANT, f"no grant; run stagedoor grant add user:{name} (web.share_s)")'
    )
    assert wrong(SOURCE, texts(ast.parse(shown)))
    split = 'Denial.with_fix(Reason.NO_GRANT, "no grant", "stagedoor grant add", "see web.share_s")'
    [seen] = wrong(SOURCE, texts(ast.parse(split)))
    assert seen.endswith("web.share_s")
