"""The commands that `stagedoor demo` prints at its start, for people to copy."""

import shlex
import subprocess
import sys
from dataclasses import replace

import click

from stagedoor.client import sshconfig
from stagedoor.demo.clients import APPS, find, make_nc_command, make_tunnel_command
from stagedoor.demo.gateway import PORT, DemoGateway, find_command
from stagedoor.demo.keys import CUT_KEY, CUT_S, UPGRADE_KEY


def list_suggestions(demo: DemoGateway, more: bool, *, reads_keys: bool = False) -> str:
    """Return the text with the commands to try, each a line to copy: two of them, or all with `more`."""
    config = shlex.quote(str(demo.configs.through))
    moved = f" (another program has port {PORT})" if demo.moved else ""
    lines = [
        "",
        f"{mark_bold('Stagedoor')} is open at {mark_bold(demo.gateway)}{moved}, with the apps "
        f"{' and '.join(APPS)}. In another terminal, try:",
        "",
        f"  ssh -F {config} app01.ssh",
        "",
        "or in a browser, by a link that works once, within 10 minutes (later: name "
        f"{demo.login.user}, password {demo.login.password}, at {demo.web}):",
        "",
        f"  {demo.make_web_link()}",
        "",
        *(_sign_in(demo) if demo.sso else ()),
        *(
            _more(demo, config)
            if more
            else ["Other clients and the jump host: start it with --more.", ""]
        ),
        *(
            [
                f"Press {mark_bold(CUT_KEY)} here to cut the network for {CUT_S:.0f} s, or "
                f"{mark_bold(UPGRADE_KEY)} to upgrade the gateway: ssh continues.",
                "",
            ]
            if reads_keys
            else ()
        ),
        "Each login is shown below. Ctrl-C ends the demo, and all that was started in its shells.",
        "",
        "",
    ]
    return "\n".join(lines)


def _more(demo: DemoGateway, config: str) -> list[str]:
    """Return the lines with the other commands; `config` is the file for ssh, quoted."""
    jump = shlex.quote(str(demo.configs.jump))
    program = find("nc")
    if program is not None:
        note = f"nc asks for the password, which is {mark_bold(demo.login.password)}"
        command = make_nc_command(demo.login)
    else:
        # Any common client would do, but perhaps none is installed.
        script = demo.folder / "tun.py"
        text = subprocess.run(
            [*find_command(), "tunnel", "--print-script"], stdout=subprocess.PIPE, check=True
        )
        script.write_bytes(text.stdout)
        note = "tun.py is our client in one file, which runs where Stagedoor is not installed"
        command = make_tunnel_command(replace(demo.login, tunnel=("python3", str(script))))
    proxy = shlex.quote(f"ProxyCommand={command}")
    attach = [*find_command(), "attach", "--url", demo.web, "--user", demo.login.user]
    attach += ["--token-file", str(demo.login.token_file), "app01"]
    return [
        "or copy a file, or use a program that is not ours:",
        "",
        f"  scp -F {config} /etc/hostname app02.ssh:/tmp/stagedoor-demo.txt",
        f"  ssh -F {config} -o ProxyUseFdpass=no -o {proxy} app01.ssh",
        "",
        f"({note}), or without another program, over the gateway's own SSH "
        f"({sshconfig.JUMP_HOST} in the file):",
        "",
        f"  ssh -F {jump} app01.ssh",
        f"  ssh -F {jump} {sshconfig.JUMP_HOST}",
        "",
        "or the browser's terminal in this one, which stays when you leave it by Enter ~ .:",
        "",
        f"  {shlex.join(attach)}",
        "",
        "or a task that continues when its terminal is closed, and what became of it:",
        "",
        f"  ssh -F {jump} {sshconfig.JUMP_HOST} \"run --detach app01 -- 'sleep 5; env | grep APP'\"",
        f"  ssh -F {jump} {sshconfig.JUMP_HOST} run list",
        "",
        *([] if demo.sso else _sign_in(demo)),
    ]


def _sign_in(demo: DemoGateway) -> list[str]:
    """Return the lines with the commands for a sign-in by the browser."""
    login = shlex.join([*find_command(), "login", demo.web])
    logout = shlex.join([*find_command(), "logout", "--forget", demo.web])
    by = (
        "at the demo's identity provider, under any name and with any password"
        if demo.sso
        else f"with the name and password above ({demo.login.user})"
    )
    return [
        f"or sign in once in the browser {by}, and then ssh alone; the last line takes it back:",
        "",
        f"  {login}",
        "  ssh app01.ssh",
        f"  {logout}",
        "",
        *(_ask_access(demo) if demo.sso else ()),
    ]


def _ask_access(demo: DemoGateway) -> list[str]:
    """Return the lines about the app that is open on request."""
    return [
        f"That name may ask for {APPS[1]}. While ssh waits, {demo.login.user} (by that link) approves it "
        f"at {demo.web}/requests:",
        "",
        f"  ssh {APPS[1]}.ssh",
        "",
    ]


def mark_bold(text: str) -> str:
    """Return `text` in bold type if the standard output is a terminal."""
    return click.style(text, bold=True) if sys.stdout.isatty() else text
