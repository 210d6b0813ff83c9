"""The two files that ssh reads, and the person's own config, of which not a byte may be lost."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.client import sshconfig
from stagedoor.client.sshconfig import SshAccess
from stagedoor.laptop import ssh_files
from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.target import Target

CA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKZtfB1AhVPhcJ5XqJLeuW5KkVUgkBpDVj0nWcdRdYWN ca"
ACCESS = SshAccess("gw.example:8022", (CA,), user="anna", environments=("staging",))


def seen_by_ssh(config: Path, host: str) -> dict[str, str]:
    """Return what ssh itself makes of the file for a host (ssh -G)."""
    done = subprocess.run(
        ["ssh", "-G", "-F", config, host], capture_output=True, text=True, check=True
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.mark.parametrize(
    "host", ["app01.ssh", "app01-ssh", "app01.staging.ssh", "app01-ssh.staging"]
)
def test_every_spelling_of_a_target_goes_through_the_gateway(tmp_path: Path, host: str) -> None:
    written = sshconfig.write(ACCESS, tmp_path / "s", ssh_config=tmp_path / "config")
    seen = seen_by_ssh(written.config, host)
    assert seen["proxycommand"] == (
        "stagedoor tunnel --gateway gw.example:8022 --user anna -- '%h' %p"
    )
    assert seen["proxyusefdpass"] == "no"
    assert seen["stricthostkeychecking"] == "true"
    assert seen["userknownhostsfile"] == str(written.known_hosts)


def test_a_name_that_would_end_its_quotes_is_none_of_ours(tmp_path: Path) -> None:
    """An ssh before 9.6 takes any, such as one of a git submodule: `x'$(touch y)'.ssh`."""
    text = sshconfig.render_config(ACCESS, tmp_path / "k")
    before, _, after = text.partition("'%h'")
    assert before.rpartition("\nHost ")[2].startswith('"!*\'*" *.ssh ')
    assert "%h" not in before + after


@pytest.mark.parametrize("host", ["build-ssh.example.com", "ssh", "example.com", "a.ssh.org"])
def test_other_hosts_are_left_alone(tmp_path: Path, host: str) -> None:
    written = sshconfig.write(ACCESS, tmp_path / "s", ssh_config=tmp_path / "config")
    assert "proxycommand" not in seen_by_ssh(written.config, host)


def test_the_socket_is_passed_if_that_is_wanted(tmp_path: Path) -> None:
    written = sshconfig.write(
        replace(ACCESS, fdpass=True), tmp_path / "s", ssh_config=tmp_path / "c"
    )
    seen = seen_by_ssh(written.config, "app01.ssh")
    assert seen["proxyusefdpass"] == "yes"
    assert "--fdpass" in seen["proxycommand"]
    assert int(seen["serveralivecountmax"]) < 10, "a dead connection is noticed by ssh itself"


def test_over_https_the_socket_is_not_passed(tmp_path: Path) -> None:
    access = SshAccess("https://gw.example", (CA,), fdpass=True)
    text = sshconfig.render_config(access, tmp_path / "k")
    assert "--fdpass" not in text
    assert "ProxyUseFdpass no" in text


@pytest.mark.parametrize("gateway", ["gw.example", "gw:99999", "ftp://gw:1", "anna:secret@gw:1"])
def test_a_gateway_that_the_client_would_refuse_is_refused_at_once(
    tmp_path: Path, gateway: str
) -> None:
    """Else each ssh would fail, or a password stand in the process list."""
    with pytest.raises(SettingsError, match="--gateway") as refused:
        sshconfig.render_config(SshAccess(gateway, (CA,)), tmp_path / "k")
    assert "secret" not in str(refused.value)


def test_words_reach_the_client_whole_whatever_they_hold(tmp_path: Path) -> None:
    """A path with a blank, a quote, a dollar and a per cent sign, through ssh and the shell."""
    client = tmp_path / "my 100% $HOME 'client'"
    client.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >'{tmp_path}/words'\n")
    client.chmod(0o755)
    odd = "/etc/a b;touch x'%h\""
    access = SshAccess("gw:1", (CA,), client=(str(client),), client_options=("--ca-file", odd))
    written = sshconfig.write(access, tmp_path / "a b", ssh_config=tmp_path / "config")
    subprocess.run(["ssh", "-F", written.config, "app01.ssh"], capture_output=True)
    assert (tmp_path / "words").read_text().splitlines() == [
        *("--gateway", "gw:1", "--ca-file", odd, "--", "app01.ssh", "22")
    ]


@pytest.mark.parametrize(
    "access",
    [
        SshAccess("gw:1\nProxyCommand evil", (CA,)),
        SshAccess("gw:1", (CA,), user="anna\n"),
        SshAccess("gw:1", (CA,), login_name="x\nHost *"),
        SshAccess("gw:1", (CA,), environments=("*",)),
        SshAccess("gw:1", ("ssh-ed25519 AAAA",)),
        SshAccess("gw:1", (f"{CA}\n@cert-authority * {CA}",)),
        SshAccess("gw:1", ()),
        SshAccess("gw:1", (CA,), host_keys=("app03.ssh",)),
        SshAccess("gw:1", (CA,), host_keys=(f"app03.ssh {CA}\n@cert-authority * {CA}",)),
    ],
)
def test_nothing_can_add_a_line_of_its_own(tmp_path: Path, access: SshAccess) -> None:
    with pytest.raises(SettingsError):
        sshconfig.write(access, tmp_path / "s", ssh_config=tmp_path / "config")
    assert not (tmp_path / "s").exists()


def test_the_known_hosts_holds_the_ca_for_the_shells_names_and_known_keys() -> None:
    text = sshconfig.render_known_hosts(
        SshAccess("gw:1", (CA, CA), host_keys=("app03.ssh ssh-ed25519 AAAA",))
    )
    body = CA.rsplit(" ", 1)[0]
    assert text.splitlines()[1:] == [
        f"@cert-authority *.ssh,*-ssh,*-ssh.* {body} stagedoor host CA",
        f"@cert-authority *.ssh,*-ssh,*-ssh.* {body} stagedoor host CA",
        "app03.ssh ssh-ed25519 AAAA",
    ]


def test_a_host_certificate_must_hold_both_spellings() -> None:
    assert Target("app01").principals == ("app01.ssh", "app01-ssh")
    assert Target("app01", "staging").principals == ("app01.staging.ssh", "app01-ssh.staging")


def test_files_and_folder_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        written = sshconfig.write(
            ACCESS, tmp_path / ".ssh" / "s", ssh_config=tmp_path / "config", add_include=True
        )
    finally:
        os.umask(before)
    modes = [
        path.stat().st_mode & 0o777
        for path in (tmp_path / ".ssh", written.config, written.known_hosts, tmp_path / "config")
    ]
    assert [oct(mode) for mode in modes] == ["0o700", "0o600", "0o644", "0o600"]
    assert sorted(p.name for p in written.config.parent.iterdir()) == ["config", "known_hosts"]


def test_the_include_is_added_on_request_only_and_once(tmp_path: Path) -> None:
    own = tmp_path / "config"
    own.write_text("Host *\n  User anna")
    asked = sshconfig.write(ACCESS, tmp_path / "s", ssh_config=own)
    assert (asked.is_included, asked.is_added) == (False, False)
    assert own.read_text() == "Host *\n  User anna"
    first = sshconfig.write(ACCESS, tmp_path / "s", ssh_config=own, add_include=True)
    again = sshconfig.write(ACCESS, tmp_path / "s", ssh_config=own, add_include=True)
    assert (first.is_included, first.is_added) == (True, True)
    assert (again.is_included, again.is_added) == (True, False)
    assert own.read_text() == f"Include {tmp_path}/s/config\n\nHost *\n  User anna"
    assert "proxycommand" in seen_by_ssh(own, "app01.ssh")


def test_an_include_that_holds_for_some_hosts_only_does_not_count(tmp_path: Path) -> None:
    config, own = tmp_path / "s/config", tmp_path / "config"
    for text, included in (
        (f"Host other\n  Include {config}\n", False),
        (f"# Include {config}\n", False),
        (f'User anna\n  include="{config}"\nHost *\n', True),
    ):
        own.write_text(text)
        assert ssh_files.is_included(config, own) == included


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300))
def test_a_persons_config_keeps_every_byte(
    tmp_path_factory: pytest.TempPathFactory, before: bytes
) -> None:
    folder = tmp_path_factory.mktemp("own")
    own = folder / "config"
    own.write_bytes(before)
    own.chmod(0o640)
    written = sshconfig.write(ACCESS, folder / "s", ssh_config=own, add_include=True)
    assert own.read_bytes().endswith(before)
    assert own.read_bytes().startswith(written.include_line.encode() + b"\n")
    assert own.stat().st_mode & 0o777 == 0o640


def test_a_config_that_is_a_link_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "ssh_config"
    real.parent.mkdir()
    real.write_text("Host *\n")
    own = tmp_path / "config"
    own.symlink_to(real)
    sshconfig.write(ACCESS, tmp_path / "s", ssh_config=own, add_include=True)
    assert own.is_symlink()
    assert real.read_text().endswith("\n\nHost *\n")


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StagedoorError, match=r"cannot write .*file"):
        sshconfig.write(ACCESS, tmp_path / "file" / "s", ssh_config=tmp_path / "config")
    with pytest.raises(SettingsError, match="choose one without"):
        sshconfig.write(ACCESS, tmp_path / "100%", ssh_config=tmp_path / "config")
