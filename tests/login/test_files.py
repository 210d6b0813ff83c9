"""The files that a login writes, from a document that may be a stranger's: they catch no other host, and
hold no line from outside unchecked."""

import ast
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.laptop.login_files import (
    RENEW_S,
    REPEAT_S,
    GatewayDocument,
    find_renewal_time,
    include_config,
    read_end,
    render_config,
    render_known_hosts,
)
from stagedoor.laptop.login_web import BODY_LIMIT, GatewayWeb, parse_object
from stagedoor.laptop.onefile import SHARED
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.onefile import TUNNEL, read_sources
from tests.login.machine import Key

CA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHSeulydUJp4sqhR/3NYP+zgyJ3o+hAT/yAXbFQrFfG+"
GOOD: dict[str, object] = {
    "login": True,
    "host_ca": [CA],
    "names": ["*.ssh", "*-ssh"],
    "ssh": "gw.example:8023",
    "connect": None,
}
FOLDER, PROGRAM = (
    Path("/home/a b/.config/stagedoor/gw"),
    ["/usr/bin/python3", "/home/a b/stagedoor"],
)


def config(said: dict[str, object], user: str = "alice") -> str:
    return render_config(GatewayDocument(said, "https://gw"), FOLDER, user, PROGRAM, "gw.example")


def test_ssh_understands_it(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(config(GOOD).replace("Match host *.ssh,*-ssh exec", "Match host never exec"))
    done = subprocess.run(
        ["ssh", "-GF", file, "app01.ssh"], capture_output=True, text=True, check=True
    )
    options = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert options["proxyjump"] == "stagedoor-gw.example"
    assert options["identityfile"] == f"{FOLDER}/id"
    assert options["certificatefile"] == f"{FOLDER}/id-cert.pub"
    assert options["stricthostkeychecking"] in ("yes", "true")
    other = subprocess.run(
        ["ssh", "-GF", file, "github.com"], capture_output=True, text=True, check=True
    )
    assert str(FOLDER) not in other.stdout


@pytest.mark.parametrize("before", ["Host other\n  {}\n", "Match host other\n{}\n", "# {}\n", ""])
def test_an_include_that_is_not_in_force_gets_one_at_the_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """One below a `Host` holds for that host alone, and ssh went past the gateway."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder, place = tmp_path / "gw", tmp_path / ".ssh/config"
    for made in (folder, place.parent):
        made.mkdir()
    written = config(GOOD).replace("Match host *.ssh,*-ssh exec", "Match host never exec")
    (folder / "ssh_config").write_text(written)
    line = f"Include {folder}/ssh_config"
    text = before.format(line)
    place.write_text(text)
    assert include_config(folder)
    done = subprocess.run(["ssh", "-GF", place, "app01.ssh"], capture_output=True, check=True)
    assert b"proxyjump stagedoor-gw.example" in done.stdout
    assert not include_config(folder), "once"
    assert place.read_text().endswith(text), "what was there stays"


@pytest.mark.identity(9)
def test_a_shell_alone_says_that_the_certificate_is_good(tmp_path: Path) -> None:
    """For all else it asks the program, here one that fails."""
    folder = tmp_path / "gw"
    folder.mkdir()
    text = render_config(
        GatewayDocument(GOOD, "https://gw"), folder, "alice", ["/bin/false"], "gw.example"
    )
    [line] = [line for line in text.splitlines() if line.startswith("Match ")]
    file = tmp_path / "config"
    file.write_text(f"{line}\n  HostName good\n")

    def asked() -> bool:
        done = subprocess.run(
            ["ssh", "-TGF", file, "app01.ssh"], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return "hostname good\n" not in done.stdout

    assert asked(), "nothing is there"
    (folder / "fresh_until").write_text("99999999999\n")
    assert asked(), "no certificate is there"
    (folder / "id-cert.pub").touch()
    assert not asked()
    for other in ("99999999999", "", "\n", "x\n", "0\n", f"{int(time.time())}\n"):
        (folder / "fresh_until").write_text(other)
        assert asked(), other


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
_NASTY = st.sampled_from(
    [
        "*",
        "github.com",
        "*.ssh\nHost *",
        "*.ssh,*",
        "a b",
        '"',
        "%h",
        "*.ssh.x*",
        "*-ssh.example.com",
        "gw:22\nProxyCommand x",
    ]
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: _ANY | _NASTY | st.lists(_ANY | _NASTY, max_size=4) | st.just(good)
            for name, good in GOOD.items()
        },
    ),
    st.text(max_size=20) | _NASTY,
)
def test_no_document_catches_another_host_or_adds_a_line(
    said: dict[str, object], user: str
) -> None:
    try:
        text = config({**GOOD, **said}, user)
        hosts = render_known_hosts(GatewayDocument({**GOOD, **said}, "https://gw"))
    except TunnelError:
        return
    for line in text.splitlines():
        assert line.isprintable()
        assert not line or line.startswith(("Match ", "Host ", "# ", "  "))
        if line.startswith("Host "):
            names = line.removeprefix("Host ").removeprefix('"!*\'*" ').split()
            assert set(names) <= {"*.ssh", "*-ssh"} or names == ["stagedoor-gw.example"]
    assert all(line.startswith(("#", "@cert-authority *")) for line in hosts.splitlines())


@pytest.mark.parametrize(
    "said",
    [
        {"host_ca": []},
        {"names": ["*"]},
        {"names": ["*-ssh.example.com"]},
        {"names": ["*.ssh.com"]},
        {"login": False},
        {"ssh": None},
        {"ssh": None, "connect": "http://gw.example:8022"},
        {"ssh": None, "connect": "file:///etc/passwd"},
    ],
)
def test_a_gateway_that_cannot_be_used_is_said_so(said: dict[str, object]) -> None:
    with pytest.raises(TunnelError):
        config({**GOOD, **said})


def test_connect_is_used_where_it_keeps_the_secret() -> None:
    for url in ("https://gw.example", "http://127.0.0.1:8022"):
        text = config({**GOOD, "ssh": None, "connect": url})
        assert (
            f"tunnel --gateway {url} --user alice --token-file '{FOLDER}/secret' -- '%h' %p" in text
        )


@pytest.mark.parametrize(
    "url",
    [
        *(
            "gw.example",
            "http://gw.example",
            "ftp://gw.example",
            "https://a@gw.example",
            "https://",
        ),
        *(
            "https://gw.example?x",
            "https://gw.example/a b",
            "https://gw.example:99999",
            "http://127.0.0.1.evil",
        ),
    ],
)
def test_secrets_are_sent_to_no_such_address(url: str) -> None:
    with pytest.raises(TunnelError):
        GatewayWeb(url)


def test_an_address_is_taken_with_its_path_and_port() -> None:
    gateway = GatewayWeb("https://GW.example:8443/stagedoor/")
    assert (gateway.origin, gateway.url) == (
        "https://gw.example:8443",
        "https://gw.example:8443/stagedoor",
    )


@given(st.binary(max_size=200))
def test_an_answer_is_an_object_or_said_to_be_none(text: bytes) -> None:
    with suppress(TunnelError):
        assert isinstance(parse_object(text, "https://gw"), dict)


@pytest.mark.parametrize("ssh", ["gw.example:8023", None])
def test_no_name_of_a_host_gets_to_the_persons_shell_as_a_command(ssh: str | None) -> None:
    """An ssh before 9.6 takes any name: one of a submodule, for one, `x'$(touch y)'.ssh`."""
    text = config({**GOOD, "ssh": ssh, "connect": "https://gw.example"})
    hosts = [line for line in text.splitlines() if line.startswith(("Match ", "Host *", 'Host "'))]
    assert "%h" not in hosts[0]
    if "%h" in text:
        assert hosts[1].startswith('Host "!*\'*" ')
        assert text.index("%h") > text.index(hosts[1])
        assert text.count("'%h'") == text.count("%h") == 1


def test_an_answer_is_bounded() -> None:
    with pytest.raises(TunnelError):
        parse_object(json.dumps({"a": "x" * BODY_LIMIT}).encode(), "https://gw")
    with pytest.raises(TunnelError):
        parse_object(b"[" * 60_000, "https://gw")


def test_a_certificates_end_is_read_from_it(tmp_path: Path) -> None:
    ca, key = Key(tmp_path, "ca"), Key(tmp_path, "id")
    command = [
        "ssh-keygen",
        "-qs",
        ca.file,
        "-I",
        "x",
        "-n",
        "alice,b",
        "-V",
        "20260101Z:20270101Z",
    ]
    subprocess.run([*command, f"{key.file}.pub"], check=True)
    line = " ".join((tmp_path / "id-cert.pub").read_text().split()[:2])
    assert read_end(line) == 1798761600
    for bad in ("", line[:60], line.replace("ed25519-cert", "rsa-cert"), f"{line}\nx"):
        with pytest.raises(TunnelError):
            read_end(bad)


def test_a_certificate_is_renewed_half_an_hour_before_its_end_and_not_at_each_ssh() -> None:
    now = 1_000_000.0
    assert find_renewal_time(int(now) + 3600, now) == now + 3600 - RENEW_S
    assert find_renewal_time(int(now) + 600, now) == now + REPEAT_S
    assert find_renewal_time(int(now) + 90, now) == now + 90 - REPEAT_S
    assert find_renewal_time(int(now) - 1, now) < now


FILES = (read_sources("stagedoor.laptop", *SHARED), read_sources(*TUNNEL))
"""The client's modules, and the tunnel's."""


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in FILES for name in file])
def test_one_file_is_written_for_python_3_8_and_imports_nothing_else(
    file: dict[str, str], name: str
) -> None:
    tree = ast.parse(file[name], feature_version=(3, 8))
    newer = {"slots", "kw_only", "StrEnum", "removeprefix", "removesuffix", "UTC"}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                tops = {alias.name.partition(".")[0] for alias in names}
                assert tops <= sys.stdlib_module_names
            case ast.ImportFrom(module="stagedoor"):
                pass  # the version
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("stagedoor"):
                inside = {f"{module}.{alias.name}" for alias in names}
                assert module in file or inside <= file.keys()
            case ast.ImportFrom(module=str(module), names=names):
                assert module.partition(".")[0] in sys.stdlib_module_names
                assert newer.isdisjoint(alias.name for alias in names)
            case ast.keyword(arg=word) | ast.Attribute(attr=word):
                assert word not in newer
