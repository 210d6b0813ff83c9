"""The ProxyCommand clients, each with its way to get the gateway's address and password."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peers import NAME, PASSWORD, Door, MissingError
from peers.process import program
from peers.stagedoor import find


@dataclass(frozen=True)
class Way:
    """The arguments and environment for ssh or scp, besides the host."""

    name: str
    options: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


def _nc(door: Door, folder: Path) -> Way:
    host, port = door.address
    return _proxied("nc", f"nc -X connect -x {host}:{port} -P {NAME} %h %p")


def _ncat(door: Door, folder: Path) -> Way:
    host, port = door.address
    return _proxied(
        "ncat",
        f"ncat --proxy-type http --proxy {host}:{port} --proxy-auth {NAME}:{PASSWORD} %h %p",
    )


def _corkscrew(door: Door, folder: Path) -> Way:
    host, port = door.address
    file = _private(folder / "corkscrew", f"{NAME}:{PASSWORD}\n")
    return _proxied("corkscrew", f"corkscrew {host} {port} %h %p {file}")


def _connect_proxy(door: Door, folder: Path) -> Way:
    host, port = door.address
    env = {"HTTP_PROXY_PASSWORD": PASSWORD}
    return _proxied("connect-proxy", f"connect-proxy -H {NAME}@{host}:{port} %h %p", env)


def _proxytunnel(door: Door, folder: Path) -> Way:
    host, port = door.address
    file = _private(folder / "proxytunnel", f"proxy_user={NAME}\nproxy_passwd={PASSWORD}\n")
    return _proxied("proxytunnel", f"proxytunnel -q -p {host}:{port} -F {file} -d %h:%p")


def _socat(door: Door, folder: Path) -> Way:
    host, port = door.address
    return _proxied(
        "socat", f"socat - PROXY:{host}:%h:%p,proxyport={port},proxyauth={NAME}:{PASSWORD}"
    )


def _ours(door: Door, folder: Path) -> Way:
    return _proxied("stagedoor", _tunnel(door, folder, ""))


def _ours_fdpass(door: Door, folder: Path) -> Way:
    way = _proxied("stagedoor", _tunnel(door, folder, "--fdpass "))
    return Way("stagedoor --fdpass", (*way.options, "-o", "ProxyUseFdpass=yes"), way.env)


def _ours_no_resume(door: Door, folder: Path) -> Way:
    return Way("stagedoor --no-resume", _proxied("", _tunnel(door, folder, "--no-resume ")).options)


def _tunnel(door: Door, folder: Path, extra: str) -> str:
    host, port = door.address
    file = _private(folder / "token", PASSWORD + "\n")
    return f"{find()} tunnel {extra}--gateway {host}:{port} --user {NAME} --token-file {file} %h %p"


def _proxied(name: str, command: str, env: Mapping[str, str] | None = None) -> Way:
    if program(command.split()[0]) is None:
        raise MissingError(f"{name} is not installed")
    return Way(name, ("-o", f"ProxyCommand={command}"), env or {})


def _private(file: Path, text: str) -> Path:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    return file


WAYS: Mapping[str, Callable[[Door, Path], Way]] = {
    "nc": _nc,
    "ncat": _ncat,
    "corkscrew": _corkscrew,
    "connect-proxy": _connect_proxy,
    "proxytunnel": _proxytunnel,
    "socat": _socat,
    "stagedoor": _ours,
    "stagedoor --no-resume": _ours_no_resume,
    "stagedoor --fdpass": _ours_fdpass,
}
