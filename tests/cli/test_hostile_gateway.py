"""Commands over the API of a hostile gateway: nothing that it answers controls a terminal."""

import io
import json
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from stagedoor.cli.app import stagedoor
from stagedoor.client import administration
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.http import HttpAnswer
from stagedoor.laptop.tunnel.options import Options
from stagedoor.wire.api.operations import BY_NAME
from tests.cli.test_contexts import COMMANDS, HERE, home, sample
from tests.laptop.scripted_gateway import ScriptedGateway

EVIL = "\x1b]52;c;cHduZWQ=\x07\x9b2J\u202e\x00\x08x\n\x1b[Aok"
REMOTE = [name for name in COMMANDS if name not in HERE]
__all__ = ["home"]


def make_evil(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a value of a JSON schema that has hostile text wherever any text may be."""
    if "$ref" in schema:
        return make_evil(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return make_evil(schema["anyOf"][0], definitions)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object" if "properties" in schema:
            given = schema["properties"].items()
            return {name: make_evil(inner, definitions) for name, inner in given}
        case "object":
            return {EVIL: make_evil(schema.get("additionalProperties", {}) or {}, definitions)}
        case "array":
            return [make_evil(schema.get("items", {}) or {}, definitions)]
        case "integer" | "number":
            return 1
        case "boolean":
            return False
        case "null":
            return None
    return "2026-01-02T03:04:05.000Z" if schema.get("format") == "date-time" else EVIL


def evil_answer(name: str) -> bytes:
    (schema,), definitions = msgspec.json.schema_components(
        [BY_NAME[name].answer], ref_template="#/{name}"
    )
    value = make_evil(schema, definitions)
    if isinstance(value, dict) and "next_page_token" in value:
        value["next_page_token"] = None
    return json.dumps(value, ensure_ascii=False).encode()


def has_control(text: str) -> bool:
    return any(not c.isprintable() and c not in "\n\t" for c in text)


@pytest.fixture
def evil(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a hostile gateway answer everything. The list has the operations that were asked for."""
    asked: list[str] = []
    call = administration.ApiAdministration.call

    def named(self: administration.ApiAdministration, name: str, *args: Any, **more: Any) -> Any:
        asked.append(name)
        return call(self, name, *args, **more)

    def answer(self: object, ask: Callable[..., object], headers: Mapping[str, str]) -> HttpAnswer:
        said = HttpAnswer(200, "OK", {"etag": '"1"'})
        said.body = evil_answer(asked[-1])
        return said

    monkeypatch.setattr(administration.ApiAdministration, "call", named)
    monkeypatch.setattr(administration.ApiAdministration, "_ask", answer)
    monkeypatch.setattr("stagedoor.cli.apps._START_S", 0.0)
    monkeypatch.setattr(administration, "find_login_options", lambda *_: {"--user": "ada"})
    monkeypatch.setenv("STAGEDOOR_TOKEN", "sdt_x")
    return asked


def test_a_gateway_without_a_login_here_gets_no_token_of_another(
    tmp_path: Path,
    home: Mapping[str, str],
) -> None:
    """The person's token file, which `stagedoor tunnel` reads, says not for which gateway it is."""
    token = tmp_path / "config/stagedoor/token"
    token.touch(mode=0o600)
    token.write_text("sdt_of-another-gateway")
    result = CliRunner().invoke(stagedoor, ["user", "list"], env=dict(home), standalone_mode=False)
    assert "not logged in at https://gw.example" in str(result.exception)


def test_a_download_that_is_cut_is_not_blamed_on_the_disk() -> None:
    def cut(conn: socket.socket, _target: str) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with ScriptedGateway([cut]) as gateway:
        options = Options({"--gateway": gateway.address, "--user": "anna"}, ["app01"], {})
        with (
            closing(administration.ApiConnection(options)) as connection,
            pytest.raises(TunnelError, match=r"hung up before the file was complete \(Conn"),
        ):
            connection.fetch_file("/x", {}, io.BytesIO())


EVE = (
    '{"name": "eve", "groups": [], "password": false, "keys": 0, "tokens": 0, "disabled": false, '
    '"last_login": null, "access_set": null}'
)


@pytest.mark.parametrize("item", ["", EVE], ids=["empty", "full"])
def test_a_list_without_an_end_is_refused(
    home: Mapping[str, str], evil: list[str], monkeypatch: pytest.MonkeyPatch, item: str
) -> None:
    monkeypatch.setattr(administration, "_MAX_PAGES", 20)

    def answer(*_: object) -> HttpAnswer:
        said = HttpAnswer(200, "OK", {})
        said.body = f'{{"items": [{item}], "next_page_token": "{len(evil)}"}}'.encode()
        return said

    monkeypatch.setattr(administration.ApiAdministration, "_ask", answer)
    result = CliRunner().invoke(stagedoor, ["user", "list"], env=dict(home), standalone_mode=False)
    assert "sends a list without an end" in str(result.exception)
    assert len(evil) == 20


@pytest.mark.parametrize("name", REMOTE)
def test_nothing_that_a_gateway_answers_controls_a_terminal(
    tmp_path: Path, home: Mapping[str, str], evil: list[str], name: str
) -> None:
    argv = sample(COMMANDS[name], name, tmp_path)
    result = CliRunner().invoke(stagedoor, argv, env=dict(home), standalone_mode=False)
    assert evil, (argv, result.exception)
    shown = result.stdout + result.stderr + str(result.exception or "")
    assert not has_control(shown), (argv, evil, shown)
