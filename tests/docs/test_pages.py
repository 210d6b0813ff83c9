"""The documentation holds: links lead somewhere, commands and settings exist, snippets parse."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import pytest

from stagedoor import __version__
from stagedoor.cli.app import stagedoor
from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.options import parse_argv
from stagedoor.model.errors import SettingsError
from stagedoor.model.event import EventKind
from stagedoor.settings.file import parse_settings
from stagedoor.settings.settings import Settings
from stagedoor.wire.http import answer
from tests.docs import pages
from tests.docs.pages import ROOT

CONNECT_MESSAGES = ROOT / "docs/how-to/connect-messages.md"
OTHER_CLIENTS = ROOT / "docs/how-to/other-clients.md"
OPERATE = ROOT / "docs/how-to/operate.md"
POSTGRESQL = ROOT / "docs/how-to/operate-postgresql.md"
JUMP_HOST = ROOT / "docs/how-to/jump-host.md"
DIRECT_LOGIN = ROOT / "docs/how-to/direct-login.md"
ACCESS_METHODS = ROOT / "docs/explanation/access-methods.md"
PERFORMANCE = ROOT / "docs/performance.md"
CONNECT_PATH = ROOT / "docs/explanation/connect-path.md"

PARSE = 'for file; do bash -n "$file"; done'


def wrong_with(arguments: list[str], *, whole: bool) -> str | None:
    """What the program would say of `stagedoor ARGUMENTS`; None if it would do it.

    Nothing is run. `whole` is False for a mention in prose, which may leave arguments out.
    """
    if arguments[:1] == ["tunnel"]:
        try:
            given, words = parse_argv(arguments[1:])
        except TunnelError as error:
            return error.line
        needs_target = whole and not given.keys() & {"--help", "--print-script"}
        return "no HOST" if needs_target and not words else None
    command: click.Command = stagedoor
    context = click.Context(command, info_name="stagedoor")
    rest = arguments
    while True:
        if "--help" in rest or "--version" in rest:
            return None
        try:
            values, rest, _ = command.make_parser(context).parse_args(list(rest))
        except click.UsageError as error:
            return error.format_message()
        if not isinstance(command, click.Group):
            break
        if not rest:
            needs_one = whole and not command.invoke_without_command
            return f"{command.name} needs a command" if needs_one else None
        found = command.get_command(context, rest[0])
        if found is None:
            return f"there is no command {rest[0]}"
        command, context, rest = found, click.Context(found, parent=context), rest[1:]
    if rest:
        return f"{command.name} takes no {rest[0]}"
    missing = [
        p.name
        for p in command.params
        if p.required and p.value_is_missing(values.get(p.name or ""))
    ]
    return f"{command.name} needs {missing}" if missing and whole else None


def test_every_command_in_a_snippet_exists_with_its_options() -> None:
    wrong = {
        (str(block), *arguments): said
        for block in pages.blocks("sh", "bash", "ssh-config")
        for arguments in pages.calls(block)
        if (said := wrong_with(arguments, whole=True)) is not None
    }
    assert wrong == {}


def test_every_command_named_in_prose_exists_with_its_options() -> None:
    wrong = {
        f"{pages.name(page)}: {span}": said
        for page in pages.PAGES
        for span in pages.spans(page)
        for arguments in pages.calls_in(span.replace(" …", ""))
        if (said := wrong_with(arguments, whole=False)) is not None
    }
    assert wrong == {}


def test_a_command_that_does_not_exist_would_be_found() -> None:
    assert wrong_with(["user", "add", "alice", "--groop", "dev"], whole=True)
    assert wrong_with(["user", "forget", "alice"], whole=True)
    assert wrong_with(["grant", "add", "user:alice"], whole=True)
    assert wrong_with(["session", "list", "alice"], whole=True)
    assert wrong_with(["tunnel", "--gatewey", "gw.example:8022", "app01.ssh"], whole=True)
    assert list(
        pages.calls_in("ssh -o 'ProxyCommand=stagedoor tunnel --x %h %p' a | stagedoor b")
    ) == [
        ["tunnel", "--x", "%h", "%p"],
        ["b"],
    ]


def test_every_settings_snippet_is_accepted() -> None:
    for block in pages.blocks("toml"):
        parse_settings(block.text, str(block))


def table_in(kind: Any) -> Any:
    """The table itself, where there may be several of it (`[[sso]]`)."""
    while args := get_args(kind):
        kind = args[0]
    return kind


def test_every_setting_named_in_prose_exists() -> None:
    tables = {
        table.name: {field.name for field in msgspec.structs.fields(table_in(table.type))}
        for table in msgspec.structs.fields(Settings)
        if table.name != "data_dir"
    }
    kinds = {kind.value for kind in EventKind}  # of audit events; some begin as a table does
    named = re.compile(r"([a-z]+)\.([a-z_]+)(?: = .*)?")
    unknown = [
        f"{pages.name(page)}: {span}"
        for page in pages.PAGES
        for span in pages.spans(page)
        if (match := named.fullmatch(span)) and match[1] in tables and span not in kinds
        if match[2] not in tables[match[1]]
    ]
    assert unknown == []


def test_pages_name_the_files_and_images_of_this_version() -> None:
    named = re.compile(r"stagedoor(?:[-_][a-z]+)*(?:[-_:]|, tag: )(\d+\.\d+\.\d+)")
    found = {
        (pages.name(page), version)
        for page in (*pages.PAGES, ROOT / "deploy/chart/README.md")
        for version in named.findall(pages.text(page))
    }
    assert {version for _, version in found} == {__version__}, found


def leads(page: Path, link: str) -> bool:
    """Return whether a link leads somewhere, and not back to its very page."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if anchor:
        return target.exists() and anchor in pages.anchors(target)
    return target.exists() and target != page


def test_every_link_leads_somewhere() -> None:
    links = [(page, link) for page in pages.PAGES for link in pages.links(page)]
    assert [(pages.name(page), link) for page, link in links if not leads(page, link)] == []


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs/README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in pages.links(index)}
    every = set((ROOT / "docs").rglob("*.md")) - set((ROOT / "docs/decisions").iterdir()) - {index}
    assert {str(file.relative_to(ROOT)) for file in every - linked} == set()


def test_every_decision_is_listed_by_its_number() -> None:
    folder = ROOT / "docs/decisions"
    rows = re.findall(
        r"^\| (\d+) \| .*\(([^()]+)\) \|$", pages.text(folder / "README.md"), re.MULTILINE
    )
    files = sorted(file.name for file in folder.glob("[0-9]*.md"))
    assert [(f"{int(number):04}", name) for number, name in rows] == [(n[:4], n) for n in files]


def test_every_package_is_in_contributing() -> None:
    table = "".join(
        "".join(row) for row in pages.table(ROOT / "CONTRIBUTING.md", "Where code belongs")
    )
    source = ROOT / "src/stagedoor"
    packages = {f"{file.parent.name}/" for file in source.glob("*/__init__.py")}
    assert {package for package in packages if f"`{package}" not in table} == set()


def test_every_shell_snippet_and_script_parses(tmp_path: Path) -> None:
    files = sorted((ROOT / "docs").rglob("*.sh"))
    for number, block in enumerate(pages.blocks("sh", "bash")):
        file = tmp_path / f"{number} of {block.page.name}"
        file.write_text(block.text, encoding="utf-8")
        files.append(file)
    done = subprocess.run(["bash", "-c", PARSE, "bash", *files], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs openssh-client")
def test_every_ssh_config_snippet_is_accepted_by_ssh(tmp_path: Path) -> None:
    for block in pages.blocks("ssh-config"):
        file = tmp_path / "config"
        file.write_text(block.text, encoding="utf-8")
        done = subprocess.run(
            ["ssh", "-G", "-F", str(file), "app01.ssh"], capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}: {done.stderr}"


def test_the_table_of_exit_codes_is_the_codes_own() -> None:
    rows = pages.table(CONNECT_MESSAGES, "Exit codes")
    assert {int(code): meaning for code, meaning in rows} == errors.EXITS


def test_the_table_of_http_statuses_is_the_codes_own() -> None:
    rows = pages.table(CONNECT_PATH, "What a refusal looks like")
    named = {int(number) for row in rows for number in row[0].split(",")}
    assert named == {status for status, _ in answer._STATUS.values()}


@pytest.mark.parametrize(
    ("page", "heading", "column"),
    [
        (CONNECT_MESSAGES, "What the lines mean", 0),
        (OPERATE, "When something is wrong", 0),
        (JUMP_HOST, "When it does not work", 0),
        (DIRECT_LOGIN, "When it does not work", 0),
        (POSTGRESQL, "When something fails", 1),
    ],
    ids=["connect", "operate", "jump-host", "direct-login", "postgresql"],
)
def test_every_message_explained_is_one_that_the_code_says(
    page: Path, heading: str, column: int
) -> None:
    """The parts of a message around `…` are in one line of the code, in their order."""
    code = "".join(
        file.read_text(encoding="utf-8") for file in sorted((ROOT / "src").rglob("*.py"))
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a message may go over several lines of source
    of_ssh = (
        "Could not resolve hostname",
        "Permission denied",
        "Host key verification",
        "Bad packet length",
        "Connection closed by UNKNOWN",
        "Received disconnect from",
        "Disconnected from",
        "kex_exchange_identification:",
        "remote port forwarding failed",
    )
    for row in pages.table(page, heading):
        for span in re.findall(r"`([^`]+)`", row[column]):
            if span.startswith((*of_ssh, "/")) or span.isdigit():
                continue
            parts = [part.strip() for part in re.split(r"…|^\d{3} ", span)]
            message = ".{0,200}?".join(re.escape(part) for part in parts if part)
            assert re.search(message, code), span


def test_nothing_is_installed_by_a_name_that_nobody_has_registered() -> None:
    """pip would ask the index for a bare `stagedoor`, and run whatever somebody has put there."""
    files = [*pages.PAGES, *(ROOT / "src").rglob("*.py"), *(ROOT / "deploy").rglob("*.md")]
    bare = re.compile(r"pip install (?:-\S+ )*['\"]?stagedoor\b")
    assert {pages.name(file) for file in files if bare.search(pages.text(file))} == set()


def test_every_cost_of_an_access_method_is_one_that_a_benchmark_printed() -> None:
    printed, shown = (
        re.findall(r"<!-- bench:ways -->\n(.*?)<!-- bench:end -->", pages.text(page), re.DOTALL)
        for page in (PERFORMANCE, ACCESS_METHODS)
    )
    assert len(printed) == 1
    assert re.search(r"[0-9]", printed[0])
    assert shown == printed


def test_the_unit_starts_a_command_that_exists_and_outwaits_the_drain() -> None:
    unit = (ROOT / "deploy/stagedoor.service").read_text(encoding="utf-8")
    values = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert wrong_with(values["ExecStart"].split()[1:], whole=True) is None
    assert int(values["TimeoutStopSec"]) > Settings().workers.drain_timeout_s + 20


def test_the_unit_tries_again_for_ever_but_not_with_wrong_settings() -> None:
    unit = (ROOT / "deploy/stagedoor.service").read_text(encoding="utf-8")
    values = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert values["StartLimitIntervalSec"] == "0"
    assert values["Restart"] == "on-failure"
    assert values["RestartPreventExitStatus"] == str(SettingsError("").exit_code)


def test_stock_clients_in_the_how_to_are_those_that_the_demo_drives() -> None:
    from acceptance.clients import CLIENTS

    named = {
        row[1].strip("`").split()[0] for row in pages.table(OTHER_CLIENTS, "One line for each")
    }
    assert named == {client.program for client in CLIENTS if client.program}


def test_no_sentence_of_the_settings_reference_is_cut() -> None:
    sections = pages.text(ROOT / "docs/reference/settings.md").split("\n## ")[1:]
    summaries = [section.split("\n\n")[1] for section in sections]
    assert [line for line in summaries if not line.startswith("|") and not line.endswith(".")] == []
