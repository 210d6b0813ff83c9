"""The names that leave the program: in stores, in the audit, in metrics, settings, commands and exit codes.

`stable-names.txt` has them, under a digest of its own: a rename that catches code, docs and this list alike
leaves the digest wrong. `python -m tests.docs.stable_names` adds what is new; a name that shall go stands on
the command line: `python -m tests.docs.stable_names Reason:no_app`. `tests/api/released.json` has the API's.
"""

import ast
import hashlib
import re
import sys
import textwrap
import typing
from collections.abc import Iterator

import click
import msgspec

from stagedoor.cli.app import stagedoor
from stagedoor.controller.metrics import METRICS as CONTROLLER_METRICS
from stagedoor.laptop import login_result
from stagedoor.laptop.tunnel import errors
from stagedoor.serve.metrics.definitions import METRICS as GATEWAY_METRICS
from stagedoor.settings.settings import Settings
from tests.docs.pages import ROOT

LIST = ROOT / "tests/docs/stable-names.txt"
ENUMERATION = re.compile(r"StrEnum|str, Enum")
WORD = re.compile(r"STAGEDOOR_[A-Z_]+|stagedoor\.dev/[a-z-]+")
ACTION = re.compile(
    r"[a-z][a-z-]*\.(?!(?:html|m?js|json|svg|png|pub|crt|log|toml|db|py)$)[a-z][a-z_-]+"
)
"""What the audit calls a change, an operation of the API, or a setting that a message names."""
FIELD = re.compile(r"[a-z][a-z0-9_]*")


def stable_names() -> set[str]:
    """Return the names that leave the program today, each as `kind:name`."""
    names = {*_settings(Settings, ""), *_commands(stagedoor, "command:stagedoor")}
    for metric in (*GATEWAY_METRICS, *CONTROLLER_METRICS):
        names.add(f"metric:{metric.name}")
        for label, values in metric.labels.items():
            names |= {
                f"metric:{metric.name}:{label}",
                *(f"label:{label}:{value}" for value in values),
            }
    names |= {f"exit:{code}" for code in {*errors.EXITS, *login_result.EXITS}}
    for file in (ROOT / "src/stagedoor").rglob("*.py"):
        names.update(_in_source(file.read_text(encoding="utf-8")))
    return {name.replace(" ", "-") for name in names}


def _settings(struct: type[msgspec.Struct], path: str) -> Iterator[str]:
    for field in msgspec.structs.fields(struct):
        yield f"setting:{path}{field.encode_name}"
        for kind in _structs(field.type):
            yield from _settings(kind, f"{path}{field.encode_name}.")


def _structs(kind: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for argument in typing.get_args(kind):
        yield from _structs(argument)


def _commands(command: click.Command, path: str) -> Iterator[str]:
    yield path
    for parameter in command.params:
        yield from (f"{path}:{o}" for o in parameter.opts if o.startswith("-"))
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _commands(inner, f"{path} {name}")


def _in_source(source: str) -> Iterator[str]:
    """Yield the values of enumerations and choices, the fields of events and hooks, and words in texts."""
    has_events = re.search(r"\bEvent\(|\bEventKind\.[A-Z]", source)
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ClassDef(bases=bases) if ENUMERATION.search(
                ", ".join(map(ast.unparse, bases))
            ):
                for entry in node.body:
                    if isinstance(entry, ast.Assign) and not node.name.startswith("_"):
                        yield f"{node.name}:{ast.literal_eval(entry.value)}"
            case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
                yield from (
                    f"choice:{part.value!s}"
                    for part in ast.walk(choices)
                    if isinstance(part, ast.Constant)
                )
            case ast.Constant(value=str(text)):
                yield from (f"word:{word}" for word in WORD.findall(text))
                if ACTION.fullmatch(text):
                    yield f"action:{text}"
            case ast.Dict(keys=keys) if has_events:
                texts = {str(key.value) for key in keys if isinstance(key, ast.Constant)}
                yield from (f"field:{text}" for text in texts if FIELD.fullmatch(text))


def read() -> tuple[set[str], bool]:
    """Return the names in the list, and whether its digest is that of the names."""
    head, *lines = LIST.read_text(encoding="utf-8").splitlines()
    names = set(" ".join(lines).split())
    return names, head == _digest(names)


def _digest(names: set[str]) -> str:
    return f"# sha256 of the sorted names: {hashlib.sha256(' '.join(sorted(names)).encode()).hexdigest()}"


def main() -> None:
    """Add what is new, and take off the names on the command line."""
    names, is_whole = read()
    gone = names - stable_names() - set(sys.argv[1:])
    if gone or not is_whole:
        sys.exit(
            f"{LIST.name}: renamed? take it back from git. Gone: {' '.join(sorted(gone)) or 'none'}"
        )
    names = stable_names()
    text = textwrap.fill(
        " ".join(sorted(names)), 110, break_long_words=False, break_on_hyphens=False
    )
    LIST.write_text(f"{_digest(names)}\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
