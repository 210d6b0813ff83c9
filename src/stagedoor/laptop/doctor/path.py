"""The choice of the hops to check, from the command line or from the user's ssh configuration."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from stagedoor.laptop.doctor import judge, walk
from stagedoor.laptop.login_files import find_login_options
from stagedoor.laptop.tunnel.address import parse_gateway
from stagedoor.laptop.tunnel.errors import TunnelError, clean
from stagedoor.laptop.tunnel.options import Options
from stagedoor.wire.finding import Level, Result, render_text, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


@dataclass(frozen=True)
class PathOptions:
    """The path to check.

    `tunnel_options` are options of `stagedoor tunnel`. For the web, the gateway is a URL, which may have a
    path. `idle_s` is the longest idle time to try, in seconds, or None to skip that check.
    """

    host: str
    how: judge.How | None
    tunnel_options: Mapping[str, str]
    env: Mapping[str, str]
    ssh_config: str | None = None
    idle_s: float | None = None


def find_web_options(
    options: Mapping[str, str], env: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """Return the options for the web, and the path in the gateway's URL.

    As for `stagedoor attach`, this machine's login is the default for the user and the secret.
    """
    if "--gateway" not in options:
        return dict(options), ""
    url = urlsplit(options["--gateway"])
    options = {**options, "--gateway": f"{url.scheme}://{url.netloc}"}
    return {**options, **find_login_options(options, env)}, url.path.rstrip("/")


def check_path(path: PathOptions) -> Iterator[Result]:
    """Check each hop, and yield its results, up to the first failure."""
    try:
        for result in _check_hops(path):
            yield result
            if result[1].level is Level.FAIL:
                return
    except TunnelError as error:
        yield judge.judge_tunnel_failure(error)
    except FileNotFoundError:
        yield judge.CONFIG, warn("there is no ssh on this machine", "install OpenSSH's client")
    except subprocess.TimeoutExpired as error:
        yield judge.make_failure(judge.SHELL, f"ssh did not exit within {error.timeout:g} s")
    except (OSError, ValueError) as error:
        yield judge.make_failure(judge.CONFIG, clean(str(error)))


def print_results(
    results: Iterable[Result], *, silent: bool = False, translate: Callable[[str], str] = str
) -> list[Result]:
    """Print each result at once, unless `silent`, and return all of them."""
    printed = []
    for result in results:
        printed.append(result)
        if not silent:
            sys.stdout.write(render_text(result, translate))
            sys.stdout.flush()
    return printed


def _check_hops(path: PathOptions) -> Iterator[Result]:
    if path.how == "web":
        options, prefix = find_web_options(path.tunnel_options, path.env)
        yield from walk.check_web(_make_options(path, options), prefix, path.host)
        return
    ssh = walk.SshProgram(path.host, path.ssh_config)
    gateway_option = path.tunnel_options.get("--gateway")
    how: judge.How | None = path.how
    address = ("", 0)
    options = dict(path.tunnel_options)
    if how in (None, "connect") and not gateway_option:
        route = judge.judge_route(ssh.read_config())
        how, address = route.how, route.address
        options = {**route.tunnel_options, **options}
        if how == "direct" and address[0] == path.host:
            how = "connect"  # ssh has no configuration for this host, so use STAGEDOOR_GATEWAY
    if how in ("jump", "direct"):
        if gateway_option:
            gateway = parse_gateway(gateway_option, "--gateway")
            address = (gateway.host, gateway.port)
        elif address[1] == 0:
            config = ssh.read_config(f"ssh://{address[0]}" if address[0] else None)
            address = (config["hostname"], int(config["port"]))
        yield from walk.check_ssh_port(*address)
    else:
        yield from walk.check_connect(_make_options(path, options))
    yield from ssh.check_login()
    yield from ssh.check_full_packets()
    if path.idle_s is not None:
        yield from ssh.measure_idle_limit(path.idle_s)


def _make_options(path: PathOptions, values: Mapping[str, str]) -> Options:
    return Options(dict(values), [path.host], dict(path.env))
