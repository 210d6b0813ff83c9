"""The command line and the environment of `stagedoor tunnel`."""

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
    "--timeout": (
        "SECONDS",
        "the longest wait for an answer, including the start of a shell (150)",
    ),
    "--fdpass": ("", "pass the connected socket to ssh (ProxyUseFdpass yes) and exit"),
    "--no-resume": ("", "exit when the connection is lost, instead of reconnecting"),
    "--print-script": ("", "print this program as a single file"),
    "--help": ("", "print this help"),
}
TIMEOUT_S = 150.0
"""Longer than a gateway usually waits for a start, so that its reason arrives first."""


class Options:
    """The checked options, from a command line and the environment."""

    def __init__(
        self,
        values: dict[str, str],
        target: list[str],
        env: dict[str, str],
        gateway_option: str = "--gateway",
        trust: str = "give --ca-file, or --server-name if it is known by another name",
    ) -> None:
        """Check the options in `values`, by name. Raises TunnelError.

        Errors name the options of the running command: `gateway_option` is its option for the gateway, and
        `trust` is its advice about an untrusted certificate.
        """
        self.trust = trust
        self.env = env
        if not target or len(target) > 2:
            raise TunnelError(USAGE, "give HOST and PORT; try 'stagedoor tunnel --help'")
        self.host = check_host(target[0], "HOST")
        self.port = check_port(target[1] if len(target) > 1 else "22", "PORT")
        address, source = choose_first(
            (values.get("--gateway"), gateway_option),
            (env.get("STAGEDOOR_GATEWAY"), "STAGEDOOR_GATEWAY"),
        )
        if not address:
            raise TunnelError(
                USAGE, "no gateway is named: give --gateway HOST:PORT or set STAGEDOOR_GATEWAY"
            )
        self.gateway = parse_gateway(address, source)
        self.user = values.get("--user") or find_login_name(env)
        if ":" in self.user or not self.user.isprintable():  # RFC 7617 §2
            raise TunnelError(
                USAGE, f"the user name {self.user!r} contains ':' or a control character"
            )
        self.token_file = values.get("--token-file") or env.get("STAGEDOOR_TOKEN_FILE")
        self.helper = values.get("--credential-helper") or env.get("STAGEDOOR_CREDENTIAL_HELPER")
        self.via = find_corporate_proxy(values.get("--via"), self.gateway, env)
        self.ca_file = values.get("--ca-file") or env.get("STAGEDOOR_CA_FILE")
        self.server_name = values.get("--server-name") or self.gateway.host
        self.fdpass = "--fdpass" in values
        self.resumes = not self.fdpass and "--no-resume" not in values
        try:
            self.timeout_s = float(values.get("--timeout", TIMEOUT_S))
        except ValueError:
            self.timeout_s = 0.0
        if not 0 < self.timeout_s <= 86400:
            raise TunnelError(USAGE, "--timeout must be a number of seconds above 0")


def parse_argv(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options by name, "" for a flag, and the other words in order. Raises TunnelError."""
    values: dict[str, str] = {}
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
            takes_value = bool(OPTIONS[name][0])
            if equals and not takes_value:
                raise TunnelError(USAGE, f"{name} takes no value")
            if takes_value and not equals:
                value = next(rest, "")
            if takes_value and not value:
                raise TunnelError(USAGE, f"{name} needs a value: {name} {OPTIONS[name][0]}")
            values[name] = value
    return values, words


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
