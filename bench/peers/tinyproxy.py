"""Tinyproxy as a CONNECT proxy with BasicAuth: a small proxy that people set up by hand."""

from peers import NAME, PASSWORD, Door, Ground, MissingError, Peer
from peers.process import Process, free_port, program, version_of

SETTINGS = """\
Port {port}
Listen 127.0.0.1
Timeout 3600
MaxClients {tunnels}
LogLevel Connect
LogFile "{folder}/tinyproxy.log"
PidFile "{folder}/tinyproxy.pid"
Allow 127.0.0.0/8
BasicAuth {name} {password}
"""


def start(ground: Ground) -> Peer:
    """Start Tinyproxy. Raises MissingError and StartError."""
    tinyproxy = program("tinyproxy")
    if tinyproxy is None:
        raise MissingError("tinyproxy is not installed (apt-get install tinyproxy)")
    port = free_port()
    file = ground.folder / "tinyproxy.conf"
    file.write_text(
        SETTINGS.format(
            port=port,
            tunnels=ground.tunnels,
            folder=ground.folder,
            name=NAME,
            password=PASSWORD,
        )
    )
    process = Process([tinyproxy, "-d", "-c", str(file)], ground.folder / "tinyproxy.out")
    process.answers(port)
    return Peer(
        "tinyproxy",
        {
            name: Door(("127.0.0.1", port), ("127.0.0.1", upstream))
            for name, upstream in ground.upstreams.items()
        },
        process,
        version_of(tinyproxy, "-v"),
        "some lines for each tunnel (LogLevel Connect), written to a file; BasicAuth",
    )
