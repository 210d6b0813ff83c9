"""The modules that may make the values of the flow, read off the syntax tree of the whole package.

A listener that could make a grant, or reach a stage past the flow, could start in the middle.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import stagedoor

PACKAGE = Path(stagedoor.__file__).parent
MAKERS = {
    "Identity": ("authn", "authz"),
    "Grant": ("authz",),
    "ReadyShell": ("session/flow.py",),
    "OpenedSession": ("audit",),
    "EnteredSession": ("session/flow.py",),
    "ShellSession": ("upstream/session.py",),
}
"""Each value, and the packages or modules that may make one."""
STAGES = {"authenticator", "authoriser", "shells", "ledger", "connector", "registry"}
"""Fields of `Flow` that no other module may reach through a flow."""


def modules() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text("utf-8"))


def made(root: ast.AST) -> Iterator[str]:
    """Yield the names of the values that are made, under whatever name they were imported."""
    names = {name: name for name in MAKERS}
    for node in ast.walk(root):
        if isinstance(node, ast.ImportFrom):
            names |= {
                alias.asname: alias.name
                for alias in node.names
                if alias.asname and alias.name in MAKERS
            }
    for node in ast.walk(root):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in names:
                yield names[called.id]
            elif isinstance(called, ast.Attribute) and called.attr in MAKERS:
                yield called.attr


def reached(root: ast.AST) -> Iterator[str]:
    """Stages that are reached for as attributes of `flow` or `_flow`."""
    for node in ast.walk(root):
        if isinstance(node, ast.Attribute) and node.attr in STAGES:
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name.strip("_") == "flow":
                yield ast.unparse(node)


def test_each_value_is_made_by_its_own_stage_only() -> None:
    strangers = [
        (module, name)
        for module in modules()
        for name in made(tree(module))
        if not module.startswith(tuple(MAKERS[name]))
    ]
    assert strangers == []


def test_listeners_ask_the_flow_and_reach_for_nothing_behind_it() -> None:
    listeners = [module for module in modules() if module.startswith("listeners/")]
    assert [what for module in listeners for what in reached(tree(module))] == []


def test_the_reading_finds_what_it_looks_for() -> None:
    assert list(made(tree("authz/decide.py"))) == ["Grant"]
    assert list(made(tree("session/flow.py"))).count("EnteredSession") == 1
    smuggled = ast.parse(
        "from stagedoor.model.grant import Grant as G\nG(1)\nsession.EnteredSession(2)"
    )
    assert list(made(smuggled)) == ["Grant", "EnteredSession"]
    assert list(reached(ast.parse("self._flow.authoriser.authorise(a, b)"))) == [
        "self._flow.authoriser"
    ]
