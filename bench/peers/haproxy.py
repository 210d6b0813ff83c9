"""HAProxy as a plain TCP relay with splice: the fastest relay in wide use, without authentication.

There are three configurations, since they differ by far: `start` always splices, with the kernel's
default pipes (64 KiB); `start_1m` does so with pipes of 1 MiB, which few people set; `start_auto` lets
HAProxy decide (`option splice-auto`), and under these loads it hardly ever splices.
"""

from functools import partial

from peers import Door, Ground, MissingError, Peer
from peers.process import Process, free_port, program, version_of

# 64 pipes are its default for 256 tunnels: enough for 32 streams in both directions, while more would
# only use open files that idle tunnels need.
SETTINGS = """\
global
  nbthread 1
  maxconn {tunnels}
  maxpipes 64
  {pipes}
  log stdout format raw local0 info
defaults
  mode tcp
  log global
  option tcplog
  {splice}
  timeout connect 5s
  timeout client 1h
  timeout server 1h
"""
SECTION = """\
listen {name}
  bind 127.0.0.1:{port}
  server upstream 127.0.0.1:{upstream}
"""


ALWAYS = "option splice-request\n  option splice-response"
BIG_PIPES = f"tune.pipesize {1 << 20}"


def _start(ground: Ground, *, name: str, splice: str = ALWAYS, pipes: str = "") -> Peer:
    """Start HAProxy. Raises MissingError and StartError."""
    haproxy = program("haproxy")
    if haproxy is None:
        raise MissingError("haproxy is not installed (apt-get install haproxy)")
    ports = {section: free_port() for section in ground.upstreams}
    file = ground.folder / "haproxy.cfg"
    file.write_text(
        SETTINGS.format(tunnels=ground.tunnels, pipes=pipes, splice=splice)
        + "".join(
            SECTION.format(name=section, port=ports[section], upstream=upstream)
            for section, upstream in ground.upstreams.items()
        )
    )
    process = Process([haproxy, "-db", "-f", str(file)], ground.folder / "haproxy.log")
    for port in ports.values():
        process.answers(port)
    return Peer(
        name,
        {section: Door(("127.0.0.1", port)) for section, port in ports.items()},
        process,
        f"{version_of(haproxy, '-v').split(' - ')[0]}, {' '.join(f'{splice} {pipes}'.split())}",
        "one line for each connection (option tcplog), written to a file; no authentication",
    )


start = partial(_start, name="haproxy")
start_1m = partial(_start, name="haproxy-1m", pipes=BIG_PIPES)
start_auto = partial(_start, name="haproxy-auto", splice="option splice-auto")
