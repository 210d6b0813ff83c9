"""The choice of the hops to check, by the options that a person gave or by the configuration of their ssh."""

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

    `given` are options as of `stagedoor tunnel`; for the web, the gateway is a URL, which may have a path.
    `idle_s` is the longest silence to try, in seconds; None does not measure the idle timeout.
    """

    host: str
    how: judge.How | None
    given: Mapping[str, str]
    env: Mapping[str, str]
    config_file: str | None = None
    idle_s: float | None = None


def find_web_options(
    given: Mapping[str, str], env: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """Return the options for the web, and the path in its URL.

    This machine's login there names the user and the secret unless the options do, as for `stagedoor attach`.
    """
    if "--gateway" not in given:
        return dict(given), ""
    url = urlsplit(given["--gateway"])
    named = {**given, "--gateway": f"{url.scheme}://{url.netloc}"}
    return {**named, **find_login_options(named, env)}, url.path.rstrip("/")


def walk_to(wish: PathOptions) -> Iterator[Result]:
    """Check and yield every hop, up to the first failure."""
    try:
        for result in _hops(wish):
            yield result
            if result[1].level is Level.FAIL:
                return
    except TunnelError as error:
        yield judge.judge_tunnel_failure(error)
    except FileNotFoundError:
        yield judge.CONFIG, warn("there is no ssh on this machine", "install OpenSSH's client")
    except subprocess.TimeoutExpired as error:
        yield judge.make_failure(judge.SHELL, f"ssh did not end within {error.timeout:g} s")
    except (OSError, ValueError) as error:
        yield judge.make_failure(judge.CONFIG, clean(str(error)))


def print_results(
    results: Iterable[Result], *, silent: bool = False, translate: Callable[[str], str] = str
) -> list[Result]:
    """Return all results, after printing each as soon as it is there, unless `silent`."""
    listed = []
    for result in results:
        listed.append(result)
        if not silent:
            sys.stdout.write(render_text(result, translate))
            sys.stdout.flush()
    return listed


def _hops(wish: PathOptions) -> Iterator[Result]:
    if wish.how == "web":
        options, path = find_web_options(wish.given, wish.env)
        yield from walk.check_web(_options(wish, options), path, wish.host)
        return
    ssh = walk.SshProgram(wish.host, wish.config_file)
    named = wish.given.get("--gateway")
    how: judge.How | None = wish.how
    address = ("", 0)
    given = dict(wish.given)
    if how in (None, "connect") and not named:
        route = judge.judge_route(ssh.read_config())
        how, address = route.how, route.address
        given = {**route.given, **given}
        if how == "connect" or (how == "direct" and address[0] == wish.host):
            how = "connect"  # ssh has no configuration for this host, so STAGEDOOR_GATEWAY leads to it
    if how in ("jump", "direct"):
        if named:
            gateway = parse_gateway(named, "--gateway")
            address = (gateway.host, gateway.port)
        elif address[1] == 0:
            seen = ssh.read_config(f"ssh://{address[0]}" if address[0] else None)
            address = (seen["hostname"], int(seen["port"]))
        yield from walk.check_ssh_port(*address)
    else:
        yield from walk.connect(_options(wish, given))
    yield from ssh.check_login()
    yield from ssh.check_full_packets()
    if wish.idle_s is not None:
        yield from ssh.measure_idle_limit(wish.idle_s)


def _options(wish: PathOptions, given: Mapping[str, str]) -> Options:
    return Options(dict(given), [wish.host], dict(wish.env))
