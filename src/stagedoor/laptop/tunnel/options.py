"""The command line and the environment of `stagedoor tunnel`, checked."""

from __future__ import annotations

import os

from stagedoor.laptop.tunnel.address import (
    check_host,
    check_port,
    choose_first,
    find_corporate_proxy,
    parse_gateway,
)
from stagedoor.laptop.tunnel.errors import USAGE, TunnelError

OPTIONS = {
    "--gateway": ("ADDRESS", "HOST:PORT, http://… or https://… ($STAGEDOOR_GATEWAY)"),
    "--user": ("NAME", "your user name there ($STAGEDOOR_USER, else your login name)"),
    "--token-file": ("FILE", "your token or password, mode 0600 ($STAGEDOOR_TOKEN_FILE)"),
    "--credential-helper": (
        "COMMAND",
        "program that prints the token or password ($STAGEDOOR_CREDENTIAL_HELPER)",
    ),
    "--via": ("URL", "corporate proxy http://HOST:PORT to the gateway, or 'direct' for none"),
    "--ca-file": ("FILE", "trust these CAs for https, not the system's ($STAGEDOOR_CA_FILE)"),
    "--server-name": ("NAME", "the name that the gateway's certificate must have"),
    "--timeout": ("SECONDS", "the longest wait for an answer, a shell's start included (150)"),
    "--fdpass": ("", "hand the connected socket to ssh (ProxyUseFdpass yes) and exit"),
    "--no-resume": ("", "end with the connection, and do not replace a lost one"),
    "--print-script": ("", "print this program as one file that runs on its own"),
    "--help": ("", "print this help"),
}
TIMEOUT_S = 150.0  # above a gateway's usual start time-out, so that its own reason arrives first


class Options:
    """The command line and the environment, checked."""

    def __init__(
        self,
        given: dict[str, str],
        target: list[str],
        env: dict[str, str],
        gateway_option: str = "--gateway",
        trust: str = "give --ca-file, or --server-name if it is known by another name",
    ) -> None:
        """Check the options. Raises TunnelError.

        Errors use the words of the command that runs: `gateway_option` is its option for the gateway, and
        `trust` its advice about an untrusted certificate.
        """
        self.trust = trust
        self.env = env
        if not target or len(target) > 2:
            raise TunnelError(USAGE, "give HOST and PORT; try 'stagedoor tunnel --help'")
        self.host = check_host(target[0], "HOST")
        self.port = check_port(target[1] if len(target) > 1 else "22", "PORT")
        address, source = choose_first(
            (given.get("--gateway"), gateway_option),
            (env.get("STAGEDOOR_GATEWAY"), "STAGEDOOR_GATEWAY"),
        )
        if not address:
            raise TunnelError(
                USAGE, "no gateway is named: give --gateway HOST:PORT or set STAGEDOOR_GATEWAY"
            )
        self.gateway = parse_gateway(address, source)
        self.user = given.get("--user") or find_login_name(env)
        if ":" in self.user or not self.user.isprintable():  # RFC 7617 §2
            raise TunnelError(
                USAGE, f"the user name {self.user!r} holds ':' or a control character"
            )
        self.token_file = given.get("--token-file") or env.get("STAGEDOOR_TOKEN_FILE")
        self.helper = given.get("--credential-helper") or env.get("STAGEDOOR_CREDENTIAL_HELPER")
        self.via = find_corporate_proxy(given.get("--via"), self.gateway, env)
        self.ca_file = given.get("--ca-file") or env.get("STAGEDOOR_CA_FILE")
        self.server_name = given.get("--server-name") or self.gateway.host
        self.fdpass = "--fdpass" in given
        self.resumes = not self.fdpass and "--no-resume" not in given
        try:
            self.timeout_s = float(given.get("--timeout", TIMEOUT_S))
        except ValueError:
            self.timeout_s = 0.0
        if not 0 < self.timeout_s <= 86400:
            raise TunnelError(USAGE, "--timeout must be a number of seconds above 0")


def parse_argv(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options by name, `""` for those without a value, and the other words in order.

    Raises TunnelError.
    """
    given: dict[str, str] = {}
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word == "--":
            words.extend(rest)
        elif not word.startswith("-") or word == "-":
            words.append(word)
        else:
            name, equals, value = word.partition("=")
            name = "--help" if name == "-h" else name
            if name not in OPTIONS:
                raise TunnelError(USAGE, f"unknown option {name}; try 'stagedoor tunnel --help'")
            wants_value = bool(OPTIONS[name][0])
            if equals and not wants_value:
                raise TunnelError(USAGE, f"{name} takes no value")
            if wants_value and not equals:
                value = next(rest, "")
            if wants_value and not value:
                raise TunnelError(USAGE, f"{name} needs a value: {name} {OPTIONS[name][0]}")
            given[name] = value
    return given, words


def find_login_name(env: dict[str, str]) -> str:
    """Return the user's name at the gateway: STAGEDOOR_USER or the login name. Raises TunnelError."""
    name = env.get("STAGEDOOR_USER") or env.get("LOGNAME") or env.get("USER")
    if not name:
        import pwd

        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            raise TunnelError(USAGE, "your user name is unknown; set STAGEDOOR_USER=NAME") from None
    return name
